"""What a scaling policy decides on, and what it decides: data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from msgspec import Struct, field

from ..agents.library import Implementation
from ..bus.messages import Desired, HostHeartbeat, Instance
from .arrivals import Stakes
from .forecast import Key, Need


class Regular(Struct, frozen=True):
    """Jobs of a kind that will need a pool: seconds until the next one comes (as `Arrivals.left`), and, seen from its arrival, until
    the pool is needed, with the instances that such a job plans for."""

    kind: str
    left: tuple[float, ...] = ()
    after_s: float = 0.0
    width: int = 1


class Pool(Struct, frozen=True):
    """One pool, over all hosts."""

    key: Key
    have: int = 0
    """Instances that living hosts shall have."""
    places: int = 0
    """The most that living hosts can work with at a time; 0: no host can have it."""
    spare: int = 0
    """The most that a backlog may grow to: of CPU pools half of the places, since other stages want cores too."""
    load_s: float = 1.0
    slots: int = 1
    needs: tuple[Need, ...] = ()
    kinds: tuple[Regular, ...] = ()
    idle_s: float = 0.0
    """For how long no stage that is ready has wanted it."""
    surplus_s: float = 0.0
    """For how long fewer would have done."""
    stakes: Stakes = Stakes(0.0, 0.0, 0.0)
    wait_usd_per_s: float = 0.0
    waiting_s: float = 0.0
    """For how long a task has been ready with no warm instance to take it."""


class Target(Struct, frozen=True):
    """How many instances a pool shall have, and why. `look_s`: from now, when it has to be decided on again."""

    n: int
    due: bool
    """Wanted by a stage that is ready, or will be by the time that it is loaded: it goes before what is kept for later."""
    code: str
    text: str
    figures: Mapping[str, float] = field(default_factory=dict)
    look_s: float = float("inf")


@dataclass(frozen=True)
class Host:
    """One living host: its last heartbeat, what it shall have by the newest word to it, and the states of that."""

    beat: HostHeartbeat
    has: tuple[Desired, ...] = ()

    @cached_property
    def offers(self) -> frozenset[Key]:
        return frozenset((o.agent, o.implementation, o.hardware) for o in self.beat.offers)

    @cached_property
    def instances(self) -> dict[str, Instance]:
        return {i.id: i for i in self.beat.instances}

    def state(self, instance: str) -> str:
        """loading, warm, ...; "asked" for what the host has not begun."""
        return self.instances[instance].state if instance in self.instances else "asked"

    def busy(self, instance: str) -> bool:
        return instance in self.instances and self.instances[instance].busy > 0

    def ill(self, key: Key) -> str:
        """Why its instance of a pool does not run, if it does not."""
        for i in self.beat.instances:
            if i.state in ("failed", "quarantined") and (i.agent, i.implementation, i.hardware) == key:
                return f"{i.implementation} on {self.beat.host}: {i.error}"
        return ""


class Cluster(Struct, frozen=True):
    """Everything that placing looks at."""

    hosts: Sequence[Host]
    library: Mapping[tuple[str, str], Implementation]
    now: float
