"""Models that crash, hang, raise, leak and babble: the worker lives on, other jobs finish, and the failing one says why."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from commands import observer
from faulty import install
from toys import fan

from murakkab.bus.messages import JobResult, Stage, SubmitJob, Workflow
from murakkab.client.session import BadRequest, Session
from murakkab.client.status import status
from murakkab.client.system import System

pytestmark = [pytest.mark.live, pytest.mark.anyio]


@pytest.fixture
async def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anyio_backend: str) -> AsyncIterator[System]:
    monkeypatch.setenv("PYTHONPATH", install(tmp_path / "site"))
    monkeypatch.setenv("MURAKKAB_HOME", str(tmp_path))
    monkeypatch.delenv("NATS_URL", raising=False)
    live = System(tmp_path / "system")
    async with live:
        monkeypatch.setenv("MURAKKAB_CREDENTIALS", live.env["MURAKKAB_CREDENTIALS"])
        yield live


@pytest.fixture
async def client(faulty: System) -> AsyncIterator[Session]:
    opened = await Session.open(faulty.url)
    yield opened
    await opened.close()


def alone(agent: str) -> Workflow:
    return Workflow((Stage("it", agent),), ("it",))


async def _end(session: Session, job: str, limit_s: float = 40.0) -> JobResult:
    async with asyncio.timeout(limit_s):
        async for news in session.follow(job):
            if isinstance(news, JobResult):
                return news
    raise AssertionError(f"job {job} has no end")


async def _run(session: Session, agent: str, job: str = "bad") -> JobResult:
    await session.submit(SubmitJob(tenant="default", description="", workflow=alone(agent), job=job))
    return await _end(session, job)


@contextlib.asynccontextmanager
async def _heartbeats(live: System) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    async with observer(live) as nc:
        sub = await nc.subscribe("mk.v1.host.*.beat")

        async def beats() -> AsyncIterator[dict[str, Any]]:
            async for msg in sub.messages:
                yield json.loads(msg.data)

        yield beats()


def _instance(beat: dict[str, Any], agent: str) -> dict[str, Any]:
    return next((i for i in beat.get("instances", ()) if i["agent"] == agent), {})


@pytest.mark.parametrize(
    ("agent", "says", "tries"),
    [
        ("Crash", "exit status 7", True),
        ("Raise", "ZeroDivisionError: the moon is in the wrong house", True),
        ("Odd", "object", True),
        ("Hang", "it did not answer within 1.5 s and was ended", True),
        ("Picky", "picky.mp4: it is Monday; give a Tuesday", False),
    ],
)
async def test_the_failing_job_says_why_and_others_finish(faulty: System, client: Session, agent: str, says: str, tries: bool) -> None:
    await client.submit(SubmitJob(tenant="default", description="", workflow=fan(40, 100), job="good"))
    failed = await _run(client, agent)
    assert failed.status == "failed"
    assert says in failed.error
    assert "\n" not in failed.error
    assert ("attempt 3 of 3" in failed.error) is tries, "only what a retry can mend is tried again"
    worker = faulty.pids["worker"]
    assert (await _end(client, "good")).status == "done"
    after = await _run_toy(client)
    assert after.status == "done"
    assert faulty.pids["worker"] == worker
    assert psutil.Process(worker).is_running()


async def _run_toy(session: Session) -> JobResult:
    await session.submit(SubmitJob(tenant="default", description="", workflow=fan(3, 5), job="after"))
    return await _end(session, "after")


async def test_what_a_model_prints_does_not_get_between_its_answers(faulty: System, client: Session) -> None:
    for n in range(3):
        done = await _run(client, "Chatter", f"chatter-{n}")
        assert (done.status, done.error) == ("done", "")
        assert done.answer == ({"value": 42.0},)
    log = (faulty.data / "logs" / "Chatter-faulty-chatter-1.log").read_bytes()
    assert log.count(b"from a child") == 3, "it is in the instance's log instead"
    assert b"raw bytes" in log


async def test_a_leaking_model_is_started_anew_between_tasks(faulty: System, client: Session) -> None:
    first = await _run(client, "Leak", "leak-1")
    assert first.status == "done", first.error
    pid = int(first.answer[0]["value"])
    async with _heartbeats(faulty) as beats, asyncio.timeout(30):
        while (new := _instance(await anext(beats), "Leak")).get("pid", pid) in (0, pid):
            pass
    assert new["memory_mb"] < 700, "what the old process held is not said of the new one"
    async with asyncio.timeout(10):  # the old process may still be on its way out when the new one is warm
        while psutil.pid_exists(pid):
            await asyncio.sleep(0.05)
    second = await _run(client, "Leak", "leak-2")
    assert second.status == "done", second.error
    assert int(second.answer[0]["value"]) != pid


BROKEN = {
    "Unloadable": "FileNotFoundError: the weights are in another castle",
    "Stillborn": "exit status 9",
    "Absent": "Absent",
    "Loop": "killed by signal 9",
}


async def test_a_crash_loop_backs_off_and_status_shows_why(faulty: System, client: Session, capsys: pytest.CaptureFixture[str]) -> None:
    for agent in BROKEN:
        await client.submit(SubmitJob(tenant="default", description="", workflow=alone(agent), job=agent))
    starts: Counter[str] = Counter()
    errors: dict[str, str] = {}
    states: dict[str, str] = {}
    async with _heartbeats(faulty) as beats:
        end = math.inf
        while asyncio.get_running_loop().time() < end:
            async with asyncio.timeout(30):
                beat = await anext(beats)
            for agent in BROKEN:
                known = _instance(beat, agent)
                errors[agent] = known.get("error") or errors.get(agent, "")
                starts[agent] += known.get("state") == "loading" != states.get(agent)
                states[agent] = known.get("state", "")
            if end == math.inf and all(says in errors[agent] for agent, says in BROKEN.items()):
                end = asyncio.get_running_loop().time() + 7
    assert not any("\n" in error for error in errors.values())
    # pauses double, so starts are at 0, 0, 1, 3 and 7 s after the first failure; without them there would be dozens
    assert min(starts.values()) >= 2
    assert max(starts.values()) <= 6
    assert await status(argparse.Namespace(nats=faulty.url, data=None, json=False)) == 0
    said = capsys.readouterr().out
    for agent, says in BROKEN.items():
        assert re.search(rf"(failed|loading).*faulty-{agent.lower()}.*{re.escape(says)}", said)
    assert re.search(r"Unloadable +running +0 tasks done +stage it: .*another castle", said), "and why its job waits"
    assert (await _run_toy(client)).status == "done"
    for agent in BROKEN:
        with contextlib.suppress(BadRequest):  # it may have failed already
            await client.cancel(agent)
        end_of_it = await _end(client, agent)
        assert end_of_it.status in ("cancelled", "failed")
        assert end_of_it.error
