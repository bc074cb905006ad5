"""Work units: what models count travels with the answer to the worker's use, and is summed in a stage's report."""

from __future__ import annotations

import asyncio
import math
import wave
from pathlib import Path
from typing import Any

import msgspec
import pytest

from murakkab.actors.errands import Ran, RunTask
from murakkab.actors.jobs import Job, stage_reports
from murakkab.actors.planning import input_units
from murakkab.actors.slots import Slots
from murakkab.actors.worker import Worker
from murakkab.agents import llm_openai
from murakkab.agents.instance import Answer
from murakkab.agents.interface import CALL, Call, Files
from murakkab.agents.library import Implementation
from murakkab.agents.llm import count_tokens
from murakkab.bus.messages import ArtifactRef, Choice, Desired, Edge, Input, Plan, Stage, SubmitJob, TaskReady, Use, Workflow
from murakkab.client.units import units_of
from murakkab.optimizer.prices import Prices


def call(tmp_path: Path, inputs: dict[str, Any] | None = None, args: dict[str, Any] | None = None) -> Call:
    return Call(inputs or {}, args or {}, Files(tmp_path))


def test_counts_add_up(tmp_path: Path) -> None:
    one = call(tmp_path)
    one.count("frames", 3)
    one.count("frames", 4.5)
    one.count("video_s", 2)
    assert one.units == {"frames": 7.5, "video_s": 2.0}


@pytest.mark.parametrize("amount", [math.nan, math.inf, -1, 0, None, "many", [], 10**400])
def test_what_is_no_amount_is_not_counted_and_fails_nothing(tmp_path: Path, amount: Any) -> None:
    one = call(tmp_path)
    one.count("frames", amount)
    assert one.units == {}


async def _two_tasks(tmp_path: Path) -> list[dict[str, float]]:
    async def task(read: object, written: object) -> dict[str, float]:
        mine = call(tmp_path)
        CALL.set(mine)
        await asyncio.sleep(0)
        count_tokens(read, written)
        return mine.units

    return list(await asyncio.gather(task(10, 2), task("no number", True)))


def test_tokens_go_to_the_task_that_asked(tmp_path: Path) -> None:
    count_tokens(5, 5)  # nobody asks: counted nowhere
    assert asyncio.run(_two_tasks(tmp_path)) == [{"tokens_in": 10.0, "tokens_out": 2.0}, {}]


@pytest.mark.parametrize(
    ("usage", "units"),
    [
        ({"prompt_tokens": 80, "completion_tokens": 24}, {"tokens_in": 80.0, "tokens_out": 24.0}),
        ({"prompt_tokens": None}, {}),
        ("free of charge", {}),
        (None, {}),
    ],
)
def test_a_server_may_say_what_it_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, usage: Any, units: dict[str, float]) -> None:
    answer = {"choices": [{"message": {"content": "yes"}}], "usage": usage}
    monkeypatch.setattr(llm_openai.OpenAIEngine, "_ask", lambda self, *_: answer)

    async def ask() -> dict[str, float]:
        mine = call(tmp_path)
        CALL.set(mine)
        engine = llm_openai.OpenAIEngine("http://127.0.0.1:1/v1", model="m")
        try:
            assert await engine.chat("s", "u", 5) == "yes"
        finally:
            engine.close()
        return mine.units

    assert asyncio.run(ask()) == units


def test_speech_counts_the_seconds_that_it_hears(tmp_path: Path) -> None:
    np = pytest.importorskip("numpy")
    from murakkab.agents.speech_faster_whisper import FasterWhisper

    files = Files(tmp_path)
    path = files.scratch()
    with wave.open(str(path), "wb") as wav:
        wav.setparams((1, 2, 16_000, 0, "NONE", "not compressed"))
        wav.writeframes(np.zeros(40_000, np.int16).tobytes())
    ref = msgspec.to_builtins(files.keep(path, "audio/wav"))
    scene = {"media": ref, "name": "a", "number": 0, "start_s": 1.0, "end_s": 3.5}
    model = FasterWhisper("whisper-tiny.en")
    model.model = type("Model", (), {"model": type("Inner", (), {"is_multilingual": True}), "supported_languages": ["en"]})
    model.transcribe = lambda sound, language, listen_first: ([], language)  # type: ignore[method-assign]
    one = call(tmp_path, {"audio": {"wav": ref, "scene": scene}})
    model.run(one)
    assert one.units == {"audio_s": 2.5}


def worker() -> Worker:
    row = Implementation("i", "A", "m:C")
    return Worker("h", {("A", "i"): row}, (), Prices({}), 2)


def test_the_workers_use_carries_them() -> None:
    one = worker()
    slots = Slots(Desired("x", "A", "i", "cpu"), one.library[("A", "i")], state="warm")
    use = one._use(slots, Ran(1.0, 2.0, None, 0.5, units={"audio_s": 9.8}), 0.0)
    assert use.units == {"audio_s": 9.8}
    assert msgspec.json.decode(msgspec.json.encode(use), type=Use) == use
    assert one._use(slots, Ran(1.0, 2.0), 0.0).units == {}
    assert b"units" not in msgspec.json.encode(Answer(1)), "an instance that counts nothing says nothing of it"
    assert RunTask(TaskReady(pool="p", tenant="t", job="j", stage="s", index=(), attempt=1, agent="A", implementation="i"), "x", "k")


def test_a_report_sums_the_work_of_a_stage() -> None:
    stages = (
        Stage("scenes", "SceneSplitter", (Edge("video"),), 1, many=True),
        Stage("audio", "AudioExtractor", (Edge("scene", "scenes"),), 2),
    )
    plan = Plan(Workflow(stages, ("audio",)), tuple(Choice(s.name, "i", "cpu", 1.0, 0.0, 0.0, 1.0) for s in stages))
    job = Job(SubmitJob(tenant="t", job="j", description="d", inputs=_inputs(2)), 100.0)
    job.begin(plan, 100.0)
    for n, parts in enumerate((2, 1)):
        job.count("h", "scenes", (n,), 1, "i", [{"n": p} for p in range(parts)], Use(100, 102, units={"video_s": 10.0 + n}))
    for n, part in enumerate([(0, 0), (0, 1), (1, 0)]):
        job.count("h", "audio", part, 1, "i", {}, Use(102, 102.5, units={"video_s": 3.0, "odd": 1.0} if n else {}))
    scenes, audio = stage_reports(job)
    assert (scenes.elements, scenes.units, scenes.busy_s) == (3, {"video_s": 21.0}, 4.0)
    assert (audio.elements, audio.units, audio.busy_s) == (0, {"video_s": 6.0, "odd": 2.0}, 1.5)


def _inputs(n: int) -> tuple[Input, ...]:
    return tuple(Input(f"{i}", ArtifactRef("0" * 64, 1, "video/mp4")) for i in range(n))


@pytest.mark.parametrize(
    ("said", "units"),
    [
        (({"video_s": 29.5}, {"video_s": 0.5, "odd": -1.0}), {"video_s": 30.0, "odd": 0.0}),
        (({"video_s": 29.5}, {}), {}),
        ((), {}),
    ],
)
def test_the_optimizer_is_told_how_much_there_is_where_all_inputs_say(said: tuple[dict[str, float], ...], units: dict[str, float]) -> None:
    inputs = tuple(msgspec.structs.replace(one, units=amount) for one, amount in zip(_inputs(len(said)), said, strict=True))
    assert input_units(SubmitJob(tenant="t", job="j", description="d", inputs=inputs)) == units


def test_a_file_says_how_much_it_is(tmp_path: Path) -> None:
    for name, text, units in (
        ("a.txt", "two\nlines", {"texts": 1.0}),
        ("a.jsonl", '{"a": 1}\n\n{"a": 2}\n', {"texts": 2.0}),
        ("empty.jsonl", "\n", {}),
        ("broken.mp4", "no film at all", {}),
        ("strange.bin", "\0\1", {}),
    ):
        path = tmp_path / name
        path.write_text(text)
        assert units_of(path) == units, name
    assert units_of(tmp_path / "missing.mp4") == {}
    assert units_of(tmp_path) == {}


def test_media_say_how_long_they_are(tmp_path: Path) -> None:
    pytest.importorskip("av")
    samples = Path(__file__).resolve().parents[1] / "samples"
    assert units_of(samples / "reading.mp4") == {"video_s": pytest.approx(29.0, abs=0.1)}
    sound = tmp_path / "sound.wav"
    with wave.open(str(sound), "wb") as wav:
        wav.setparams((1, 2, 16_000, 0, "NONE", "not compressed"))
        wav.writeframes(b"\0" * 80_000)
    assert units_of(sound) == {"audio_s": 2.5}
