"""How much work is expected of each stage: from arguments, inputs, what flows along, and what earlier jobs showed."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from murakkab.agents.library import agents
from murakkab.bus.messages import Edge, Stage, StageReport, Workflow, Workload
from murakkab.optimizer.workloads import VARIANTS_MAX, Workloads, canonical

VIDEO = Workflow(
    (
        Stage("scenes", "SceneSplitter", (Edge("video"),), 1, many=True),
        Stage("frames", "FrameExtractor", (Edge("scene", "scenes"),), 2, args={"every_s": 0.5}),
        Stage("audio", "AudioExtractor", (Edge("scene", "scenes"),), 2),
        Stage("transcripts", "SpeechToText", (Edge("audio", "audio"),), 2, args={"language": "en"}),
        Stage("detections", "ObjectDetector", (Edge("frames", "frames"),), 2),
        Stage("index", "VectorIndexer", (Edge("transcripts", "transcripts"), Edge("detections", "detections")), 1),
        Stage("search", "VectorSearcher", (Edge("indexes", "index"),), 0, args={"question": "what is it?"}),
    ),
    ("search",),
)
BOTH = {"video_s": 59.5}


def report(stage: str, tasks: int, elements: int = 0, **units: float) -> StageReport:
    return StageReport(stage, "", "x", "cpu", tasks, 0.0, 1.0, 0.0, 0.0, elements=elements, units=units)


def stage(name: str, flow: Workflow = VIDEO) -> Stage:
    return next(s for s in flow.stages if s.name == name)


def with_args(flow: Workflow, name: str, **args: object) -> Workflow:
    return replace(flow, stages=tuple(replace(s, args={**s.args, **args}) if s.name == name else s for s in flow.stages))


def test_tasks_follow_from_the_shape() -> None:
    found = Workloads(agents()).expect(VIDEO, 2, BOTH)
    assert found["scenes"].tasks == 2
    assert found["scenes"].elements == pytest.approx(5.95 / 2)
    assert [found[s].tasks for s in ("frames", "audio", "transcripts", "detections")] == [pytest.approx(5.95)] * 4
    assert (found["index"].tasks, found["search"].tasks) == (2, 1)


def test_work_flows_from_stage_to_stage() -> None:
    found = Workloads(agents()).expect(VIDEO, 2, BOTH)
    assert found["scenes"].units == {"video_s": 59.5}
    assert found["audio"].units == {"video_s": 59.5}
    assert found["transcripts"].units == {"audio_s": 59.5}
    assert found["frames"].units == {"video_s": 59.5, "frames": pytest.approx(119.0)}
    assert found["detections"].units == {"images": pytest.approx(119.0)}


def test_a_stretch_is_less_work_after_the_splitter_that_sees_all() -> None:
    found = Workloads(agents()).expect(with_args(VIDEO, "scenes", start_s=10.0, end_s=20.0), 1, {"video_s": 100.0})
    assert found["scenes"].units == {"video_s": 100.0}
    assert found["scenes"].elements == pytest.approx(1.0)
    assert found["transcripts"].units == {"audio_s": pytest.approx(10.0)}
    assert found["detections"].units == {"images": pytest.approx(20.0)}


def test_sound_alone_is_as_much_as_it_is_long() -> None:
    found = Workloads(agents()).expect(VIDEO, 1, {"audio_s": 60.0})
    assert found["scenes"].elements == pytest.approx(3.0)
    assert found["transcripts"].units == {"audio_s": 60.0}


def test_nothing_said_of_the_inputs_is_no_error() -> None:
    found = Workloads(agents()).expect(VIDEO, 3, {})
    assert found["scenes"].tasks == 3
    assert found["scenes"].elements == 3.0
    assert found["transcripts"].units["audio_s"] > 0


def test_splitting_a_stage_leaves_its_work_the_same() -> None:
    flow = Workflow(
        (
            *VIDEO.stages[:3],
            Stage("t-parts", "AudioSplitter", (Edge("audio", "audio"),), 2, many=True, args={"parts": 4}),
            Stage("t-part", "SpeechToText", (Edge("audio", "t-parts"),), 3),
            Stage("t", "TranscriptJoiner", (Edge("transcripts", "t-part"),), 2),
        ),
        ("t",),
    )
    found = Workloads(agents()).expect(flow, 1, BOTH)
    assert found["t-part"].tasks == pytest.approx(4 * 5.95)
    assert found["t-part"].units == {"audio_s": 59.5}
    assert found["t"].tasks == pytest.approx(5.95)


@pytest.mark.parametrize(
    ("agent", "args", "elements"),
    [("PathSpreader", {}, 5), ("PathSpreader", {"paths": 9}, 9), ("CandidateSpreader", {"candidates": 2}, 2), ("Spread", {"n": 0}, 0)],
)
def test_arguments_say_how_many(agent: str, args: dict[str, int], elements: float) -> None:
    it = Workloads(agents())
    it.learn(Stage("s", agent, many=True, args=dict(args)), report("s", 1, elements=77), {"texts": 1.0})
    assert it.get(agent, args).elements == elements
    flow = Workflow((Stage("s", agent, (Edge("p"),), 1, many=True, args=dict(args)), Stage("r", "Sleep", (Edge("p0", "s"),), 2)), ("r",))
    assert it.expect(flow, 3, {"texts": 3.0})["r"].tasks == 3 * elements


def test_what_jobs_showed_goes_before_a_guess() -> None:
    it = Workloads(agents())
    for _ in range(5):
        it.learn(stage("scenes"), report("scenes", 2, elements=12, video_s=60.0), {"video_s": 60.0})
        it.learn(stage("index"), report("index", 2, texts=30.0), {"video_s": 60.0})
    found = it.expect(VIDEO, 4, {"video_s": 120.0})
    assert found["transcripts"].tasks == pytest.approx(24)
    assert found["index"].units == {"texts": pytest.approx(60.0)}
    assert it.expect(VIDEO, 4, {})["index"].units == {"texts": pytest.approx(60.0)}, "a task had 15"


def test_other_arguments_are_another_workload() -> None:
    it = Workloads(agents())
    reader = Stage("read", "DocumentReader", (Edge("document"),), 1, many=True, args={"per": "line"})
    it.learn(reader, report("read", 1, elements=40), {})
    it.learn(replace(reader, args={"per": "paragraph"}), report("read", 1, elements=4), {})
    assert it.get("DocumentReader", {"per": "line"}).elements == 40
    assert it.get("DocumentReader", {"per": "paragraph"}).elements == 4
    assert it.get("DocumentReader", {"per": "whole"}).elements == pytest.approx(22), "the mean, whatever the arguments"


def test_a_stretch_is_learnt_as_a_part() -> None:
    it = Workloads(agents())
    cut = stage("scenes", with_args(VIDEO, "scenes", end_s=30.0))
    it.learn(cut, report("scenes", 1, elements=6, video_s=60.0), {"video_s": 60.0})
    assert it.expect(VIDEO, 1, {"video_s": 60.0})["scenes"].elements == pytest.approx(12)


def test_texts_of_peoples_own_and_cuts_make_no_workload() -> None:
    assert canonical({}) == ""
    assert canonical({"question": "what is said of cats?", "start_s": 3.0}) == ""
    assert canonical({"every_s": 0.5, "labels": ["cat"]}) == '{"every_s": 0.5}'
    it = Workloads(agents())
    for n in range(3 * VARIANTS_MAX):
        it.learn(replace(stage("frames"), args={"every_s": n + 1.0}), report("frames", 1, frames=3.0), {})
    assert len(it.all()) == VARIANTS_MAX + 1


def test_sensitivity_is_the_agents_own_and_survives_what_jobs_show() -> None:
    it = Workloads(agents())
    it.sensed("SpeechToText", 0.4)
    assert it.get("SpeechToText", {}).units == {"audio_s": 10.0}, "of amounts it says nothing"
    it.learn(stage("transcripts"), report("transcripts", 2, audio_s=8.0), {})
    found = it.get("SpeechToText", {"language": "en"})
    assert (found.sensitivity, found.units) == (0.4, {"audio_s": 4.0})


@pytest.mark.parametrize(
    "bad",
    [
        Workload("A", elements=math.nan),
        Workload("A", units={"texts": -1.0}),
        Workload("A", elements_per={"texts": math.inf}),
        Workload("A", units_per={"texts": {"video_s": -1.0}}),
        Workload("A", sensitivity=-0.5),
    ],
)
def test_a_bad_workload_is_left_out(bad: Workload) -> None:
    it = Workloads(agents())
    assert it.put(bad) is False
    assert it.all() == ()


def test_a_copy_learns_by_itself() -> None:
    it = Workloads(agents())
    it.copy().learn(stage("index"), report("index", 1, texts=5.0), {})
    assert it.all() == ()


AMOUNTS = st.floats(allow_nan=True)


@given(
    st.lists(st.tuples(st.integers(-1, 50), st.integers(0, 500), AMOUNTS, AMOUNTS), max_size=15),
    st.integers(1, 20),
    st.dictionaries(st.sampled_from(["video_s", "audio_s", "texts"]), AMOUNTS, max_size=2),
    st.floats(-10, 200),
    st.floats(-10, 200),
)
def test_whatever_jobs_show_expectations_are_finite(
    seen: list[tuple[int, int, float, float]], inputs: int, units: dict[str, float], start_s: float, end_s: float
) -> None:
    it = Workloads(agents())
    flow = with_args(VIDEO, "scenes", start_s=start_s, end_s=end_s)
    for tasks, elements, amount, video_s in seen:
        for one in flow.stages:
            it.learn(one, report(one.name, tasks, elements, video_s=amount, audio_s=amount), {"video_s": video_s})
    for found in it.expect(flow, inputs, units).values():
        assert all(v >= 0 and not math.isnan(v) for v in (found.tasks, found.elements, *found.units.values()))


@given(st.floats(0.01, 10.0), st.floats(1.0, 1e4), st.integers(1, 30))
def test_rates_converge_to_a_constant_truth(rate: float, seconds: float, tasks: int) -> None:
    it = Workloads(agents())
    it.learn(stage("index"), report("index", 1, texts=1e6), {"video_s": 1e3})
    for _ in range(200):
        it.learn(stage("index"), report("index", tasks, texts=rate * seconds), {"video_s": seconds})
    assert it.expect(VIDEO, 1, {"video_s": seconds})["index"].units["texts"] == pytest.approx(rate * seconds, rel=0.01, abs=0.2 * seconds)


def test_a_measured_sensitivity_outlives_what_is_said_of_amounts_later() -> None:
    """An optimizer that missed the measurement stores its workload after it; both are replayed in that order."""
    it = Workloads(agents())
    it.sensed("SpeechToText", 0.4)
    assert it.put(Workload("SpeechToText", "", samples=3))
    assert it.get("SpeechToText", {}).sensitivity == 0.4
    it.sensed("SpeechToText", float("nan"))
    assert it.copy().get("SpeechToText", {}).sensitivity == 0.4
    it.sensed("SpeechToText", 0.7)
    assert it.get("SpeechToText", {}).sensitivity == 0.7
