"""Where new instances go: bin packing over cores, memory, and the memory and compute of accelerators. Pure and deterministic.

Of the places with room an ask takes the one that is least, in this order:

0. by what the caller prefers (`Preference`), if anything;
1. by how many it would have more than its part of the pool there, where nodes may be revoked: no group of them shall hold more than one in
   `GROUPS` of a pool (at least one), so that a revocation does not take all;
2. by score, in devices: the growth of expected fragmentation (`fragmentation.py`) plus `LOCALITY` times the part of the artifacts it wants
   that is not there;
3. on the host's own cores, nodes without accelerators;
4. the fuller node and device afterwards (best fit), then the host's name.

Asks are served as given: an earlier one never depends on a later one, if the mix is given. Of thousands of nodes only some are looked at,
`look` at a time, those with the fullest devices first: a fragment is made where much is left, so a good place is soon found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import cached_property
from heapq import heappop, heappush
from math import ceil
from typing import Any, Protocol

from .asks import Ask, Outcome, Placed, Reason, Unplaced
from .fragmentation import Fragmentation, Mix
from .free import EPSILON, Free, allowed
from .nodes import Accelerator, Node
from .shortage import Shortage

__all__ = ["Accelerator", "Ask", "Mix", "Node", "Outcome", "Placed", "Placer", "Reason", "Unplaced", "place"]

GROUPS = 3
ASKED = 4
"""Times as many nodes as are looked at are put in order by what is preferred."""
LOCALITY = 0.1
"""Devices' worth of fragments that finding all its artifacts is worth to an ask."""


def place(asks: Iterable[Ask], nodes: Iterable[Node], mix: Mix | None = None) -> list[Outcome]:
    """A place for each ask, or why it has none, in the same order. `mix` is what will be asked for later; by default more of these."""
    asks = list(asks)
    placer = Placer(nodes, Descent(mix or Mix.of(asks)))
    return [placer.place(ask) for ask in asks]


class Rule(Protocol):
    """How good it would be to give these devices of a node to an ask. Lower is better; it may depend on this node alone."""

    def score(self, free: Free, ask: Ask, devices: tuple[int, ...]) -> float: ...


class Descent:
    """The growth of expected fragmentation: fragmentation gradient descent."""

    def __init__(self, mix: Mix) -> None:
        self.fragments = Fragmentation(mix)
        self._now: dict[str, tuple[int, float]] = {}
        """Of each host, at how many changes: what it has."""

    def score(self, free: Free, ask: Ask, devices: tuple[int, ...]) -> float:
        if not free.share:
            return 0.0
        changes, now = self._now.get(free.node.host, (-1, 0.0))
        if changes != free.changes:
            now = self.fragments.of(free)
            self._now[free.node.host] = (free.changes, now)
        return self.fragments.of(free, ask, devices) - now


Preference = Callable[[Ask, str], tuple[tuple[float, ...], float] | None]
"""Of an ask and a host: what goes before everything else, and what decides between places of equal score; None: not there. It may change
for a host only when something is placed on it."""

_Place = tuple[tuple[float, ...], int, float, float, bool, float, int, int, tuple[int, ...], float]
"""What is preferred, surplus of the pool there, score, what is preferred of equals, accelerators that it would idle beside, fit, node, the
node's version, devices, of the score fragments."""


_Best = tuple[float, float, tuple[int, ...]]
"""Fragments, what is left of the devices, the devices."""


class _Queue:
    """The places of one kind of ask, best first; some out of date. `later` are nodes that were not looked at yet, the last ones first;
    `seen` is how much of the log is in it."""

    __slots__ = ("heap", "later", "nodes", "seen")

    def __init__(self, later: list[int], seen: int) -> None:
        self.heap: list[_Place] = []
        self.nodes: set[int] = set()
        self.later, self.seen = later, seen


class Placer:
    """Places one ask after another. What has changed since it last saw a kind of ask is all that it looks at again."""

    def __init__(
        self,
        nodes: Iterable[Node | Free],
        rule: Rule,
        locality: float = LOCALITY,
        prefer: Preference | None = None,
        look: int | None = None,
    ) -> None:
        """Of a `Free`, what is left on a node is known already; it is copied before it is changed."""
        self.free = sorted((n if isinstance(n, Free) else Free(n) for n in nodes), key=lambda f: f.node.host)
        self._own: set[int] = set()
        """Those that were copied."""
        self.rule, self.locality, self.prefer, self.look = rule, locality, prefer, look
        self._at = {f.node.host: i for i, f in enumerate(self.free)}
        if len(self._at) < len(self.free):
            twice = next(f.node.host for i, f in enumerate(self.free) if self._at[f.node.host] != i)
            raise ValueError(f"two nodes are named {twice}: a host is placed on once")
        self._most_cores = max([1.0, *(f.node.cores for f in self.free)])
        self._largest_mb = max([1.0, *(f.node.memory_mb for f in self.free)])
        self._most: dict[str, list[float]] = {}
        self._versions = [0] * len(self.free)
        self._log: list[int] = []
        """Nodes in the order of their changes."""
        self._queues: dict[Ask, _Queue] = {}
        self._makes: dict[int, tuple[Any, ...]] = {}
        """Of the nodes that were looked at: what never changes of them and matters to an ask that may run there."""
        self._states: list[tuple[int, tuple[Any, ...]]] = [(-1, ())] * len(self.free)
        self._refused: dict[Ask, tuple[int, Shortage]] = {}
        self._groups: dict[str, list[int]] = {}
        for i in range(len(self.free)):
            self._groups.setdefault(self._group(i), []).append(i)
        self._spread: set[str] = set()
        """Pools that were asked to be spread."""
        self._pools: dict[str, Counter[str]] = {}
        """Instances of each pool, by group."""
        for i, f in enumerate(self.free):
            for pool, n in f.node.has.items():
                self._pools.setdefault(pool, Counter())[self._group(i)] += n

    def place(self, ask: Ask) -> Outcome:
        return self.find(ask) or self._refuse(ask)

    def find(self, ask: Ask) -> Placed | None:
        """A place, taken; to say why there is none costs more than to find that out."""
        queue = self._queue(ask)
        while not self._clean(queue):
            if not queue.later:
                return None
            self._look(ask, queue)
        _, surplus, score, _, _, fit, i, _, devices, fragments = queue.heap[0]
        free = self._take(ask, i, devices)
        why = {
            "fragments": fragments,
            "missing_artifacts": float(len(ask.wants - free.node.artifacts)),
            "surplus": float(surplus),
            "left": fit,
            "cores_left": free.cores,
            "memory_mb_left": free.memory_mb,
        }
        if devices:
            why["device_mb_left"] = min(free.device_mb[d] for d in devices)
            why["share_left"] = min(free.share[d] for d in devices)
        return Placed(ask, free.node.host, devices, score, why)

    def hold(self, host: str, ask: Ask, device: str = "", force: bool = False) -> bool:
        """What is there stays there, on its device: False if there is no room for it; by `force` it stays all the same."""
        i = self._at[host]
        devices, fits = self.free[i].held(ask, device)
        if fits or force:
            self._take(ask, i, devices)
        return fits or force

    def note(self, host: str, pool: str, n: int) -> None:
        """So many of a pool are there, and the room that they take is known already."""
        self._pools.setdefault(pool, Counter())[self._group(self._at[host])] += n

    def _take(self, ask: Ask, i: int, devices: tuple[int, ...]) -> Free:
        if i not in self._own:
            self._own.add(i)
            self.free[i] = self.free[i].copy()
        self.free[i].take(ask, devices)
        self._count(ask, i)
        return self.free[i]

    def _clean(self, queue: _Queue) -> bool:
        """Whether its first place is up to date, once what is not is gone."""
        while queue.heap and queue.heap[0][7] != self._versions[queue.heap[0][6]]:
            heappop(queue.heap)
        return bool(queue.heap)

    def _look(self, ask: Ask, queue: _Queue) -> None:
        """At the next nodes."""
        look = self.look or len(queue.later)
        alike: dict[tuple[Any, ...], _Best | None] = {}
        for i in reversed(queue.later[-look:]):
            queue.nodes.add(i)
            for p in self._places(ask, i, alike):
                heappush(queue.heap, p)
        del queue.later[-look:]

    def _queue(self, ask: Ask) -> _Queue:
        """Up to date but for places that the heap still has from before."""
        queue = self._queues.get(ask)
        if queue is None:
            if ask.spread:
                self._spread.add(ask.pool)
            able = [i for kind in self._kinds if allowed(self.free[kind[0]].node, ask) for i in kind]
            if self.look is not None and len(able) > self.look:
                able = self._in_order(ask, able)
            self._queues[ask] = queue = _Queue(able, len(self._log))
            self._look(ask, queue)
        elif queue.seen < len(self._log):
            for i in sorted(set(self._log[queue.seen :]) & queue.nodes):
                for p in self._places(ask, i):
                    heappush(queue.heap, p)
            queue.seen = len(self._log)
        return queue

    @cached_property
    def _kinds(self) -> list[list[int]]:
        """Nodes that the same may run on, in lists."""
        found: dict[tuple[frozenset[str] | None, str], list[int]] = {}
        for i, f in enumerate(self.free):
            found.setdefault((f.node.pools, f.node.market), []).append(i)
        return list(found.values())

    def _in_order(self, ask: Ask, able: Iterable[int]) -> list[int]:
        """Those with room, what is preferred and fuller last; on the hosts' own cores emptier, for there it is cores that are short. Only of
        the fuller ones is it asked what is preferred, while they suffice."""
        most, need = self._most_mb(ask.device), ask.device_mb if ask.device else ask.memory_mb
        sign = 1 if ask.device else -1
        fit = sorted((sign * most[i], i) for i in able if most[i] + EPSILON >= need)
        enough = ASKED * (self.look or len(fit))
        found = []
        for left, i in fit[:enough]:
            wanted = self.prefer(ask, self.free[i].node.host) if self.prefer else ((), 0.0)
            if wanted is not None:
                found.append((wanted[0], self._surplus(ask, i), left, wanted[1], i))
        return [i for _, i in reversed(fit[enough:])] + [f[-1] for f in sorted(found, reverse=True)]

    def _most_mb(self, device: str) -> list[float]:
        """By node: free MB of the device of a class that has most; of the host itself for ""."""
        most = self._most.get(device)
        if most is None:
            most = self._most[device] = [self._most_of(device, f) for f in self.free]
        return most

    def _most_of(self, device: str, free: Free) -> float:
        if not device:
            return free.memory_mb
        return max([free.device_mb[d] for d in free.of_class(device)], default=-1.0)

    def _places(self, ask: Ask, i: int, alike: dict[tuple[Any, ...], _Best | None] | None = None) -> list[_Place]:
        """The best of a node's choices, or nothing. `alike` remembers it for nodes in the same state."""
        free = self.free[i]
        wanted = self.prefer(ask, free.node.host) if self.prefer else ((), 0.0)
        if wanted is None:
            return []
        if alike is None:
            best = self._choose(ask, free)
        else:
            state = self._state(i)
            best = alike[state] if state in alike else alike.setdefault(state, self._choose(ask, free))
        if best is None:
            return []
        fragments, left, devices = best
        absent = len(ask.wants - free.node.artifacts) / len(ask.wants) if ask.wants else 0.0
        score = round(fragments + self.locality * absent, 9)
        fit = round(left + free.cores / self._most_cores + free.memory_mb / self._largest_mb, 9)
        beside = not devices and bool(free.share)
        return [(wanted[0], self._surplus(ask, i), score, wanted[1], beside, fit, i, self._versions[i], devices, fragments)]

    def _choose(self, ask: Ask, free: Free) -> _Best | None:
        options = []
        for devices in free.choices(ask):
            left = sum([free.share[d] + free.amount(d) for d in devices])
            options.append((round(self.rule.score(free, ask, devices), 9), left, devices))
        return min(options, default=None)

    def _state(self, i: int) -> tuple[Any, ...]:
        """Nodes with equal states are alike to every ask that may run on them, but for artifacts and groups."""
        free = self.free[i]
        changes, state = self._states[i]
        if changes != free.changes:
            if i not in self._makes:
                self._makes[i] = (free.node.market, free.node.pools, tuple([(d.hardware, d.memory_mb) for d in free.node.devices]))
            state = (self._makes[i], free.cores, free.memory_mb, tuple(free.share), tuple(free.device_mb), tuple(free.on))
            self._states[i] = (free.changes, state)
        return state

    def _group(self, i: int) -> str:
        return self.free[i].node.group or f"host {self.free[i].node.host}"

    def _surplus(self, ask: Ask, i: int) -> int:
        if not ask.spread or not self.free[i].node.revocable:
            return 0
        there = self._pools.get(ask.pool, Counter())
        return max(0, there[self._group(i)] + 1 - ceil((sum(there.values()) + 1) / GROUPS))

    def _count(self, ask: Ask, i: int) -> None:
        if most := self._most.get(ask.device):
            most[i] = self._most_of(ask.device, self.free[i])
        self._versions[i] += 1
        self._log.append(i)
        there = self._pools.setdefault(ask.pool, Counter())
        there[self._group(i)] += 1
        if ask.pool in self._spread:  # where more or fewer of the pool are too many now
            for n in {n for group in there for n in self._groups[group]} - {i}:
                self._versions[n] += 1
                self._log.append(n)

    def _refuse(self, ask: Ask) -> Unplaced:
        seen, shortage = self._refused.get(ask) or (len(self._log), Shortage(ask, self.free))
        self._refused[ask] = (len(self._log), shortage)
        return shortage.now(self.free, sorted(set(self._log[seen:])))
