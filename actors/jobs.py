"""What the conductor knows of one job, and what its results and progress are made of. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from ..bus.messages import (
    Counted,
    Ended,
    Extended,
    Figure,
    Index,
    JobProgress,
    JobResult,
    Lowered,
    Plan,
    Planned,
    Record,
    Replanned,
    Retried,
    StageReport,
    StageState,
    SubmitJob,
    Submitted,
    TakenOver,
    TaskRecord,
    Use,
    Workflow,
)
from ..bus.subjects import pool
from .run import DagRun, Task

ORPHANED = "no host serves its pool any more"
"""Why an attempt is given up whose stage goes to another pool; it is no failure of the task."""
OBSERVE_MAX = 8
"""How often a job's workflow may grow by what was observed; then it ends as it is, and its note says so."""

Phase = Literal["planning", "optimizing", "running", "done", "failed", "cancelled"]


@dataclass(slots=True)
class Job:
    """One job, from its submission to its end."""

    submit: SubmitJob
    at: float
    phase: Phase = "planning"
    workflow: Workflow | None = None
    planned_at: float | None = None
    run: DagRun | None = None
    records: list[TaskRecord] = field(default_factory=list)
    attempt: dict[Task, int] = field(default_factory=dict)
    """Only tasks beyond their first attempt."""
    released: dict[Task, float] = field(default_factory=dict)
    """Tasks that are in their pool's queue or with a worker, and since when."""
    orphaned: dict[Task, int] = field(default_factory=dict)
    """How many of a task's attempts were given up since their pool was dead."""
    errors: dict[Task, str] = field(default_factory=dict)
    note: str = ""
    asks: int = 0
    ended: Ended | None = None
    progress_due: bool = False
    queued: bool = False
    """It is accepted, and waits for its tenant's turn; nobody has been asked to plan it."""
    observing: str = ""
    """The stage whose observation the planner has been asked about."""
    extension: Workflow | None = None
    """The longer workflow that the planner answered with, while the optimizer works on it."""
    extension_note: str = ""
    observed: list[str] = field(default_factory=list)
    """Stages whose observation is answered."""
    grown: int = 0
    """How many of the answers were more stages."""
    found: list[str] = field(default_factory=list)
    """What the planner said of each."""
    started: set[str] = field(default_factory=set)
    """Stages of which any task has been released, or may have been by a predecessor, or is done: their choices stay."""
    inherited: set[str] = field(default_factory=set)
    """Those of which a predecessor may have released tasks that nobody knows of."""
    rechosen: set[str] = field(default_factory=set)
    """Stages that went to another pool since the first plan; and those of which tasks ran in more than one."""
    moved: set[str] = field(default_factory=set)
    asked_again_at: float = 0.0

    @property
    def asking(self) -> str:
        """What the planner or the optimizer is being asked; empty when nothing is."""
        if self.queued:
            return ""
        if self.phase in ("planning", "optimizing"):
            return self.phase
        return "extending" if self.extension is not None else "observing" if self.observing else ""

    @property
    def over(self) -> bool:
        """Nothing is left to run, and nothing to look at."""
        return self.run is not None and self.run.finished and not self.observing and not self.to_observe()

    def to_observe(self) -> str:
        """A stage that the planner is to look at next; empty when there is none, or it has gone on often enough."""
        return next(iter(self._unseen()), "") if self.grown < OBSERVE_MAX else ""

    def _unseen(self) -> list[str]:
        """Stages that are done, are to be looked at, and have not been."""
        return [n for n in self.run.observes if self.run.stages[n].complete and n not in self.observed] if self.run is not None else []

    @property
    def name(self) -> str:
        return self.submit.job

    @property
    def tenant(self) -> str:
        return self.submit.tenant

    def pool_of(self, stage: str) -> str:
        assert self.run is not None
        run = self.run.stages[stage]
        return pool(run.stage.agent, run.choice.implementation, run.choice.hardware)

    def begin(self, plan: Plan, at: float) -> list[Task]:
        """The plan is in: the first tasks."""
        self.phase, self.planned_at, self.workflow = "running", at, plan.workflow
        self.run = DagRun(plan, inputs_of(self.submit))
        return self.run.start()

    def with_choices(self, plan: Plan) -> Plan:
        """A plan in which the stages that there are have the choices that they have."""
        assert self.run is not None
        mine = {name: r.choice for name, r in self.run.stages.items()}
        return msgspec.structs.replace(plan, choices=tuple(mine.get(c.stage, c) for c in plan.choices))

    def rechoose(self, plan: Plan) -> list[str]:
        """The plan has been made again; the stages that went to another pool."""
        assert self.run is not None
        gone = self.run.rechoose(plan)
        self.rechosen.update(gone)
        self.moved.update(name for name in gone if self.run.stages[name].output)
        return gone

    def open_to_choice(self) -> list[str]:
        """Stages that have not started, and will have something to do."""
        return [n for n, r in self.run.stages.items() if n not in self.started and not r.complete] if self.run is not None else []

    def extend(self, stage: str, plan: Plan | None, note: str) -> list[Task]:
        """An observation is answered; the tasks that became ready by it."""
        assert self.run is not None
        self.observed.append(stage)
        self.observing, self.extension, self.extension_note = "", None, ""
        self.found += [note] if note else []
        if plan is None:
            return []
        self.grown += 1
        self.workflow = plan.workflow
        return self.run.extend(plan)

    def count(self, host: str, stage: str, index: Index, attempt: int, instance: str, output: Any, use: Use) -> list[Task]:
        """A task's effect, for the first time; the tasks that became ready."""
        assert self.run is not None
        task = (stage, index)
        self.records.append(TaskRecord(stage, index, attempt, host, instance, use))
        self.started.add(stage)
        if stage in self.rechosen and attempt < self.attempt.get(task, 1):
            self.moved.add(stage)  # a late result from the pool before
        self.released.pop(task, None)
        self.errors.pop(task, None)
        return self.run.done(stage, index, output)

    def retry(self, task: Task, attempt: int, error: str) -> None:
        """An attempt is given up; `attempt` is the next one."""
        self.attempt[task], self.errors[task] = attempt, error
        if error == ORPHANED:
            self.orphaned[task] = self.orphaned.get(task, 0) + 1

    def tries(self, task: Task) -> int:
        """How often a task has been tried, this time counted; attempts that died with their pool do not count."""
        return self.attempt.get(task, 1) - self.orphaned.get(task, 0)

    def is_done(self, task: Task) -> bool:
        return self.run is not None and task[1] in self.run.stages[task[0]].output

    def knows(self, task: Task) -> bool:
        """Whether this is a task of ours that is ready or done."""
        return self.run is not None and task[0] in self.run.stages and self.run.stages[task[0]].waits.get(task[1]) == 0

    def progress(self) -> JobProgress:
        return JobProgress(
            tenant=self.tenant,
            job=self.name,
            phase=self.phase,
            stages=tuple(self._stage_states()),
            note=self.note,
        )

    def _stage_states(self) -> list[StageState]:
        if self.run is None:
            return [StageState(s.name, s.agent) for s in (self.workflow.stages if self.workflow else ())]
        released: dict[str, int] = {}
        for stage, _ in self.released:
            released[stage] = released.get(stage, 0) + 1
        return [
            StageState(
                name,
                r.stage.agent,
                r.choice.implementation,
                r.choice.hardware,
                len(r.output),
                released.get(name, 0),
                self.run.width(name),
            )
            for name, r in self.run.stages.items()
        ]

    def _given_up(self) -> list[str]:
        unseen = self._unseen() if self.grown >= OBSERVE_MAX else []
        return [f"what {', '.join(unseen)} gave was not looked at: a job grows {OBSERVE_MAX} times at most"] if unseen else []

    def result(self) -> JobResult:
        """The one end; the job must have `ended`."""
        assert self.ended is not None
        measured = bool(self.records) and all(r.use.energy_how == "measured" for r in self.records)
        return JobResult(
            tenant=self.tenant,
            job=self.name,
            status=self.ended.status,
            answer=tuple(self.run.answer()) if self.run is not None and self.ended.status == "done" else (),
            error=self.ended.error,
            infeasible=self.ended.infeasible,
            note="; ".join([*self.found, *self._given_up()]),
            plan=self.run.plan if self.run is not None else None,
            stages=tuple(stage_reports(self)),
            time_s=round(self.ended.at - self.at, 6),
            planning_s=round((self.planned_at or self.ended.at) - self.at, 6),
            energy_wh=Figure(sum(r.use.energy_wh for r in self.records), "measured" if measured else "modelled"),
            cost_usd=Figure(sum(r.use.cost_usd for r in self.records), "modelled"),
        )


def replay(job: Job | None, record: Record) -> Job | None:
    """A job as it is after one more record of its log; the log alone says everything about it."""
    match record:
        case Submitted(job=submit, at=at):
            return Job(submit, at)
        case _ if job is None:
            return None
        case Lowered(workflow=workflow):
            job.phase, job.workflow = "optimizing", workflow
        case Planned(plan=plan, at=at):
            job.begin(plan, at)
        case Replanned(plan=plan):
            job.rechoose(plan)
        case Extended(stage=stage, plan=longer, note=note):
            job.extend(stage, longer, note)
        case Counted(host=host, done=done):
            job.count(host, done.stage, done.index, done.attempt, done.instance, done.output, done.use)
        case Retried(stage=stage, index=index, attempt=attempt, error=error):
            job.retry((stage, index), attempt, error)
        case TakenOver():
            pass
        case Ended() as ended:
            job.ended, job.phase = ended, ended.status
    return job


def inputs_of(submit: SubmitJob) -> tuple[Any, ...]:
    """The job's inputs as `Video` values travel: `media` and `name`."""
    return tuple({"media": msgspec.to_builtins(i.media), "name": i.name} for i in submit.inputs)


def stage_reports(job: Job) -> list[StageReport]:
    """What each stage took, in the workflow's order; stages without a finished task are left out."""
    if job.run is None:
        return []
    by_stage: dict[str, list[TaskRecord]] = {}
    for record in job.records:
        by_stage.setdefault(record.stage, []).append(record)
    reports = []
    for name, run in job.run.stages.items():
        records = by_stage.get(name)
        if not records:
            continue
        units: dict[str, float] = {}
        for record in records:
            for unit, amount in record.use.units.items():
                units[unit] = units.get(unit, 0.0) + amount
        reports.append(
            StageReport(
                stage=name,
                agent=run.stage.agent,
                implementation=run.choice.implementation,
                hardware=run.choice.hardware,
                tasks=len(records),
                start_s=round(min(r.use.start for r in records) - job.at, 6),
                end_s=round(max(r.use.end for r in records) - job.at, 6),
                energy_wh=sum(r.use.energy_wh for r in records),
                cost_usd=sum(r.use.cost_usd for r in records),
                cpu_s=sum(r.use.cpu_s for r in records),
                attempts=sum(r.attempt for r in records),
                busy_s=round(sum(r.use.end - r.use.start for r in records), 6),
                units={unit: round(amount, 6) for unit, amount in units.items()},
                elements=sum(len(output) for output in run.output.values() if isinstance(output, list)) if run.stage.many else 0,
                moved=name in job.moved,
            )
        )
    return reports
