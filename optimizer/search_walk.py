"""A plan while moves of one stage at a time are tried on it: its longest ways and its sums, brought up to date by what a move changes. Pure.

`head` is the longest way from the start to an event, `tail` from it to the end. A move changes those of few events, so a step costs what it
touches and not the whole network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from heapq import heappop, heappush

from .goals import Axis
from .search_table import Table, meets

SUMS: tuple[Axis, ...] = ("cost", "energy", "loss")


class Network:
    """The arcs of a table by stage and by event; `rank` is an order in which every arc goes forward."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.of_stage: list[list[tuple[int, int, int]]] = [[] for _ in table.options]
        self.into: list[list[tuple[int, int, int]]] = [[] for _ in range(table.events)]
        self.out: list[list[tuple[int, int, int]]] = [[] for _ in range(table.events)]
        self.rank = [len(table.arcs)] * table.events
        for n, (source, target, stage, part) in enumerate(table.arcs):
            self.into[target].append((source, stage, part))
            self.out[source].append((target, stage, part))
            self.rank[source] = min(self.rank[source], n)
            if stage >= 0:
                self.of_stage[stage].append((source, target, part))


class Walk:
    """One plan. `move` and `through` are exact; times are seconds, sums in the units of their axes."""

    def __init__(self, network: Network, picks: Sequence[int]) -> None:
        table = network.table
        self.network, self.table, self.picks = network, table, list(picks)
        self.head = [0.0] * table.events
        self.tail = [0.0] * table.events
        times = [o[p].time for o, p in zip(table.options, picks, strict=True)]
        for source, target, stage, part in table.arcs:
            end = self.head[source] + (times[stage][part] if stage >= 0 else 0.0)
            if end > self.head[target]:
                self.head[target] = end
        for source, target, stage, part in reversed(table.arcs):
            rest = self.tail[target] + (times[stage][part] if stage >= 0 else 0.0)
            if rest > self.tail[source]:
                self.tail[source] = rest
        self.times = times
        self.sums = {axis: table.value(picks, axis) for axis in SUMS}
        self.needs = table.needs(picks)

    def copy(self) -> Walk:
        twin = object.__new__(Walk)
        twin.network, twin.table, twin.picks = self.network, self.table, list(self.picks)
        twin.head, twin.tail, twin.times = list(self.head), list(self.tail), list(self.times)
        twin.sums, twin.needs = dict(self.sums), list(self.needs)
        return twin

    def through(self, stage: int, option: int) -> float:
        """The longest way through any arc of a stage, if it were done so."""
        time, head, tail = self.table.options[stage][option].time, self.head, self.tail
        return max((head[s] + time[part] + tail[t] for s, t, part in self.network.of_stage[stage]), default=0.0)

    def keeps(self, stage: int, option: int, caps: Mapping[Axis, float]) -> bool:
        """Whether the caps hold after a move, if they do now."""
        now, then = self.table.options[stage][self.picks[stage]], self.table.options[stage][option]
        for axis, cap in caps.items():
            if axis == "time":
                if not meets(self.through(stage, option), cap):
                    return False
                for r, capacity in enumerate(self.table.capacity):
                    more = (then.uses[r] if then.uses else 0.0) - (now.uses[r] if now.uses else 0.0)
                    if more > 0 and not meets(self.needs[r] + more / capacity, cap):
                        return False
            elif (more := getattr(then, axis) - getattr(now, axis)) > 0 and not meets(self.sums[axis] + more, cap):
                return False
        return True

    def move(self, stage: int, option: int) -> set[int]:
        """Does it, and gives the stages whose slack it changed."""
        now, then = self.table.options[stage][self.picks[stage]], self.table.options[stage][option]
        self.picks[stage], self.times[stage] = option, then.time
        for axis in SUMS:
            self.sums[axis] += getattr(then, axis) - getattr(now, axis)
        for r, capacity in enumerate(self.table.capacity):
            self.needs[r] += ((then.uses[r] if then.uses else 0.0) - (now.uses[r] if now.uses else 0.0)) / capacity
        arcs = self.network.of_stage[stage]
        touched = self._spread([t for _, t, _ in arcs], self.head, self.network.into, self.network.out, 1)
        touched |= self._spread([s for s, _, _ in arcs], self.tail, self.network.out, self.network.into, -1)
        return touched

    def _spread(
        self,
        first: Iterable[int],
        values: list[float],
        before: Sequence[Sequence[tuple[int, int, int]]],
        after: Sequence[Sequence[tuple[int, int, int]]],
        sign: int,
    ) -> set[int]:
        rank, times = self.network.rank, self.times
        queue: list[tuple[int, int]] = []
        waiting: set[int] = set()
        for event in first:
            if event not in waiting:
                waiting.add(event)
                heappush(queue, (sign * rank[event], event))
        touched: set[int] = set()
        while queue:
            _, event = heappop(queue)
            waiting.discard(event)
            value = 0.0
            for other, stage, part in before[event]:
                end = values[other] + (times[stage][part] if stage >= 0 else 0.0)
                if end > value:
                    value = end
            if value == values[event]:
                continue
            values[event] = value
            for other, stage, _ in after[event]:
                if stage >= 0:
                    touched.add(stage)
                if other not in waiting:
                    waiting.add(other)
                    heappush(queue, (sign * rank[other], other))
        return touched
