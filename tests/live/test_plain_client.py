"""A client that is not ours: plain nats-py and JSON bytes, as docs/messages.md tells it. And what such a client can do wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats
import nats.errors
import pytest

from murakkab.client.system import System

pytestmark = [pytest.mark.live, pytest.mark.anyio]

SUBMIT = "mk.v1.jobs.default.submit"
TOY = (
    b'{"type":"submit_job","tenant":"default","description":"","job":"plain-1","workflow":{"stages":['
    b'{"name":"spread","agent":"Spread","many":true,"args":{"n":3}},'
    b'{"name":"wait","agent":"Sleep","depth":1,"edges":[{"param":"after","stage":"spread"}],"args":{"ms":5}}],"answer":["wait"]}}'
)


def _password(live: System, role: str) -> str:
    return str(json.loads(Path(live.env["MURAKKAB_CREDENTIALS"]).read_text())[role])


@pytest.fixture
async def plain(live: System) -> AsyncIterator[Any]:
    nc = await nats.connect(live.url, user="client", password=_password(live, "client"), inbox_prefix=b"_INBOX.client")
    await _until_somebody_listens(nc)
    yield nc
    await nc.close()


async def _until_somebody_listens(nc: Any) -> None:
    for _ in range(200):
        try:
            await nc.request("mk.v1.jobs.default.list", b'{"type":"list_jobs","tenant":"default"}', timeout=1)
            return
        except nats.errors.Error:
            await asyncio.sleep(0.1)
    raise TimeoutError("no conductor")


async def test_one_json_message_and_the_result(plain: Any) -> None:
    heard: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()

    async def on(msg: Any) -> None:
        heard.put_nowait((msg.subject, json.loads(msg.data)))

    await plain.subscribe("mk.v1.job.default.plain-1.>", cb=on)
    reply = json.loads((await plain.request(SUBMIT, TOY, timeout=5)).data)
    assert reply == {"type": "job_accepted", "tenant": "default", "job": "plain-1"}
    kinds = set()
    async with asyncio.timeout(30):
        while True:
            subject, news = await heard.get()
            kinds.add(news["type"])
            assert subject.startswith("mk.v1.job.default.plain-1.")
            if news["type"] == "job_result":
                break
    assert news["status"] == "done"
    assert news["answer"] == [{"value": 5.0}] * 3
    assert "job_log" in kinds
    again = json.loads((await plain.request(SUBMIT, TOY, timeout=5)).data)
    assert again["type"] == "job_accepted", "the same submission again starts nothing and is accepted"
    stored = await plain.request("$JS.API.DIRECT.GET.JOBS.mk.v1.job.default.plain-1.result", b"", timeout=5)
    assert json.loads(stored.data)["status"] == "done"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"{not json", "malformed"),
        (b'{"type":"make_coffee"}', "make_coffee"),
        (b'{"type":"submit_job","tenant":"default"}', "description"),
        (b'{"type":"submit_job","tenant":"default","description":5}', "str"),
        (b'{"type":"submit_job","tenant":"other","description":"x"}', "mk.v1.jobs.other.submit"),
        (b'{"type":"submit_job","tenant":"default","description":"x","constraints":["MIN_EFFORT"]}', "MIN_EFFORT"),
        (b'{"type":"submit_job","tenant":"default","description":""}', "description is empty"),
        (b'{"type":"submit_job","tenant":"default","description":"' + b"x" * 100_000 + b'"}', "100000 characters"),
        (b'{"type":"submit_job","tenant":"default","description":"x","job":"a.b"}', "job id 'a.b'"),
        (b"[" * 5_000, "message on"),
    ],
)
async def test_bad_messages_get_a_clear_answer(plain: Any, data: bytes, says: str) -> None:
    reply = json.loads((await plain.request(SUBMIT, data, timeout=5)).data)
    assert reply["type"] == "job_refused"
    assert says in reply["error"]
    assert "\n" not in reply["error"]
    assert "Traceback" not in reply["error"]
    good = json.loads((await plain.request(SUBMIT, TOY, timeout=5)).data)
    assert good["type"] == "job_accepted", "the conductor lives on"


async def test_a_message_of_two_megabytes_is_refused_and_harms_nobody(plain: Any, live: System) -> None:
    with pytest.raises(nats.errors.MaxPayloadError):
        await plain.publish(SUBMIT, b"x" * 2_000_000)
    good = json.loads((await plain.request(SUBMIT, TOY, timeout=5)).data)
    assert good["type"] == "job_accepted"


async def test_what_cannot_be_read_is_kept_as_a_dead_letter(plain: Any, live: System) -> None:
    await plain.request(SUBMIT, b'{"type":"make_coffee","strength":11}', timeout=5)
    nc = await nats.connect(live.url, user="observer", password=_password(live, "observer"), inbox_prefix=b"_INBOX.observer")
    try:
        for _ in range(50):
            info = await nc.jetstream().stream_info("DEAD")
            if info.state.messages:
                break
            await asyncio.sleep(0.1)
        assert info.state.messages == 1
    finally:
        await nc.close()


@pytest.mark.parametrize(
    ("role", "subject"),
    [
        ("client", "mk.v1.jobs.other.submit"),
        ("client", "mk.v1.task.Sleep-sleep-cpu.ready"),
        ("client", "mk.v1.job.default.x.result"),
        ("client", "$JS.API.STREAM.DELETE.JOBS"),
        ("worker", "mk.v1.jobs.default.submit"),
        ("worker", "mk.v1.host.h.desired"),
        ("planner", "mk.v1.optimize.made"),
        ("optimizer", "mk.v1.plan.made"),
        ("clustermgr", "mk.v1.task.p.ready"),
        ("observer", "mk.v1.jobs.default.submit"),
        ("observer", "mk.v1.host.h.beat"),
    ],
)
async def test_a_role_may_publish_only_its_own_subjects(live: System, role: str, subject: str) -> None:
    said: list[str] = []

    async def on_error(error: Exception) -> None:
        said.append(str(error))

    nc = await nats.connect(live.url, user=role, password=_password(live, role), error_cb=on_error, inbox_prefix=f"_INBOX.{role}".encode())
    try:
        await nc.publish(subject, b"{}")
        await nc.flush()
        async with asyncio.timeout(5):
            while not said:
                await asyncio.sleep(0.02)
        assert "permissions violation" in said[0].lower()
    finally:
        await nc.close()


async def test_a_wrong_password_is_refused(live: System) -> None:
    from murakkab.bus.link import Link, Unreachable

    with pytest.raises(Unreachable, match=r"127\.0\.0\.1"):
        await Link.open(live.url.replace("nats://", "nats://client:wrong@"), "test", wait_s=1)
