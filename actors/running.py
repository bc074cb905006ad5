"""What every running job has in common: its tasks wait in pools, its progress is told, and it ends once. Base of the conductor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from ..bus.messages import Ended, Indexed, TaskReady
from .core import Command, Send, Wake, Write
from .jobs import Job
from .pools import Pools
from .run import Task

PROGRESS_EVERY_S = 0.2
INLINE_MAX = 1_000
"""Bytes of an output that travel in messages; so that a stage that gathers some hundred of them fits into one message."""
ANSWER_INLINE_MAX = 100_000
"""Likewise for what is the job's answer, which a client without our library should find in the result, and for what is observed."""
REMEMBERED = 10_000
"""Ended jobs whose names are kept, so that a submission that is sent again starts nothing twice."""

Status = Literal["done", "failed", "cancelled"]


@dataclass(slots=True)
class State:
    """All that the conductor knows. `check` holds after every event."""

    jobs: dict[str, Job] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    """Ended job to its tenant, newest last."""
    pools: Pools = field(default_factory=Pools)
    unsent: dict[str, Job] = field(default_factory=dict)
    """While replaying: ended jobs whose result has not been seen in the stream."""
    live: bool = False
    live_at: float = 0.0
    """When it was connected last; hosts are known some seconds later."""
    stale: dict[str, str] = field(default_factory=dict)
    """Jobs whose plan is to be made again, first come first: job to why."""
    asked: dict[str, tuple[float, str]] = field(default_factory=dict)
    """Those that the optimizer has been asked about: job to (since, why)."""
    replan_due: bool = False


class Running:
    """Tasks to pools, news to people, and the end."""

    def __init__(self) -> None:
        self.state = State()

    def _enqueue(self, job: Job, task: Task) -> None:
        self.state.pools.enqueue(job.pool_of(task[0]), job.tenant, job.name, task)

    def _release(self, now: float) -> Iterator[Command]:
        for pool, name, (stage, index) in self.state.pools.release():
            job = self.state.jobs[name]
            assert job.run is not None
            run = job.run.stages[stage]
            job.released[(stage, index)] = now
            job.started.add(stage)
            yield Send(
                TaskReady(
                    pool=pool,
                    tenant=job.tenant,
                    job=name,
                    stage=stage,
                    index=index,
                    attempt=job.attempt.get((stage, index), 1),
                    agent=run.stage.agent,
                    implementation=run.choice.implementation,
                    inputs=job.run.inputs_of(stage, index),
                    args=run.stage.args,
                    timeout_s=run.choice.timeout_s,
                    inline_max=ANSWER_INLINE_MAX if run.stage.observe or stage in job.run.plan.workflow.answer else INLINE_MAX,
                ),
                after_records=name,
                trace=job.submit.traceparent,
            )

    def _progress(self, job: Job) -> Iterator[Command]:
        if not job.progress_due:
            job.progress_due = True
            yield Wake(PROGRESS_EVERY_S, f"progress:{job.name}")

    def _end(
        self, job: Job, status: Status, error: str, now: float, settles: tuple[str, ...] = (), infeasible: bool = False
    ) -> Iterator[Command]:
        ended = Ended(status, error, now, infeasible)
        self._close(job, ended)
        yield Write(job.tenant, job.name, ended, settles=settles)
        yield from self._tell(job)
        yield from self._release(now)

    def _close(self, job: Job, ended: Ended) -> None:
        job.ended, job.phase = ended, ended.status
        self.state.pools.drop(job.name)
        self.state.stale.pop(job.name, None)
        self.state.asked.pop(job.name, None)
        del self.state.jobs[job.name]
        self.state.ended[job.name] = job.tenant
        while len(self.state.ended) > REMEMBERED:
            del self.state.ended[next(iter(self.state.ended))]

    def _tell(self, job: Job) -> Iterator[Command]:
        """The result, and what became known by it; after the log, so that nothing is told that could be undone."""
        for index in _indexes(job):
            yield Send(index, after_records=job.name, trace=job.submit.traceparent)
        yield Send(job.progress(), after_records=job.name)
        yield Send(job.result(), after_records=job.name, trace=job.submit.traceparent)


def _indexes(job: Job) -> list[Indexed]:
    """The vector indexes that a job made, one message a video."""
    if job.run is None or job.ended is None or job.ended.status != "done":
        return []
    found = []
    for run in job.run.stages.values():
        if run.stage.agent == "VectorIndexer" and not run.stage.args.get("partial"):
            for output in run.output.values():
                if isinstance(output, dict) and "media_hash" in output:
                    found.append(Indexed(tenant=job.tenant, media_hash=output["media_hash"], index=output))
    return found
