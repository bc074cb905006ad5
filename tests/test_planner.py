"""From words to a workflow: the paper's job, its variants, questions, and a clear refusal of everything else."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from murakkab.actors.core import ActorBug, Do, Errand, Heard, Outcome, Replayed, Send
from murakkab.actors.planner import Planner, Propose
from murakkab.agents import library as rows
from murakkab.agents.spec import Agent, Take
from murakkab.agents.types import TYPES
from murakkab.bus.messages import (
    ArtifactRef,
    Edge,
    Indexed,
    Input,
    LibraryOffered,
    MakeWorkflow,
    Message,
    Stage,
    Workflow,
    WorkflowExtended,
    WorkflowMade,
    WorkflowRefused,
)
from murakkab.planner.compile import verify
from murakkab.planner.embed import Hashed
from murakkab.planner.lattice import of_classes
from murakkab.planner.library import Library
from murakkab.planner.proposal import Call, Proposal, Request
from murakkab.planner.proposers import Offline

LIBRARY = Library(rows.agents(), of_classes(TYPES.values()))
OFFLINE = Offline(Hashed())
PAPER = "List objects shown/mentioned in the videos"
HINTS = ("Extract frames from each video", "Run speech-to-text on all scenes", "Detect objects in the frames")
INDEX = {
    "store": {"sha256": "0" * 64, "size": 1, "media_type": "x"},
    "media_hash": "a" * 64,
    "passages": 3,
    "kinds": ["transcript", "summary"],
}


VIDEO = Input("cats.mp4", ArtifactRef("a" * 64, 5, "video/mp4"))


def drive(planner: Planner, msg: MakeWorkflow, proposals: dict[str, list[Proposal | str]] | None = None) -> WorkflowMade | WorkflowRefused:
    """What the planner answers; proposers say what `proposals` has for them (a text: they fail with it), else the real offline one."""
    todo = list(planner.on(Heard(msg), 0.0))
    while True:
        (command,) = todo
        planner.check()
        if isinstance(command, Send):
            assert isinstance(command.msg, WorkflowMade | WorkflowRefused)
            assert command.msg.job == msg.job
            return command.msg
        assert isinstance(command, Do)
        errand = command.errand
        assert isinstance(errand, Propose)
        said = proposals[errand.by].pop(0) if proposals and proposals.get(errand.by) else OFFLINE.propose(errand.request, errand.library)
        outcome = Outcome(errand, error=said) if isinstance(said, str) else Outcome(errand, said)
        todo = list(planner.on(outcome, 1.0))


def ask(description: str, hints: tuple[str, ...] = (), inputs: tuple[Input, ...] = (VIDEO,)) -> MakeWorkflow:
    return MakeWorkflow(tenant="t", job="j", description=description, inputs=inputs, tasks=hints)


def refusal(description: str, hints: tuple[str, ...] = ()) -> str:
    answer = drive(Planner(LIBRARY), ask(description, hints))
    assert isinstance(answer, WorkflowRefused)
    return answer.error


def plan(description: str, hints: tuple[str, ...] = (), indexes: tuple[dict[str, Any] | None, ...] = (None,)) -> Workflow:
    planner = Planner(LIBRARY)
    inputs = tuple(Input(f"{n}.mp4", ArtifactRef(f"{n:064x}", 5, "video/mp4")) for n in range(len(indexes)))
    for i, index in zip(inputs, indexes, strict=True):
        if index is not None:
            list(planner.on(Heard(Indexed(tenant="t", media_hash=i.media.sha256, index={**index, "media_hash": i.media.sha256})), 0.0))
    answer = drive(planner, ask(description, hints, inputs))
    assert isinstance(answer, WorkflowMade), answer
    verify(answer.workflow, LIBRARY)
    return answer.workflow


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
    assert [s.agent for s in workflow.stages] == ["VectorSearcher", "QuestionAnswerer"]
    assert [e.stage for s in workflow.stages for e in s.edges] == [workflow.stages[0].name]
    assert [i["kinds"] for i in workflow.stages[0].given["indexes"]] == [INDEX["kinds"]] * 2
    assert workflow.stages[0].args == {"question": "What happens?"}


def test_one_video_that_is_new_means_the_whole_work() -> None:
    assert "SceneSplitter" in {s.agent for s in plan("What happens?", indexes=(INDEX, None)).stages}


def test_a_report_is_made_anew_also_when_its_video_is_indexed() -> None:
    assert edges(plan(PAPER, indexes=(INDEX,))) == edges(plan(PAPER))


@pytest.mark.parametrize("text", ["Order me a pizza", "", "   ", "!", "\x00\n", "12345", "x" * 8_000])
def test_what_no_agent_can_do_is_refused_with_what_is_nearest(text: str) -> None:
    message = refusal(text)
    assert message.startswith("no agent can do '")
    assert "; nearest: " in message or "; the library has " in message
    assert "\n" not in message
    assert len(message) < 900


def test_a_job_without_inputs_is_told_so() -> None:
    answer = drive(Planner(LIBRARY), ask(PAPER, inputs=()))
    assert isinstance(answer, WorkflowRefused)
    assert "the job has no inputs" in answer.error


WORDS = sorted(
    {w for a in LIBRARY.agents.values() for w in a.words} | {"list", "objects", "what", "is", "?", "the", "pizza", "video", "\n", "/"}
)
TEXT = st.one_of(st.text(max_size=200), st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join))


@settings(deadline=None)
@given(TEXT, st.lists(TEXT, max_size=3), st.booleans())
def test_any_text_is_a_workflow_that_can_run_or_a_clear_refusal(text: str, hints: list[str], with_input: bool) -> None:
    answer = drive(Planner(LIBRARY), ask(text, tuple(hints), (VIDEO,) if with_input else ()))
    if isinstance(answer, WorkflowRefused):
        assert answer.error
        assert "\n" not in answer.error
        return
    verify(answer.workflow, LIBRARY)
    assert answer.workflow.answer
    assert all(s.call.startswith(f"{s.agent}(") for s in answer.workflow.stages)


# --- the actor ----------------------------------------------------------------------------------------------------------------


def test_a_language_model_is_told_once_what_was_wrong() -> None:
    planner = Planner(LIBRARY, ("llm", "offline"))
    good = Proposal((Call("s", "SpeechToText"),))
    answer = drive(planner, ask(PAPER), {"llm": [Proposal((Call("x", "Teleporter"),)), good]})
    assert isinstance(answer, WorkflowMade)
    assert answer.workflow.proposer == "llm"
    assert any("Teleporter" in r for r in answer.workflow.repairs)


@pytest.mark.parametrize("said", [["the server is down"], [Proposal(()), Proposal(())], [Proposal(()), "no answer"]])
def test_without_a_usable_language_model_it_plans_all_the_same(said: list[Proposal | str]) -> None:
    answer = drive(Planner(LIBRARY, ("llm", "offline")), ask(PAPER), {"llm": list(said)})
    assert isinstance(answer, WorkflowMade)
    assert answer.workflow.proposer == "offline"
    assert answer.workflow.repairs[0].startswith("refused before: ")


def test_the_same_job_on_new_inputs_asks_no_proposer() -> None:
    planner = Planner(LIBRARY, ("llm",))
    drive(planner, ask("What is in cats.mp4: list it"), {"llm": [Proposal((Call("s", "ObjectDetector"),))]})
    other = Input("dogs.mp4", ArtifactRef("b" * 64, 5, "video/mp4"))
    (again,) = planner.on(Heard(ask("What is in dogs.mp4: list it", inputs=(other,))), 5.0)
    assert isinstance(again, Send)
    assert isinstance(again.msg, WorkflowMade)
    assert 'SceneSplitter(video="dogs.mp4"' in again.msg.workflow.stages[0].call
    for different in (
        ask("What else is in cats.mp4"),
        ask("What is in cats.mp4: list it", HINTS),
        ask("What is in cats.mp4: list it", inputs=()),
    ):
        (command,) = planner.on(
            Heard(replace(different, job=f"k{len(different.tasks)}{len(different.inputs)}{different.description[5]}")), 6.0
        )
        assert isinstance(command, Do)


def test_a_changed_library_is_planned_for_anew() -> None:
    planner = Planner(LIBRARY, ("llm",))
    drive(planner, ask(PAPER), {"llm": [Proposal((Call("s", "ObjectDetector"),))]})
    mine = Agent("Poet", "Make a poem of a summary.", {"summary": Take("Summary")}, "Text", words=("poem",))
    list(planner.on(Heard(LibraryOffered(host="h", agents=(msgspec.to_builtins(mine),))), 4.0))
    (command,) = planner.on(Heard(ask(PAPER)), 5.0)
    assert isinstance(command, Do)
    answer = drive(
        planner, replace(ask("Make a poem of what is said"), job="k"), {"llm": [OFFLINE.propose(Request("poem"), planner.library)]}
    )
    assert isinstance(answer, WorkflowMade)
    assert "Poet" in {s.agent for s in answer.workflow.stages}, "what only a host has is planned with"


def test_a_question_that_is_asked_again_while_it_is_thought_about_is_one_question() -> None:
    planner = Planner(LIBRARY)
    (first,) = planner.on(Heard(ask(PAPER)), 0.0)
    assert list(planner.on(Heard(ask(PAPER)), 3.0)) == []
    assert list(planner.on(Heard(ask(PAPER)), 500.0)) != [], "whoever worked on it has died"
    assert isinstance(first, Do)
    assert isinstance(first.errand, Propose)
    assert len(list(planner.on(Outcome(first.errand, OFFLINE.propose(first.errand.request, LIBRARY)), 501.0))) == 1
    assert list(planner.on(Outcome(first.errand, Proposal(())), 502.0)) == [], "answered already"


def test_it_remembers_processed_videos_of_each_tenant_for_itself() -> None:
    question = ask("What happens?")
    for event in (Heard, Replayed):
        planner = Planner(LIBRARY)
        assert list(planner.on(event(Indexed(tenant="u", media_hash="a" * 64, index=INDEX)), 0.0)) == []
        made = drive(planner, question)
        assert isinstance(made, WorkflowMade)
        assert len(made.workflow.stages) > 2, "another tenant's index is not ours"
        list(planner.on(event(Indexed(tenant="t", media_hash="a" * 64, index=INDEX)), 0.0))
        made = drive(planner, question)
        assert isinstance(made, WorkflowMade)
        assert len(made.workflow.stages) == 2


def test_an_index_answers_only_what_went_into_it() -> None:
    def short(description: str, *indexes: dict[str, Any] | None) -> bool:
        return len(plan(description, indexes=indexes).stages) == 2

    assert short("What does the speaker say?", INDEX)
    assert not short("What is shown in the video?", INDEX), "no detections were indexed"
    assert not short("What does the speaker say?", {**INDEX, "kinds": ["detections"]})
    assert not short("What does the speaker say?", INDEX, None), "one of two is not indexed"


def test_a_ready_workflow_is_checked_and_passed_on() -> None:
    def given_(workflow: Workflow) -> WorkflowMade | WorkflowRefused:
        return drive(Planner(LIBRARY), MakeWorkflow(tenant="t", job="j", description="", workflow=workflow))

    ready = Workflow((Stage("s", "Sleep"),), ("s",))
    assert given_(ready) == WorkflowMade(job="j", workflow=Workflow((Stage("s", "Sleep", call="Sleep(ms=0)"),), ("s",)))
    for stage, error in (
        (Stage("s", "Dance"), "stage 's': there is no agent 'Dance'; there are "),
        (Stage("s", "Sleep", (Edge("after", "s"),)), "stage 's' takes 'after' from 's', which comes later or waits for it (a cycle)"),
        (Stage("s", "Sleep", (Edge("before"),)), "stage 's': Sleep takes no 'before'; it takes after"),
        (Stage("s", "SpeechToText"), "stage 's': SpeechToText needs 'audio' of type Audio"),
        (Stage("s", "Spread"), "stage 's': spread gives a list a task; set many to true"),
    ):
        refused = given_(Workflow((stage,), ("s",)))
        assert isinstance(refused, WorkflowRefused)
        assert refused.error.startswith(error)


def test_check_sees_an_index_of_another_medium() -> None:
    planner = Planner(LIBRARY)
    list(planner.on(Heard(Indexed(tenant="t", media_hash="b" * 64, index=INDEX)), 0.0))
    with pytest.raises(ActorBug, match="of another medium"):
        planner.check()


def test_nothing_is_refused_before_a_first_host_has_said_what_it_brings() -> None:
    planner = Planner(LIBRARY, patience_s=5.0)
    pizza = ask("Order me a pizza")
    (command,) = planner.on(Heard(pizza), 0.0)
    assert isinstance(command, Do)
    assert list(planner.on(Outcome(command.errand, Proposal(())), 0.1)) == [], "the conductor asks again soon"
    (command,) = planner.on(Heard(pizza), 2.0)
    assert isinstance(command, Do)
    list(planner.on(Heard(LibraryOffered(host="h")), 2.1))
    (command,) = planner.on(Outcome(command.errand, Proposal(())), 2.2)
    assert isinstance(command, Send)
    assert isinstance(command.msg, WorkflowRefused)
    alone = Planner(LIBRARY, patience_s=5.0)
    list(alone.on(Heard(pizza), 0.0))
    (command,) = alone.on(Heard(replace(pizza, job="k")), 6.0)
    assert isinstance(command, Do)
    (command,) = alone.on(Outcome(command.errand, Proposal(())), 6.1)
    assert isinstance(command, Send), "no host came"


class TooLarge(Errand, frozen=True):
    msg: Message


@pytest.mark.parametrize(
    ("msg", "stage"),
    [(WorkflowMade(job="j", workflow=Workflow((), ())), ""), (WorkflowExtended(job="j", stage="search"), "search")],
)
def test_what_no_message_can_hold_is_refused_since_the_conductor_would_ask_for_ever(msg: Message, stage: str) -> None:
    (send,) = Planner(LIBRARY).on(Outcome(TooLarge(msg), error="it does not fit"), 0.0)
    assert send == Send(WorkflowRefused(job="j", error="it does not fit", stage=stage))
