"""Where new instances go: bin packing over cores, memory, and the memory and compute of accelerators. Pure and deterministic.

Of the places with room an ask takes the one that is least, in this order:

1. by how many it would have more than its part of the pool there, where nodes may be revoked: no group of them shall hold more than one in
   `GROUPS` of a pool (at least one), so that a revocation does not take all;
2. by score, in devices: the growth of expected fragmentation (`fragmentation.py`) plus `LOCALITY` times the part of the artifacts it wants
   that is not there;
3. on the host's own cores, nodes without accelerators;
4. the fuller node and device afterwards (best fit), then the host's name.

Asks are served as given: an earlier one never depends on a later one, if the mix is given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from math import ceil
from typing import Any, Protocol

from .asks import Ask, Outcome, Placed, Reason, Unplaced
from .fragmentation import Fragmentation, Mix
from .free import Free, allowed
from .nodes import Accelerator, Node
from .shortage import Shortage

__all__ = ["Accelerator", "Ask", "Mix", "Node", "Outcome", "Placed", "Placer", "Reason", "Unplaced", "place"]

GROUPS = 3
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


_Place = tuple[int, float, bool, float, int, int, tuple[int, ...], float]
"""Surplus of the pool there, score, accelerators that it would idle beside, fit, node, the node's version, devices, of the score fragments."""


_Best = tuple[float, float, tuple[int, ...]]
"""Fragments, what is left of the devices, the devices."""


class _Queue:
    """The places of one kind of ask, best first; some out of date. `seen` is how much of the log is in it."""

    __slots__ = ("heap", "nodes", "seen")

    def __init__(self, heap: list[_Place], nodes: frozenset[int], seen: int) -> None:
        self.heap, self.nodes, self.seen = heap, nodes, seen


class Placer:
    """Places one ask after another. What has changed since it last saw a kind of ask is all that it looks at again."""

    def __init__(self, nodes: Iterable[Node], rule: Rule, locality: float = LOCALITY) -> None:
        self.free = [Free(n) for n in sorted(nodes, key=lambda n: n.host)]
        hosts = Counter(f.node.host for f in self.free)
        if twice := next((host for host, n in hosts.items() if n > 1), ""):
            raise ValueError(f"two nodes are named {twice}: a host is placed on once")
        self.rule, self.locality = rule, locality
        self._most_cores = max([1.0, *(f.node.cores for f in self.free)])
        self._most_mb = max([1.0, *(f.node.memory_mb for f in self.free)])
        self._versions = [0] * len(self.free)
        self._log: list[int] = []
        """Nodes in the order of their changes."""
        self._queues: dict[Ask, _Queue] = {}
        makes: dict[tuple[Any, ...], int] = {}
        self._makes = [
            makes.setdefault((n.market, n.pools, tuple([(d.hardware, d.memory_mb) for d in n.devices])), len(makes))
            for n in (f.node for f in self.free)
        ]
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
        queue = self._queue(ask)
        while queue.heap and queue.heap[0][5] != self._versions[queue.heap[0][4]]:
            heappop(queue.heap)
        if not queue.heap:
            return self._refuse(ask)
        surplus, score, _, fit, i, _, devices, fragments = queue.heap[0]
        free = self.free[i]
        free.take(ask, devices)
        self._count(ask, i)
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

    def _queue(self, ask: Ask) -> _Queue:
        """Up to date but for places that the heap still has from before."""
        queue = self._queues.get(ask)
        if queue is None:
            if ask.spread:
                self._spread.add(ask.pool)
            able = [i for i, f in enumerate(self.free) if allowed(f.node, ask)]
            alike: dict[tuple[Any, ...], _Best | None] = {}
            heap = [p for i in able for p in self._places(ask, i, alike)]
            heapify(heap)
            self._queues[ask] = queue = _Queue(heap, frozenset(able), len(self._log))
        elif queue.seen < len(self._log):
            for i in sorted(set(self._log[queue.seen :]) & queue.nodes):
                for p in self._places(ask, i):
                    heappush(queue.heap, p)
            queue.seen = len(self._log)
        return queue

    def _places(self, ask: Ask, i: int, alike: dict[tuple[Any, ...], _Best | None] | None = None) -> list[_Place]:
        """The best of a node's choices, or nothing. `alike` remembers it for nodes in the same state."""
        free = self.free[i]
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
        fit = round(left + free.cores / self._most_cores + free.memory_mb / self._most_mb, 9)
        return [(self._surplus(ask, i), score, not devices and bool(free.share), fit, i, self._versions[i], devices, fragments)]

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
            state = (self._makes[i], free.cores, free.memory_mb, tuple(free.share), tuple(free.device_mb))
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
        there = self._pools.setdefault(ask.pool, Counter())
        there[self._group(i)] += 1
        changed = {i, *(n for group in there for n in self._groups[group])} if ask.pool in self._spread else {i}
        for n in changed:  # where more or fewer of the pool are now too many
            self._versions[n] += 1
            self._log.append(n)

    def _refuse(self, ask: Ask) -> Unplaced:
        seen, shortage = self._refused.get(ask) or (len(self._log), Shortage(ask, self.free))
        self._refused[ask] = (len(self._log), shortage)
        return shortage.now(self.free, sorted(set(self._log[seen:])))
