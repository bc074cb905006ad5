"""A worker on a spot machine: its class is on offer and does a job, and once the machine is to be taken away it takes nothing more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from toys import fan

from murakkab.bus.messages import HostHeartbeat, JobProgress, JobResult, SubmitJob
from murakkab.client.session import Session
from murakkab.client.system import System

pytestmark = [pytest.mark.live, pytest.mark.anyio]


@pytest.fixture
async def spot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anyio_backend: str) -> AsyncIterator[System]:
    monkeypatch.setenv("MURAKKAB_HOME", str(tmp_path))
    monkeypatch.delenv("NATS_URL", raising=False)
    with monkeypatch.context() as its_owner:
        its_owner.setenv("MURAKKAB_MARKET", "spot")
        its_owner.setenv("MURAKKAB_USD_PER_HOUR", "0.11")
        its_owner.setenv("MURAKKAB_REVOCATION_FILE", str(tmp_path / "notice"))
        system = System(tmp_path / "system")
    async with system:
        monkeypatch.setenv("MURAKKAB_CREDENTIALS", system.env["MURAKKAB_CREDENTIALS"])
        yield system


async def _beat(session: Session, until: Callable[[HostHeartbeat], bool]) -> HostHeartbeat:
    """The first heartbeat that is so."""
    async with asyncio.timeout(30):
        async for msg in session.beats():
            if until(msg):
                return msg
    raise AssertionError("no heartbeat")


async def _run(session: Session, job: str, n: int, ms: float) -> JobResult:
    await session.submit(SubmitJob(tenant="default", description="", workflow=fan(n, ms), job=job))
    return await _result(session, job)


async def _result(session: Session, job: str) -> JobResult:
    async with asyncio.timeout(60):
        async for news in session.follow(job):
            if isinstance(news, JobResult):
                return news
    raise AssertionError("no result")
