"""A real system for tests: nats-server and the five actors as processes, on free ports, with data of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from murakkab.client.session import Session
from murakkab.client.system import System


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # nats-py knows no other


@pytest.fixture
async def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anyio_backend: str) -> AsyncIterator[System]:
    """Everything is started, and stopped also when the test fails. Killed processes are started again by the system."""
    monkeypatch.setenv("MURAKKAB_HOME", str(tmp_path))
    monkeypatch.setenv("MURAKKAB_LEASE_S", "2")
    monkeypatch.delenv("NATS_URL", raising=False)
    system = System(tmp_path / "system")
    async with system:
        monkeypatch.setenv("MURAKKAB_CREDENTIALS", system.env["MURAKKAB_CREDENTIALS"])
        yield system


@pytest.fixture
async def session(live: System) -> AsyncIterator[Session]:
    opened = await Session.open(live.url)
    yield opened
    await opened.close()
