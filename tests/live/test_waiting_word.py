"""Who runs a job where nobody can run it is told so, also where output is no terminal."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from murakkab.client.system import System

pytestmark = [pytest.mark.live, pytest.mark.anyio]


@pytest.fixture
async def without_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anyio_backend: str) -> AsyncIterator[System]:
    monkeypatch.setenv("MURAKKAB_HOME", str(tmp_path))
    monkeypatch.delenv("NATS_URL", raising=False)
    system = System(tmp_path / "system", processes=("conductor", "planner", "optimizer", "clustermgr"))
    async with system:
        yield system


@pytest.mark.parametrize("command", ["run", "explain"])
async def test_it_says_why_it_waits(without_worker: System, tmp_path: Path, command: str) -> None:
    (tmp_path / "note.txt").write_text("Cats sleep all day.")
    argv = [sys.executable, "-m", "murakkab.client.cli", command, "Summarize the text", str(tmp_path / "note.txt")]
    process = await asyncio.create_subprocess_exec(
        *argv,
        "--nats",
        without_worker.url,
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **without_worker.env},
    )
    try:
        assert process.stderr is not None
        async with asyncio.timeout(60):
            line = (await process.stderr.readline()).decode()
    finally:
        process.kill()
        await process.wait()
    assert line.startswith("murakkab: job ")
    assert " waits: no host" in line
