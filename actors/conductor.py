"""The conductor: which ready task is released next, retries, deadlines, and when a job is done.

It alone writes a job's log, and it is nothing but what the logs say: `Replayed` events rebuild it after a crash. Every
effect is written before anybody is told of it, and a queued result is settled only once its effect is stored.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import ClassVar

from msgspec.structs import replace

from ..bus.messages import (
    CancelJob,
    Counted,
    HostHeartbeat,
    JobAccepted,
    JobList,
    JobLog,
    JobProgress,
    JobRefused,
    JobResult,
    LibraryOffered,
    ListJobs,
    MakePlan,
    Message,
    Observed,
    PlanMade,
    PlanRefused,
    PlansStale,
    Record,
    Retried,
    SubmitJob,
    Submitted,
    TakenOver,
    TaskDone,
    TaskFailed,
    TaskReady,
    TaskResults,
    WorkflowExtended,
    WorkflowMade,
    WorkflowRefused,
)
from ..clustermgr.suspects import plausible
from ..planner.request import refusal
from .admission import Admission
from .core import ActorBug, Command, Event, Heard, Outcome, Replayed, Reply, Resumed, Send, Settle, Wake, Woke, Write
from .jobs import Job, replay
from .planning import ask_key
from .replanning import HOST_SILENT_S
from .run import Task

SWEEP_EVERY_S = 2.0
ATTEMPTS_MAX = 3
LISTED_MAX = 200
"""Running jobs in one answer, so that it fits into a message."""
GRACE_S = 30.0
"""Added to a task's own time limit before the conductor gives its attempt up; workers give up first."""
LOAD_PATIENCE_S = 60.0
"""A stage whose instances did nothing but fail for so long fails its job with their reason; workers start them again meanwhile."""
_ID = re.compile(r"[A-Za-z0-9_-]{1,80}")


class Conductor(Admission):
    """All jobs. `Admission` says when a job's turn comes, `Planning` how it comes to its plan, `Replanning` how to another one, `Running`
    how its tasks are released and how it ends."""

    role: ClassVar[str] = "conductor"
    hears: ClassVar[tuple[type[Message], ...]] = (
        SubmitJob,
        CancelJob,
        ListJobs,
        WorkflowMade,
        WorkflowRefused,
        WorkflowExtended,
        PlanMade,
        PlanRefused,
        PlansStale,
        HostHeartbeat,
        LibraryOffered,
    )
    replays: ClassVar[tuple[type[Message], ...]] = (JobLog, JobResult, LibraryOffered)
    works: ClassVar[tuple[type[Message], ...]] = (TaskResults,)

    def on(self, event: Event, now: float) -> Iterable[Command]:
        match event:
            case Heard(msg=TaskResults() as msg, key=key):
                return self._results(msg, key, now)
            case Heard(msg=HostHeartbeat() as msg):
                self.state.pools.beat(plausible(msg, now), now)
                return self._release(now)
            case Heard(msg=SubmitJob() as msg, key=key):
                return self._submit(msg, key, now)
            case Heard(msg=CancelJob() as msg, key=key):
                return self._cancel(msg, key, now)
            case Heard(msg=ListJobs(tenant=tenant), key=key):
                return [Reply(key, self._list(tenant))]
            case Heard(msg=LibraryOffered() as msg):
                return self._offered(msg, now)
            case Replayed(msg=LibraryOffered() as msg):
                self.shelf.offered(msg)
                return ()
            case Heard(msg=(WorkflowMade() | WorkflowRefused() | WorkflowExtended() | PlanMade() | PlanRefused()) as msg):
                return self._planned(msg, now)
            case Heard(msg=PlansStale(why=why)):
                return self._stale(why, now)
            case Woke(key=key):
                return self._woke(key, now)
            case Replayed(msg=JobLog() as log):
                self._replay(log)
                return ()
            case Replayed(msg=JobResult(job=name)):  # told already; a second time would be a second result
                self.state.unsent.pop(name, None)
                return ()
            case Resumed():
                return self._resume(now)
            case Outcome(errand=errand, error=error) if error:
                return self._too_large(getattr(errand, "msg", None), error, now)
        return ()

    def check(self) -> None:
        super().check()
        for name, job in self.state.jobs.items():
            if job.ended is not None:
                raise ActorBug(f"job {name} has ended and is still among the running")
            if job.run is not None:
                job.run.check()
                for task in job.released:
                    if job.is_done(task):
                        raise ActorBug(f"job {name}: task {task} is done and still released")
        self.state.pools.check({name: job.released for name, job in self.state.jobs.items()})
        for pool, (name, task) in self.state.pools.held():
            if self.state.jobs[name].pool_of(task[0]) != pool:
                raise ActorBug(f"job {name}: task {task} is in pool {pool} and should be in {self.state.jobs[name].pool_of(task[0])}")
        if gone := (self.state.stale.keys() | self.state.asked.keys()) - self.state.jobs.keys():
            raise ActorBug(f"plans of jobs that do not run are to be made again: {sorted(gone)[:3]}")

    # --- submission, cancellation ---------------------------------------------------------------------------------------------

    def _submit(self, msg: SubmitJob, key: str, now: float) -> Iterator[Command]:
        name = msg.job or _job_id(msg, key, now)
        if not _ID.fullmatch(name):
            yield Reply(key, JobRefused(error=f"job id '{name[:80]}' is not made of 1 to 80 letters, digits, '-' and '_'"))
            return
        known = self.state.jobs.get(name)
        tenant = known.tenant if known else self.state.ended.get(name)
        if tenant is not None:
            if tenant == msg.tenant:
                yield Reply(key, JobAccepted(tenant=tenant, job=name), after_records=name)
            else:
                yield Reply(key, JobRefused(error=f"job id '{name}' is taken"))
            return
        if problem := refusal(msg):
            yield Reply(key, JobRefused(error=problem))
            return
        if full := self._no_room(msg, now):
            yield Reply(key, JobRefused(error=full))
            return
        job = Job(replace(msg, job=name), now)
        self.state.jobs[name] = job
        yield Write(msg.tenant, name, Submitted(job.submit, now))
        yield Reply(key, JobAccepted(tenant=msg.tenant, job=name), after_records=name)
        yield from self._queue_up(job, now)
        if msg.deadline_s is not None:
            yield Wake(msg.deadline_s, f"deadline:{name}")

    def _list(self, tenant: str) -> JobList:
        """Those that run first; no more of them than an answer holds."""
        mine = sorted((j for j in self.state.jobs.values() if j.tenant == tenant), key=lambda j: j.queued)
        return JobList(jobs=tuple(j.progress() for j in mine[:LISTED_MAX]), more=max(0, len(mine) - LISTED_MAX))

    def _cancel(self, msg: CancelJob, key: str, now: float) -> Iterator[Command]:
        job = self.state.jobs.get(msg.job)
        if job is None or job.tenant != msg.tenant:
            over = self.state.ended.get(msg.job) == msg.tenant
            yield Reply(key, JobRefused(error=f"job {msg.job} " + ("has ended already" if over else "is not known here")))
            return
        yield from self._end(job, "cancelled", "cancelled by its tenant", now)
        yield Reply(key, JobAccepted(tenant=msg.tenant, job=msg.job), after_records=msg.job)

    # --- tasks ----------------------------------------------------------------------------------------------------------------

    def _results(self, msg: TaskResults, key: str, now: float) -> Iterator[Command]:
        """Counts each result once. The message is settled when every record that it causes is stored."""
        writes: list[tuple[Job, Record]] = []
        touched: dict[str, Job] = {}
        ends: dict[str, tuple[Job, str]] = {}
        for result in msg.results:
            job = self.state.jobs.get(result.job)
            task = (result.stage, result.index)
            if job is None or not job.knows(task) or job.is_done(task):
                continue
            touched[job.name] = job
            match result:
                case TaskDone():
                    problem = self._count(job, msg.host, result, now)
                    if problem:
                        ends.setdefault(job.name, (job, problem))
                    else:
                        writes.append((job, Counted(msg.host, result)))
                case TaskFailed() if result.attempt == job.attempt.get(task, 1):
                    if result.bad_input or job.tries(task) >= ATTEMPTS_MAX:
                        ends.setdefault(job.name, (job, _blame(result, job.tries(task))))
                    else:
                        writes.append((job, self._retry(job, task, result.error)))
        for job, record in writes:
            yield Write(job.tenant, job.name, record, settles=(key,))
        for job, problem in ends.values():
            yield from self._end(job, "failed", problem, now, settles=(key,))
        # what counted before, or belongs to an ended job, may still be on its way to the log
        yield Settle((key,), after_records=tuple(dict.fromkeys(r.job for r in msg.results)))
        yield from self._release(now)
        for job in touched.values():
            if job.ended is None:
                yield from self._progress(job)
                yield from self._go_on(job, now)

    def _count(self, job: Job, host: str, result: TaskDone, now: float) -> str:
        """Returns what is wrong with the output, if anything is."""
        assert job.run is not None
        task = (result.stage, result.index)
        if job.run.stages[result.stage].stage.many and not isinstance(result.output, list | tuple):
            return f"stage {result.stage} was to give a list and gave {type(result.output).__name__}"
        self.state.pools.done(job.pool_of(result.stage), job.name, task, result.use.end - result.use.start)
        self.shares.of(job.tenant).spent.add(result.use.cost_usd, now)
        for ready in job.count(host, result.stage, result.index, result.attempt, result.instance, result.output, result.use):
            self._enqueue(job, ready)
        return ""

    def _retry(self, job: Job, task: Task, error: str) -> Retried:
        attempt = job.attempt.get(task, 1) + 1
        job.retry(task, attempt, error)
        job.released.pop(task, None)
        self.state.pools.done(job.pool_of(task[0]), job.name, task)
        self._enqueue(job, task)
        return Retried(task[0], task[1], attempt, error)

    def _too_large(self, msg: object, error: str, now: float) -> Iterator[Command]:
        if isinstance(msg, JobResult):
            if msg.answer or msg.plan is not None:  # the client waits for an end, and gets one
                status = "failed" if msg.status == "done" else msg.status
                yield Send(replace(msg, status=status, error=msg.error or error, answer=(), plan=None, stages=()))
            return
        job = self.state.jobs.get(getattr(msg, "job", ""))
        if isinstance(msg, MakePlan) and msg.again:
            return  # its plan is good, if no longer the best
        if job is not None and not isinstance(msg, JobProgress):
            where = f"stage {msg.stage}: " if isinstance(msg, TaskReady | Observed) else ""
            yield from self._end(job, "failed", f"{where}{error}", now)

    # --- time -----------------------------------------------------------------------------------------------------------------

    def _woke(self, key: str, now: float) -> Iterator[Command]:
        what, _, name = key.partition(":")
        job = self.state.jobs.get(name)
        match what:
            case _ if job is not None and job.asking and key == ask_key(job):
                yield from self._ask(job, now)
            case "progress" if job is not None:
                job.progress_due = False
                yield Send(job.progress())
            case "deadline" if job is not None:
                limit = job.submit.deadline_s
                yield from self._end(job, "failed", f"not done within its deadline of {limit:g} s", now)
            case "replan":
                self.state.replan_due = False
                yield from self._ask_again(now)
            case "sweep":
                yield from self._sweep(now)
                yield Wake(SWEEP_EVERY_S, "sweep")

    def _sweep(self, now: float) -> Iterator[Command]:
        """Gives up attempts of which nothing was heard for too long, whatever became of them."""
        self.state.pools.forget_silent(now - HOST_SILENT_S)
        for job in list(self.state.jobs.values()):
            if job.run is None:
                continue
            if problem := self._ill(job, now - LOAD_PATIENCE_S):
                yield from self._end(job, "failed", problem, now)
                continue
            job.note = self._ill(job, now) or self._look_for_lost(job, now)
            for task, since in list(job.released.items()):
                limit = job.run.stages[task[0]].choice.timeout_s
                if now - since <= limit + GRACE_S or not self.state.pools.has_slots(job.pool_of(task[0])):
                    continue
                error = f"nothing was heard of it for {now - since:.0f} s"
                if job.tries(task) >= ATTEMPTS_MAX:
                    yield from self._end(job, "failed", f"stage {task[0]}, task {task[1]}: {error}", now)
                    break
                yield Write(job.tenant, job.name, self._retry(job, task, error))
            if job.ended is None and job.released:
                yield from self._progress(job)
        yield from self._ask_again(now)
        yield from self._look_at_tenants(now)
        yield from self._release(now)

    def _ill(self, job: Job, since: float) -> str:
        """Why a stage that has something to do can be run by nobody, if that has been so since then."""
        for stage in dict.fromkeys(stage for stage, _ in job.released):
            if reason := self.state.pools.why_ill(job.pool_of(stage), since):
                return f"stage {stage}: {reason}"
        return ""

    # --- replay ---------------------------------------------------------------------------------------------------------------

    def _replay(self, log: JobLog) -> None:
        for record in log.records:
            job = replay(self.state.jobs.get(log.job), record)
            if job is None:
                continue
            self.state.jobs[log.job] = job
            if isinstance(record, Counted):
                self.shares.of(job.tenant).spent.add(record.done.use.cost_usd, record.done.use.end)
            if job.ended is not None:
                self._close(job, job.ended)
                self.state.unsent[log.job] = job

    def _resume(self, now: float) -> Iterator[Command]:
        """After a replay: everything that was under way is asked for again, under the same ids, once each log is closed to who wrote it before.

        Also after every reconnect, where all of it is under way already and only the asking may have been lost.
        """
        first, self.state.live, self.state.live_at = not self.state.live, True, now
        if not first:
            return
        for job in self.state.unsent.values():  # perhaps on its way to the stream before the crash; the id makes it once
            yield from self._tell(job)
        self.state.unsent.clear()
        for job in sorted(self.state.jobs.values(), key=lambda j: j.at):
            if job.submit.deadline_s is not None:
                yield Wake(max(0.0, job.at + job.submit.deadline_s - now), f"deadline:{job.name}")
            if job.run is None:
                self._wait(job)
                continue
            if not job.submit.explain:  # before anything is released by what the log says
                yield Write(job.tenant, job.name, TakenOver(now))
            self._goes_on(job)
            for task, waits in job.run.tasks():
                if not waits and not job.is_done(task):
                    self._enqueue(job, task)
                    job.started.add(task[0])  # whoever wrote this log may have released it
                    job.inherited.add(task[0])
        for job in list(self.state.jobs.values()):
            if job.run is not None and job.submit.explain:
                yield from self._end(job, "done", "", now)
            elif job.run is not None:
                yield from self._go_on(job, now)
        yield from self._release(now)
        yield Wake(SWEEP_EVERY_S, "sweep")


def _job_id(msg: SubmitJob, key: str, now: float) -> str:
    """A job id for a client that chose none; from what is unique about the request, since an actor has no dice."""
    return hashlib.sha256(f"{msg.tenant}\n{key}\n{now!r}\n{msg.description}".encode()).hexdigest()[:16]


def _blame(failed: TaskFailed, tries: int) -> str:
    return failed.error if failed.bad_input else f"stage {failed.stage}: {failed.error} (attempt {tries} of {ATTEMPTS_MAX})"
