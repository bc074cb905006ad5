"""Proposals, good and nonsense, become workflows that can run, or clear refusals; never another exception."""

from __future__ import annotations

from typing import Any

import networkx as nx
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from murakkab.agents import library as rows
from murakkab.agents.spec import Agent, Take
from murakkab.agents.types import TYPES
from murakkab.bus.messages import Workflow
from murakkab.planner.arguments import problem
from murakkab.planner.axes import shapes
from murakkab.planner.compile import CannotPlan, compile, verify
from murakkab.planner.graph import graph
from murakkab.planner.lattice import Lattice, of_classes
from murakkab.planner.library import Library
from murakkab.planner.proposal import FROM_INPUTS, Call, Given, Proposal, Request

OURS = Library(rows.agents(), of_classes(TYPES.values()))
VIDEO = Request("List objects", (), (Given("cats.mp4", "Video"),))


def agents_of(workflow: Workflow) -> set[str]:
    return {s.agent for s in workflow.stages}


def edges_of(workflow: Workflow) -> set[tuple[str, str]]:
    agent = {s.name: s.agent for s in workflow.stages}
    return {(agent[e.stage], s.agent) for s in workflow.stages for e in s.edges if e.stage}


def made(*calls: Call, request: Request = VIDEO, library: Library = OURS, **more: Any) -> Workflow:
    return compile(Proposal(calls, **more), request, library).workflow


# --- the video job ------------------------------------------------------------------------------------------------------------


def test_missing_producers_are_inserted_and_branches_are_not_chained() -> None:
    workflow = made(Call("b", "SpeechToText"), Call("c", "ObjectDetector", after=("b",)), Call("d", "ObjectLister", after=("c",)))
    assert {"SceneSplitter", "AudioExtractor", "FrameExtractor", "Summarizer", "VectorIndexer"} <= agents_of(workflow)
    assert ("SpeechToText", "ObjectDetector") not in edges_of(workflow)
    assert {("SpeechToText", "ObjectLister"), ("ObjectDetector", "ObjectLister")} <= edges_of(workflow)
    found = shapes(workflow)
    assert {n: s.axes for n, s in found.items()}["c"] == ("", "scenes")
    assert {n: s.axes for n, s in found.items()}["d"] == ("",)


def test_parts_are_presented_as_one_report() -> None:
    workflow = made(Call("b", "SpeechToText"))
    assert workflow.answer == ("report",)
    assert "ObjectDetector" not in agents_of(workflow)
    args = next(s.args for s in workflow.stages if s.agent == "SceneSplitter")
    assert args["need_sound"]
    assert not args["need_pictures"]


def test_a_call_between_is_inserted_where_types_do_not_meet() -> None:
    workflow = made(Call("x", "SceneSplitter", {"video": FROM_INPUTS}), Call("b", "SpeechToText", {"audio": "x"}))
    assert ("SceneSplitter", "AudioExtractor") in edges_of(workflow)
    assert sum(s.agent == "SceneSplitter" for s in workflow.stages) == 1


def test_known_values_need_no_new_work() -> None:
    request = Request("What is said?", (), VIDEO.inputs, known={"VectorIndex": [{"media_hash": "x"}]})
    workflow = made(Call("s", "VectorSearcher"), Call("a", "QuestionAnswerer"), request=request)
    assert agents_of(workflow) == {"VectorSearcher", "QuestionAnswerer"}
    assert workflow.stages[0].given == {"indexes": [{"media_hash": "x"}]}
    assert workflow.stages[0].args["question"] == "What is said?"


def test_names_and_arguments_that_are_slightly_wrong_are_mended_and_said() -> None:
    compiled = compile(Proposal((Call("b", "frame extractor", args={"num_frames": "10", "speed": 2, "every_s": -1}),)), VIDEO, OURS)
    frames = next(s for s in compiled.workflow.stages if s.agent == "FrameExtractor")
    assert frames.args == {"num_frames": 10}
    said = " ".join(compiled.repairs)
    assert "frame extractor" in said
    assert "speed" in said
    assert "every_s" in said


def test_arguments_come_from_the_words() -> None:
    request = Request("Extract 10 frames a scene, one every 2 seconds", (), VIDEO.inputs)
    frames = next(s for s in made(Call("f", "FrameExtractor"), request=request).stages if s.agent == "FrameExtractor")
    assert frames.args == {"num_frames": 10, "every_s": 2.0}


def test_the_same_call_twice_is_one() -> None:
    workflow = made(Call("a", "SpeechToText"), Call("b", "SpeechToText"))
    assert sum(s.agent == "SpeechToText" for s in workflow.stages) == 1


def test_useless_calls_are_dropped() -> None:
    compiled = compile(Proposal((Call("a", "SpeechToText"), Call("b", "FrameExtractor")), answer=("a",)), VIDEO, OURS)
    assert "FrameExtractor" not in agents_of(compiled.workflow)
    assert any("dropped" in r for r in compiled.repairs)


# --- refusals -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("calls", "request_", "words"),
    [
        ((), VIDEO, "no agent can do"),
        ((Call("a", "Teleporter"),), VIDEO, "no agent 'Teleporter'"),
        ((Call("a", "QuestionAnswerer"),), Request("What?"), "needs 'passages'"),
        ((Call("a", "SpeechToText"),), Request("Transcribe"), "no inputs"),
        ((Call("a", "Sleep", {"after": "b"}), Call("b", "Sleep", {"after": "a"})), VIDEO, "circle"),
        (tuple(Call(str(i), "Sleep") for i in range(500)), VIDEO, "at most"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(calls: tuple[Call, ...], request_: Request, words: str) -> None:
    with pytest.raises(CannotPlan, match=words) as refusal:
        compile(Proposal(calls), request_, OURS)
    assert "\n" not in str(refusal.value)


def test_inputs_of_several_kinds_are_told_apart() -> None:
    pair = Library([Agent("Ask", "", {"video": Take("Video"), "notes": Take("Document")}, "Text")], of_classes(TYPES.values()))
    one = Request("ask", (), (Given("a.mp4", "Video", {"name": "a.mp4"}), Given("n.txt", "Document", {"name": "n.txt"})))
    workflow = made(Call("x", "Ask"), request=one, library=pair)
    assert workflow.stages[0].given == {"video": {"name": "a.mp4"}, "notes": {"name": "n.txt"}}
    two = Request("ask", (), (*one.inputs, Given("b.mp4", "Video")))
    with pytest.raises(CannotPlan, match="different kinds"):
        made(Call("x", "Ask"), request=two, library=pair)


# --- anything at all ------------------------------------------------------------------------------------------------------------

NAMES = [f"A{i}" for i in range(6)]
KINDS = ["Value", "T0", "T1", "T2", "T3", "T4"]
SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 1}, "how": {"enum": ["a", "b"]}, "say": {"type": "string"}},
}


@st.composite
def libraries(draw: st.DrawFn) -> Library:
    kind = st.sampled_from(KINDS)
    take = st.builds(Take, kind, st.booleans(), st.booleans(), st.booleans(), st.booleans())
    some = st.sampled_from([0, 1, 1, 2, 3])
    agents = [
        Agent(
            name,
            draw(st.text(max_size=20)),
            {p: draw(take) for p in "pqr"[: draw(some)]},
            draw(kind),
            draw(st.booleans()),
            draw(st.sampled_from([{}, SCHEMA, {}, SCHEMA, {**SCHEMA, "required": ["say"]}, {**SCHEMA, "required": ["n"]}])),
            keeps=draw(st.booleans()),
            presents=draw(st.booleans()),
        )
        for name in draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=6, max_size=6))
    ]
    order = {f"T{i}": draw(st.sampled_from([(), (f"T{i - 1}",)])) for i in range(1, 5)}
    return Library(agents, Lattice(order))


IDS = st.one_of(st.sampled_from(["a", "b", "c", "d", ""]), st.text(max_size=6))
VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5), lambda v: st.lists(v, max_size=2))
CALLS = st.builds(
    Call,
    IDS,
    st.sampled_from([*NAMES * 4, "nobody", ""]),
    st.dictionaries(st.one_of(st.sampled_from(["p", "q", "r"]), st.text(max_size=3)), IDS, max_size=2),
    st.dictionaries(st.sampled_from(["n", "how", "say", "p", "zzz"]), VALUES, max_size=3),
    st.lists(IDS, max_size=2).map(tuple),
    st.booleans(),
)
REQUESTS = st.builds(
    Request,
    st.text(max_size=40),
    st.lists(st.text(max_size=10), max_size=2).map(tuple),
    st.lists(st.builds(Given, st.just("x"), st.sampled_from(KINDS)), max_size=4).map(tuple),
    st.booleans(),
    st.dictionaries(st.sampled_from(KINDS), st.just([1]), max_size=1),
)


@settings(max_examples=400, deadline=None)
@given(libraries(), st.lists(CALLS, max_size=6), st.lists(IDS, max_size=2), REQUESTS)
def test_any_proposal_is_a_verified_workflow_or_a_clear_refusal(
    library: Library, calls: list[Call], answer: list[str], request: Request
) -> None:
    workflow, refusal = None, ""
    try:
        workflow = compile(Proposal(tuple(calls), tuple(answer)), request, library).workflow
    except CannotPlan as error:
        refusal = str(error)
    event("refused" if workflow is None else "planned")
    assert "\n" not in refusal
    if workflow is None:
        assert refusal
        return
    verify(workflow, library)
    drawn = graph(workflow)
    assert nx.is_directed_acyclic_graph(drawn)
    for source, target, edge in drawn.edges(data=True):
        take = library.agents[drawn.nodes[target]["agent"]].takes[edge["param"]]
        assert edge["type"] == library.agents[drawn.nodes[source]["agent"]].gives
        assert library.types.is_a(edge["type"], take.type)
    assert workflow.answer
    used = {s.name for s in workflow.stages if library.agents[s.agent].keeps or s.observe} | set(workflow.answer)
    for stage in workflow.stages:
        agent = library.agents[stage.agent]
        for name, value in stage.args.items():
            assert not problem(value, agent.args["properties"][name])
        assert set(agent.args.get("required", ())) <= stage.args.keys()
        assert used & ({stage.name} | nx.descendants(drawn, stage.name))


@given(st.lists(st.tuples(st.sampled_from(KINDS[1:]), st.sampled_from(KINDS[1:])), max_size=8))
def test_the_order_of_types_is_one(pairs: list[tuple[str, str]]) -> None:
    above: dict[str, tuple[str, ...]] = {}
    for low, high in pairs:
        if int(low[1]) > int(high[1]):
            above[low] = (*above.get(low, ()), high)
    lattice = Lattice(above)
    for a in KINDS:
        assert lattice.is_a(a, a)
        assert lattice.is_a(a, "Value")
        for b in KINDS:
            if a != b and lattice.is_a(a, b):
                assert not lattice.is_a(b, a) or "Value" in (a, b)
            join = lattice.join(a, b)
            assert lattice.is_a(a, join)
            assert lattice.is_a(b, join)


def test_what_is_cut_is_not_kept_for_later_jobs() -> None:
    for text, partial in (("List objects in the first 10 seconds", True), ("List objects", None)):
        workflow = made(Call("d", "ObjectLister"), request=Request(text, (), VIDEO.inputs))
        assert next(s.args.get("partial") for s in workflow.stages if s.agent == "VectorIndexer") is partial
