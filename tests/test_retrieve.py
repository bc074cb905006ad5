"""Which agents a text is about: by words alone, and by sentence embeddings where the weights are."""

from __future__ import annotations

import numpy as np
import pytest

from murakkab.agents.catalog import AGENTS
from murakkab.agents.spec import Agent, Take
from murakkab.agents.types import TYPES
from murakkab.planner.embed import Hashed, Kept, Sentences, best
from murakkab.planner.lattice import Lattice, of_classes
from murakkab.planner.library import Library
from murakkab.planner.retrieve import FEATURES, Index, index_of, nearest, rank

TOOLS = Library(
    [
        Agent("Blur", "Blurs the faces in a picture.", {"image": Take("image")}, "image"),
        Agent("Speak", "Reads a text aloud.", {"text": Take("text", literal=True)}, "audio"),
        Agent("Transcribe", "Writes down what is said in a recording.", {"audio": Take("audio")}, "text"),
        Agent("find_hotel", "Looks for hotels in a town.", {"text": Take("text", literal=True)}, "text"),
    ],
    Lattice({}),
)
OURS = Library(AGENTS, of_classes(TYPES.values()))
HASHED = Kept(Hashed())


def first(text: str, library: Library = TOOLS) -> str:
    return rank(text, library, HASHED)[0][0]


def test_words_and_types_find_the_agent_without_weights() -> None:
    assert first("blur all faces") == "Blur"
    assert first("read the letter aloud") == "Speak"
    assert first("write down what is said") == "Transcribe"
    assert first("search for a hotel in Rome") == "find_hotel"


def test_aliases_of_an_agent_count() -> None:
    assert first("transcribe everything", OURS) == "SpeechToText"
    index = index_of(OURS, HASHED)
    found = {index.agents[i].name: words for i, words in index.aliases("what is MENTIONED?").items()}
    assert found == {"SpeechToText": {("mention",)}}


def test_types_that_a_clause_names() -> None:
    index = Index(TOOLS, HASHED)
    assert index.kinds == ["audio", "image", "text"]
    assert index.mentions("create a picture from the recording") == ({"image"}, {"audio"}, set())
    assert index.mentions("blur photo.jpg") == (set(), set(), {"image"})


def test_a_library_without_types_has_no_flows() -> None:
    plain = Library([Agent(n, n, {"input": Take("Value", literal=True)}, "Value") for n in ("a_one", "b_two")], Lattice({}))
    index = Index(plain, HASHED)
    assert index.kinds == []
    assert not index.flows.any()
    assert not index.needy.any()


def test_what_reaches_what() -> None:
    index = index_of(OURS, HASHED)
    at = {a.name: i for i, a in enumerate(index.agents)}
    assert index.flows[at["SceneSplitter"], at["FrameExtractor"]] == 1
    assert index.flows[at["SceneSplitter"], at["ObjectDetector"]] == 0
    assert index.upstream[at["SceneSplitter"], at["QuestionAnswerer"]]
    assert not index.upstream[at["QuestionAnswerer"], at["SceneSplitter"]]


def test_nearest_names_agents_also_for_nonsense() -> None:
    assert nearest("make my photo's faces unsharp", TOOLS, 2, HASHED)[0] == "Blur"
    assert len(nearest("", TOOLS, 3, HASHED)) == 3
    assert nearest("anything", Library([], Lattice({})), 3, HASHED) == []


def test_evidence_has_one_row_a_text_and_one_column_an_agent() -> None:
    index = Index(TOOLS, HASHED)
    found = index.features(["blur it", "", "…", "x" * 9000])
    assert found.shape == (4, 4, len(FEATURES))
    assert np.isfinite(found).all()
    assert index.features([]).shape == (0, 4, len(FEATURES))


def test_an_index_is_made_once() -> None:
    assert index_of(TOOLS, HASHED) is index_of(Library(TOOLS.agents, Lattice({})), HASHED)


def test_hashed_vectors_have_length_one_and_do_not_depend_on_others() -> None:
    rows = Hashed().embed(["cut the film", "film cutting", "", "hotel"])
    assert np.allclose(np.linalg.norm(rows, axis=1), [1, 1, 0, 1])
    assert np.array_equal(rows[1], Hashed().embed(["film cutting"])[0])
    assert rows[0] @ rows[1] > rows[0] @ rows[3]


def test_without_weights_words_are_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert best({"MURAKKAB_MINILM": "/does/not/exist"}).name == "hashed"


class Counting(Hashed):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def embed(self, texts: object) -> object:
        self.seen += list(texts)  # type: ignore[call-overload]
        return super().embed(texts)  # type: ignore[arg-type]


def test_a_text_is_embedded_once() -> None:
    inner = Counting()
    kept = Kept(inner)
    one = kept.embed(["a b", "c d", "a b"])
    assert np.array_equal(one[0], one[2])
    assert np.array_equal(one, kept.embed(["a b", "c d", "a b"]))
    assert inner.seen == ["a b", "c d"]
    assert kept.embed([]).shape[0] == 0


@pytest.mark.models
def test_sentence_embeddings_find_what_words_do_not() -> None:
    assert rank("make my holiday snap unrecognizable so that nobody sees who it is", TOOLS, Kept(Sentences()))[0][0] == "Blur"
    assert rank("a place to stay overnight in Rome", TOOLS, Kept(Sentences()))[0][0] == "find_hotel"
