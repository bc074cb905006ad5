"""Which jobs run by whose plans: what they still take of each hardware class, and what their inputs were. Pure."""

from __future__ import annotations

from msgspec import Struct

from ..bus.messages import MakePlan, Plan

JOBS_MAX = 10_000
OVERDUE = 10.0
"""A job that takes this many times its estimate is no longer counted on: its end may have been missed."""
OVERDUE_LEAST_S = 60.0


class Planned(Struct, frozen=True):
    """A job and its newest plan."""

    ask: MakePlan
    plan: Plan
    at: float


class Running:
    """Jobs by name, oldest first."""

    def __init__(self) -> None:
        self.jobs: dict[str, Planned] = {}

    def planned(self, ask: MakePlan, plan: Plan, now: float) -> None:
        self.jobs.pop(ask.job, None)
        self.jobs[ask.job] = Planned(ask, plan, now)
        while len(self.jobs) > JOBS_MAX:
            del self.jobs[next(iter(self.jobs))]

    def ended(self, job: str) -> Planned | None:
        return self.jobs.pop(job, None)

    def forget(self, now: float) -> None:
        late = [j for j, p in self.jobs.items() if now - p.at > max(OVERDUE_LEAST_S, OVERDUE * p.plan.time_s)]
        for job in late:
            del self.jobs[job]

    def busy(self, now: float, without: str = "") -> dict[str, tuple[int, float]]:
        """Hardware class to (jobs, core-seconds that they still need), as `Fleet.busy`; a plan's work is taken to be done evenly over its time."""
        found: dict[str, tuple[int, float]] = {}
        for job, planned in self.jobs.items():
            left = 1.0 - (now - planned.at) / max(planned.plan.time_s, 1e-3)
            if job == without or left <= 0:
                continue
            work: dict[str, float] = {}
            for c in planned.plan.choices:
                work[c.hardware] = work.get(c.hardware, 0.0) + c.tasks * c.time_s * left
            for hardware, seconds in work.items():
                jobs, before = found.get(hardware, (0, 0.0))
                found[hardware] = (jobs + 1, before + seconds)
        return found
