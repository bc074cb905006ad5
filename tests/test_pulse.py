"""A sign of life is believed while it is fresh, and tells alive from ready."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from murakkab.actors.pulse import ALIVE, EVERY_S, OLD_S, Pulse, healthy, ill
from murakkab.client.cli import main


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "alive"


def beat(file: Path, state: str, connected: bool = True) -> float:
    pulse = Pulse(file, lambda: connected)
    pulse.state = state  # type: ignore[assignment]
    pulse.write(file)
    return file.stat().st_mtime


@pytest.mark.parametrize(
    ("state", "connected", "alive", "ready"),
    [
        ("starting", True, "", "it is still starting"),
        ("standing by", True, "", ""),
        ("working", True, "", ""),
        ("working", False, "", "it is not connected to a NATS server"),
    ],
)
def test_alive_is_not_ready(file: Path, state: str, connected: bool, alive: str, ready: str) -> None:
    now = beat(file, state, connected)
    assert ill(file, ready=False, now=now) == alive
    assert ill(file, ready=True, now=now) == ready


def test_an_old_sign_is_none(file: Path) -> None:
    written = beat(file, "working")
    assert not ill(file, ready=True, now=written + OLD_S)
    assert "is 40 s old, the limit is 30 s" in ill(file, ready=False, now=written + 40)
    assert OLD_S > 5 * EVERY_S


def test_what_is_no_sign(file: Path) -> None:
    assert "no sign of life" in ill(file, ready=False)
    file.write_text("alive!")
    assert "is no sign of life" in ill(file, ready=False)
    file.write_text('{"state": "asleep", "connected": true}')
    assert "is no sign of life" in ill(file, ready=False)


async def _two_beats(pulse: Pulse, file: Path) -> None:
    beating = asyncio.create_task(pulse.beat())
    async with asyncio.timeout(20):
        while ill(file, ready=False):
            await asyncio.sleep(0.01)
        os.utime(file, (0, 0))
        assert "s old" in ill(file, ready=False)
        while ill(file, ready=False):
            await asyncio.sleep(0.05)
    beating.cancel()


def test_it_beats_and_leaves_nothing_else(file: Path) -> None:
    asyncio.run(_two_beats(Pulse(file, lambda: True), file))
    assert [f.name for f in file.parent.iterdir()] == ["alive"]


def test_without_a_file_nothing_beats() -> None:
    asyncio.run(Pulse(None, lambda: True).beat())


def test_the_command(file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv(ALIVE, raising=False)
    assert healthy(None, False, os.environ) == 2
    beat(file, "starting")
    assert healthy(file, False, {}) == 0
    monkeypatch.setenv(ALIVE, str(file))
    with pytest.raises(SystemExit) as ended:
        main(["healthy", "--ready"])
    assert ended.value.code == 1
    assert capsys.readouterr().err.splitlines()[-1] == "murakkab: it is still starting"
