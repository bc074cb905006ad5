"""Estimated beside actual, per stage and for the whole job, with the error. Pure.

What tasks used has no part in it of loading models, or of idle ones; so here estimates of energy and cost are those of the tasks alone, and what was
expected of those stands by itself. A stage's time is from its first task's start to its last one's end, in both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import msgspec
from msgspec import Struct

from ..bus.messages import Choice, Estimate, JobResult, Plan, StageReport


class Pair(Struct, frozen=True):
    """An estimate and what came true; either may not be known. `error` is estimate / actual − 1: +0.25 says a quarter too much."""

    estimate: float | None
    actual: float | None
    error: float | None = None


class StagePair(Struct, frozen=True):
    """`how` says what the estimate rests on. A stage that `moved` ran in two ways, of which the last one is compared."""

    stage: str
    implementation: str
    hardware: str
    how: str
    tasks: Pair
    time_s: Pair
    energy_wh: Pair
    cost_usd: Pair
    cpu_s: float
    moved: bool


class Comparison(Struct, frozen=True):
    """`time_s`, `energy_wh` and `cost_usd` of the whole job; its time is of the run, without planning."""

    stages: tuple[StagePair, ...]
    time_s: Pair
    energy_wh: Pair
    cost_usd: Pair
    loading: Estimate
    """Expected for loading what was not there, and for what idles."""


def pair(estimate: float | None, actual: float | None) -> Pair:
    if estimate is None or actual is None:
        return Pair(estimate, actual)
    if actual > 0:
        return Pair(estimate, actual, round(estimate / actual - 1, 4))
    return Pair(estimate, actual, 0.0 if estimate == actual else None)


def compare(result: JobResult, first: Plan | None) -> Comparison | None:
    """Of a job that has ended well. `first` is the plan that it began with, as its log has it; None where there is no plan to compare.

    The time of the whole is compared with the first plan, which promised it; of a job whose workflow grew nobody estimated it.
    """
    plan = result.plan
    if plan is None or result.status != "done" or not result.stages:
        return None
    promised = first or plan
    grown = len(plan.workflow.stages) > len(promised.workflow.stages)
    stages = compare_stages(plan.choices, result.stages)
    loads = [_loading(c) for c in plan.choices]
    known = all(c.total is not None for c in plan.choices)
    wh, usd = (sum(_tasks(c, f) for c in plan.choices) if known else None for f in ("energy_wh", "cost_usd"))
    return Comparison(
        stages=stages,
        time_s=pair(None if grown or not known else promised.time_s, round(max(0.0, result.time_s - result.planning_s), 6)),
        energy_wh=pair(wh, result.energy_wh.value),
        cost_usd=pair(usd, result.cost_usd.value),
        loading=Estimate(
            time_s=max((e.time_s for e in loads), default=0.0),
            cost_usd=sum(e.cost_usd for e in loads),
            energy_wh=sum(e.energy_wh for e in loads),
        ),
    )


def compare_stages(
    choices: Iterable[Choice], reports: Iterable[StageReport], complete: Collection[str] | None = None
) -> tuple[StagePair, ...]:
    """Stages that have run; with `complete`, only those."""
    chosen = {c.stage: c for c in choices}
    return tuple(_stage(chosen[r.stage], r) for r in reports if r.stage in chosen and (complete is None or r.stage in complete))


def _stage(choice: Choice, report: StageReport) -> StagePair:
    known = choice.total is not None
    return StagePair(
        stage=report.stage,
        implementation=report.implementation,
        hardware=report.hardware,
        how=choice.how,
        tasks=pair(choice.tasks if known else None, report.tasks),
        time_s=pair(choice.total.time_s if choice.total is not None else None, round(report.end_s - report.start_s, 6)),
        energy_wh=pair(_tasks(choice, "energy_wh") if known else None, report.energy_wh),
        cost_usd=pair(_tasks(choice, "cost_usd") if known else None, report.cost_usd),
        cpu_s=report.cpu_s,
        moved=report.moved,
    )


def _tasks(choice: Choice, name: str) -> float:
    """Of all its tasks, without loading."""
    return float(getattr(choice, name)) * choice.tasks


def _loading(choice: Choice) -> Estimate:
    if choice.total is None:
        return Estimate()
    more = (max(0.0, getattr(choice.total, n) - _tasks(choice, n)) for n in ("cost_usd", "energy_wh"))
    return Estimate(choice.load_s, *more)


def as_json(made: Comparison | None) -> dict[str, Any] | None:
    found: dict[str, Any] | None = msgspec.to_builtins(made) if made is not None else None
    return found
