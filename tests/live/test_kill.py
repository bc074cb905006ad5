"""kill -9 of every process in the middle of a job: the job finishes, each effect counts once, and the client gets one answer."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter

import psutil
import pytest
from toys import fan

from murakkab.bus.messages import Counted, Ended, JobLog, JobProgress, JobResult, SubmitJob, Submitted
from murakkab.client.session import Session
from murakkab.client.system import PROCESSES, System

pytestmark = [pytest.mark.live, pytest.mark.anyio]

TASKS = 40


async def _submit(session: Session) -> str:
    job = SubmitJob(tenant="default", description="", workflow=fan(TASKS, 250), job="killed")
    assert await session.submit(job) == "killed"
    return "killed"


async def _half_way(session: Session, job: str) -> None:
    async for news in session.follow(job):
        if isinstance(news, JobProgress) and sum(s.done for s in news.stages) >= 5:
            return
        assert not isinstance(news, JobResult), "the job ended before anything was killed"


async def _assert_one_answer(session: Session, job: str) -> None:
    results = [news async for news in session.follow(job) if isinstance(news, JobResult)]
    assert [(r.status, r.error) for r in results] == [("done", "")]
    logs: list[JobLog] = await session.log_of(job)
    records = [r for log in logs for r in log.records]
    counted = Counter((r.done.stage, r.done.index) for r in records if isinstance(r, Counted))
    assert set(counted.values()) == {1}
    assert len(counted) == TASKS + 2
    assert sum(isinstance(r, Submitted) for r in records) == 1
    assert sum(isinstance(r, Ended) for r in records) == 1


@pytest.mark.parametrize("role", PROCESSES)
async def test_an_actor_is_killed(live: System, session: Session, role: str) -> None:
    job = await _submit(session)
    await _half_way(session, job)
    pid = live.pids[role]
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(60):
        await _assert_one_answer(session, job)
    async with asyncio.timeout(10):
        while live.pids[role] == pid:
            await asyncio.sleep(0.05)


async def test_a_model_process_is_killed(live: System, session: Session) -> None:
    job = await _submit(session)
    await _half_way(session, job)
    killed = []
    for child in psutil.Process(live.pids["worker"]).children(recursive=True):
        if "murakkab.agents.instance" in " ".join(child.cmdline()):
            child.kill()
            killed.append(child.pid)
    assert killed, "there was no model process to kill"
    async with asyncio.timeout(60):
        await _assert_one_answer(session, job)
    assert psutil.pid_exists(live.pids["worker"])


async def test_the_nats_server_is_killed(live: System, session: Session) -> None:
    job = await _submit(session)
    await _half_way(session, job)
    assert live.server is not None
    live.server.kill()
    async with asyncio.timeout(60):
        await _assert_one_answer(session, job)


async def test_everything_is_killed_at_once(live: System, session: Session) -> None:
    job = await _submit(session)
    await _half_way(session, job)
    assert live.server is not None
    for pid in live.pids.values():
        os.kill(pid, signal.SIGKILL)
    live.server.kill()
    async with asyncio.timeout(90):
        await _assert_one_answer(session, job)
