"""Which tasks a host that will be taken away can still finish: the others go back at once, so that they end elsewhere sooner. Pure."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Mapping
from statistics import median

from .slots import Slots

MARGIN_S = 5.0
"""Before the end, at most, nothing runs any more: results have to be stored, and what is handed back has to be heard."""
MARGIN_SHARE = 0.25
"""Of a short notice."""
SEEN = 20


class Durations:
    """How long tasks take here, by pool: the median of the last ones; before the first the implementation's prior."""

    def __init__(self) -> None:
        self._seen: dict[str, deque[float]] = {}

    def note(self, pool: str, took_s: float) -> None:
        self._seen.setdefault(pool, deque(maxlen=SEEN)).append(took_s)

    def of(self, slots: Slots) -> float:
        seen = self._seen.get(slots.pool)
        return median(seen) if seen else slots.row.work_s


def margin_s(notice_s: float) -> float:
    """How long before the end everything is handed back."""
    return min(MARGIN_S, MARGIN_SHARE * notice_s)


def too_long(instances: Mapping[str, Slots], waiting: Mapping[str, Iterable[str]], took: Durations, now: float, end: float) -> set[str]:
    """Keys of the tasks that will not be done by `end`, running ones and those that wait (`waiting`: pool to keys, first come first).

    A task that takes longer than expected may be done any moment: it runs on.
    """
    late: set[str] = set()
    free: dict[str, list[float]] = {}
    expected: dict[str, float] = {}
    for slots in instances.values():
        takes_s = expected[slots.pool] = took.of(slots)
        ends = []
        for key in slots.running:
            ends.append(max(now, slots.began.get(key, now) + takes_s))
            if ends[-1] > end:
                late.add(key)
        if slots.state == "warm":
            free.setdefault(slots.pool, []).extend([*ends, *[now] * max(0, slots.free)])
    for pool, keys in waiting.items():
        slot = free.get(pool, [])
        heapq.heapify(slot)
        for key in keys:
            done = heapq.heappop(slot) + expected[pool] if slot else float("inf")
            if done > end:
                late.add(key)
            if slot or done < float("inf"):
                heapq.heappush(slot, done)
    return late
