"""From targets to hosts: which instance goes where, which one goes away, and why. Pure.

What stages want now is served first, soonest first; what is kept for later takes the room that is left, and gives way when it must. An
instance that is loading or at work is never taken away for another's sake.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from msgspec import Struct

from ..agents.library import Implementation
from ..bus.messages import Decision, Desired
from ..bus.subjects import token
from .forecast import Key
from .room import Room
from .state import Cluster, Host, Pool, Target

_Ranked = tuple[tuple[bool, bool, float, float, str], str]


class Scaled(Struct, frozen=True):
    """What every host shall have, what changed, and what is wanted and cannot be had."""

    hosts: Mapping[str, tuple[Desired, ...]]
    decisions: tuple[Decision, ...]
    unmet: tuple[Decision, ...]


def scale(cluster: Cluster, pools: Mapping[Key, Pool], targets: Mapping[Key, Target]) -> Scaled:
    return _Scaling(cluster, pools, targets).done()


def key_of(d: Desired) -> Key:
    return (d.agent, d.implementation, d.hardware)


@dataclass(slots=True)
class _Plan:
    """One host while it is decided on."""

    host: Host
    room: Room
    keeps: list[Desired] = field(default_factory=list)
    count: Counter[Key] = field(default_factory=Counter)
    active: int = 0
    """Cores that its instances of pools that are due would work with."""

    def keep(self, d: Desired, row: Implementation, due: bool) -> None:
        self.room.take(row, d.device)
        self.keeps.append(d)
        self.count[key_of(d)] += 1
        self.active += row.threads if due else 0


class _Scaling:
    def __init__(self, cluster: Cluster, pools: Mapping[Key, Pool], targets: Mapping[Key, Target]) -> None:
        self.cluster, self.pools, self.targets = cluster, pools, targets
        self.plans = [_Plan(h, Room.of(h.beat)) for h in sorted(cluster.hosts, key=lambda h: h.beat.host)]
        self.by_host = {p.host.beat.host: p for p in self.plans}
        self.decisions: list[Decision] = []
        self.unmet: list[Decision] = []

    def done(self) -> Scaled:
        going = [p for p in self.plans if p.host.beat.revoked_at is not None]
        for plan in going:  # it drains by itself; nothing new, and nothing is taken away under running tasks
            plan.keeps = list(plan.host.has)
        here = [p for p in self.plans if p.host.beat.revoked_at is None]
        self._drop_unoffered(here)
        for plan in here:
            for d in plan.host.has:
                if self._pinned(plan, d):
                    plan.keep(d, self._row(key_of(d)), self._due(key_of(d)))
        for key in sorted(self.targets, key=self._order):
            self._serve(key, self.targets[key], here)
        hosts = {p.host.beat.host: tuple(p.keeps) for p in self.plans}
        return Scaled(hosts, tuple(self.decisions), tuple(self.unmet))

    def _order(self, key: Key) -> tuple[bool, float, Key]:
        target = self.targets[key]
        return (not target.due, target.figures.get("start_s", target.figures.get("idle_s", 0.0)), key)

    def _drop_unoffered(self, here: list[_Plan]) -> None:
        for plan in here:
            for d in plan.host.has:
                if key_of(d) not in plan.host.offers or key_of(d)[:2] not in self.cluster.library:
                    self._say(plan, key_of(d), "release", 1, 0, "not-offered", "the host no longer offers it")

    def _serve(self, key: Key, target: Target, here: list[_Plan]) -> None:
        able = [p for p in here if key in p.host.offers]
        kept = sum(p.count[key] for p in able)
        mine = [(p, d) for p in able for d in p.host.has if key_of(d) == key and not self._pinned(p, d)]
        row = self._row(key)
        # first those that cost most to lose: warm, on hosts that stay
        for plan, d in sorted(mine, key=lambda pd: self._worth(*pd), reverse=True):
            wanted = kept < target.n
            if wanted and plan.room.fits(row, d.device):
                plan.keep(d, row, target.due)
                kept += 1
            else:
                code, text = (target.code, target.text) if not wanted else ("room", "its room goes to what is needed sooner")
                self._say(plan, key, "move" if wanted else "release", 1, 0, code, text, target.figures)
        if kept < target.n:
            self._start(key, target, target.n - kept, able)
        if target.due and not any(p.count[key] for p in able):
            self._refuse(key, target, able, here)

    def _start(self, key: Key, target: Target, n: int, able: list[_Plan]) -> None:
        row, known = self._row(key), self.pools[key].needs
        slots, power = max((n.slots for n in known), default=0), next((n.power_w for n in known if n.power_w is not None), None)
        best = [r for p in _well([p for p in able if p.room.device(row, key[2]) is not None], key) if (r := self._rank(p, key))]
        heapify(best)
        kept = sum(p.count[key] for p in able)
        while best and n > 0:
            (_, _, _, _, host), device = heappop(best)
            plan = self.by_host[host]
            plan.keep(Desired(self._id(plan, key), *key, slots, power, device=device), row, target.due)
            self._say(plan, key, "start", kept, kept + 1, target.code, target.text, target.figures)
            kept, n = kept + 1, n - 1
            if again := self._rank(plan, key):
                heappush(best, again)

    def _pinned(self, plan: _Plan, d: Desired) -> bool:
        """An instance that costs its load and has not paid for it yet, or that works: it stays, whatever else is wanted."""
        offered = key_of(d) in plan.host.offers and key_of(d)[:2] in self.cluster.library and key_of(d) in self.targets
        return offered and (plan.host.state(d.id) == "loading" or plan.host.busy(d.id))

    def _worth(self, plan: _Plan, d: Desired) -> tuple[int, bool]:
        rank = {"warm": 3, "asked": 2, "asleep": 1}.get(plan.host.state(d.id), 0)
        return (rank, plan.host.beat.market == "on-demand")

    def _row(self, key: Key) -> Implementation:
        return self.cluster.library[key[:2]]

    def _rank(self, plan: _Plan, key: Key) -> _Ranked | None:
        """Lower is better: the host with the most cores to spare for it, among equals the fuller one (bin packing); and the device."""
        row = self._row(key)
        device, mine = plan.room.device(row, key[2]), plan.count[key]
        if device is None or mine >= plan.room.places(row, key[2]):
            return None
        crowd = (plan.active + row.threads) / max(1, plan.host.beat.cores)
        return (mine > 0, crowd > 1, round(crowd, 3), plan.room.left_mb, plan.host.beat.host), device

    def _due(self, key: Key) -> bool:
        return key in self.targets and self.targets[key].due

    def _refuse(self, key: Key, target: Target, able: list[_Plan], here: list[_Plan]) -> None:
        row = self._row(key)
        if not able:
            going = any(key in p.host.offers for p in self.plans if p not in here)
            code, text = (
                ("revoked", "the only hosts that offer it are being taken away") if going else ("no-host", "no living host offers it")
            )
        elif all(p.host.ill(key) for p in able):
            code, text = "failing", "; ".join(sorted({p.host.ill(key) for p in able}))
        else:
            most = max(able, key=lambda p: p.room.left_mb)
            code, text = "no-room", f"it takes {row.memory_mb} MB; {most.host.beat.host} has most left, {most.room.left_mb:.0f} MB"
        figures = {**target.figures, "memory_mb": float(row.memory_mb)}
        self.unmet.append(Decision(self.cluster.now, "", *key, "refuse", 0, 0, code, text, figures))

    def _say(
        self, plan: _Plan, key: Key, verb: str, before: int, after: int, code: str, text: str, figures: Mapping[str, float] | None = None
    ) -> None:
        decision = Decision(self.cluster.now, plan.host.beat.host, *key, verb, before, after, code, text, dict(figures or {}))  # type: ignore[arg-type]
        self.decisions.append(decision)

    def _id(self, plan: _Plan, key: Key) -> str:
        taken = {d.id for d in plan.keeps} | {d.id for d in plan.host.has}
        n = 1
        while (name := token(f"{key[0]}-{key[1]}-{n}")[:80]) in taken:
            n += 1
        return name


def _well(able: list[_Plan], key: Key) -> list[_Plan]:
    """Without the hosts where it failed, as long as there are others."""
    return [p for p in able if not p.host.ill(key)] or able
