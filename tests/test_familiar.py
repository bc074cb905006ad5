"""Words that the library's own aliases know: agents, questions, searches with something to do afterwards."""

from __future__ import annotations

import pytest

from murakkab.agents import library as rows
from murakkab.agents.spec import Agent, Take
from murakkab.agents.types import TYPES
from murakkab.planner.embed import Hashed
from murakkab.planner.familiar import familiar
from murakkab.planner.lattice import of_classes
from murakkab.planner.library import Library
from murakkab.planner.proposal import Given, Proposal, Request
from murakkab.planner.proposers import Offline

OURS = Library(rows.AGENTS, of_classes(TYPES.values()))
INPUTS = (Given("cats.mp4", "Video"),)


def said(text: str, *hints: str, library: Library = OURS) -> Proposal:
    found = familiar(Request(text, hints, INPUTS), library)
    assert found is not None
    return found


def agents(proposal: Proposal) -> list[str]:
    return [c.agent for c in proposal.calls]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("List objects shown/mentioned in the videos", ["ObjectLister", "ObjectDetector", "SpeechToText"]),
        ("List objects mentioned in the videos", ["ObjectLister", "SpeechToText"]),
        ("Transcribe the talk", ["SpeechToText"]),
        ("Extract frames from each scene", ["FrameExtractor", "SceneSplitter"]),
        ("Summarize the videos", ["Summarizer"]),
    ],
)
def test_aliases_name_their_agents_in_the_order_of_the_words(text: str, found: list[str]) -> None:
    assert agents(said(text)) == found


def test_an_alias_is_a_whole_word() -> None:
    assert familiar(Request("cutlery essay unseen", (), INPUTS), OURS) is None


def test_each_hint_is_a_step() -> None:
    assert agents(said("Summarize", "Run speech-to-text on all scenes")) == ["Summarizer", "SpeechToText"]


def test_questions_go_to_the_agent_that_answers_them() -> None:
    assert agents(said("What happens in this film?")) == ["QuestionAnswerer"]
    asked = said("What does the speaker say about love?")
    assert agents(asked) == ["SpeechToText", "QuestionAnswerer"]
    assert asked.answer == (asked.calls[-1].id,)


def test_a_search_with_something_to_do_afterwards_is_looked_at_first() -> None:
    found = said("Find the section about coral reefs, then look closer at what is shown there.")
    assert [(c.agent, c.observe, c.args) for c in found.calls] == [("VectorSearcher", True, {"question": "coral reefs"})]
    assert found.rest == "look closer at what is shown there."


def test_agents_without_aliases_are_found_by_likeness_beside_those_with() -> None:
    poster = Agent("SlackPoster", "Post a message to a Slack channel.", {"text": Take("Text", literal=True)}, "Number")
    library = Library([*OURS.agents.values(), poster], OURS.types)
    proposer = Offline(Hashed())
    assert set(agents(proposer.propose(Request("Transcribe the talk, then post a message to the Slack channel", (), INPUTS), library))) == {
        "SpeechToText",
        "SlackPoster",
    }
    assert agents(proposer.propose(Request("Transcribe the talk", (), INPUTS), library)) == ["SpeechToText"]


def test_a_hint_that_nothing_can_do_is_named() -> None:
    refused = Offline(Hashed()).propose(Request("Summarize", ("Order me a pizza",), INPUTS), OURS)
    assert refused.calls == ()
    assert refused.why.startswith("no agent can do the step 'Order me a pizza'")
