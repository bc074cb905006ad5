"""A plan is made again while its job runs, on a real system: the host that it counted on is killed, or is to be taken away."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from commands import murakkab
from toys import fan

from murakkab.bus.messages import JobProgress, JobResult, SubmitJob
from murakkab.client.session import Session
from murakkab.client.system import System

pytestmark = [pytest.mark.live, pytest.mark.anyio]

TASKS = 200


class Hosts:
    """Workers of their own beside a system's control actors."""

    def __init__(self, system: System, folder: Path) -> None:
        self.system, self.folder = system, folder
        self.running: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, host: str, market: str) -> None:
        env = {**self.system.env, "MURAKKAB_MARKET": market, "MURAKKAB_REVOCATION_FILE": str(self.folder / f"{host}.notice")}
        argv = [sys.executable, "-m", "murakkab.client.cli", "worker", "--nats", self.system.url, "--host", host]
        with (self.folder / f"{host}.log").open("ab") as log:
            self.running[host] = await asyncio.create_subprocess_exec(
                *argv, "--data", str(self.folder / host), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env=env
            )

    def kill(self, host: str) -> None:
        self.running[host].kill()

    async def stop(self) -> None:
        for process in self.running.values():
            if process.returncode is None:
                process.terminate()
        await asyncio.gather(*(p.wait() for p in self.running.values()))


@pytest.fixture
async def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anyio_backend: str) -> AsyncIterator[System]:
    monkeypatch.setenv("MURAKKAB_HOME", str(tmp_path))
    monkeypatch.delenv("NATS_URL", raising=False)
    system = System(tmp_path / "system", processes=("conductor", "planner", "optimizer", "clustermgr"))
    async with system:
        monkeypatch.setenv("MURAKKAB_CREDENTIALS", system.env["MURAKKAB_CREDENTIALS"])
        yield system


@pytest.fixture
async def hosts(control: System, tmp_path: Path) -> AsyncIterator[Hosts]:
    found = Hosts(control, tmp_path)
    try:
        yield found
    finally:
        await found.stop()


@pytest.mark.parametrize("how", ["killed", "revoked"])
async def test_what_has_not_started_goes_where_it_still_can(control: System, hosts: Hosts, tmp_path: Path, how: str) -> None:
    """The spot host is cheaper, so all stages are planned there; it goes while the second one runs."""
    await hosts.start("cheap", "spot")
    session = await Session.open(control.url)
    try:
        await session.submit(SubmitJob(tenant="default", description="", workflow=fan(TASKS, 2_000), job="job", constraints=("MIN_COST",)))
        result = None
        async with asyncio.timeout(120):
            async for news in session.follow("job"):
                if isinstance(news, JobResult):
                    result = news
                    break
                done = sum(s.done for s in news.stages if s.stage == "wait") if isinstance(news, JobProgress) else 0
                if done and len(hosts.running) == 1:
                    await hosts.start("sure", "on-demand")
                    if how == "killed":
                        hosts.kill("cheap")
                    else:
                        (tmp_path / "cheap.notice").write_text("60")
    finally:
        await session.close()
    assert result is not None
    assert (result.status, result.error) == ("done", "")
    stages = {s.stage: s for s in result.stages}
    assert (stages["spread"].hardware, stages["gather"].hardware) == ("cpu-spot", "cpu")
    assert stages["wait"].tasks == TASKS, "every task counts once"

    trace = murakkab("trace", "job", "--nats", control.url, "--json", env=control.env)
    assert trace.returncode == 0, trace.stderr
    told = json.loads(trace.stdout)
    assert len(told["tasks"]) == TASKS + 2
    assert len({(t["stage"], tuple(t["index"])) for t in told["tasks"]}) == TASKS + 2
    assert {t["host"] for t in told["tasks"]} == {"cheap", "sure"}
    changes = told["changes"]
    assert changes, "the plan was changed"
    assert any("gather" in stage and "cpu-spot → " in stage for change in changes for stage in change["stages"])
    assert all(change["why"] for change in changes)
    shown = murakkab("trace", "job", "--nats", control.url, env=control.env)
    assert f"changed  at t={changes[0]['at_s']:.2f} s because {changes[0]['why']}" in shown.stdout
    gone = "revoked" if how == "revoked" else "cheap"
    assert any(gone in change["why"] for change in changes), [change["why"] for change in changes]
