"""The Python API as a program uses it, against a real system; jobs are toys, so that no model is loaded."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from commands import LIST, SAMPLES, left_behind, observer
from toys import fan

import murakkab
from murakkab.bus.link import Link, Unreachable
from murakkab.bus.messages import Edge, Stage, Workflow
from murakkab.client.job import Job, JobFailed, JobHandle
from murakkab.client.session import BadRequest, Session
from murakkab.client.system import System

pytestmark = [pytest.mark.live, pytest.mark.anyio]

READING = str(SAMPLES / "reading.mp4")


def test_execute_starts_and_ends_a_system_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MURAKKAB_HOME", str(tmp_path))
    monkeypatch.delenv("NATS_URL", raising=False)
    monkeypatch.delenv("MURAKKAB_CREDENTIALS", raising=False)
    result = Job("", workflow=fan(5, 10), constraints=["MIN_LATENCY", "MIN_COST"]).execute()
    assert result.answer == [{"value": 0.0}]
    assert 0 < result.planning_s < result.time_s
    assert result.energy_how in ("measured", "modelled")
    assert result.cost_how in ("measured", "modelled")
    assert sum(s.tasks for s in result.message.stages) == 7
    assert left_behind(tmp_path) == []
    assert "MURAKKAB_CREDENTIALS" not in os.environ


def test_the_package_has_what_the_first_example_imports() -> None:
    assert murakkab.Job is Job
    assert {murakkab.MIN_COST, murakkab.MIN_LATENCY, murakkab.MIN_ENERGY, murakkab.MAX_QUALITY} == {
        "MIN_COST",
        "MIN_LATENCY",
        "MIN_ENERGY",
        "MAX_QUALITY",
    }


async def test_run_is_execute_inside_a_loop(live: System) -> None:
    async with asyncio.timeout(30):
        first, second = await asyncio.gather(Job("", workflow=fan(3, 5)).run(live.url), Job("", workflow=fan(4, 5)).run(live.url))
    assert first.job != second.job
    assert [sum(s.tasks for s in r.message.stages) for r in (first, second)] == [5, 6]


async def test_events_tell_the_phases_in_order_and_counts_that_only_grow(live: System) -> None:
    order = ["planning", "optimizing", "running", "done"]
    phase, done = 0, 0
    counts = []
    async with asyncio.timeout(40), Job("", workflow=fan(100, 200)).start(live.url) as handle:
        async for news in handle.events():
            assert news.job == handle.job
            assert order.index(news.phase) >= phase
            phase = order.index(news.phase)
            now = sum(s.done for s in news.stages)
            assert now >= done
            done = now
            counts.append(now)
            for s in news.stages:
                assert s.total is None or 0 <= s.done + s.released <= s.total
        result = await handle.result()
        assert await handle.result() == result, "it may be asked for again"
    assert len({*counts}) > 2, "there was something to see in the middle"
    assert result.message.status == "done"
    assert sum(s.tasks for s in result.message.stages) == 102


async def test_a_cancelled_job_ends_and_its_tasks_stop(live: System) -> None:
    ran = 0

    async def count(msg: Any) -> None:
        nonlocal ran
        ran += sum(r["stage"] == "wait" for r in json.loads(msg.data)["results"])

    async with asyncio.timeout(60), observer(live) as watch, Job("", workflow=fan(2_000, 200)).start(live.url) as handle:
        await watch.subscribe("mk.v1.result.*", cb=count)
        await watch.flush()
        async for news in handle.events():
            if sum(s.done for s in news.stages) > 5:
                await handle.cancel()
                break
        with pytest.raises(JobFailed, match="cancelled") as failed:
            await handle.result()
        assert failed.value.result.status == "cancelled"
        assert failed.value.result.answer == ()
        with pytest.raises(BadRequest, match="has ended already"):
            await handle.cancel()
        # what was in the workers' hands may finish; the other ones of 2,000 are never run
        after = await Job("", workflow=fan(1, 0)).run(live.url)
        assert after.message.status == "done"
        await asyncio.sleep(3)
        still = ran
        await asyncio.sleep(1)
        assert ran == still
        assert 0 < ran < 1_000


async def test_leaving_a_job_does_not_end_it(live: System) -> None:
    async with asyncio.timeout(30):
        async with Job("", workflow=fan(20, 100)).start(live.url) as handle:
            name = handle.job
        session = await Session.open(live.url)
        try:
            assert (await JobHandle(session, name).result()).job == name
        finally:
            await session.close()


@pytest.mark.parametrize(
    ("job", "says"),
    [
        (Job(LIST, ["no/such/cats.mp4"]), "no/such/cats.mp4: no such file"),
        (Job(LIST, [SAMPLES]), "samples: not a file"),
        (Job(" ", [READING]), "the description is empty"),
        (Job("x" * 100_000, [READING]), "100000 characters"),
        (Job("x" * 2_000_000, [READING]), "give long material as an input"),
        (Job(LIST, [READING], constraints="FAST"), "unknown constraint 'FAST'"),
        (Job(LIST, [READING], constraints=["MIN_COST", "FAST"]), "unknown constraint 'FAST'"),
        (Job(LIST, [READING], constraints=[]), "no constraint"),
        (Job(LIST, [READING], deadline_s=0), "deadline_s=0"),
        (Job(LIST, [READING], quality_floor=7), "quality_floor=7"),
        (Job(LIST, [READING], tasks=["x"] * 51), "51 hints"),
        (Job("", workflow=Workflow((), ())), "no stages"),
        (Job("", workflow=Workflow((Stage("a", "Sleep", (Edge("after", "b"),)),), ("a",))), "'b'"),
    ],
    ids=lambda v: v[:20] if isinstance(v, str) else "",
)
async def test_a_bad_request_is_refused_with_its_reason(live: System, job: Job, says: str) -> None:
    async with asyncio.timeout(30):
        with pytest.raises(BadRequest, match=re.escape(says)) as refused:
            await job.run(live.url)
    assert "\n" not in str(refused.value)


async def test_many_faults_do_not_wear_the_system_out(live: System) -> None:
    async with asyncio.timeout(60):
        for n in range(20):
            with pytest.raises((BadRequest, JobFailed)):
                await Job("", workflow=Workflow((Stage(f"s{n}", "NoSuchAgent"),), (f"s{n}",))).run(live.url)
        assert (await Job("", workflow=fan(3, 0)).run(live.url)).message.status == "done"


async def test_a_deadline_that_is_too_short_fails_with_the_reason(live: System) -> None:
    async with asyncio.timeout(30):
        with pytest.raises(JobFailed, match=r"not done within its deadline of 1 s") as failed:
            await Job("", workflow=fan(3, 5_000), deadline_s=1).run(live.url)
    assert failed.value.result.status == "failed"


async def test_a_task_that_cannot_use_its_arguments_fails_the_job_at_once(live: System) -> None:
    async with asyncio.timeout(30):
        with pytest.raises(JobFailed, match=r"ms=-1 is not between 0 and 3600000") as failed:
            await Job("", workflow=fan(3, -1)).run(live.url)
    assert "attempt" not in failed.value.result.error, "no retry could mend it"


async def test_nobody_there_is_a_connection_error() -> None:
    async with asyncio.timeout(20):
        with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1"):
            await Job("", workflow=fan(1, 0)).run("nats://127.0.0.1:1")
    assert issubclass(Unreachable, ConnectionError)
    assert issubclass(BadRequest, ValueError)


async def test_giving_up_ends_however_the_waiting_falls() -> None:
    """A cancellation that meets the end of a connection attempt is lost by asyncio before 3.12: giving up must not rely on one."""

    async def given_up(wait_s: float) -> bool:
        try:
            await (await Link.open("nats://127.0.0.1:1", "test", wait_s=wait_s)).close()
        except Unreachable:
            return True
        return False

    async with asyncio.timeout(60):
        assert all(await asyncio.gather(*(given_up(0.05 + 0.0007 * n) for n in range(300))))
