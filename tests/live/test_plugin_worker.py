"""A package that only the worker has: its agent is planned, chosen, loaded and run by a system that learns of it on the bus."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from packages import documented, install, path_with

from murakkab.agents import library as lib
from murakkab.bus.messages import Edge, JobResult, Stage, SubmitJob, Workflow
from murakkab.client.library import library
from murakkab.client.session import Session
from murakkab.client.system import PROCESSES, System

pytestmark = [pytest.mark.live, pytest.mark.anyio]

TEXT = {"text": "Trains carry people. Trains carry freight. Trains are late.", "name": "note"}
FLOW = Workflow(
    (
        Stage("first", "KeywordFinder", args={"most": 2}, given={"text": TEXT}),
        Stage("second", "KeywordFinder", (Edge("text", "first"),), args={"most": 1}),
    ),
    ("second", "first"),
)
"""The second takes what the first gives: its own type, where a Text is asked for."""


@pytest.fixture
async def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anyio_backend: str) -> AsyncIterator[System]:
    """A system whose worker alone has the package on its path."""
    site = install(tmp_path / "site", documented())
    monkeypatch.setenv("MURAKKAB_HOME", str(tmp_path))
    monkeypatch.delenv("NATS_URL", raising=False)
    control = System(tmp_path / "control", processes=[p for p in PROCESSES if p != "worker"])
    async with control:
        monkeypatch.setenv("MURAKKAB_CREDENTIALS", control.env["MURAKKAB_CREDENTIALS"])
        with monkeypatch.context() as only_here:
            only_here.setenv("PYTHONPATH", path_with(site))
            host = System(tmp_path / "host", url=control.url, processes=["worker"])
        async with host:
            yield control


async def _shown(system: System, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What `murakkab library --json --nats` says of the package's agent, once a host offers it."""
    async with asyncio.timeout(60):
        while True:
            assert await library(argparse.Namespace(nats=system.url, data=None, json=True)) == 0
            agents = {a["agent"]: a for a in json.loads(capsys.readouterr().out)}
            if "KeywordFinder" in agents and agents["KeywordFinder"]["implementations"][0]["hosts"]:
                return dict(agents["KeywordFinder"])


async def test_an_agent_that_only_a_worker_has_does_a_job(apart: System, capsys: pytest.CaptureFixture[str]) -> None:
    assert "KeywordFinder" not in lib.agents(), "this process does not know it"
    shown = await _shown(apart, capsys)
    (way,) = shown["implementations"]
    (host,) = way["hosts"]
    assert shown["package"] == way["package"] == f"murakkab-keywords 1.0 on host {host}"
    assert way["missing"] == "its package is not installed here"
    session = await Session.open(apart.url)
    try:
        await session.submit(SubmitJob(tenant="default", description="", workflow=FLOW, job="keywords"))
        async with asyncio.timeout(60):
            async for news in session.follow("keywords"):
                if isinstance(news, JobResult):
                    break
    finally:
        await session.close()
    assert isinstance(news, JobResult)
    assert (news.status, news.error) == ("done", "")
    assert news.answer == (
        {"text": "trains", "name": "note", "counts": [1]},
        {"text": "trains carry", "name": "note", "counts": [3, 2]},
    )
    assert [s.implementation for s in news.stages] == ["frequent-words", "frequent-words"]
