"""When the stages of running jobs will need their pools: from plans and from DAG progress. Pure.

A stage that has not started starts when what it waits for is there; how long that takes is the plan's estimate times a ratio of actual
to planned seconds, whose quantiles were observed (`ratios.py`). One ratio is taken for a whole path: stages of one job are slow together
(a busy machine, a long video), so quantiles add along a path. That makes the spread wider than for independent stages, never narrower.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import ceil
from typing import NamedTuple

from msgspec import Struct

from ..bus.messages import Choice, JobProgress, PlanMade, Workflow
from .ratios import QUANTILES, Ratios

Key = tuple[str, str, str]
"""(agent, implementation, hardware)"""

OVERDUE = 0.5
"""What a stage that is over its time is expected to take on, as a part of what it took so far, at the 100 % quantile; nothing at the
lowest of `QUANTILES`, since who wants to be ready early has to be ready now."""


class Need(Struct, frozen=True):
    """One stage of one job that will want instances of a pool. `start` are times (quantiles of `QUANTILES`); all the same once it is ready."""

    job: str
    stage: str
    key: Key
    tasks: int
    """Open: not done yet, known or expected."""
    ready: int
    """Released, or the whole stage when its inputs are there."""
    start: tuple[float, ...]
    work_s: float = 0.0
    """Seconds of its open tasks, one at a time."""
    width: int = 1
    slots: int = 0
    power_w: float | None = None
    load_s: float = 0.0
    """Of loading, as planned; 0 where it was warm then."""
    planned: int = 1
    """Tasks that its plan counted on."""


@dataclass(frozen=True, slots=True)
class StageView:
    """One stage: what was planned, and how far it is. Times are absolute; `task_s` is of one task."""

    key: Key
    sources: tuple[tuple[str, bool], ...] = ()
    """Earlier stages; True where elements flow on one by one, False where all must be there."""
    tasks: int = 1
    task_s: float = 0.0
    width: int = 1
    slots: int = 0
    power_w: float | None = None
    load_s: float = 0.0
    done: int = 0
    released: int = 0
    total: int | None = None
    started: float | None = None
    ended: float | None = None

    @property
    def open(self) -> int:
        known = self.total if self.total is not None else max(self.tasks, self.done + max(1, self.released))
        return 0 if self.ended is not None else max(0, known - self.done)

    @property
    def span_s(self) -> float:
        """From its first start to its last end, if nothing held it up."""
        return self.task_s * ceil(max(1, self.total or self.tasks) / max(1, self.width * max(1, self.slots)))


@dataclass(slots=True)
class JobView:
    """A running job. `kind` names its shape: jobs of the same one need the same agents."""

    heard: float
    kind: str = ""
    stages: dict[str, StageView] = field(default_factory=dict)
    others: dict[tuple[str, Key], Choice] = field(default_factory=dict)
    """What else was planned for a stage, later: progress says whether it is taken."""


def planned(msg: PlanMade, now: float) -> JobView:
    chosen = {c.stage: c for c in msg.plan.choices}
    job = JobView(now, kind_of(msg.plan.workflow))
    depth = {s.name: s.depth for s in msg.plan.workflow.stages}
    for stage in msg.plan.workflow.stages:
        sources = dict.fromkeys(e.stage for e in stage.edges if e.stage)
        flows = tuple((s, stage.depth > 0 and depth[s] > 0 and stage.depth >= depth[s]) for s in sources)
        choice = chosen[stage.name]
        job.stages[stage.name] = _as_chosen(StageView((stage.agent, "", ""), flows), choice)
    return job


def kind_of(workflow: Workflow) -> str:
    """The same for jobs that will need the same agents in the same order."""
    return "+".join(s.agent for s in workflow.stages)


def again(job: JobView, msg: PlanMade) -> None:
    """Another plan for what has not started; which of it is taken, the progress says."""
    agents = {s.name: s.agent for s in msg.plan.workflow.stages}
    for c in msg.plan.choices:
        job.others[c.stage, (agents[c.stage], c.implementation, c.hardware)] = c


def progressed(job: JobView, msg: JobProgress, now: float) -> Iterator[str]:
    """Takes in how far the job is; gives the stages that ended just now."""
    job.heard = now
    told = {s.stage for s in msg.stages}
    for name in [n for n in job.stages if n not in told and msg.stages]:
        del job.stages[name]  # the workflow was changed, and it is no part of it any more
    for s in msg.stages:
        key = (s.agent, s.implementation, s.hardware)
        view = job.stages.get(s.stage) or StageView(key)
        if s.implementation and view.key != key:
            other = job.others.get((s.stage, key))
            view = _as_chosen(view, other) if other is not None else StageView(key, view.sources, done=view.done, started=view.started)
        started = view.started if view.started is not None else now if s.done or s.released else None
        ended = view.ended
        if ended is None and s.total is not None and s.done >= s.total:
            ended, started = now, now if started is None else started
            if view.started is not None:
                yield s.stage
        job.stages[s.stage] = replace(view, done=s.done, released=s.released, total=s.total, started=started, ended=ended)


def needs(name: str, job: JobView, ratios: Ratios, cold: Mapping[Key, float], now: float) -> Iterator[Need]:
    """The stages that still want instances, in the workflow's order. `cold` are the seconds until a pool can have a warm instance,
    of those that have none."""
    wanting = [(stage, view, left) for stage, view in job.stages.items() if (left := view.open) > 0]
    if not wanting:
        return
    starts = _starts(job.stages, ratios, cold, now)
    for stage, view, left in wanting:
        if not view.key[1]:
            continue
        yield Need(
            job=name,
            stage=stage,
            key=view.key,
            tasks=left,
            ready=view.released,
            start=starts[stage],
            work_s=left * view.task_s,
            width=view.width,
            slots=view.slots,
            power_w=view.power_w,
            load_s=view.load_s,
            planned=view.tasks,
        )


OVERDUES = tuple(OVERDUE * (q - QUANTILES[0]) / (1 - QUANTILES[0]) for q in QUANTILES)


class _Times(NamedTuple):
    """Of one stage, when its (first) inputs are there, when its first task and when its last one ends; each by quantile."""

    start: tuple[float, ...]
    first: tuple[float, ...]
    end: tuple[float, ...]


def _starts(stages: Mapping[str, StageView], ratios: Ratios, cold: Mapping[Key, float], now: float) -> dict[str, tuple[float, ...]]:
    """Stage to the times at which its (first) inputs are there, if the rest of the job takes each quantile's multiple of what was planned.

    One pass over the stages for all quantiles: this is where thousands of running jobs cost a decision most.
    """
    found: dict[str, _Times] = {}
    nows = (now,) * len(QUANTILES)
    for name, view in stages.items():
        began, ended = view.started, view.ended
        if began is not None and ended is not None:
            found[name] = _Times((began,) * len(QUANTILES), nows, (ended,) * len(QUANTILES))
            continue
        task_s, span_s, ready = view.task_s, view.span_s, now + cold.get(view.key, 0.0)
        before = [(found[source], flows) for source, flows in view.sources if source in found]
        start, first, end = [], [], []
        for n, ratio in enumerate(ratios.quantiles(view.key[0])):
            one_s = ratio * task_s
            if began is None:
                begin = now
                for times, flows in before:
                    at = times.first[n] if flows else times.end[n]
                    if at > begin:
                        begin = at
                start.append(begin)
                begin, left_s = max(begin, ready), ratio * span_s
                first.append(begin + one_s)
            else:
                start.append(began)
                begin, elapsed_s = ready, now - began
                first.append(now if view.done else max(begin, now + max(one_s - elapsed_s, OVERDUES[n] * elapsed_s)))
                left_s = ratio * span_s if ready > now else _left_s(view, ratio * span_s, OVERDUES[n], now)
            last = begin + left_s
            for source, flows in view.sources:
                if flows and (at := (found[source].end[n] if source in found else now) + one_s) > last:
                    last = at
            end.append(last if ended is None else ended)
        found[name] = _Times(tuple(start), tuple(first), tuple(end))
    return {name: times.start for name, times in found.items()}


def _left_s(view: StageView, span_s: float, overdue: float, now: float) -> float:
    """Of a stage at work: in proportion to what is open."""
    elapsed_s = now - (view.started or now)
    if view.done and view.total:
        return span_s * (1 - view.done / view.total)
    return max(span_s - elapsed_s, overdue * elapsed_s)


def _as_chosen(view: StageView, choice: Choice) -> StageView:
    return replace(
        view,
        key=(view.key[0], choice.implementation, choice.hardware),
        tasks=max(1, ceil(choice.tasks)),
        task_s=choice.time_s,
        width=choice.width,
        slots=choice.slots,
        power_w=choice.power_w,
        load_s=choice.load_s,
    )


def by_pool(found: Iterable[Need]) -> Mapping[Key, tuple[Need, ...]]:
    pools: dict[Key, list[Need]] = {}
    for need in found:
        pools.setdefault(need.key, []).append(need)
    return {key: tuple(n) for key, n in pools.items()}
