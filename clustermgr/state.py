"""What a scaling policy decides on, and what it decides: data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from msgspec import Struct, field
from msgspec.structs import replace

from ..agents.library import Implementation
from ..bus.messages import Desired, HostHeartbeat, Instance
from ..optimizer.hardware import hardware_of, split
from .arrivals import Stakes
from .asks import Ask
from .forecast import Key, Need
from .free import Free
from .nodes import LOADED, Node, ask_of, node_of, one


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


class Held(NamedTuple):
    """An instance that a host shall have. `worth`: greater is dearer to lose; `pinned`: it loads or works, and is not taken away."""

    desired: Desired
    key: Key
    worth: tuple[int, bool]
    pinned: bool


WORTH: Mapping[str, int] = {"warm": 3, "asked": 2, "asleep": 1}


@dataclass(frozen=True)
class Host:
    """One living host: its last heartbeat, what it shall have by the newest word to it, and the states of that. What is worked out of these
    is kept: a decision looks at thousands of hosts, and few have changed since the one before."""

    beat: HostHeartbeat
    has: tuple[Desired, ...] = ()

    @cached_property
    def held(self) -> tuple[Held, ...]:
        found = []
        for d in self.has:
            i = self.instances.get(d.id)
            state = "asked" if i is None else i.state
            pinned = i is not None and (state == "loading" or i.busy > 0)
            worth = (WORTH.get(state, 0), self.beat.market == "on-demand")
            found.append(Held(d, (d.agent, d.implementation, d.hardware), worth, pinned))
        return tuple(found)

    @cached_property
    def count(self) -> Mapping[Key, int]:
        """What it shall have, by pool."""
        return Counter(h.key for h in self.held)

    @cached_property
    def states(self) -> Mapping[Key, Counter[str]]:
        """What it has, by pool and state."""
        found: dict[Key, Counter[str]] = {}
        for i in self.beat.instances:
            found.setdefault((i.agent, i.implementation, i.hardware), Counter())[i.state] += 1
        return found

    @cached_property
    def ailing(self) -> Mapping[Key, str]:
        """Pools of which an instance does not run here, and why."""
        return {
            (i.agent, i.implementation, i.hardware): f"{i.implementation} on {self.beat.host}: {i.error}"
            for i in self.beat.instances
            if i.state in ("failed", "quarantined")
        }

    @cached_property
    def make(self) -> Hashable:
        """Hosts of one make have as many places for any pool."""
        return (self.beat.cores, tuple(sorted(self.classes.items())), self.offers)

    @cached_property
    def classes(self) -> Mapping[str, int]:
        """Accelerators by class."""
        return Counter(hardware_of(d.name) for d in self.beat.devices if d.kind != "cpu")

    def node(self, library: Mapping[tuple[str, str], Implementation]) -> Node:
        """As if nothing were on it."""
        known = self.__dict__.get("_node")
        if known is None or known[0] is not library:
            known = self.__dict__["_node"] = (library, node_of(self.beat, library))
        return known[1]

    def rest(self, library: Mapping[tuple[str, str], Implementation]) -> Free | None:
        """What is left on it when it has all that it shall have; None where that is not offered any more, or is too much."""
        known = self.__dict__.get("_rest")
        if known is None or known[0] is not library:
            known = self.__dict__["_rest"] = (library, self._left(library))
        return known[1]

    def _left(self, library: Mapping[tuple[str, str], Implementation]) -> Free | None:
        free = Free(self.node(library))
        for held in self.held:
            row = library.get(held.key[:2])
            if row is None or held.key not in self.offers or not free.hold(ask_on(held.key, row, self.classes), held.desired.device):
                return None
        return free

    def now(self, beat: HostHeartbeat, has: tuple[Desired, ...]) -> Host:
        """The same host later, with whatever still holds of what was worked out."""
        if beat is self.beat and has is self.has:
            return self
        later = Host(beat, has)
        mine, old = later.__dict__, self.__dict__
        if beat.offers == self.beat.offers and _made(beat) == _made(self.beat):
            mine["offers"] = self.offers
            for name in ("make", "classes"):
                if name in old:
                    mine[name] = old[name]
            if "_node" in old and _loaded(beat) == _loaded(self.beat):
                mine["_node"] = old["_node"]
                if "_rest" in old and has is self.has:
                    mine["_rest"] = old["_rest"]
        if beat.instances == self.beat.instances:
            for name in ("instances", "states", "ailing", *(["held", "count"] if has is self.has else ())):
                if name in old:
                    mine[name] = old[name]
        return later

    @cached_property
    def offers(self) -> frozenset[Key]:
        return one(frozenset((o.agent, o.implementation, o.hardware) for o in self.beat.offers))

    @cached_property
    def instances(self) -> dict[str, Instance]:
        return {i.id: i for i in self.beat.instances}


def ask_on(key: Key, row: Implementation, classes: Container[str]) -> Ask:
    """An instance of a pool, where accelerators of these classes are. Of a class whose devices nobody shows, a host's own memory is taken, as
    by what runs on cores; which hosts may have it, their offers say."""
    ask = replace(ask_of(key, row, cores=0.0), market="")
    if ask.device and ask.device not in classes:
        return Ask(ask.pool, memory_mb=float(row.memory_mb), spread=ask.spread)
    return ask


def places(host: Host, row: Implementation, hardware: str) -> int:
    """Instances of one pool that can work there at a time: one a device of its class; where there is none, as many as there are cores for.

    CPU cores are no hard room beyond that: stages of one job take turns on them, so more instances of several pools are warm than could
    work at once.
    """
    return host.classes.get(split(hardware)[0], 0) or max(1, host.beat.cores // max(1, row.threads))


def _made(beat: HostHeartbeat) -> object:
    """What of a heartbeat is of the machine and does not change while it works."""
    return (beat.cores, beat.market, [(d.id, d.name, d.kind, d.memory_mb) for d in beat.devices])


def _loaded(beat: HostHeartbeat) -> object:
    return {(i.agent, i.implementation) for i in beat.instances if i.state in LOADED}


class Cluster(Struct, frozen=True):
    """Everything that placing looks at."""

    hosts: Sequence[Host]
    library: Mapping[tuple[str, str], Implementation]
    now: float
