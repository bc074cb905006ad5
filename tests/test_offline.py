"""Proposals without a language model, on made-up tools, on our own library, and on anything at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from murakkab.agents.catalog import AGENTS
from murakkab.agents.spec import Agent, Take
from murakkab.agents.types import TYPES
from murakkab.planner.embed import Hashed, Kept, Sentences
from murakkab.planner.lattice import Lattice, of_classes
from murakkab.planner.library import Library
from murakkab.planner.offline import OfflineProposer
from murakkab.planner.proposal import Given, Proposal, Request

OURS = Library(AGENTS, of_classes(TYPES.values()))
VIDEO = (Given("a.mp4", "Video"),)
HINTS = ("Extract frames from each video", "Run speech-to-text on all scenes", "Detect objects in the frames")
WORDS = OfflineProposer(Kept(Hashed()))


def tool(name: str, about: str, takes: str, gives: str) -> Agent:
    rows = {f"{t}{i or ''}": Take(t, literal=True) for i, t in enumerate(takes.split())}
    return Agent(name, about, rows, gives)


STUDIO = Library(
    [
        tool("Photo Fetcher", "Downloads a picture from an address.", "url", "image"),
        tool("Caption Reader", "Reads the printed letters in a picture.", "image", "text"),
        tool("Translator", "Translates a text into another language.", "text", "text"),
        tool("Narrator", "Speaks a text aloud, as a recording.", "text", "audio"),
        tool("Echo Maker", "Adds an echo to a recording.", "audio", "audio"),
        tool("Face Blur", "Blurs faces in a picture.", "image", "image"),
        tool("Poster Maker", "Joins two pictures into one poster.", "image image", "image"),
    ],
    Lattice({}),
)


def ask(text: str, library: Library = STUDIO, hints: tuple[str, ...] = (), inputs: tuple[Given, ...] = ()) -> Proposal:
    return WORDS.propose(Request(text, hints, inputs), library)


def names(plan: Proposal) -> list[str]:
    return [c.agent for c in plan.calls]


def edges(plan: Proposal) -> set[tuple[str, str]]:
    agent = {c.id: c.agent for c in plan.calls}
    return {(agent[s], c.agent) for c in plan.calls for s in c.inputs.values()}


def test_a_chain_in_words_is_a_chain_of_calls() -> None:
    plan = ask("Translate the letter 'a.txt', speak the translation aloud and then add an echo.")
    assert names(plan) == ["Translator", "Narrator", "Echo Maker"]
    assert edges(plan) == {("Translator", "Narrator"), ("Narrator", "Echo Maker")}


def test_what_a_user_has_makes_no_call() -> None:
    assert names(ask("I have a picture with faces in it. Please add an echo to the recording.")) == ["Echo Maker"]


def test_where_something_comes_from_runs_first() -> None:
    plan = ask("Speak aloud the text from reading the printed letters in the picture 'a.png'")
    assert names(plan) == ["Caption Reader", "Narrator"]
    assert edges(plan) == {("Caption Reader", "Narrator")}


def test_a_call_is_put_in_where_types_ask_for_one() -> None:
    plan = ask("I have a picture 'sign.jpg'. Translate it into Danish.")
    assert names(plan) == ["Caption Reader", "Translator"]


def test_literals_are_the_words_of_the_job_unless_an_input_has_them() -> None:
    text = "Translate the letter"
    assert ask(text).calls[0].args == {"text": text}
    assert ask(text, inputs=(Given("a", "text"),)).calls[0].args == {}


def test_what_inputs_cannot_reach_gives_way_to_what_they_can() -> None:
    tools = [
        tool("Text Shortener", "Shortens a text.", "text", "summary"),
        Agent("Film Shortener", "Shortens a film.", {"film": Take("film")}, "film"),
    ]
    both = Library(tools, Lattice({}))
    assert names(ask("Shorten it", both, inputs=(Given("a", "film"),))) == ["Film Shortener"]
    assert names(ask("Shorten it", both, inputs=(Given("a", "text"),))) == ["Text Shortener"]


def test_nothing_that_fits_is_an_empty_proposal() -> None:
    assert ask("Bake me a chocolate cake").calls == ()
    assert ask("").calls == ()
    assert ask("anything", Library([], Lattice({}))).calls == ()


def test_tools_without_types_are_a_chain_in_the_order_of_the_words() -> None:
    plain = Library(
        [Agent(n, n.replace("_", " "), {"input": Take("Value", literal=True)}, "Value") for n in ("book_hotel", "send_email", "set_alarm")],
        Lattice({}),
    )
    plan = ask("Set an alarm for seven, book a hotel and send an email to Ann.", plain)
    assert names(plan) == ["set_alarm", "book_hotel", "send_email"]
    assert edges(plan) == {("set_alarm", "book_hotel"), ("book_hotel", "send_email")}


def test_the_video_job_with_hints() -> None:
    plan = ask("List objects shown/mentioned in the videos", OURS, HINTS, VIDEO)
    assert {"FrameExtractor", "SpeechToText", "ObjectDetector", "ObjectLister"} <= set(names(plan))
    assert {("SpeechToText", "ObjectLister"), ("ObjectDetector", "ObjectLister"), ("FrameExtractor", "ObjectDetector")} <= edges(plan)


def test_the_video_job_without_hints() -> None:
    plan = ask("List objects shown/mentioned in the videos", OURS, (), VIDEO)
    assert set(names(plan)) == {"SpeechToText", "ObjectDetector", "ObjectLister"}
    assert edges(plan) == {("SpeechToText", "ObjectLister"), ("ObjectDetector", "ObjectLister")}


def test_a_question_is_answered() -> None:
    plan = ask("What does the speaker say about the moon?", OURS, (), VIDEO)
    assert {"SpeechToText", "QuestionAnswerer"} <= set(names(plan))


def test_every_hint_is_a_step() -> None:
    for hint, agent in zip(HINTS, ("FrameExtractor", "SpeechToText", "ObjectDetector"), strict=True):
        assert agent in names(ask("Do it", OURS, (hint,), VIDEO))


def test_the_same_request_gets_the_same_answer() -> None:
    text = "Fetch the picture at https://example.org/a.png, blur the faces and read the letters"
    first = ask(text)
    assert first == ask(text) == OfflineProposer(Kept(Hashed())).propose(Request(text), STUDIO, "something was wrong")
    assert first.why.startswith("Photo Fetcher")


@pytest.mark.models
def test_with_sentence_embeddings_too() -> None:
    proposer = OfflineProposer(Kept(Sentences()))
    plan = proposer.propose(Request("List objects shown/mentioned in the videos", HINTS, VIDEO), OURS)
    assert {"FrameExtractor", "SpeechToText", "ObjectDetector", "ObjectLister"} <= set(names(plan))
    assert proposer.propose(Request("Bake me a chocolate cake", (), VIDEO), OURS).calls == ()


TYPE = st.sampled_from(["image", "audio", "text", "Value", "any", "", "none", "Großes Ding"])
AGENT = st.builds(
    Agent,
    name=st.text(max_size=12),
    summary=st.text(max_size=80) | st.sampled_from([a.summary for a in AGENTS]),
    takes=st.dictionaries(
        st.text(max_size=5), st.builds(Take, TYPE, many=st.booleans(), optional=st.booleans(), literal=st.booleans()), max_size=3
    ),
    gives=TYPE,
    words=st.lists(st.text(max_size=9), max_size=3).map(tuple),
    description=st.text(max_size=80),
)
LIBRARIES = st.lists(AGENT, max_size=6).map(lambda rows: Library(rows, Lattice({"image": ("text",)})))
SAID = "I have a picture 'a.png' and , then . find the from text of it ? : \" audio https://x.y/z list what is said"
TEXTS = st.text(max_size=200) | st.lists(st.sampled_from(SAID.split()), max_size=40).map(" ".join)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(TEXTS, st.lists(TEXTS, max_size=3), LIBRARIES, st.lists(st.builds(Given, st.text(max_size=5), TYPE), max_size=2))
def test_any_text_and_any_library_give_a_sound_proposal(text: str, hints: list[str], library: Library, inputs: list[Given]) -> None:
    plan = WORDS.propose(Request(text, tuple(hints), tuple(inputs)), library)
    seen: set[str] = set()
    for call in plan.calls:
        takes = library.agents[call.agent].takes
        assert set(call.inputs) | set(call.args) <= set(takes)
        assert set(call.inputs.values()) <= seen
        assert set(call.after) <= seen
        assert call.id not in seen
        seen.add(call.id)


def f1(pairs: list[tuple[set[str], set[str]]]) -> float:
    return 200 * sum(len(a & b) for a, b in pairs) / max(1, sum(len(a) + len(b) for a, b in pairs))


@pytest.mark.models
def test_public_gold_graphs_are_met(shared: Path) -> None:
    """TaskBench's node and edge F1 over both sets together; the floor is what issue 3 asks for, well below what was measured."""
    nodes: list[tuple[set[str], set[str]]] = []
    links: list[tuple[set[str], set[str]]] = []
    proposer = OfflineProposer(Kept(Sentences()))
    for name in ("multimedia", "huggingface"):
        folder = shared / "data/planning/taskbench" / name
        tools = json.loads((folder / "tool_desc.json").read_text())["nodes"]
        rows = [
            tool(t["id"], t["desc"], " ".join(k.lower() for k in t["input-type"]), (t["output-type"] or ["none"])[0].lower()) for t in tools
        ]
        library = Library(rows, Lattice({}))
        for line in (folder / "gold_sample.jsonl").read_text().splitlines():
            row = json.loads(line)
            plan = proposer.propose(Request(row["user_request"]), library)
            nodes.append(({n["task"] for n in row["task_nodes"]}, set(names(plan))))
            links.append(({f"{e['source']} - {e['target']}" for e in row["task_links"]}, {f"{a} - {b}" for a, b in edges(plan)}))
    assert f1(nodes) >= 75
    assert f1(links) >= 45
