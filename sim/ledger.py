"""What must always hold, watched from outside: by what the server stores, settles and carries.

Nothing here asks an actor; so an actor that lies to itself is caught too. `broken` is the first promise that did not hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec.structs import replace

from ..actors.jobs import OBSERVE_MAX, Job, replay
from ..bus.ids import dotted
from ..bus.messages import (
    Counted,
    Ended,
    Extended,
    Index,
    JobAccepted,
    JobLog,
    JobResult,
    Lowered,
    Observed,
    Plan,
    Planned,
    Replanned,
    Retried,
    Submitted,
    TaskDone,
    TaskFailed,
    TaskReady,
    TaskResults,
)
from ..bus.wire import BadMessage, decode, encode
from .policy import RULE, answer_of, next_of
from .streams import Stored

TaskName = tuple[str, str, Index]
"""(job, stage, index)"""


class Broken(AssertionError):
    """A promise does not hold; the text says which, and how it came to it."""


@dataclass(slots=True)
class Known:
    """A job as its stored log says it is."""

    job: Job | None = None
    counted: set[tuple[str, Index]] = field(default_factory=set)
    records: int = 0
    results: int = 0
    result: JobResult | None = None
    released: dict[tuple[str, Index], int] = field(default_factory=dict)
    """The newest attempt of each task that was ever released."""
    pools: dict[str, set[str]] = field(default_factory=dict)
    """Every pool that a stage was ever to run in, by stage."""
    owed: set[tuple[str, Index]] = field(default_factory=set)
    """Tasks that were released to a pool that their stage has left: the log has to give up these attempts before anything else."""


@dataclass
class Ledger:
    """`early_release` lets tasks be released before the record that made them ready is stored (see docs/simulation.md)."""

    early_release: bool = False
    late_results: bool = False
    jobs: dict[str, Known] = field(default_factory=dict)
    accepted: set[str] = field(default_factory=set)
    reported: set[tuple[str, str, Index, int]] = field(default_factory=set)
    """(job, stage, index, attempt) of every result that was ever stored."""
    counts: dict[str, int] = field(default_factory=dict)
    serves: Callable[[str], bool] = lambda pool: False
    """Whether a pool is known to be served."""

    # --- what the server does ------------------------------------------------------------------------------------------------------

    def stored(self, stream: str, msg: Stored) -> None:
        self._count(f"stored {stream}")
        said = _read(msg)
        match said:
            case JobLog():
                self._logged(said)
            case JobResult():
                self._ended(said)
            case TaskReady():
                self._released(said)
            case TaskResults(results=results):
                for r in results:
                    self.reported.add((r.job, r.stage, r.index, r.attempt))

    def settled(self, stream: str, msg: Stored, refused: bool) -> None:
        self._count(f"settled {stream}")
        said = _read(msg)
        if refused:
            raise Broken(f"a {type(said).__name__} was refused: nothing here is unreadable")
        match said:
            case TaskReady():
                if (said.job, said.stage, said.index, said.attempt) not in self.reported:
                    raise Broken(f"{_task(said)} was settled before its result was stored")
            case TaskResults(results=results):
                for result in results:
                    self._has_effect(result)

    def replied(self, subject: str, data: bytes) -> None:
        try:
            said = decode(data)
        except BadMessage:
            return
        if isinstance(said, JobAccepted):
            known = self.jobs.get(said.job)
            if known is None or known.job is None:
                raise Broken(f"job {said.job} was accepted before its submission was stored")
            self.accepted.add(said.job)

    # --- promises --------------------------------------------------------------------------------------------------------------------

    def _logged(self, said: JobLog) -> None:
        known = self.jobs.setdefault(said.job, Known())
        for record in said.records:
            self._legal(said.job, known, record)
            try:
                known.job = replay(known.job, record)
            except Exception as error:  # whatever it is, a conductor that starts now would die of it
                raise Broken(f"the log of job {said.job} cannot be replayed: {type(record).__name__}: {error!r}") from error
            if known.job is not None and known.job.run is not None:
                for name in known.job.run.stages:
                    known.pools.setdefault(name, set()).add(known.job.pool_of(name))
            known.records += 1
            self._count(type(record).__name__)

    def _legal(self, name: str, known: Known, record: object) -> None:
        job, what = known.job, f"log of job {name}: {type(record).__name__}"
        if (job is None) != isinstance(record, Submitted):
            raise Broken(f"{what} as record {known.records}: a log starts with its submission, once")
        if job is None:
            return
        if job.ended is not None:
            raise Broken(f"{what} after the end")
        if known.owed:
            if not isinstance(record, Retried | Ended):
                raise Broken(
                    f"{what}: tasks that were released to a pool that their stage has left are not given up: {sorted(known.owed)[:3]}"
                )
            known.owed -= {(record.stage, record.index)} if isinstance(record, Retried) else known.owed
        match record:
            case Lowered() if job.phase != "planning":
                raise Broken(f"{what} while {job.phase}")
            case Planned() if job.phase != "optimizing":
                raise Broken(f"{what} while {job.phase}")
            case Counted(done=done):
                task = (done.stage, done.index)
                if task in known.counted:
                    raise Broken(f"{what}: task {done.stage} {dotted(done.index)} is counted twice")
                if not job.knows(task):
                    raise Broken(f"{what}: task {done.stage} {dotted(done.index)} was not ready")
                known.counted.add(task)
            case Retried(stage=stage, index=index, attempt=attempt):
                if not job.knows((stage, index)) or job.is_done((stage, index)):
                    raise Broken(f"{what}: task {stage} {dotted(index)} is not open")
                if attempt != job.attempt.get((stage, index), 1) + 1:
                    raise Broken(f"{what}: attempt {attempt} of {stage} {dotted(index)} follows {job.attempt.get((stage, index), 1)}")
            case Replanned(plan=plan):
                self._replanned_well(known, plan, what)
            case Extended(stage=stage):
                run = job.run.stages.get(stage) if job.run else None
                if run is None or not run.stage.observe or not run.complete:
                    raise Broken(f"{what}: stage {stage} has nothing to observe yet")
                if stage in job.observed:
                    raise Broken(f"{what}: the observation of {stage} is answered twice")
                _grown_well(job, record, what)
            case Ended(status="done") if job.run is None or not (job.run.finished or job.submit.explain):
                raise Broken(f"{what}: called done with open tasks")
            case Ended(status="done") if job.to_observe() and not job.submit.explain:
                raise Broken(f"{what}: called done before {job.to_observe()} was looked at")
            case Ended(status="failed", error=error) if "next step cannot run" in error:
                raise Broken(f"{what}: an answer for another workflow was taken: {error}")

    def _ended(self, said: JobResult) -> None:
        known = self.jobs.get(said.job)
        if known is None or known.job is None or known.job.ended is None:
            raise Broken(f"the result of job {said.job} was stored before its end was")
        known.results += 1
        if known.results > 1 and not self.late_results:
            raise Broken(f"job {said.job} has {known.results} results")
        result = known.job.result()
        if said not in (decode(encode(result)), decode(encode(_without_answer(result, said.error)))):
            raise Broken(f"the result of job {said.job} does not agree with its log")
        workflow = known.job.workflow
        if said.status == "done" and workflow is not None and workflow.rest == RULE and list(said.answer) != answer_of(workflow):
            raise Broken(f"the answer of job {said.job} is {said.answer}: it should be {answer_of(workflow)}")
        known.result = said

    def _released(self, said: TaskReady) -> None:
        known = self.jobs.get(said.job)
        job = known.job if known else None
        if self.early_release:
            return
        if job is None or not job.knows((said.stage, said.index)):
            raise Broken(f"{_task(said)} was released before the record that made it ready was stored")
        attempt = job.attempt.get((said.stage, said.index), 1)
        if said.attempt > attempt:
            raise Broken(f"{_task(said)} was released before its retry was stored")
        assert known is not None
        if said.pool not in ({job.pool_of(said.stage)} if said.attempt == attempt else known.pools[said.stage]):
            raise Broken(f"{_task(said)} was released to {said.pool}, and its choice is {job.pool_of(said.stage)}")
        known.released[(said.stage, said.index)] = max(said.attempt, known.released.get((said.stage, said.index), 0))

    def _replanned_well(self, known: Known, plan: Plan, what: str) -> None:
        """A stage that has started stays as it is, but for one whose pool is dead; of that, what was released is owed another attempt."""
        job = known.job
        if job is None or job.run is None or plan.workflow != job.run.plan.workflow:
            raise Broken(f"{what}: another workflow than the one that runs")
        for old, new in zip(job.run.plan.choices, plan.choices, strict=True):
            run, open_tasks = job.run.stages[old.stage], {t for t in known.released if t[0] == old.stage and not job.is_done(t)}
            if new == old:
                continue
            self._count("choices made again")
            if run.complete:
                raise Broken(f"{what}: stage {old.stage} is done, and is to be done in another way")
            if not run.output and not open_tasks:
                continue
            self._count("choices made again of stages that had started")
            if (new.implementation, new.hardware) == (old.implementation, old.hardware) or self.serves(job.pool_of(old.stage)):
                raise Broken(f"{what}: stage {old.stage} has started, and is to be done in another way")
            known.owed |= {t for t in open_tasks if known.released[t] == job.attempt.get(t, 1)}

    def _has_effect(self, result: TaskDone | TaskFailed) -> None:
        """Whether a result may be forgotten: its effect is stored, or it has none."""
        known = self.jobs.get(result.job)
        job = known.job if known else None
        task = (result.stage, result.index)
        if job is None or job.ended is not None or not job.knows(task) or job.is_done(task):
            if job is not None and job.ended is None and not job.knows(task):
                self._count("forgotten: its task was not known")
            return
        if isinstance(result, TaskFailed) and result.attempt < job.attempt.get(task, 1):
            return
        raise Broken(f"a result of {_task(result)} was settled before its effect was stored")

    # --- the end -----------------------------------------------------------------------------------------------------------------------

    def unfinished(self) -> list[str]:
        """Accepted jobs without a result, and jobs whose log has no end."""
        return sorted(
            {name for name in self.accepted if not self.jobs[name].results} | {n for n, k in self.jobs.items() if k.result is None}
        )

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1


def _without_answer(result: JobResult, error: str) -> JobResult:
    """What is told of a result that no message can hold."""
    if result.status == "done" and "does not fit into a message" in error:
        result = replace(result, status="failed", error=error)
    return replace(result, answer=(), plan=None, stages=())


def _grown_well(job: Job, said: Extended, what: str) -> None:
    """A workflow grows at its end, and, where the policy of the planner is known, by just what that says."""
    assert job.run is not None
    old, new = job.run.plan, said.plan or job.run.plan
    n = len(old.workflow.stages)
    if new.workflow.stages[:n] != old.workflow.stages or new.choices[:n] != old.choices:
        raise Broken(f"{what}: what there was has changed")
    if job.grown >= OBSERVE_MAX and said.plan is not None:
        raise Broken(f"{what}: it grows for the {job.grown + 1}th time")
    if old.workflow.rest != RULE:
        return
    output = job.run.stages[said.stage].output
    seen = Observed(
        tenant=job.tenant,
        job=job.name,
        description=job.submit.description,
        workflow=old.workflow,
        stage=said.stage,
        results=tuple(output[i] for i in sorted(output)),
    )
    due = next_of(seen)
    if (new.workflow.stages[n:], new.workflow.answer) != (due.stages, due.answer or old.workflow.answer):
        names = [s.name for s in new.workflow.stages[n:]]
        raise Broken(f"{what}: after {said.stage} come {names}: it should be {[s.name for s in due.stages]}")


def _read(msg: Stored) -> object:
    return decode(msg.data)


def _task(said: TaskReady | TaskDone | TaskFailed) -> str:
    return f"task {said.job}/{said.stage}/{dotted(said.index)}/{said.attempt}"
