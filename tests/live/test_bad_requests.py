"""What cannot be, asked of the real command line: bounds that contradict each other, profiles that are none, a crash, an empty library.

Each is one clear line and an exit status that is not 0, without a traceback; and what was kept before is still there.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from commands import clean_env, murakkab, up
from packages import documented, install, path_with, project

from murakkab.bus.messages import Line, Profile
from murakkab.optimizer.profile_file import dump
from murakkab.profiling.kept import read_kept

pytestmark = pytest.mark.live

KEYWORDS = "Keywords of the text"
MORE = '''
import os

from murakkab.agents.plugin import Call, implementation
from murakkab.agents.types import Text


@implementation(agent="KeywordFinder", name="thrifty-words", quality=0.3, memory_mb=40, work_s=0.001, load_s=0.2)
class Thrifty:
    def load(self) -> None:
        pass

    def run(self, call: Call) -> Text:
        return call.take("text", Text)


@implementation(agent="Sleep", name="crashing-sleep", memory_mb=30, timeout_s=2.0)
class Crashing(Thrifty):
    """Takes its process with it."""

    def run(self, call: Call) -> Text:
        os._exit(7)
'''
NOTHING = """
from murakkab.agents import catalog, catalog_code, catalog_maths, catalog_text

for part in (catalog, catalog_code, catalog_maths, catalog_text):
    part.AGENTS = part.IMPLEMENTATIONS = ()
"""


def _profile(agent: str, name: str, time_s: float, cpu_s: float) -> Profile:
    return Profile(
        agent, name, "cpu", "measured", "a test", time=Line(time_s), cpu=Line(cpu_s), load_s=0.1, load_cpu_s=0.1, memory_mb=40,
        quality=0.3, samples=9,
    )  # fmt: skip


def _line(done: subprocess.CompletedProcess[str], code: int) -> str:
    """What it said, which is one line."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith("murakkab: ")
    return line


@pytest.fixture(scope="module")
def more(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The PYTHONPATH of a place with the agent of docs/plugins.md, another implementation of it, and one that crashes."""
    own = project("more-words", '[project.entry-points."murakkab.plugins"]\nmore = "more_words"')
    return path_with(install(tmp_path_factory.mktemp("more") / "site", documented(), (own, {"more_words.py": MORE})))


@pytest.fixture
def nothing(tmp_path: Path) -> dict[str, str]:
    """The environment of an installation whose library is empty."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(NOTHING)
    return clean_env(tmp_path / "home", PYTHONPATH=path_with(tmp_path / "site"))


def test_bounds_that_contradict_each_other_and_constraints_that_are_none(tmp_path: Path, more: str) -> None:
    """One way is quick and dear, the other slow and cheap: each bound can be kept, both cannot."""
    file, note = tmp_path / "profiles.json", tmp_path / "note.txt"
    file.write_bytes(dump((_profile("KeywordFinder", "frequent-words", 1.0, 2.0), _profile("KeywordFinder", "thrifty-words", 9.0, 0.2))))
    note.write_text("Trains carry people. Trains carry freight.")
    home = tmp_path / "home"
    assert murakkab("profile", "--import", file, env=clean_env(home, PYTHONPATH=more)).returncode == 0
    with up(home, PYTHONPATH=more) as system:

        def plan(*words: str) -> dict[str, float]:
            done = system.run("explain", KEYWORDS, note, *words, "--json", limit_s=60)
            assert done.returncode == 0, done.stderr
            estimate = json.loads(done.stdout)["estimate"]
            assert isinstance(estimate, dict)
            return estimate

        quick, cheap = plan("--constraint", "MIN_LATENCY:0"), plan("--constraint", "MIN_COST:0")
        assert quick["time_s"] < cheap["time_s"]
        assert cheap["cost_usd"] < quick["cost_usd"]
        deadline, budget = ("--deadline", str(quick["time_s"] * 1.2)), ("--budget", f"{cheap['cost_usd'] * 1.2:.12f}")
        plan(*deadline)
        plan(*budget)
        for command in ("explain", "run"):
            said = _line(system.run(command, KEYWORDS, note, *deadline, *budget, limit_s=60), 2)
            assert "deadline" in said
            assert "budget" in said
            assert "cannot be met: the nearest is" in said
            assert "e-" not in said.partition(": ")[2], "no exponents"
            said = _line(system.run(command, KEYWORDS, note, "--constraint", "MIN_EFFORT", limit_s=60), 2)
            assert "unknown constraint 'MIN_EFFORT': it is one of MIN_COST, MIN_LATENCY, MIN_ENERGY, MAX_QUALITY" in said
        plan(*deadline)  # the system goes on


@pytest.mark.parametrize("change", ['"load_s": NaN', '"load_s": -1.0', '"cpu": {"per": {"audio_s": -2.0}}'])
def test_a_bad_file_of_profiles_takes_nothing_away(tmp_path: Path, change: str) -> None:
    env, good, bad = clean_env(tmp_path / "home"), tmp_path / "good.json", tmp_path / "bad.json"
    good.write_bytes(dump((_profile("Sleep", "sleep", 1.0, 0.1),)))
    assert murakkab("profile", "--import", good, env=env).returncode == 0
    before = read_kept(tmp_path / "home")
    assert [p.implementation for p in before] == ["sleep"]
    rows = ", ".join(f'{{"agent": "Sleep", "implementation": "sleep", "hardware": "cpu", {c}}}' for c in ('"load_s": 2.0', change))
    bad.write_text(f'{{"format": "murakkab profiles 1", "profiles": [{rows}]}}')
    assert str(bad) in _line(murakkab("profile", "--import", bad, env=env), 2)
    assert read_kept(tmp_path / "home") == before, "also the good row of a bad file is left out"


def test_a_crash_while_it_is_profiled_leaves_what_was_known(tmp_path: Path, more: str) -> None:
    env, known = clean_env(tmp_path / "home", PYTHONPATH=more), tmp_path / "known.json"
    known.write_bytes(dump((_profile("Sleep", "crashing-sleep", 1.0, 0.1),)))
    assert murakkab("profile", "--import", known, env=env).returncode == 0
    before = read_kept(tmp_path / "home")
    done = murakkab("profile", "crashing-sleep", "Spread", "--limit", "5", env=env)
    said = _line(done, 1)
    assert "Sleep crashing-sleep" in said
    assert "its process ended (exit status 7) in the middle of a task" in said
    after = {p.implementation: p for p in read_kept(tmp_path / "home")}
    assert after["crashing-sleep"] == before[0]
    assert after["spread"].how == "measured"


def test_an_empty_library_is_said_to_be_one(tmp_path: Path, nothing: dict[str, str]) -> None:
    note = tmp_path / "note.txt"
    note.write_text("Trains carry people.")
    for command in ("run", "explain"):
        said = _line(murakkab(command, KEYWORDS, note, env=nothing, limit_s=60), 1)
        assert "no agent can do 'Keywords of the text'; the library is empty" in said
    assert "the library is empty" in _line(murakkab("profile", env=nothing), 2)
    assert "the library is empty" in _line(murakkab("profile", "Sleep", env=nothing), 2)
    assert "the library is empty" in _line(murakkab("library", env=nothing), 0)
    doctor = murakkab("doctor", env=nothing)
    assert doctor.returncode == 1
    assert "The library is empty" in doctor.stdout
