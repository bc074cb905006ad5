"""Several hosts, which are network namespaces of this machine, and a cable that is pulled in the middle of a job and plugged in again:
a worker's, then that of the conductor at work. The job ends, each task counts once, and who was away comes back or stands by."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from digging import dig, install
from netns import Net, NoNamespaces

from murakkab.bus.link import Link
from murakkab.bus.messages import (
    ClusterOutlook,
    Counted,
    DesiredInstances,
    HostHeartbeat,
    Index,
    JobProgress,
    JobResult,
    SubmitJob,
    TaskDone,
    TaskResults,
)
from murakkab.bus.roles import address, inbox
from murakkab.bus.subjects import wildcard
from murakkab.bus.wire import decode
from murakkab.client.session import Session
from murakkab.client.system import System

pytestmark = [pytest.mark.live, pytest.mark.anyio]

HOSTS = ("near", "far")
CONTROL = ("planner", "optimizer", "conductor", "clustermgr")
TASKS = 120
"""Of a second each, as many at a time as the hosts have cores: the job takes longer than a host may be silent."""


@pytest.fixture
def net() -> Iterator[Net]:
    made = Net(HOSTS)
    try:
        made.open()
    except NoNamespaces as error:
        pytest.skip(str(error))
    yield made
    made.close()


class Heard:
    """The newest heartbeat of each host, what it shall have, and what the cluster manager and the workers said."""

    def __init__(self, link: Link) -> None:
        self.link, self.came = link, asyncio.Event()
        self.beats: dict[str, HostHeartbeat] = {}
        self.wanted: dict[str, DesiredInstances] = {}
        self.silent: tuple[str, ...] = ()
        self.done: dict[str, set[Index]] = {host: set() for host in HOSTS}
        """Which tasks each host said it has done, also those that another one had done."""

    async def hear(self, msg: Any) -> None:
        match decode(msg.data):
            case HostHeartbeat() as beat:
                self.beats[beat.host] = beat
            case DesiredInstances() as wants:
                self.wanted[wants.host] = wants
            case ClusterOutlook(silent=silent):
                self.silent = silent
            case TaskResults(host=host, results=results):
                self.done[host] |= {r.index for r in results if isinstance(r, TaskDone) and r.stage == "dig"}
        self.came.set()

    async def until(self, so: Callable[[Heard], bool], limit_s: float = 60.0) -> None:
        async with asyncio.timeout(limit_s):
            while not so(self):
                self.came.clear()
                await self.came.wait()

    def agreed(self, host: str) -> bool:
        """It has what it shall have, and knows the newest version of that."""
        beat, wants = self.beats[host], self.wanted.get(host)
        has = {i.id for i in beat.instances if i.state != "draining"}
        return not has if wants is None else beat.version == wants.version and has == {d.id for d in wants.instances}


@pytest.fixture
def hub(net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Net]:
    """This test is on the hub, with an agent that wants more than one host."""
    monkeypatch.setenv("MURAKKAB_HOME", str(tmp_path))
    monkeypatch.setenv("MURAKKAB_LEASE_S", "2")
    monkeypatch.setenv("PYTHONPATH", install(tmp_path / "site"))
    monkeypatch.delenv("NATS_URL", raising=False)
    with net.inside("hub"):
        yield net


@contextmanager
def actor(role: str, net: Net, host: str, system: System, data: Path, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """An actor on a host, until the end."""
    data.mkdir()
    argv = [sys.executable, "-m", "murakkab.client.cli", role, "--nats", system.url, "--data", str(data), *more]
    with net.inside(host), (data / "log").open("ab") as log:
        process = subprocess.Popen(argv, env=system.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield process
        if process.poll() is None:
            process.terminate()
            process.wait(15)
    finally:
        process.kill()
        process.wait()


@pytest.fixture
async def system(hub: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anyio_backend: str) -> AsyncIterator[System]:
    """Control actors on the hub, a worker on each host."""
    system = System(tmp_path / "system", processes=CONTROL, listen=(hub.address["hub"], 4222))
    async with system:
        monkeypatch.setenv("MURAKKAB_CREDENTIALS", system.env["MURAKKAB_CREDENTIALS"])
        near, far = (actor("worker", hub, host, system, tmp_path / host, "--host", host) for host in HOSTS)
        with near, far:
            yield system


@pytest.fixture
async def heard(system: System) -> AsyncIterator[Heard]:
    link = await Link.open(address(system.url, "observer", os.environ), "test-hosts", inbox=inbox("observer"))
    found = Heard(link)
    for kind in (HostHeartbeat, DesiredInstances, ClusterOutlook, TaskResults):
        await link.subscribe(wildcard(kind), found.hear)
    await found.until(lambda h: h.beats.keys() >= set(HOSTS))
    yield found
    await link.close()


async def submit(session: Session) -> str:
    return await session.submit(SubmitJob(tenant="default", description="", workflow=dig(TASKS), job="cut", constraints=("MIN_LATENCY",)))


async def some_done(session: Session, job: str) -> None:
    async with asyncio.timeout(60):
        async for news in session.follow(job):
            assert not isinstance(news, JobResult), f"the job ended before the cable was pulled: {news.error}"
            if isinstance(news, JobProgress) and sum(s.done for s in news.stages) >= 12:
                return


async def counted(session: Session, job: str) -> list[tuple[str, Index]]:
    return [(r.done.stage, r.done.index) for log in await session.log_of(job) for r in log.records if isinstance(r, Counted)]


async def assert_one_answer(session: Session, job: str) -> None:
    async with asyncio.timeout(150):
        results = [n async for n in session.follow(job) if isinstance(n, JobResult)]
    assert [(r.status, r.error) for r in results] == [("done", "")]
    tasks = Counter(await counted(session, job))
    assert set(tasks.values()) == {1}
    assert len(tasks) == TASKS + 2


@pytest.mark.parametrize("longer", [False, True], ids=["its-connection-lives-on", "its-connection-is-given-up"])
async def test_a_worker_is_cut_off(net: Net, system: System, heard: Heard, tmp_path: Path, longer: bool) -> None:
    session = await Session.open(system.url)
    try:
        job = await submit(session)
        await some_done(session, job)
        assert all(heard.done.values()), "both hosts work"
        net.cut("far")
        await heard.until(lambda h: "far" in h.silent)
        if longer:  # the client library asks every ten seconds, and gives up after two without an answer, and connects anew
            async with asyncio.timeout(60):
                while "Connect call failed" not in (tmp_path / "far" / "log").read_text():
                    await asyncio.sleep(0.1)
        known = {index for stage, index in await counted(session, job) if stage == "dig"} | heard.done["far"]
        assert len(known) < TASKS, "something is left to do"
        net.mend("far")
        await heard.until(lambda h: "far" not in h.silent and bool(h.done["far"] - known))
        await assert_one_answer(session, job)
        await heard.until(lambda h: h.agreed("near") and h.agreed("far"))
    finally:
        await session.close()


async def test_the_conductor_at_work_is_cut_off(hub: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anyio_backend: str) -> None:
    """The other one takes over; the first, back, finds that it is not the one any more, and ends rather than write."""
    system = System(tmp_path / "system", processes=("planner", "optimizer", "clustermgr", "worker"), listen=(hub.address["hub"], 4222))
    async with system:
        monkeypatch.setenv("MURAKKAB_CREDENTIALS", system.env["MURAKKAB_CREDENTIALS"])
        session = await Session.open(system.url)
        try:
            with actor("conductor", hub, "far", system, tmp_path / "first") as first:
                job = await submit(session)
                with actor("conductor", hub, "near", system, tmp_path / "second") as second:
                    await some_done(session, job)
                    async with asyncio.timeout(30):
                        while "standing by" not in (tmp_path / "second" / "log").read_text():
                            await asyncio.sleep(0.05)
                    hub.cut("far")
                    before = len(await counted(session, job))
                    async with asyncio.timeout(60):
                        while len(await counted(session, job)) < before + 12:  # the second one writes the log now
                            await asyncio.sleep(0.2)
                    hub.mend("far")
                    async with asyncio.timeout(60):
                        while first.poll() is None:
                            await asyncio.sleep(0.1)
                    await assert_one_answer(session, job)
                    assert second.poll() is None
        finally:
            await session.close()
    said = (tmp_path / "first" / "log").read_text()
    assert "another conductor has taken over" in said or "fenced" in said
