"""From words to a workflow: the paper's job, its variants, questions, and a clear refusal of everything else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from murakkab.actors.core import ActorBug, Heard, Replayed, Send
from murakkab.actors.planner import Planner
from murakkab.agents import library
from murakkab.bus.messages import ArtifactRef, Edge, Indexed, Input, MakeWorkflow, Stage, Workflow, WorkflowMade, WorkflowRefused
from murakkab.planner.axes import shapes
from murakkab.planner.lower import CannotPlan, lower

AGENTS = library.agents()
PAPER = "List objects shown/mentioned in the videos"
HINTS = ("Extract frames from each video", "Run speech-to-text on all scenes", "Detect objects in the frames")
INDEX = {
    "store": {"sha256": "0" * 64, "size": 1, "media_type": "x"},
    "media_hash": "a" * 64,
    "passages": 3,
    "kinds": ["transcript", "summary"],
}


def plan(description: str, hints: tuple[str, ...] = (), indexes: tuple[dict[str, Any] | None, ...] = (None,)) -> Workflow:
    return lower(description, hints, AGENTS, indexes)


def edges(workflow: Workflow) -> set[tuple[str, str]]:
    """(from, to) by agent; inputs come from ''."""
    agent = {"": "", **{s.name: s.agent for s in workflow.stages}}
    return {(agent[e.stage], s.agent) for s in workflow.stages for e in s.edges}


SEE = {("", "SceneSplitter"), ("SceneSplitter", "FrameExtractor"), ("FrameExtractor", "ObjectDetector"), ("ObjectDetector", "Summarizer")}
HEAR = {("", "SceneSplitter"), ("SceneSplitter", "AudioExtractor"), ("AudioExtractor", "SpeechToText"), ("SpeechToText", "Summarizer")}
SEE_ENDS = {("ObjectDetector", "ObjectLister"), ("ObjectDetector", "VectorIndexer")}
HEAR_ENDS = {("SpeechToText", "ObjectLister"), ("SpeechToText", "VectorIndexer")}
ENDS = {("Summarizer", "ObjectLister"), ("Summarizer", "VectorIndexer")}


@pytest.mark.parametrize("hints", [(), HINTS, HINTS[:1], HINTS[1:2]])
def test_the_papers_job(hints: tuple[str, ...]) -> None:
    workflow = plan(PAPER, hints)
    assert edges(workflow) == SEE | HEAR | SEE_ENDS | HEAR_ENDS | ENDS
    assert workflow.answer == ("report",)
    depth = {s.agent: s.depth for s in workflow.stages}
    assert depth == {
        "SceneSplitter": 1,
        "AudioExtractor": 2,
        "SpeechToText": 2,
        "FrameExtractor": 2,
        "ObjectDetector": 2,
        "Summarizer": 2,
        "ObjectLister": 1,
        "VectorIndexer": 1,
    }
    assert [s.agent for s in workflow.stages if s.many] == ["SceneSplitter"]


def needs(workflow: Workflow) -> dict[str, Any]:
    return next(s.args for s in workflow.stages if s.agent == "SceneSplitter")


@pytest.mark.parametrize(
    "text", ["List objects shown in the videos", "Name the cars that appear in the pictures", "Detect everything visible"]
)
def test_only_what_is_shown(text: str) -> None:
    workflow = plan(text)
    assert edges(workflow) == SEE | SEE_ENDS | ENDS
    assert needs(workflow) == {"need_pictures": True, "need_sound": False}


@pytest.mark.parametrize("text", ["List objects mentioned in the videos", "Transcribe the talk", "Note what the speaker says"])
def test_only_what_is_mentioned(text: str) -> None:
    workflow = plan(text)
    assert edges(workflow) == HEAR | HEAR_ENDS | ENDS
    assert needs(workflow) == {"need_pictures": False, "need_sound": True}


def test_a_hint_adds_what_the_description_leaves_out() -> None:
    workflow = plan("List objects mentioned in the videos", ("Detect objects in the frames",))
    assert needs(workflow) == {"need_pictures": True, "need_sound": True}


@pytest.mark.parametrize("text", ["What happens in this film?", "Name the animal?", "who is seen", "Are there any cats in it"])
def test_a_question_is_answered_from_both_sides(text: str) -> None:
    workflow = plan(text)
    index = {("SpeechToText", "VectorIndexer"), ("ObjectDetector", "VectorIndexer"), ("Summarizer", "VectorIndexer")}
    assert edges(workflow) == SEE | HEAR | index | {("VectorIndexer", "VectorSearcher"), ("VectorSearcher", "QuestionAnswerer")}
    assert workflow.answer == ("answer",)
    stage = {s.agent: s for s in workflow.stages}
    assert stage["VectorSearcher"].args == {"question": text}
    assert (stage["VectorIndexer"].depth, stage["VectorSearcher"].depth, stage["QuestionAnswerer"].depth) == (1, 0, 0)


def test_a_question_about_what_is_said_needs_no_pictures() -> None:
    workflow = plan("What does the speaker say about love?")
    assert "ObjectDetector" not in {s.agent for s in workflow.stages}
    assert needs(workflow) == {"need_pictures": False, "need_sound": True}


def test_a_question_about_processed_videos_needs_no_processing() -> None:
    workflow = plan("What happens?", indexes=(INDEX, INDEX))
    assert [(s.agent, s.edges) for s in workflow.stages] == [("VectorSearcher", ()), ("QuestionAnswerer", (Edge("passages", "search"),))]
    assert workflow.stages[0].given == {"indexes": [INDEX, INDEX]}
    assert workflow.stages[0].args == {"question": "What happens?"}


def test_one_video_that_is_new_means_the_whole_work() -> None:
    assert "SceneSplitter" in {s.agent for s in plan("What happens?", indexes=(INDEX, None)).stages}
    assert "SceneSplitter" in {s.agent for s in plan("What happens?", indexes=()).stages}


def test_a_report_is_made_anew_also_when_its_video_is_indexed() -> None:
    assert edges(plan(PAPER, indexes=(INDEX,))) == edges(plan(PAPER))


@pytest.mark.parametrize("text", ["Order me a pizza", "", "   ", "!", "\x00\n", "préparer une tarte", "12345", "x" * 8_000])
def test_what_no_agent_can_do_is_refused_with_what_is_nearest(text: str) -> None:
    with pytest.raises(CannotPlan) as caught:
        plan(text)
    message = str(caught.value)
    assert message.startswith("no agent can do '")
    assert "; nearest: " in message or "; the library has " in message
    assert "\n" not in message
    assert len(message) < 600


def test_an_unknown_hint_is_refused_by_name() -> None:
    with pytest.raises(CannotPlan, match=r"^no agent can do the step 'Order me a pizza'; the library has SceneSplitter, "):
        plan(PAPER, ("Order me a pizza",))
    with pytest.raises(CannotPlan, match=r"^no agent can do the step 'Detecting smoke'; nearest: ObjectDetector \("):
        plan(PAPER, ("Detecting smoke",))


def test_a_library_that_lacks_an_agent_is_no_crash() -> None:
    """Third parties may bring a library of their own; what is missing is said."""
    few = {name: AGENTS[name] for name in ("ObjectLister", "VectorIndexer", "SceneSplitter")}
    workflow = lower(PAPER, (), few, ())
    assert [s.agent for s in workflow.stages if s.agent not in few] == []


WORDS = sorted({w for a in AGENTS.values() for w in a.words} | {"list", "objects", "what", "is", "?", "the", "pizza", "video", "\n", "/"})
TEXT = st.one_of(st.text(max_size=200), st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join))


@given(TEXT, st.lists(TEXT, max_size=3), st.lists(st.sampled_from([None, INDEX]), max_size=3))
def test_any_text_is_a_workflow_that_can_run_or_a_clear_refusal(text: str, hints: list[str], indexes: list[dict[str, Any] | None]) -> None:
    workflow, refusal = None, ""
    try:
        workflow = lower(text, hints, AGENTS, indexes)
    except CannotPlan as error:
        refusal = str(error)
    assert "\n" not in refusal
    if workflow is None:
        assert refusal
        return
    assert workflow.answer
    assert shapes(workflow).keys() == {s.name for s in workflow.stages}
    for stage in workflow.stages:  # every agent gets what it takes and cannot do without
        agent = AGENTS[stage.agent]
        got = {e.param for e in stage.edges} | stage.given.keys()
        assert got <= agent.takes.keys()
        assert {p for p, t in agent.takes.items() if not t.optional} <= got
        assert stage.many == agent.many
        assert stage.args.keys() <= agent.args.keys()


# --- the actor ----------------------------------------------------------------------------------------------------------------

VIDEO = Input("cats.mp4", ArtifactRef("a" * 64, 5, "video/mp4"))


def answer(planner: Planner, msg: MakeWorkflow) -> WorkflowMade | WorkflowRefused:
    (send,) = planner.on(Heard(msg), 0.0)
    assert isinstance(send, Send)
    assert isinstance(send.msg, WorkflowMade | WorkflowRefused)
    assert send.msg.job == msg.job
    planner.check()
    return send.msg


def test_the_planner_always_answers() -> None:
    planner = Planner(AGENTS)
    assert answer(planner, MakeWorkflow(tenant="t", job="j", description=PAPER, inputs=(VIDEO,))) == WorkflowMade(
        job="j", workflow=plan(PAPER)
    )
    refused = answer(planner, MakeWorkflow(tenant="t", job="j", description="Order me a pizza", inputs=(VIDEO,)))
    assert isinstance(refused, WorkflowRefused)
    assert refused.error.startswith("no agent can do 'Order me a pizza'; the library has ")


def test_it_remembers_processed_videos_of_each_tenant_for_itself() -> None:
    question = MakeWorkflow(tenant="t", job="j", description="What happens?", inputs=(VIDEO,))
    for event in (Heard, Replayed):
        planner = Planner(AGENTS)
        assert list(planner.on(event(Indexed(tenant="u", media_hash="a" * 64, index=INDEX)), 0.0)) == []
        made = answer(planner, question)
        assert isinstance(made, WorkflowMade)
        assert made.workflow.kind == "video question", "another tenant's index is not ours"
        list(planner.on(event(Indexed(tenant="t", media_hash="a" * 64, index=INDEX)), 0.0))
        made = answer(planner, question)
        assert isinstance(made, WorkflowMade)
        assert made.workflow.kind == "question, from the index"


def test_an_index_answers_only_what_went_into_it() -> None:
    assert plan("What does the speaker say?", indexes=(INDEX,)).kind == "question, from the index"
    assert plan("What is shown in the video?", indexes=(INDEX,)).kind == "video question", "no detections were indexed"
    assert plan("What does the speaker say?", indexes=({**INDEX, "kinds": ["detections"]},)).kind == "video question"
    assert plan("What does the speaker say?", indexes=(INDEX, None)).kind == "video question", "one of two is not indexed"


def test_a_ready_workflow_is_checked_and_passed_on() -> None:
    planner = Planner(AGENTS)
    ready = Workflow((Stage("s", "Sleep"),), ("s",))
    assert answer(planner, MakeWorkflow(tenant="t", job="j", description="", workflow=ready)) == WorkflowMade(job="j", workflow=ready)
    unknown = Workflow((Stage("s", "Dance"),), ("s",))
    assert answer(planner, MakeWorkflow(tenant="t", job="j", description="", workflow=unknown)) == WorkflowRefused(
        job="j", error=f"stage 's': there is no agent 'Dance'; there are {', '.join(AGENTS)}"
    )
    cyclic = Workflow((Stage("s", "Sleep", (Edge("after", "s"),)),), ("s",))
    assert answer(planner, MakeWorkflow(tenant="t", job="j", description="", workflow=cyclic)) == WorkflowRefused(
        job="j", error="stage 's' takes 'after' from 's', which comes later or waits for it (a cycle)"
    )


def test_check_sees_an_index_of_another_medium() -> None:
    planner = Planner(AGENTS)
    list(planner.on(Heard(Indexed(tenant="t", media_hash="b" * 64, index=INDEX)), 0.0))
    with pytest.raises(ActorBug, match="of another medium"):
        planner.check()
