"""The Python API: say what you want, get the answer with what it cost.

    from murakkab import Job, MIN_COST
    result = Job(description="List objects shown/mentioned in the videos", inputs=["cats.mp4"], constraints=MIN_COST).execute()

`execute` blocks; `run` is its async form; `start` gives a `JobHandle` with progress events and cancellation.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..bus import tracing
from ..bus.messages import Input, JobProgress, JobResult, SubmitJob, Workflow
from ..bus.roles import CREDENTIALS
from .constraints import MIN_COST
from .session import BadRequest, Session, check_input


class JobFailed(RuntimeError):
    """The job was accepted and did not reach its end; `result` has what is known."""

    def __init__(self, result: JobResult) -> None:
        super().__init__(result.error)
        self.result = result


@dataclass(frozen=True)
class Result:
    """The answer and what it took. Energy in watt-hours, cost in US dollars, each with how it was obtained."""

    job: str
    answer: list[Any]
    time_s: float
    planning_s: float
    energy_wh: float
    energy_how: str
    cost_usd: float
    cost_how: str
    message: JobResult


@dataclass(frozen=True)
class Job:
    """A request. `inputs` are paths; `tasks` are hints, one a step; `constraints` one goal or a priority list.

    Plans within 5 % of the best by one goal count as equal, and the next decides; `MIN_COST.within(0.1)` says another tolerance.
    """

    description: str
    inputs: Sequence[str | os.PathLike[str]] = ()
    tasks: Sequence[str] = ()
    constraints: str | Sequence[str] = MIN_COST
    deadline_s: float | None = None
    quality_floor: float | None = None
    budget_usd: float | None = None
    workflow: Workflow | None = field(default=None, repr=False)
    explain: bool = False
    """Only plan it: `Result.message.plan` has the plan, and nothing runs."""
    energy_budget_wh: float | None = None

    def execute(self, nats: str = "") -> Result:
        """Runs the job to its end. Uses `nats` or NATS_URL, else starts an embedded system and stops it after.

        Raises BadRequest (a ValueError), JobFailed, Unreachable (a ConnectionError).
        """
        return asyncio.run(self.run(nats))

    async def run(self, nats: str = "") -> Result:
        """As `execute`, inside an event loop."""
        async with self.start(nats) as handle:
            return await handle.result()

    @contextlib.asynccontextmanager
    async def start(self, nats: str = "") -> AsyncIterator[JobHandle]:
        """The submitted job, while the block lasts."""
        for path in self.inputs:
            check_input(Path(path))
        async with system(nats) as url:
            session = await Session.open(url)
            try:
                tracing.setup("client")
                with tracing.span("murakkab: job", kind="producer", attributes={"murakkab.description": self.description[:200]}) as trace:
                    name = await session.submit(await self._message(session, trace))
                    yield JobHandle(session, name)
            finally:
                await session.close()
                tracing.shutdown()

    async def _message(self, session: Session, trace: str) -> SubmitJob:
        inputs = tuple([await session.upload(Path(path)) for path in self.inputs])
        return self.message(session.tenant, inputs, secrets.token_hex(6), trace)

    def message(self, tenant: str, inputs: tuple[Input, ...], job: str = "", trace: str = "") -> SubmitJob:
        """The job as it is submitted, with `inputs` in place of the paths."""
        goals = (self.constraints,) if isinstance(self.constraints, str) else self.constraints
        return SubmitJob(
            tenant=tenant,
            description=self.description,
            inputs=inputs,
            tasks=tuple(self.tasks),
            constraints=tuple(str(goal) for goal in goals),  # plain ones: no message holds a subclass of str
            job=job,
            workflow=self.workflow,
            deadline_s=self.deadline_s,
            quality_floor=self.quality_floor,
            budget_usd=self.budget_usd,
            energy_budget_wh=self.energy_budget_wh,
            explain=self.explain,
            traceparent=trace,
        )


@dataclass
class JobHandle:
    """A submitted job."""

    session: Session
    job: str
    _end: JobResult | None = None

    async def events(self) -> AsyncIterator[JobProgress]:
        """Progress until the job ends; then `result` returns at once."""
        async for news in self.session.follow(self.job):
            if isinstance(news, JobResult):
                self._end = news
                return
            yield news

    async def result(self) -> Result:
        """Waits for the end. Raises JobFailed for a job that failed or was cancelled."""
        if self._end is None:
            async for _ in self.events():
                pass
        end = self._end
        if end is None:
            raise BadRequest(f"nothing is known of job {self.job}")
        if end.status != "done":
            raise JobFailed(end)
        with tempfile.TemporaryDirectory() as folder:
            answer = [await self.session.unspill(part, Path(folder)) for part in end.answer]
        return Result(
            self.job, answer, end.time_s, end.planning_s, end.energy_wh.value, end.energy_wh.how, end.cost_usd.value, end.cost_usd.how, end
        )

    async def cancel(self) -> None:
        """Raises BadRequest if it has ended already."""
        await self.session.cancel(self.job)


@contextlib.asynccontextmanager
async def system(nats: str = "", data: str | os.PathLike[str] | None = None) -> AsyncIterator[str]:
    """The address of a running system: the one that is named, else an embedded one that lives as long as the block."""
    url = nats or os.environ.get("NATS_URL", "")
    if url:
        yield url
        return
    from .system import System, free_folder

    lock = -1
    if data is None:
        data, lock = free_folder(os.environ)
    embedded = System(Path(data))
    before = os.environ.get(CREDENTIALS)
    try:
        async with embedded as started:
            os.environ[CREDENTIALS] = embedded.env[CREDENTIALS]
            yield started
    finally:
        if before is None:
            os.environ.pop(CREDENTIALS, None)
        else:
            os.environ[CREDENTIALS] = before
        if lock >= 0:
            os.close(lock)
