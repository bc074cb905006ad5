"""A job's plans as its log has them: the first one, and why and in what it was changed while the job ran. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from ..actors.jobs import Job, replay
from ..bus.messages import Choice, JobLog, Plan, Planned, Replanned


class Change(Struct, frozen=True):
    """The plan was made again `at_s` seconds after the job's submission. `stages`: each with what it went from and to."""

    at_s: float
    why: str
    stages: tuple[str, ...]


class History(Struct, frozen=True):
    """`job` as it is at the end of the log; None if there was none."""

    job: Job | None
    first: Plan | None
    changes: tuple[Change, ...]


def history(logs: Iterable[JobLog]) -> History:
    """Everything that a log tells of its job."""
    job: Job | None = None
    first: Plan | None = None
    changes: list[Change] = []
    for log in logs:
        for record in log.records:
            before = _choices(job)
            job = replay(job, record)
            match record:
                case Planned(plan=plan):
                    first = plan
                case Replanned(at=at, why=why) if job is not None:
                    after = _choices(job)
                    moved = [f"{n}: {_way(c)} → {_way(after[n])}" for n, c in before.items() if n in after and _way(c) != _way(after[n])]
                    changes.append(Change(round(at - job.at, 3), why, tuple(moved)))
    return History(job, first, tuple(changes))


def _choices(job: Job | None) -> dict[str, Choice]:
    return {name: run.choice for name, run in job.run.stages.items()} if job is not None and job.run is not None else {}


def _way(choice: Choice) -> str:
    wide = f" × {choice.width}" if choice.width > 1 else ""
    slots = f", {choice.slots} calls at a time" if choice.slots else ""
    cap = f", capped at {choice.power_w:g} W" if choice.power_w else ""
    return f"{choice.implementation} on {choice.hardware}{wide}{slots}{cap}"
