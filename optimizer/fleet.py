"""What there is to run on, from the hosts' own words: cores, offers, what is warm, what stands idle. Pure data.

A *stranded* device is paid for and used by nobody: a GPU on which no instance has been for `STRANDED_S`. What runs there costs the
owner next to nothing more, and so it is priced; harvested machines likewise (Murakkab, OSDI '26, calls both harvesting).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct, field

from ..bus.messages import HostHeartbeat

Key = tuple[str, str, str]
"""(agent, implementation, hardware)"""

STRANDED_S = 60.0
MEMORY_SHARE = 0.8
"""As the cluster manager shares a host's memory out."""


class Warm(Struct, frozen=True):
    """Loaded instances of one pool, and the calls that they take at a time."""

    instances: int
    slots: int


class HostView(Struct, frozen=True):
    """One living host. `idle` are its hardware classes on whose devices nothing has been loaded for a while."""

    host: str
    cores: int
    memory_mb: float
    offers: frozenset[Key]
    ill: frozenset[Key] = frozenset()
    """Pools whose instance fails to start there."""
    warm: Mapping[Key, Warm] = field(default_factory=dict)
    devices: Mapping[str, int] = field(default_factory=dict)
    """GPUs by hardware class."""
    idle: frozenset[str] = frozenset()
    usd_per_hour: float | None = None
    ending: bool = False
    """It will be taken away: what is warm there still runs, nothing new is planned on it."""


class Fleet(Struct, frozen=True):
    """All living hosts. `busy` is the work of other running jobs: hardware class to (jobs, core-seconds still to do)."""

    hosts: tuple[HostView, ...] = ()
    busy: Mapping[str, tuple[int, float]] = field(default_factory=dict)

    def offers(self) -> dict[str, tuple[Key, ...]]:
        """Agent to pools, in a fixed order. What fails to start where it was tried is there only when nothing else is."""
        well: dict[str, set[Key]] = {}
        ill: dict[str, set[Key]] = {}
        for host in self.hosts:
            if host.ending:
                continue
            for key in host.offers:
                (ill if key in host.ill else well).setdefault(key[0], set()).add(key)
        return {agent: tuple(sorted(well.get(agent) or ill[agent])) for agent in {*well, *ill}}

    def warm(self, key: Key) -> Warm:
        found = [h.warm[key] for h in self.hosts if key in h.warm and not h.ending]
        return Warm(sum(w.instances for w in found), sum(w.slots for w in found))

    def on(self, hardware: str) -> list[HostView]:
        return [h for h in self.hosts if not h.ending and any(k[2] == hardware for k in h.offers)]

    def cores(self, hardware: str) -> int:
        """CPU cores of the hosts that offer a hardware class."""
        return sum(h.cores for h in self.on(hardware))

    def devices(self, hardware: str) -> int:
        """GPUs of a class; 0 for CPU classes."""
        return sum(h.devices.get(hardware, 0) for h in self.on(hardware))

    def usd_per_hour(self, hardware: str) -> float | None:
        """What a core (of GPUs, a device) costs by what the machines' owners say, on average; None where nobody says."""
        said = [(h.usd_per_hour, h.devices.get(hardware, 0) or h.cores) for h in self.on(hardware) if h.usd_per_hour is not None]
        return sum(usd for usd, _ in said) / sum(n for _, n in said) if said else None

    def stranded(self, hardware: str) -> bool:
        return any(hardware in h.idle for h in self.on(hardware))

    def room(self, key: Key, memory_mb: float) -> int:
        """How many instances of a pool fit on all hosts by memory alone, at least 1 where it is offered at all."""
        return max(1, sum(int(MEMORY_SHARE * h.memory_mb // max(memory_mb, 1.0)) for h in self.hosts if key in h.offers and not h.ending))


def view(beat: HostHeartbeat, gpu_class: Mapping[str, str], idle: Iterable[str] = (), now: float = 0.0) -> HostView:
    """A host as its heartbeat shows it. `gpu_class` maps device names to hardware classes as the host's offers spell them."""
    warm: dict[Key, Warm] = {}
    for i in beat.instances:
        key = (i.agent, i.implementation, i.hardware)
        if i.state == "warm":
            before = warm.get(key, Warm(0, 0))
            warm[key] = Warm(before.instances + 1, before.slots + i.slots)
    devices: dict[str, int] = {}
    for d in beat.devices:
        if d.kind == "gpu" and d.name in gpu_class:
            devices[gpu_class[d.name]] = devices.get(gpu_class[d.name], 0) + 1
    return HostView(
        host=beat.host,
        cores=beat.cores,
        memory_mb=sum(d.memory_mb for d in beat.devices if d.kind == "cpu"),
        offers=frozenset((o.agent, o.implementation, o.hardware) for o in beat.offers),
        ill=frozenset((i.agent, i.implementation, i.hardware) for i in beat.instances if i.state == "failed"),
        warm=warm,
        devices=devices,
        idle=frozenset(idle),
        usd_per_hour=beat.usd_per_hour,
        ending=beat.revoked_at is not None,
    )
