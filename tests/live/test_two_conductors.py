"""There is one conductor at a time; a second one stands by and takes over, in the middle of a job, when the first is gone."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from toys import fan

from murakkab.bus.messages import Counted, JobProgress, JobResult, SubmitJob
from murakkab.client.session import Session
from murakkab.client.system import System

pytestmark = [pytest.mark.live, pytest.mark.anyio]


@pytest.fixture
async def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anyio_backend: str) -> AsyncIterator[System]:
    """A system without a conductor; the test starts its own."""
    monkeypatch.setenv("MURAKKAB_HOME", str(tmp_path))
    monkeypatch.setenv("MURAKKAB_LEASE_S", "2")
    monkeypatch.delenv("NATS_URL", raising=False)
    system = System(tmp_path / "system", processes=("planner", "optimizer", "clustermgr", "worker"))
    async with system:
        monkeypatch.setenv("MURAKKAB_CREDENTIALS", system.env["MURAKKAB_CREDENTIALS"])
        yield system


def _conductor(system: System, data: Path) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "murakkab.client.cli", "conductor", "--nats", system.url, "--data", str(data)]
    data.mkdir(exist_ok=True)
    with (data / "log").open("ab") as log:
        return subprocess.Popen(argv, env=system.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


@pytest.mark.parametrize(("number", "same_folder"), [(signal.SIGKILL, False), (signal.SIGTERM, False), (signal.SIGKILL, True)])
async def test_the_second_takes_over(alone: System, tmp_path: Path, number: signal.Signals, same_folder: bool) -> None:
    folders = [tmp_path / "one", tmp_path / ("one" if same_folder else "two")]
    processes = [_conductor(alone, folders[0])]
    session = await Session.open(alone.url)
    try:
        async with asyncio.timeout(60):
            job = await session.submit(SubmitJob(tenant="default", description="", workflow=fan(40, 250), job="handed-over"))
            processes.append(_conductor(alone, folders[1]))
            async for news in session.follow(job):
                if isinstance(news, JobProgress) and sum(s.done for s in news.stages) >= 5:
                    break
                assert not isinstance(news, JobResult), "the job ended before its conductor did"
            while "standing by" not in (folders[1] / "log").read_text():
                await asyncio.sleep(0.05)
            os.kill(processes[0].pid, number)
            results = [n async for n in session.follow(job) if isinstance(n, JobResult)]
        assert [(r.status, r.error) for r in results] == [("done", "")]
        records = [r for log in await session.log_of(job) for r in log.records]
        assert set(Counter((r.done.stage, r.done.index) for r in records if isinstance(r, Counted)).values()) == {1}
        assert processes[1].poll() is None
    finally:
        await session.close()
        for process in processes:
            process.kill()
            process.wait()
