"""From targets to hosts: which instance goes where, which one goes away, and why. Pure.

What stages want now is served first, soonest first; what is kept for later takes the room that is left, and gives way when it must. An
instance that is loading or at work is never taken away for another's sake.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec import Struct

from ..agents.library import Implementation
from ..bus.messages import Decision, Desired, HostHeartbeat
from ..bus.subjects import token
from .forecast import Key
from .room import Room
from .state import Cluster, Host, Pool, Target

PINNED = "loading"
"""The state in which an instance costs its load and has not paid for it yet."""


class Scaled(Struct, frozen=True):
    """What every host shall have, what changed, and what is wanted and cannot be had."""

    hosts: Mapping[str, tuple[Desired, ...]]
    decisions: tuple[Decision, ...]
    unmet: tuple[Decision, ...]


def scale(cluster: Cluster, pools: Mapping[Key, Pool], targets: Mapping[Key, Target]) -> Scaled:
    return _Scaling(cluster, pools, targets).done()


def offers(beat: HostHeartbeat, key: Key) -> bool:
    return any((o.agent, o.implementation, o.hardware) == key for o in beat.offers)


def key_of(d: Desired) -> Key:
    return (d.agent, d.implementation, d.hardware)


@dataclass(slots=True)
class _Plan:
    """One host while it is decided on."""

    host: Host
    room: Room
    keeps: list[Desired] = field(default_factory=list)


class _Scaling:
    def __init__(self, cluster: Cluster, pools: Mapping[Key, Pool], targets: Mapping[Key, Target]) -> None:
        self.cluster, self.pools, self.targets = cluster, pools, targets
        self.plans = [_Plan(h, Room.of(h.beat)) for h in sorted(cluster.hosts, key=lambda h: h.beat.host)]
        self.decisions: list[Decision] = []
        self.unmet: list[Decision] = []

    def done(self) -> Scaled:
        going = [p for p in self.plans if p.host.beat.revoked_at is not None]
        for plan in going:  # it drains by itself; nothing new, and nothing is taken away under running tasks
            plan.keeps = list(plan.host.has)
        here = [p for p in self.plans if p.host.beat.revoked_at is None]
        self._drop_unoffered(here)
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
                if not offers(plan.host.beat, key_of(d)) or key_of(d)[:2] not in self.cluster.library:
                    self._say(plan, key_of(d), "release", 1, 0, "not-offered", "the host no longer offers it")

    def _serve(self, key: Key, target: Target, here: list[_Plan]) -> None:
        able = [p for p in here if offers(p.host.beat, key)]
        mine = [(p, d) for p in able for d in p.host.has if key_of(d) == key]
        kept = 0
        # first those that cost most to lose: at work, loading, warm; on hosts that stay
        for plan, d in sorted(mine, key=lambda pd: self._worth(*pd), reverse=True):
            pinned = plan.host.state(d.id) == PINNED or plan.host.busy(d.id)
            wanted = kept < target.n or pinned
            if wanted and plan.room.fits(self._row(key), d.device):
                plan.room.take(self._row(key), d.device)
                plan.keeps.append(d)
                kept += 1
            else:
                code, text = (target.code, target.text) if not wanted else ("room", "its room goes to what is needed sooner")
                self._say(plan, key, "move" if wanted else "release", 1, 0, code, text, target.figures)
        while kept < target.n:
            best = self._best(key, able)
            if best is None:
                break
            plan, device = best
            plan.room.take(self._row(key), device)
            known = self.pools[key].needs
            slots, power = max((n.slots for n in known), default=0), next((n.power_w for n in known if n.power_w is not None), None)
            plan.keeps.append(Desired(self._id(plan, key), *key, slots, power, device=device))
            kept += 1
            self._say(plan, key, "start", kept - 1, kept, target.code, target.text, target.figures)
        if target.due and kept == 0:
            self._refuse(key, target, able, here)

    def _worth(self, plan: _Plan, d: Desired) -> tuple[bool, int, bool]:
        state = plan.host.state(d.id)
        rank = {"warm": 3, "loading": 2, "asked": 2, "asleep": 1}.get(state, 0)
        return (plan.host.busy(d.id), rank, plan.host.beat.market == "on-demand")

    def _row(self, key: Key) -> Implementation:
        return self.cluster.library[key[:2]]

    def _best(self, key: Key, able: list[_Plan]) -> tuple[_Plan, str] | None:
        """The host with the most cores to spare for it; among equals one that did not fail with it, then the fuller one (bin packing)."""
        found = []
        for plan in able:
            device = plan.room.device(self._row(key), key[2])
            if device is None or (_ill(plan.host.beat, key) and len(able) > 1 and not all(_ill(p.host.beat, key) for p in able)):
                continue
            mine = sum(key_of(d) == key for d in plan.keeps)
            if mine >= plan.room.places(self._row(key), key[2]):
                continue
            active = sum(self._row(key_of(d)).threads for d in plan.keeps if self._due(key_of(d)))
            crowd = (active + self._row(key).threads) / max(1, plan.host.beat.cores)
            found.append(((mine > 0, crowd > 1, round(crowd, 3), plan.room.left_mb, plan.host.beat.host), plan, device))
        return min(found, key=lambda f: f[0])[1:] if found else None

    def _due(self, key: Key) -> bool:
        return key in self.targets and self.targets[key].due

    def _refuse(self, key: Key, target: Target, able: list[_Plan], here: list[_Plan]) -> None:
        row = self._row(key)
        if not able:
            going = any(offers(p.host.beat, key) for p in self.plans if p not in here)
            code, text = (
                ("revoked", "the only hosts that offer it are being taken away") if going else ("no-host", "no living host offers it")
            )
        elif all(_ill(p.host.beat, key) for p in able):
            code, text = "failing", "; ".join(sorted({_ill(p.host.beat, key) for p in able}))
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


def _ill(beat: HostHeartbeat, key: Key) -> str:
    """Why its instance of a pool does not run, if it does not."""
    for i in beat.instances:
        if (i.agent, i.implementation, i.hardware) == key and i.state in ("failed", "quarantined"):
            return f"{i.implementation} on {beat.host}: {i.error}"
    return ""
