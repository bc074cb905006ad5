"""A worker on a spot machine: its class is on offer and does a job, and once the machine is to be taken away it takes nothing more."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from toys import fan

from murakkab.bus.link import Link
from murakkab.bus.messages import HostHeartbeat, JobProgress, JobResult, SubmitJob
from murakkab.bus.roles import address, inbox
from murakkab.bus.subjects import wildcard
from murakkab.bus.wire import decode
from murakkab.client.session import Session
from murakkab.client.system import System

pytestmark = [pytest.mark.live, pytest.mark.anyio]


@pytest.fixture
async def spot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anyio_backend: str) -> AsyncIterator[System]:
    """All of a system on one spot machine, whose notice will be the file `notice`."""
    monkeypatch.setenv("MURAKKAB_HOME", str(tmp_path))
    monkeypatch.delenv("NATS_URL", raising=False)
    monkeypatch.setenv("MURAKKAB_MARKET", "spot")
    monkeypatch.setenv("MURAKKAB_USD_PER_HOUR", "0.11")
    monkeypatch.setenv("MURAKKAB_REVOCATION_FILE", str(tmp_path / "notice"))
    system = System(tmp_path / "system")
    async with system:
        monkeypatch.setenv("MURAKKAB_CREDENTIALS", system.env["MURAKKAB_CREDENTIALS"])
        yield system


class Beats:
    """The newest heartbeat."""

    def __init__(self, link: Link) -> None:
        self.link, self.came = link, asyncio.Event()
        self.last: HostHeartbeat | None = None

    async def hear(self, msg: Any) -> None:
        beat = decode(msg.data)
        if isinstance(beat, HostHeartbeat):
            self.last = beat
            self.came.set()

    async def until(self, so: Callable[[HostHeartbeat], bool]) -> HostHeartbeat:
        async with asyncio.timeout(30):
            while self.last is None or not so(self.last):
                self.came.clear()
                await self.came.wait()
        return self.last


@pytest.fixture
async def beats(spot: System) -> AsyncIterator[Beats]:
    link = await Link.open(address(spot.url, "observer", os.environ), "test-beats", inbox=inbox("observer"))
    found = Beats(link)
    await link.subscribe(wildcard(HostHeartbeat), found.hear)
    yield found
    await link.close()


@pytest.fixture
async def asking(spot: System) -> AsyncIterator[Session]:
    opened = await Session.open(spot.url)
    yield opened
    await opened.close()


async def _submit(session: Session, job: str, n: int, ms: float) -> None:
    await session.submit(SubmitJob(tenant="default", description="", workflow=fan(n, ms), job=job))


async def _result(session: Session, job: str) -> JobResult:
    async with asyncio.timeout(60):
        async for news in session.follow(job):
            if isinstance(news, JobResult):
                return news
    raise AssertionError("the job has no result")


async def test_a_spot_machine_and_its_end(spot: System, asking: Session, beats: Beats, tmp_path: Path) -> None:
    said = await beats.until(lambda b: True)
    assert (said.market, said.usd_per_hour, said.revoked_at) == ("spot", 0.11, None)
    assert {o.hardware for o in said.offers} >= {"cpu-spot"}
    assert not any(o.hardware == "cpu" for o in said.offers)

    await _submit(asking, "first", 4, 20)
    result = await _result(asking, "first")
    assert (result.status, result.error) == ("done", "")
    assert {s.hardware for s in result.stages} == {"cpu-spot"}

    notice = tmp_path / "notice"
    async with asyncio.timeout(60):
        await _submit(asking, "second", 400, 200)
        async for news in asking.follow("second"):
            if isinstance(news, JobProgress) and any(s.stage == "wait" and s.done for s in news.stages):
                break
            assert not isinstance(news, JobResult)
        notice.write_text("300")
    ending = await beats.until(lambda b: b.revoked_at is not None)
    assert ending.revoked_at is not None
    assert 290 < ending.revoked_at - ending.at <= 300
    idle = await beats.until(lambda b: sum(i.busy for i in b.instances) == 0)
    assert idle.revoked_at == ending.revoked_at, "it finishes what it has, beats on, and the end does not wander"
    done, total = await _waited(asking, lambda done: True)
    assert done < total, "the job is not done: nobody else can do the rest"

    notice.unlink()  # withdrawn: it goes on after all
    await beats.until(lambda b: b.revoked_at is None)
    assert (await _waited(asking, lambda now: now > done))[1] == total
    await asking.cancel("second")


async def _waited(session: Session, so: Callable[[int], bool]) -> tuple[int, int]:
    """How many tasks of the second job's stage are done, of how many, once that is so."""
    async with asyncio.timeout(30):
        async for news in session.follow("second"):
            if isinstance(news, JobProgress):
                for stage in news.stages:
                    if stage.stage == "wait" and stage.total is not None and so(stage.done):
                        return stage.done, stage.total
    raise AssertionError("nothing more is heard of the job")
