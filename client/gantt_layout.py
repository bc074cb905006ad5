"""Where the bars of the picture go: lanes, rows, merged bars, and what was busy when. Pure geometry, no HTML.

All times here are seconds from the job's submission.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..bus.messages import TaskRecord

ROWS_MAX = 8
"""Rows of one lane; what runs beside more than these shares the row that is free first."""
LANES_MAX = 60
BARS_MAX = 1500
"""A page with some thousand elements scrolls well on a phone; one with 50 000 does not."""
PIXELS = 1000
"""How wide the plot is taken to be when bars thinner than a pixel are merged."""
TIME_MAX_S = 1e12

Span = tuple[float, float]


class Task(NamedTuple):
    """A record with its times from the job's submission, in order."""

    record: TaskRecord
    start_s: float
    end_s: float


class Bar(NamedTuple):
    """One drawn bar: one task, or several of one row that are too thin to be told apart. `stage` is empty for a mixture."""

    stage: str
    start_s: float
    end_s: float
    row: int
    tasks: tuple[Task, ...]


class Lane(NamedTuple):
    """One instance of one host: its bars, its cold starts, and when it ran at least one task (`busy`, in order, disjoint)."""

    host: str
    instance: str
    rows: int
    at_once: int
    bars: tuple[Bar, ...]
    cold: tuple[Span, ...]
    busy: tuple[Span, ...]
    tasks: int


class Layout(NamedTuple):
    """The plot: its lanes, its borders, and what it does not show (for the page to say so)."""

    lanes: tuple[Lane, ...]
    start_s: float
    end_s: float
    tasks: tuple[Task, ...]
    unreadable: int
    """Records whose times are no numbers."""
    lanes_hidden: int
    merged: int
    """Tasks that share a bar with others."""

    def percent(self, at_s: float) -> float:
        """Where a time is in the plot, 0..100."""
        return min(100.0, max(0.0, (at_s - self.start_s) / (self.end_s - self.start_s) * 100))


def readable(records: Iterable[TaskRecord], submitted_at: float) -> list[Task]:
    """The records with usable times, by start; a task that ends before it starts (clocks differ) has no length."""
    tasks = []
    for record in records:
        start_s, end_s = record.use.start - submitted_at, record.use.end - submitted_at
        if math.isfinite(start_s) and math.isfinite(end_s) and max(abs(start_s), abs(end_s)) < TIME_MAX_S:
            tasks.append(Task(record, start_s, max(start_s, end_s)))
    return sorted(tasks, key=lambda task: (task.start_s, task.end_s, task.record.stage, task.record.index))


def union(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Disjoint spans that cover the same time, in order."""
    joined: list[Span] = []
    for start_s, end_s in sorted(spans):
        if joined and start_s <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end_s))
        else:
            joined.append((start_s, end_s))
    return tuple(joined)


def cold_spans(tasks: Sequence[Task]) -> tuple[Span, ...]:
    """When an instance loaded, from how long its tasks (by start) waited for that: up to the first task that then could start."""
    spans = []
    for task in tasks:
        cold_s = task.record.use.cold_s
        if not (math.isfinite(cold_s) and 0 < cold_s < TIME_MAX_S):
            continue
        begin_s = task.start_s - cold_s
        first = next(other for other in tasks if other.end_s > begin_s or other is task)
        if first.start_s > begin_s:
            spans.append((begin_s, first.start_s))
    return union(spans)


def rows_of(tasks: Sequence[Task]) -> tuple[list[int], int]:
    """A row for each task (by start), so that tasks of one row do not overlap, and how many ran at once at most."""
    free: list[tuple[float, int]] = []
    running: list[float] = []
    rows, used, at_once = [], 0, 0
    for task in tasks:
        while running and running[0] <= task.start_s:
            heapq.heappop(running)
        heapq.heappush(running, task.end_s)
        at_once = max(at_once, len(running))
        if free and (free[0][0] <= task.start_s or used == ROWS_MAX):
            end_s, row = heapq.heappop(free)
        else:
            end_s, row, used = task.end_s, used, used + 1
        heapq.heappush(free, (max(end_s, task.end_s), row))
        rows.append(row)
    return rows, at_once


def merge(tasks: Sequence[Task], rows: Sequence[int], grain_s: float, mix: bool) -> tuple[Bar, ...]:
    """Bars of a lane: neighbours of one row thinner than `grain_s` and nearer than that become one; with `mix`, of any stage."""
    groups: dict[int, list[tuple[list[Task], float]]] = {}
    for task, row in zip(tasks, rows, strict=True):
        line = groups.setdefault(row, [])
        thin = task.end_s - task.start_s < grain_s
        if line and thin:
            last, end_s = line[-1]
            alike = mix or last[-1].record.stage == task.record.stage
            if alike and task.start_s - end_s < grain_s and last[-1].end_s - last[-1].start_s < grain_s:
                last.append(task)
                line[-1] = (last, max(end_s, task.end_s))
                continue
        line.append(([task], task.end_s))
    bars = []
    for row, line in sorted(groups.items()):
        for group, end_s in line:
            stages = {task.record.stage for task in group}
            bars.append(Bar(stages.pop() if len(stages) == 1 else "", group[0].start_s, end_s, row, tuple(group)))
    return tuple(bars)


def lay_out(records: Sequence[TaskRecord], submitted_at: float, end_s: float) -> Layout:
    """The whole plot, from submission to `end_s` or the last task. The busiest `LANES_MAX` instances are drawn."""
    tasks = readable(records, submitted_at)
    by_lane: dict[tuple[str, str], list[Task]] = {}
    for task in tasks:
        by_lane.setdefault((task.record.host, task.record.instance), []).append(task)
    busy = {key: union((t.start_s, t.end_s) for t in mine) for key, mine in by_lane.items()}
    busiest = sorted(by_lane, key=lambda key: -math.fsum(b - a for a, b in busy[key]))[:LANES_MAX]
    shown = sorted(busiest, key=lambda key: (key[0], by_lane[key][0].start_s, key[1]))
    cold = {key: cold_spans(by_lane[key]) for key in shown}
    packed = {key: rows_of(by_lane[key]) for key in shown}

    first_s = min([0.0, *(t.start_s for t in tasks), *(span[0] for spans in cold.values() for span in spans)])
    last_s = max([end_s if math.isfinite(end_s) and end_s < TIME_MAX_S else 0.0, *(t.end_s for t in tasks), first_s + 1e-3])
    grain_s = (last_s - first_s) / PIXELS
    bars = {key: merge(by_lane[key], packed[key][0], grain_s, False) for key in shown}
    while sum(map(len, bars.values())) > BARS_MAX:
        grain_s *= 2
        mix = grain_s > last_s - first_s
        bars = {key: merge(by_lane[key], packed[key][0], math.inf if mix else grain_s, mix) for key in shown}
    lanes = tuple(
        Lane(*key, max(packed[key][0], default=0) + 1, packed[key][1], bars[key], cold[key], busy[key], len(by_lane[key])) for key in shown
    )
    merged = sum(len(bar.tasks) for lane in lanes for bar in lane.bars if len(bar.tasks) > 1)
    return Layout(lanes, first_s, last_s, tuple(tasks), len(records) - len(tasks), len(by_lane) - len(shown), merged)


def over_time(parts: Iterable[tuple[float, float, float]], start_s: float, end_s: float, bins: int) -> list[float]:
    """The mean amount in each of `bins` equal times, of parts (start_s, end_s, seconds of work) that are spread evenly over their span."""
    width = (end_s - start_s) / bins
    work = [0.0] * bins
    inner = [0.0] * (bins + 1)
    for begin_s, stop_s, work_s in parts:
        a, b = (begin_s - start_s) / width, (stop_s - start_s) / width
        first, last = min(bins - 1, max(0, int(a))), min(bins - 1, max(0, int(b)))
        if first == last or b <= a:
            work[first] += work_s
            continue
        rate = work_s / (b - a)
        work[first] += rate * (first + 1 - a)
        work[last] += rate * (b - last)
        inner[first + 1] += rate
        inner[last] -= rate
    level = 0.0
    for i in range(bins):
        level += inner[i]
        work[i] = max(0.0, work[i] + level) / width
    return work
