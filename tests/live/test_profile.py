"""`murakkab profile` as a user has it: measured, kept, exported and read again; and what it says of those that crash."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest
from commands import clean_env, left_behind, murakkab

from murakkab.bus.link import Link
from murakkab.bus.messages import ProfileKept
from murakkab.bus.roles import address, inbox
from murakkab.bus.subjects import wildcard
from murakkab.bus.wire import decode
from murakkab.client.system import System
from murakkab.profiling.kept import read, read_kept

pytestmark = pytest.mark.live

CRASHING = '''
import os
import time

from murakkab.agents.interface import Call
from murakkab.agents.library import Implementation
from murakkab.agents.types import Number

IMPLEMENTATIONS = [
    Implementation(f"{name}-sleep", "Sleep", f"crashing:{name.capitalize()}", memory_mb=30, timeout_s=2.0)
    for name in ("crash", "raise", "stillborn", "late", "nan")
]


class Crash:
    """Takes its process with it."""

    def load(self) -> None:
        pass

    def run(self, call: Call) -> Number:
        os._exit(7)


class Raise(Crash):
    def run(self, call: Call) -> Number:
        raise ZeroDivisionError("the moon is in\\nthe wrong house")


class Stillborn(Crash):
    def load(self) -> None:
        os._exit(9)


class Late(Crash):
    """Works at first."""

    calls = 0

    def run(self, call: Call) -> Number:
        self.calls += 1
        if self.calls > 3:
            os._exit(3)
        return Number(0.0)


class Nan(Crash):
    """Counts what is no amount of work."""

    def run(self, call: Call) -> Number:
        call.count("items", float("nan"))
        return Number(0.0)
'''


def _installed(folder: Path) -> str:
    """The PYTHONPATH of a place that has the crashing package."""
    info = folder / "crashing-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: crashing\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[murakkab.implementations]\ncrashing = crashing:IMPLEMENTATIONS\n")
    (folder / "crashing.py").write_text(CRASHING)
    before = os.environ.get("PYTHONPATH", "")
    return os.pathsep.join([str(folder), *([before] if before else [])])


def test_a_profile_is_measured_kept_exported_and_read_again(tmp_path: Path) -> None:
    env, out = clean_env(tmp_path / "home"), tmp_path / "profiles.json"
    done = murakkab("profile", "path-list", "--limit", "10", "--export", out, "--json", env=env)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "a bar is for a terminal"
    said = json.loads(done.stdout)
    [one] = said["measured"]
    assert said["failed"] == []
    assert one["profile"]["how"] == "measured"
    assert one["profile"]["load_s"] > 0
    assert one["profile"]["memory_mb"] > 5
    assert 0 <= one["time"]["low"]["base"] <= one["time"]["line"]["base"] <= one["time"]["high"]["base"]
    assert one["profile"]["cpu"]["base"] > 0
    assert one["one_percent_after_tasks"] > 0
    kept = read_kept(tmp_path / "home")
    assert [(p.agent, p.implementation, p.hardware, p.how) for p in kept] == [("PathSpreader", "path-list", "cpu", "measured")]
    assert read(out) == kept

    other = clean_env(tmp_path / "other")
    assert murakkab("profile", "--import", out, env=other).returncode == 0
    assert read_kept(tmp_path / "other") == kept
    assert left_behind(tmp_path / "home", 5.0) == []


def test_one_that_crashes_is_said_in_a_line_and_the_others_go_on(tmp_path: Path) -> None:
    env = clean_env(tmp_path / "home", PYTHONPATH=_installed(tmp_path / "site"))
    names = ("crash-sleep", "raise-sleep", "stillborn-sleep", "late-sleep", "nan-sleep", "Spread")
    done = murakkab("profile", *names, "--limit", "5", env=env)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert [line.split()[2] for line in lines] == ["crash-sleep", "raise-sleep", "stillborn-sleep", "late-sleep"]
    assert "its process ended (exit status 7) in the middle of a task" in lines[0]
    assert "every task failed: ZeroDivisionError: the moon is in the wrong house" in lines[1]
    assert "its process ended while loading (exit status 9)" in lines[2]
    assert "(exit status 3)" in lines[3]
    assert [p.implementation for p in read_kept(tmp_path / "home")] == ["nan-sleep", "spread"]
    assert left_behind(tmp_path / "home", 5.0) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("fasterwhisper/tiny",), "no implementation or agent 'fasterwhisper/tiny': did you mean faster-whisper/tiny.en/int8"),
        (("--limit", "0"), "--limit"),
        (("Sleep", "--export", "/nowhere/at/all.json"), "--export /nowhere/at/all.json"),
        (("--import", "/nowhere.json"), "/nowhere.json cannot be read: No such file"),
        (("--python", "/nowhere/python"), "--python /nowhere/python cannot be run"),
    ],
)
def test_what_cannot_be_asked_is_refused_at_once(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    done = murakkab("profile", *words, env=clean_env(tmp_path))
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ('"load_s": -1.0', "load_s is -1.0: it must be a finite number, zero or more"),
        ('"load_s": NaN', "holds no profiles"),
        ('"quality": 1.5', "quality is 1.5: it must be from 0 to 1"),
        ('"cpu": {"base": 1e400, "per": {}}', "holds no profiles"),
        ('"cpu": {"per": {"audio_s": -2.0}}', "cpu.per.audio_s is -2.0"),
        ('"hardware": ""', "must be named"),
    ],
)
def test_a_file_of_impossible_profiles_is_refused(tmp_path: Path, change: str, said: str) -> None:
    row = f'{{"agent": "Sleep", "implementation": "sleep", "hardware": "cpu", {change}}}'
    path = tmp_path / "bad.json"
    path.write_text(f'{{"format": "murakkab profiles 1", "profiles": [{row}]}}')
    done = murakkab("profile", "--import", path, env=clean_env(tmp_path))
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "profiles.json").exists()


@pytest.mark.anyio
async def test_a_running_system_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anyio_backend: str) -> None:
    monkeypatch.setenv("MURAKKAB_HOME", str(tmp_path))
    monkeypatch.delenv("NATS_URL", raising=False)
    async with System(tmp_path / "up", processes=["conductor"]):
        done = await asyncio.to_thread(murakkab, "profile", "spread", "--limit", "5", env=clean_env(tmp_path))
        assert done.returncode == 0, done.stderr
        assert "kept in the system at" in done.stdout
        said = json.loads((tmp_path / "up" / "system.json").read_text())
        link = await Link.open(
            address(said["url"], "observer", {"MURAKKAB_CREDENTIALS": said["credentials"]}), "test", inbox=inbox("observer")
        )
        try:
            kept = [decode(m.data) async for m in link.replay(ProfileKept.stream, wildcard(ProfileKept), newest_only=True)]
        finally:
            await link.close()
    assert [(k.pool, k.profile.agent, k.profile.how) for k in kept if isinstance(k, ProfileKept)] == [
        ("Spread-spread-cpu", "Spread", "measured")
    ]
    assert not (tmp_path / "profiles.json").exists()
