"""Three nats-servers with each stream on all of them: one is killed in the middle of a job, and the job ends as if nothing were."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import nats.errors
import pytest
from cluster import NAMES, Cluster, cluster
from toys import fan

from murakkab.bus.artifacts import bucket
from murakkab.bus.link import Link
from murakkab.bus.messages import Counted, JobProgress, JobResult, SubmitJob
from murakkab.bus.roles import address, inbox
from murakkab.bus.streams import STREAMS
from murakkab.client.session import Session
from murakkab.client.system import System

pytestmark = [pytest.mark.live, pytest.mark.anyio]

TASK_MS = 4_000.0
KEPT = [s.name for s in STREAMS] + [f"OBJ_{bucket('default')}"]


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "nats") as made:
        yield made


@pytest.fixture
async def system(three: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anyio_backend: str) -> AsyncIterator[System]:
    monkeypatch.setenv("MURAKKAB_HOME", str(tmp_path))
    monkeypatch.setenv("MURAKKAB_LEASE_S", "2")
    monkeypatch.setenv("MURAKKAB_REPLICAS", "3")
    monkeypatch.setenv("MURAKKAB_CREDENTIALS", str(three.credentials))
    monkeypatch.delenv("NATS_URL", raising=False)
    system = System(tmp_path / "system", url=three.url)
    async with system:
        yield system


async def _leader(link: Link) -> str:
    """The server that takes what is written to the jobs' logs; empty while there is none, or nobody says."""
    with contextlib.suppress(nats.errors.Error):
        info = await link.js.stream_info("JOBS")
        return info.cluster.leader or "" if info.cluster else ""
    return ""


async def _gone(link: Link, three: Cluster, name: str) -> None:
    three.servers[name].kill()
    async with asyncio.timeout(60):
        while await _leader(link) in ("", name):
            await asyncio.sleep(0.2)


async def _back(link: Link, three: Cluster, name: str) -> None:
    three.servers[name].start()
    async with asyncio.timeout(60):
        while not await _whole(link):
            await asyncio.sleep(0.2)


async def _whole(link: Link) -> bool:
    """Each stream and the bucket is on all three servers, and none of them is behind."""
    for name in KEPT:
        try:
            info = await link.js.stream_info(name)
        except nats.errors.Error:
            return False
        if info.config.num_replicas != 3 or info.cluster is None:
            return False
        others = info.cluster.replicas or []
        if not info.cluster.leader or len(others) != 2 or not all(o.current for o in others):
            return False
    return True


@pytest.mark.parametrize(("which", "tasks"), [("the-leader", 100), ("each-in-turn", 200), ("two-at-once", 100)])
async def test_servers_are_killed_in_the_middle_of_a_job(three: Cluster, system: System, which: str, tasks: int) -> None:
    """The one that leads the stream of the job's log, which stays away until the end; or each, once the last one has caught up, so that
    every actor loses its connection too; or two, without which nothing can be stored, until they are back."""
    session = await Session.open(system.url)
    link = await Link.open(address(system.url, "observer", os.environ), "test-cluster", inbox=inbox("observer"))
    try:
        job = await session.submit(SubmitJob(tenant="default", description="", workflow=fan(tasks, TASK_MS), job="killed"), patience_s=60)
        async with asyncio.timeout(60):
            async for news in session.follow(job):
                assert not isinstance(news, JobResult), f"the job ended before a server was killed: {news.error}"
                if isinstance(news, JobProgress) and sum(s.done for s in news.stages) >= 10:
                    break
        leader = await _leader(link)
        match which:
            case "the-leader":
                await _gone(link, three, leader)
            case "each-in-turn":
                for name in NAMES:
                    await _gone(link, three, name)
                    await _back(link, three, name)
            case "two-at-once":
                others = [name for name in NAMES if name != leader][:1]
                for name in (leader, *others):
                    three.servers[name].kill()
                await asyncio.sleep(8.0)  # longer than the conductor's lease
                for name in (leader, *others):
                    three.servers[name].start()
        async with asyncio.timeout(120):
            results = [n async for n in session.follow(job) if isinstance(n, JobResult)]
        assert [(r.status, r.error) for r in results] == [("done", "")]
        records = [r for log in await session.log_of(job) for r in log.records]
        counted = Counter((r.done.stage, r.done.index) for r in records if isinstance(r, Counted))
        assert set(counted.values()) == {1}
        assert len(counted) == tasks + 2
        if which == "the-leader":
            await _back(link, three, leader)
    finally:
        await link.close()
        await session.close()
