"""What lies between and around tasks: handing over, the next one in a queue, moving artifacts. Pure.

- *Hand over*: from a task's end to the start of the one that it made ready: result, conductor, the job's log, queue, worker.
- *Next*: from a task's end to the start of one that waited in the worker's own queue for its slot.
- *Moving*: an instance's host fetches what it lacks of a task's inputs, and stores its outputs: a time an artifact and a time a megabyte. How much a stage's
  tasks move is a workload (`MOVES`, `MOVED_MB`), learnt as all others are: nothing is expected to move before a job has shown it.

The defaults are medians of scripts/bench/hops.py on two cores of an AMD EPYC with everything on one machine (2026-11-23): 1.12 ms from task
to task (380 of them), 0.27 ms from queue to slot (672), 1.22 ms + 4.07 ms a MB to store, 0.74 ms + 3.49 ms a MB to fetch (25 each). Where cores are
crowded the schedule makes all of it slower, as it does tasks: in the video job, whose cores are never idle, 2.9 ms were seen from task to task.
Finished jobs then move two of them: the hand over, and `slow`, times as long as these defaults that moving takes here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import exp, isfinite, log

from msgspec import Struct
from msgspec.structs import replace

from ..bus.messages import JobResult, StageReport

MOVES, MOVED_MB, MOVED_S = "moves", "moved_mb", "moved_s"
"""Work units as workers report them: artifacts that were fetched or stored, their megabytes, and the seconds that it took."""
UNITS = frozenset((MOVES, MOVED_MB, MOVED_S))
MOVE_S, MOVE_S_PER_MB = 0.001, 0.0038
"""Means of storing and fetching."""
GAP_MAX_S = 0.2
"""A longer gap is no hand over: the task waited for a load, or for tasks of other jobs."""
REMEMBERED = 20
PRIOR = 5
"""The defaults count as so many observations."""
STEP_MAX = 4.0
SLOW_MAX = 1_000.0
SAID_LEAST_S = 0.001


class Hops(Struct, frozen=True):
    """Seconds on a machine that does nothing else. `gaps` and `moves` are how many observations they rest on."""

    hand_over_s: float = 0.0011
    next_s: float = 0.0003
    slow: float = 1.0
    gaps: int = 0
    moves: int = 0

    def moving_s(self, units: Mapping[str, float]) -> float:
        """Of so much to move."""
        return self.slow * _usual_s(units)

    def learnt(self, result: JobResult) -> Hops:
        """With what a finished job showed."""
        after = self
        for gap_s in gaps(result):
            hand_over_s = _towards(after.hand_over_s, gap_s, after.gaps)
            after = replace(after, hand_over_s=hand_over_s, gaps=after.gaps + 1)
        for report in result.stages:
            usual_s, took_s = _usual_s(report.units), report.units.get(MOVED_S, 0.0)
            if usual_s >= SAID_LEAST_S and isfinite(took_s) and took_s > 0:
                slow = _towards(after.slow, took_s / usual_s, after.moves)
                after = replace(after, slow=min(max(slow, 1 / SLOW_MAX), SLOW_MAX), moves=after.moves + 1)
        return after


def gaps(result: JobResult) -> Iterator[float]:
    """Seconds of the hand overs that can be told from reports of whole stages: a stage of one task has waited for every task of its sources.

    Clocks of hosts may differ, so a gap may come out as nothing or less; that says nothing.
    """
    if result.plan is None or result.status != "done":
        return
    reports = {r.stage: r for r in result.stages}
    warm = {c.stage for c in result.plan.choices if c.warm}
    for stage in result.plan.workflow.stages:
        report, sources = reports.get(stage.name), {e.stage for e in stage.edges if e.stage}
        if report is None or stage.name not in warm or not sources or not _plain(report) or not sources <= reports.keys():
            continue
        gap_s = report.start_s - max(reports[s].end_s for s in sources)
        if 0 < gap_s <= GAP_MAX_S:
            yield gap_s


def _plain(report: StageReport) -> bool:
    """One task, which ran once and where it was planned."""
    return report.tasks == 1 and report.attempts <= 1 and not report.moved


def _usual_s(units: Mapping[str, float]) -> float:
    return MOVE_S * units.get(MOVES, 0.0) + MOVE_S_PER_MB * units.get(MOVED_MB, 0.0)


def _towards(before: float, seen: float, known: int) -> float:
    """The mean, forgetting, of logarithms; one observation never counts for more than `STEP_MAX` times."""
    weight = 1.0 / (min(known + PRIOR, REMEMBERED) + 1)
    step = log(min(max(seen / before, 1 / STEP_MAX), STEP_MAX))
    return before * exp(weight * step)
