"""From targets to hosts: which instance goes where, which one goes away, and why. Pure.

What stages want now is served first, soonest first; what is kept for later takes the room that is left, and gives way when it must. An
instance that is loading or at work is never taken away for another's sake. Where a new one goes is bin packing (`placement.py`), after what
`_Scaling.prefer` says: not where it failed, not two of a pool on one host's cores, not on more cores than there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property

from msgspec import Struct

from ..agents.library import Implementation
from ..bus.messages import Decision, Desired
from ..bus.subjects import token
from .asks import Ask, Outcome, Unplaced
from .forecast import Key
from .fragmentation import Mix
from .free import Free
from .nodes import Node
from .placement import Descent, Placer
from .state import Cluster, Held, Host, Pool, Target, ask_on, places

LOOK = 64
"""Hosts that are looked at for a place before one of them is taken, when there are more."""
MEMORY_FACTOR, MEMORY_BASE_MB = 8, 1_000
STARTS_MAX = 64
"""New instances in one decision, the soonest wanted first; the next ones follow in the next decision, a moment later."""


class Scaled(Struct, frozen=True):
    """What every host shall have, what changed, and what is wanted and cannot be had. `more`: another decision has to follow at once."""

    hosts: Mapping[str, tuple[Desired, ...]]
    decisions: tuple[Decision, ...]
    unmet: tuple[Decision, ...]
    more: bool = False


def scale(cluster: Cluster, pools: Mapping[Key, Pool], targets: Mapping[Key, Target]) -> Scaled:
    """First as if nothing had to give way, which in a cluster with room is so, and costs what changes; else all is placed in its order."""
    try:
        return _Scaling(cluster, pools, targets, stays=True).done()
    except _GivesWay:
        return _Scaling(cluster, pools, targets, stays=False).done()


class _GivesWay(Exception):
    """Something must go for another's sake, or is where it cannot stay."""


def limit_mb(row: Implementation) -> int:
    """Host memory above which an instance is ended: far above what it declares, so that it hits what runs away and not what has a large
    video. 0, no limit, for what runs a server, whose size is that of a model that its owner chose."""
    return 0 if row.spawns else MEMORY_FACTOR * row.memory_mb + MEMORY_BASE_MB


def key_of(d: Desired) -> Key:
    return (d.agent, d.implementation, d.hardware)


class _Plan:
    """One host while it is decided on. `count`: instances that it keeps, by pool. `active`: cores that those of them would work with whose
    pools are due."""

    __slots__ = ("_active", "_scaling", "changed", "count", "host", "keeps")

    def __init__(self, host: Host, scaling: _Scaling, stays: bool) -> None:
        self.host, self._scaling = host, scaling
        self.changed = not stays
        self.keeps: list[Desired] = []
        self.count: Mapping[Key, int] = host.count if stays else {}
        self._active: int | None = None if stays else 0

    @property
    def active(self) -> int:
        if self._active is None:
            self._active = sum(n * self._scaling.row(key).threads for key, n in self.count.items() if self._scaling.targets[key].due)
        return self._active

    def keep(self, d: Desired, key: Key, row: Implementation, due: bool) -> None:
        self._change(key, row.threads if due else 0, 1)
        self.keeps.append(d)

    def drop(self, d: Desired, key: Key, row: Implementation, due: bool) -> None:
        self._change(key, -row.threads if due else 0, -1)
        self.keeps.remove(d)

    def _change(self, key: Key, cores: int, n: int) -> None:
        if self.count is self.host.count:
            self.count, self.keeps = dict(self.count), list(self.host.has)
        assert isinstance(self.count, dict)
        self._active = self.active + cores
        self.changed = True
        self.count[key] = self.count.get(key, 0) + n


class _Scaling:
    def __init__(self, cluster: Cluster, pools: Mapping[Key, Pool], targets: Mapping[Key, Target], stays: bool) -> None:
        self.cluster, self.pools, self.targets, self.stays = cluster, pools, targets, stays
        self.plans: dict[str, _Plan] = {}
        self.here: dict[str, _Plan] = {}
        for host in sorted(cluster.hosts, key=lambda h: h.beat.host):
            remains = host.beat.revoked_at is None
            plan = self.plans[host.beat.host] = _Plan(host, self, stays or not remains)
            if remains:
                self.here[host.beat.host] = plan
        classes = {c for p in self.here.values() for c in p.host.classes}
        self.asks = {key: ask_on(key, self.row(key), classes) for key in targets}
        self.keys = {ask.pool: key for key, ask in self.asks.items()}
        self.kept: Counter[Key] = Counter()
        self.able: dict[frozenset[Key], list[_Plan]] = {}
        """Hosts by what they offer; most offer the same."""
        for plan in self.here.values():
            self.able.setdefault(plan.host.offers, []).append(plan)
        self.starts = 0
        self.more = False
        self.decisions: list[Decision] = []
        self.unmet: list[Decision] = []

    @cached_property
    def placer(self) -> Placer:
        """In which what stays is already."""
        nodes: list[Node | Free] = []
        for plan in self.here.values():
            rest = plan.host.rest(self.cluster.library) if self.stays else None
            nodes.append(rest or plan.host.node(self.cluster.library))
        mix = Mix.weighted((ask, float(max(1, self.targets[key].n))) for key, ask in self.asks.items())
        placer = Placer(nodes, Descent(mix), prefer=self.prefer, look=LOOK)
        if self.stays:
            for name, plan in self.here.items():
                if plan.host.beat.market != "on-demand":
                    for key, n in plan.host.count.items():
                        placer.note(name, self.asks[key].pool, n)
        return placer

    def done(self) -> Scaled:
        own = {} if self.stays else self._own()
        if self.stays:
            self._stay()
        for key in sorted(self.targets, key=self._order):
            self._serve(key, self.targets[key], own.get(key, []))
        # on a host that will be taken away all drains by itself; nothing new, and nothing is taken away under running tasks
        hosts = {name: tuple(p.keeps) if p.changed else p.host.has for name, p in self.plans.items()}
        return Scaled(hosts, tuple(self.decisions), tuple(self.unmet), self.more)

    def _stay(self) -> None:
        """Everything where it is, if it can be there."""
        for plan in self.here.values():
            if plan.host.rest(self.cluster.library) is None:
                raise _GivesWay
            for key, n in plan.host.count.items():
                if key not in self.targets:
                    raise _GivesWay
                self.kept[key] += n

    def _own(self) -> dict[Key, list[tuple[_Plan, Held]]]:
        """By pool what there is, but for what is pinned, which stays, and what is not offered any more, which goes."""
        own: dict[Key, list[tuple[_Plan, Held]]] = {}
        for plan in self.here.values():
            offers = plan.host.offers
            for held in plan.host.held:
                key = held.key
                if key not in offers or key[:2] not in self.cluster.library:
                    self._say(plan, key, "release", 1, 0, "not-offered", "the host no longer offers it")
                elif held.pinned and key in self.targets:
                    self._keep(plan, held.desired, key, force=True)
                elif key in self.targets:
                    own.setdefault(key, []).append((plan, held))
        return own

    def _order(self, key: Key) -> tuple[bool, float, Key]:
        target = self.targets[key]
        return (not target.due, target.figures.get("start_s", target.figures.get("idle_s", 0.0)), key)

    def _keep(self, plan: _Plan, d: Desired, key: Key, force: bool = False) -> bool:
        if not self.placer.hold(plan.host.beat.host, self.asks[key], d.device, force):
            return False
        plan.keep(d, key, self.row(key), self.targets[key].due)
        self.kept[key] += 1
        return True

    def _serve(self, key: Key, target: Target, mine: list[tuple[_Plan, Held]]) -> None:
        if self.stays and self.kept[key] > target.n:
            self._release(key, target)
        # first those that cost most to lose: warm, on hosts that stay
        for plan, held in sorted(mine, key=lambda ph: ph[1].worth, reverse=True):
            wanted = self.kept[key] < target.n
            if wanted and self._keep(plan, held.desired, key):
                continue
            code, text = (target.code, target.text) if not wanted else ("room", "its room goes to what is needed sooner")
            self._say(plan, key, "move" if wanted else "release", 1, 0, code, text, target.figures)
        none = self._start(key, target) if self.kept[key] < target.n else None
        if target.due and not self.kept[key]:
            self._refuse(key, target, none)

    def _release(self, key: Key, target: Target) -> None:
        """What is too much, first what costs least to lose."""
        mine = [(p, h) for p in self.here.values() if key in p.host.count for h in p.host.held if h.key == key and not h.pinned]
        mine.sort(key=lambda ph: ph[1].worth, reverse=True)
        for plan, held in reversed(mine[max(0, len(mine) - (self.kept[key] - target.n)) :]):
            plan.drop(held.desired, key, self.row(key), target.due)
            self.kept[key] -= 1
            self._say(plan, key, "release", 1, 0, target.code, target.text, target.figures)

    def _start(self, key: Key, target: Target) -> Unplaced | None:
        """As many as are wanted and have a place, or as may be started at once; why there is none, if there is none at all."""
        known = self.pools[key].needs
        slots, power = max((n.slots for n in known), default=0), next((n.power_w for n in known if n.power_w is not None), None)
        while self.kept[key] < target.n:
            if self.starts >= STARTS_MAX:
                self.more = True
                return None
            outcome: Outcome | None = self.placer.find(self.asks[key])
            if outcome is None and self.stays:
                raise _GivesWay
            if outcome is None and not self.kept[key]:
                outcome = self.placer.place(self.asks[key])
            if outcome is None or isinstance(outcome, Unplaced):
                return outcome
            plan, n = self.plans[outcome.host], self.kept[key]
            device = plan.host.node(self.cluster.library).devices[outcome.device].id if outcome.devices else ""
            d = Desired(self._id(plan, key), *key, slots, power, device=device, memory_mb=limit_mb(self.row(key)))
            plan.keep(d, key, self.row(key), target.due)
            self.kept[key] += 1
            self.starts += 1
            why = {f"place_{name}": amount for name, amount in outcome.why.items()}
            self._say(plan, key, "start", n, n + 1, target.code, target.text, {**target.figures, **why})
        return None

    def prefer(self, ask: Ask, host: str) -> tuple[tuple[float, ...], float] | None:
        """On cores: where it has not failed, where none of its pool is, where cores are to spare. On accelerators others of its pool may be on
        the same host, which keeps the rest free for what needs several of its devices."""
        plan, key = self.plans[host], self.keys[ask.pool]
        row, mine = self.row(key), plan.count.get(key, 0)
        if mine and mine >= places(plan.host, row, key[2]):
            return None
        crowd = (plan.active + row.threads) / max(1, plan.host.beat.cores)
        ill = key in plan.host.ailing and any(key not in p.host.ailing for p in self._able(key))
        first = (float(ill), float(crowd > 1)) if ask.device else (float(ill), float(mine > 0), float(crowd > 1))
        return first, 0.0 if ask.device else round(crowd, 3)

    def _able(self, key: Key) -> Sequence[_Plan]:
        """Those that offer it and stay."""
        return [p for offers, plans in self.able.items() if key in offers for p in plans]

    def row(self, key: Key) -> Implementation:
        return self.cluster.library[key[:2]]

    def _refuse(self, key: Key, target: Target, none: Unplaced | None) -> None:
        able = self._able(key)
        if not able:
            going = any(key in p.host.offers for p in self.plans.values())
            code, text = (
                ("revoked", "the only hosts that offer it are being taken away") if going else ("no-host", "no living host offers it")
            )
        elif all(key in p.host.ailing for p in able):
            code, text = "failing", "; ".join(sorted({p.host.ailing[key] for p in able}))
        elif none is not None:
            code, text = none.code, none.text
        else:
            code, text = "next", f"{STARTS_MAX} instances were started at once; it follows in a moment"
        figures = {**target.figures, "memory_mb": float(self.row(key).memory_mb)}
        if none is not None:
            figures |= {f"missing_{name}": amount for name, amount in none.missing.items()}
        self.unmet.append(Decision(self.cluster.now, "", *key, "refuse", 0, 0, code, text, figures))

    def _say(
        self, plan: _Plan, key: Key, verb: str, before: int, after: int, code: str, text: str, figures: Mapping[str, float] | None = None
    ) -> None:
        decision = Decision(self.cluster.now, plan.host.beat.host, *key, verb, before, after, code, text, dict(figures or {}))  # type: ignore[arg-type]
        self.decisions.append(decision)

    def _id(self, plan: _Plan, key: Key) -> str:
        taken = {d.id for d in (*plan.keeps, *plan.host.has)}
        n = 1
        while (name := token(f"{key[0]}-{key[1]}-{n}")[:80]) in taken:
            n += 1
        return name
