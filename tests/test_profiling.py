"""What is pure of measuring: marks, and the way from what was seen to a profile; and the file that profiles are kept in."""

from __future__ import annotations

import asyncio
import json
import math
import wave
from fractions import Fraction
from pathlib import Path

import pytest
from msgspec.structs import replace

from murakkab.agents.library import Implementation, agents
from murakkab.agents.maths_numbers import final_answer, plain
from murakkab.bus.values import Line, Profile
from murakkab.optimizer.profile_file import BadProfiles, dump, load
from murakkab.profiling.benches import BENCHES
from murakkab.profiling.kept import keep, read_kept
from murakkab.profiling.lab import DATA, Lab, _add_noise
from murakkab.profiling.measure import Measured, Run
from murakkab.profiling.score import edits, f1, words
from murakkab.profiling.summary import summary

ROW = Implementation("tool", "SpeechToText", "nowhere:Model", quality=0.4, work_s=9.0)


def seen(*runs: Run, **more: object) -> Measured:
    found = Measured(ROW, loads_s=[9.0, 2.0, 1.0], loads_cpu_s=[3.0, 1.5, 0.5], runs=list(runs), memory_mb=100.0, spent_cpu_s=30.0)
    for name, value in more.items():
        setattr(found, name, value)
    return found


def told(found: Measured) -> Profile:
    return summary(found, source="a machine", at=1.0, watts_per_core=4.0).profile


def test_every_agent_of_ours_has_a_bench() -> None:
    assert {name for name, row in agents().items() if row.gives and name not in BENCHES} == set()


def test_words_are_compared_as_they_are_said() -> None:
    assert words("Mr. John's 10 ill-disposed men, 42!") == ["mister", "john's", "ten", "ill", "disposed", "men", "forty", "two"]
    assert edits(["a", "b", "c", "d"], ["a", "x", "c"]) == 2
    assert edits([], ["x"]) == 1
    assert (f1(0, 0, 0), f1(0, 3, 0), f1(2, 2, 2), f1(1, 2, 2)) == (1.0, 0.0, 1.0, 0.5)


def test_of_a_shared_machine_the_shortest_time_counts_and_all_cpu_seconds() -> None:
    runs = [
        Run(n, {"audio_s": x}, wall_s=(1.0 + 0.5 * x) * late, cpu_s=(1.0 + 0.5 * x) * busy)
        for n, x in enumerate((2.0, 5.0, 10.0, 20.0))
        for late, busy in ((3.0, 1.01), (1.0, 1.0), (2.0, 0.99))
    ]
    profile = told(seen(*runs))
    assert profile.time.base == pytest.approx(1.0, rel=1e-3)
    assert profile.time.per["audio_s"] == pytest.approx(0.5, rel=1e-3)
    assert profile.cpu.at(1, {"audio_s": 10.0}) == pytest.approx(6.0, rel=0.02)
    assert (profile.load_s, profile.load_cpu_s) == (1.5, 1.0), "the first load may have converted weights"
    assert (profile.how, profile.samples, profile.failures) == ("measured", 12, 0)
    assert profile.energy is None


def test_quality_says_how_it_came_about() -> None:
    run = Run(0, {}, 1.0, 1.0)
    assert (told(seen(run)).quality, told(seen(run)).quality_how) == (0.4, "assumed; no benchmark here")
    marked = told(seen(run, quality=0.0, quality_how="F1 of something"))
    assert (marked.quality, marked.quality_how) == (0.01, "F1 of something, measured")
    assert told(seen(run, row=replace(ROW, quality_how="a larger benchmark"))).quality_how == "a larger benchmark"


def test_without_a_task_the_rows_prior_stays_and_says_so() -> None:
    profile = told(seen())
    assert (profile.how, profile.cpu, profile.samples, profile.memory_mb) == ("prior", Line(9.0), 0, 100.0)
    assert profile.source == "loading and memory: a machine; the rest: the library's row"


def test_a_counter_gives_energy_by_the_mean_of_each_task() -> None:
    runs = [Run(n, {"images": x}, 1.0, 1.0, energy_wh=x * part) for n, x in enumerate((1.0, 5.0, 20.0)) for part in (0.0, 2.0)]
    profile = told(seen(*runs))
    assert profile.energy is not None
    assert profile.energy.at(1, {"images": 10.0}) == pytest.approx(10.0)
    assert told(seen(*runs, Run(0, {"images": 1.0}, 1.0, 1.0))).energy is None, "a counter that fails at times tells nothing"


def test_one_percent_of_so_many_tasks() -> None:
    found = summary(seen(Run(0, {}, 1.0, 0.5)), source="", at=0.0, watts_per_core=4.0)
    assert found.pays_after == pytest.approx(30.0 / 0.005)


def test_profiles_survive_a_file_and_the_newest_stays(tmp_path: Path) -> None:
    one = told(seen(Run(0, {"audio_s": 2.0}, 1.0, 0.5), crowd={1: 1.0, 2: 1.7}))
    assert load(dump([one])) == (one,)
    keep(tmp_path, [one])
    later = replace(one, load_s=7.0)
    other = replace(one, hardware="h100-80gb")
    keep(tmp_path, [later, other])
    assert read_kept(tmp_path) == (later, other)
    assert read_kept(tmp_path / "nowhere") == ()


def test_a_spoilt_file_is_said_and_put_aside(tmp_path: Path) -> None:
    (tmp_path / "profiles.json").write_text('{"format": "something else", "profiles": []}')
    with pytest.raises(BadProfiles, match="says its format is 'something else'; it should be 'murakkab profiles 1'"):
        read_kept(tmp_path)
    keep(tmp_path, [told(seen())])
    assert len(read_kept(tmp_path)) == 1
    assert (tmp_path / "profiles.bad").exists()


def test_noise_is_as_loud_as_was_asked_and_always_the_same(tmp_path: Path) -> None:
    np = pytest.importorskip("numpy")
    clean = (3_000 * np.sin(np.arange(16_000) / 20)).astype(np.int16)
    with wave.open(str(tmp_path / "clean.wav"), "wb") as wav:
        wav.setparams((1, 2, 16_000, 0, "NONE", ""))
        wav.writeframes(clean.tobytes())
    for name in ("one", "two"):
        _add_noise(tmp_path / "clean.wav", tmp_path / name, 10.0)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with wave.open(str(tmp_path / "one")) as wav:
        noise = np.frombuffer(wav.readframes(16_000), np.int16).astype(float) - clean
    assert 10 * math.log10((clean.astype(float) ** 2).mean() / (noise**2).mean()) == pytest.approx(10, abs=0.2)


async def _maths_marks(tmp_path: Path) -> tuple[tuple[float, str], tuple[float, str]]:
    lab = Lab(tmp_path)
    bench = await BENCHES["MathReasoner"](lab)
    assert bench.exam is not None
    right = [
        {"answer": plain(final_answer(json.loads(row)["answer"]) or Fraction(0))}
        for row in (DATA / "gsm8k_10.jsonl").read_text().splitlines()
    ]
    return bench.exam.mark(right), bench.exam.mark([*right[:1], {"answer": ""}, {"answer": "1"}])


def test_the_exam_of_maths_knows_right_from_wrong(tmp_path: Path) -> None:
    assert asyncio.run(_maths_marks(tmp_path)) == ((1.0, "10 problems"), (1 / 3, "3 problems"))
