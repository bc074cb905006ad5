"""On a machine whose memory is too small for all models of a job at once: what is not expected any more gives its room to what is."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from murakkab.agents import library
from murakkab.bus.link import Link
from murakkab.bus.messages import Decision, DesiredInstances
from murakkab.bus.roles import address, inbox
from murakkab.bus.subjects import wildcard
from murakkab.bus.wire import decode
from murakkab.client.job import Job
from murakkab.client.system import System
from murakkab.clustermgr.nodes import MEMORY_SHARE

pytestmark = [pytest.mark.live, pytest.mark.models, pytest.mark.anyio]

VIDEO = Path(__file__).resolve().parents[2] / "samples" / "switchboard.mp4"
MEMORY_MB = 600
"""Speech-to-text and the language model are declared with 250 MB each, and the job needs six other models."""


@pytest.fixture
async def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anyio_backend: str) -> AsyncIterator[System]:
    monkeypatch.setenv("MURAKKAB_HOME", str(tmp_path))
    monkeypatch.delenv("NATS_URL", raising=False)
    monkeypatch.setenv("MURAKKAB_MEMORY_MB", str(MEMORY_MB))
    system = System(tmp_path / "system")
    async with system:
        monkeypatch.setenv("MURAKKAB_CREDENTIALS", system.env["MURAKKAB_CREDENTIALS"])
        yield system


async def test_speech_to_text_gives_its_room_to_the_language_model(small: System) -> None:
    said: list[DesiredInstances] = []

    async def heard(msg: Any) -> None:
        if isinstance(it := decode(msg.data), DesiredInstances):
            said.append(it)

    link = await Link.open(address(small.url, "observer", os.environ), "test-reallocation", inbox=inbox("observer"))
    try:
        await link.subscribe(wildcard(DesiredInstances), heard)
        async with asyncio.timeout(240):
            result = await Job("List objects shown/mentioned in the videos", inputs=[VIDEO]).run(small.url)
    finally:
        await link.close()

    (report,) = result.answer
    assert {"person", "cup", "cat"} <= {o["label"] for o in report["objects_seen"]}
    assert "phone" in {o["label"] for o in report["objects_mentioned"]}
    rows = library.implementations()
    used = {s.agent: s.implementation for s in result.message.stages}
    needs_mb = sum(rows[agent, name].memory_mb for agent, name in used.items())
    assert needs_mb > MEMORY_SHARE * MEMORY_MB, "or there was nothing to share out"
    for wants in said:
        assert sum(rows[d.agent, d.implementation].memory_mb for d in wants.instances) <= MEMORY_SHARE * MEMORY_MB
    decisions: list[Decision] = [d for wants in {w.version: w for w in said}.values() for d in wants.decisions]
    gave = next(d for d in decisions if d.agent == "SpeechToText" and d.verb == "move")
    got = next(d for d in decisions if d.agent == "Summarizer" and d.verb == "start")
    assert gave.code == "room"
    assert gave.at <= got.at
