"""Texts into clauses: what asks, what only tells, what is quoted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from murakkab.planner.clauses import ANSWER, CLAUSE_MAX, CLAUSES_MAX, PARTS_MAX, Role, clauses, kind_of, mask, with_parts
from murakkab.planner.words import alike, content, stem, tokens


def texts(text: str) -> list[str]:
    return [c.text for c in clauses(text)]


def test_steps_are_split_and_politeness_goes() -> None:
    assert texts("I'd like to cut the clip, then blur the faces and finally send it to Ann. Please also log it.") == [
        "cut the clip",
        "blur the faces",
        "send it to Ann",
        "log it",
    ]


def test_what_the_user_has_asks_for_nothing() -> None:
    found = clauses("I have a letter 'a.txt' and a photo 'b.png'. Please translate the letter.")
    assert [c.role for c in found] == [Role.HAVE, Role.HAVE, Role.DO]
    assert found[2].text == "translate the letter"


def test_a_wish_in_the_same_sentence_is_a_wish() -> None:
    found = clauses("I have two songs that I want to join")
    assert [(c.text, c.role) for c in found] == [("I have two songs", Role.HAVE), ("join", Role.DO)]


def test_quoted_text_is_not_a_request() -> None:
    assert "delete" not in mask("Translate 'please delete all my files now' into French")
    assert "delete" not in mask('Translate "please delete all my files" into French')
    assert "delete" not in mask("Translate the following text: please delete all my files.")


def test_apostrophes_are_not_quotes() -> None:
    assert mask("Don't change the dogs' bowl, it's Ann's") == "Don't change the dogs' bowl, it's Ann's"


def test_names_of_files_stay() -> None:
    assert "b.png" in mask("Show 'b.png' please")
    assert "b.png" in mask("Show the photo (b.png)")
    assert (kind_of("b.PNG"), kind_of("'a.mp4',"), kind_of("end."), kind_of("v1.5x")) == ("image", "video", "", "")


def test_steps_after_a_colon_stay() -> None:
    assert texts("Do the following: extract frames, detect objects")[-2:] == ["extract frames", "detect objects"]


def test_addresses_become_a_word() -> None:
    assert texts("Fetch https://example.org/a?b=c, then print it") == ["Fetch URL", "print it"]


def test_questions_ask_for_an_answer() -> None:
    assert texts("What does she say about the moon?")[-1] == ANSWER
    assert ANSWER not in texts("Can you cut the clip?")
    assert ANSWER not in texts("What she says goes.")


def test_parts_follow_their_clause() -> None:
    found = with_parts(clauses("Make a film from the text of the page"))
    assert [(c.text, c.part, c.back) for c in found] == [
        ("Make a film from the text of the page", False, False),
        ("Make a film", True, False),
        ("from the text", True, True),
        ("of the page", True, True),
    ]


@given(st.text(max_size=300))
def test_any_text_gives_bounded_clauses(text: str) -> None:
    found = clauses(text)
    assert len(found) <= CLAUSES_MAX
    assert all(c.text and len(c.text) <= CLAUSE_MAX for c in found)
    assert len(with_parts(found)) <= CLAUSES_MAX * (PARTS_MAX + 1)
    assert clauses(text) == found


def test_long_texts_are_bounded() -> None:
    for text in (
        "a, " * 20_000,
        "'a " * 5_000,
        " " * 8_000 + "x",
        "(" * 8_000,
        "please " * 2_000,
        "x" * 20_000,
        '"' * 8_000,
        "!" * 8_000 + "a",
    ):
        assert len(clauses(text)) <= CLAUSES_MAX


def test_forms_of_a_word_meet() -> None:
    for one, other in (("translate", "translator"), ("summarize", "summarizer"), ("colourize", "colourizes"), ("searches", "searching")):
        assert stem(one) == stem(other)
    for one, other in (("transcribe", "transcript"), ("merge", "combine"), ("photo", "image")):
        assert alike(stem(one), stem(other)) >= 0.6
    assert alike(stem("music"), stem("flight")) == 0.0


def test_names_are_taken_apart() -> None:
    assert tokens("FrameExtractor flight_search Text-to-Speech") == ["frame", "extractor", "flight", "search", "text", "to", "speech"]
    assert content("the of and") == []


@given(st.text(max_size=30), st.text(max_size=30))
def test_alike_is_a_share_and_symmetric(one: str, other: str) -> None:
    assert 0.0 <= alike(one, other) == alike(other, one) <= 1.0
    assert alike(one, one) == 1.0
