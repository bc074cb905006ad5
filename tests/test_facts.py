"""What was seen and said, as facts, and texts held against them. Pure: no model is loaded here."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from murakkab.agents import facts, passages
from murakkab.agents.types import Detection, Detections, Scene, Segment, Summary, Transcript
from murakkab.agents.vocabulary import vocabulary
from murakkab.agents.words import content, sentences, spans, stem, words
from murakkab.bus.messages import ArtifactRef

MEDIA = ArtifactRef("a" * 64, 1, "video/mp4")
LABELS = sorted({thing.label for thing in vocabulary().things.values()})
TEXT = st.text(st.sampled_from("abc tisdog, .!?\"'’-AZ09é\n"), max_size=200) | st.text(max_size=100)


def scene(start_s: float = 0.0, end_s: float = 60.0, number: int = 0) -> Scene:
    return Scene(MEDIA, "garden.mp4", number, start_s, end_s)


def transcript(*texts: str, each_s: float = 4.0) -> Transcript:
    return Transcript(tuple(Segment(i * each_s, (i + 1) * each_s, text) for i, text in enumerate(texts)), scene())


def detections(
    times_s: list[float], label: str = "dog", spacing_s: float = 1.0, where: Scene | None = None, score: float = 0.5
) -> Detections:
    where = where or scene()
    count = int((where.end_s - where.start_s) / spacing_s)
    frames = tuple(where.start_s + i * spacing_s for i in range(count))
    return Detections(tuple(Detection(label, score, t, (0, 0, 1, 1)) for t in times_s), where, frames)


def labels_in(text: str) -> list[str]:
    return [naming.label for naming in vocabulary().named(text)]


# --- the vocabulary -----------------------------------------------------------------------------------------------------


def test_the_vocabulary_is_large_and_knows_every_class_of_the_detector() -> None:
    from importlib.resources import files

    names = files("murakkab.agents").joinpath("data/fastestdet/coco.names").read_text().split("\n")
    known = vocabulary().things
    assert len(LABELS) > 800
    assert [n for n in names if n.strip() and tuple(w.low for w in words(n)) not in known] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("On the table there is a red apple and a cup of coffee.", ["table", "apple", "cup", "coffee"]),
        ("Hot dogs and teddy bears, but no animals of flesh.", ["hot dog", "teddy bear", "animal"]),
        ("Two women with wine glasses; the children’s knives.", ["woman", "wine glass", "child", "knife"]),
        ("Motorbikes beside sofas and a t-shirt.", ["motorcycle", "couch", "t-shirt"]),
        ("My fellow Americans, ask not what your country can do for you.", []),
        ("He works at Apple. Apples are sold in Washington.", ["apple"]),
        ("Watch out! She will watch us bear it.", []),
        ("A watch, and the bear.", ["watch", "bear"]),
        ("The train leaves at nine. He eats oranges.", ["orange"]),
        ("We water the roses.", ["rose"]),
        ("An orange cat looks at a bottle of water.", ["cat", "bottle", "water"]),
        ("THE DOG RAN. The concatenated caterers dogged on.", ["dog"]),
        ("", []),
    ],
)
def test_things_are_named_by_whole_words_in_any_number(text: str, expected: list[str]) -> None:
    assert labels_in(text) == expected


@given(st.sampled_from(sorted(vocabulary().things)))
def test_every_form_is_found_again_with_its_label(form: tuple[str, ...]) -> None:
    named = vocabulary().named(" ".join(form), lenient=True)
    assert [n.label for n in named] == [vocabulary().things[form].label]


@given(st.sampled_from(LABELS))
def test_kinds_end_and_start_with_the_thing_itself(label: str) -> None:
    kinds = list(vocabulary().kinds(label))
    assert kinds[0] == label
    assert len(kinds) == len(set(kinds)) <= 4


# --- words and sentences ------------------------------------------------------------------------------------------------


def test_sentences_end_at_full_stops_but_not_after_titles_or_in_numbers() -> None:
    assert sentences('Mr. Smith paid 3.50 dollars. "Really?" she said!') == ["Mr. Smith paid 3.50 dollars.", '"Really?"', "she said!"]


@given(TEXT)
def test_sentences_lose_nothing_but_space(text: str) -> None:
    at = 0
    for start, end in spans(text):
        assert text[at:start].strip() == ""
        assert end > start
        at = end
    assert text[at:].strip() == ""


@given(TEXT)
def test_words_stand_where_they_say(text: str) -> None:
    assert all(text[w.start : w.end] == w.text for w in words(text))


@pytest.mark.parametrize(
    ("a", "b"), [("apples", "apple"), ("talked", "talking"), ("cities", "city"), ("planted", "plants"), ("boxes", "box")]
)
def test_forms_of_a_word_share_their_stem(a: str, b: str) -> None:
    assert stem(a) == stem(b)


# --- what was mentioned -------------------------------------------------------------------------------------------------


def test_the_first_mention_counts_with_its_sentence_and_time() -> None:
    found = facts.mentioned([transcript("Hello there. We saw one dog today.", "Dogs chase a cat.")])
    assert [(m.label, m.quote) for m in found] == [("dog", "We saw one dog today."), ("cat", "Dogs chase a cat.")]
    assert found[0].start_s == pytest.approx(5 / 7 * 4, abs=0.01)
    assert found[1].start_s == pytest.approx(4 + 3 / 4 * 4)


def test_a_long_sentence_is_quoted_around_the_word() -> None:
    [found] = facts.mentioned([transcript(" ".join(["so"] * 30 + ["the", "umbrella"] + ["and"] * 30))])
    assert found.quote == "… so so so so so the umbrella and and and and and and …"


@given(st.lists(st.tuples(TEXT, st.sampled_from(["", *LABELS])), max_size=6))
def test_mentions_are_quoted_from_the_transcript_once_and_in_order(parts: list[tuple[str, str]]) -> None:
    given_texts = [f"{text} the {label}" for text, label in parts]
    speech = transcript(*given_texts)
    found = facts.mentioned([speech])
    assert len({m.label for m in found}) == len(found)
    assert [m.start_s for m in found] == sorted(m.start_s for m in found)
    for m in found:
        assert any(m.quote.removeprefix("… ").removesuffix(" …") in text for text in given_texts)
        assert m.label in [n.label for n in vocabulary().named(m.quote, lenient=True)]
        assert any(s.start_s <= m.start_s <= s.end_s for s in speech.segments)


# --- what was seen ------------------------------------------------------------------------------------------------------


def test_one_missed_frame_does_not_part_an_interval_and_two_do() -> None:
    [one] = facts.seen([detections([3, 4, 6, 7])])
    assert (one.start_s, one.end_s) == (3, 8)
    assert [(s.start_s, s.end_s) for s in facts.seen([detections([3, 4, 7])])] == [(3, 5), (7, 8)]


def test_an_object_is_seen_across_a_cut_and_ends_with_its_scene() -> None:
    first, second = scene(0, 10), scene(10, 20, 1)
    parts = [detections([8, 9], where=first, score=0.4), detections([10, 19], where=second, score=0.9)]
    assert [(s.start_s, s.end_s, s.score) for s in facts.seen(parts)] == [(8, 11, 0.9), (19, 20, 0.9)]


def test_frame_spacing_is_the_median_step_and_one_second_when_unknown() -> None:
    assert facts.frame_spacing_s(detections([], spacing_s=3)) == 3
    assert facts.frame_spacing_s(Detections((), scene())) == 1


@given(st.lists(st.tuples(st.integers(0, 59), st.sampled_from(["dog", "cat"]), st.floats(0, 1)), max_size=40), st.randoms())
def test_intervals_cover_every_sighting_and_stay_apart(items: list[tuple[int, str, float]], dice: object) -> None:
    both = Detections(
        tuple(Detection(label, score, float(t), (0, 0, 1, 1)) for t, label, score in items), scene(), tuple(map(float, range(60)))
    )
    found = facts.seen([both])
    for t, label, score in items:
        assert any(s.label == label and s.start_s <= t <= s.end_s and s.score >= score for s in found)
    for label in {s.label for s in found}:
        mine = [s for s in found if s.label == label]
        assert all(b.start_s - a.end_s > 1 - 1e-6 for a, b in pairwise(mine))
    shuffled = list(both.items)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]
    assert facts.seen([Detections(tuple(shuffled), scene(), both.frame_times_s)]) == found


# --- summaries against facts --------------------------------------------------------------------------------------------


def test_a_sentence_about_what_nobody_saw_or_named_is_dropped_with_the_reason() -> None:
    kept, dropped = facts.check_summary("A cat sleeps. A dog barks at the cat.", ["cat"], "the cat sleeps and something barks")
    assert kept == "A cat sleeps."
    assert dropped == ("A dog barks at the cat. ('dog' neither seen nor said)",)


def test_synonyms_and_kinds_are_the_same_thing_but_a_kind_is_no_proof_of_a_specimen() -> None:
    assert facts.check_summary("There is a couch.", ["sofa"], "")[1] == ()
    assert facts.check_summary("There is an animal.", ["cat"], "")[1] == ()
    assert facts.check_summary("There is a woman.", ["person"], "")[0] == ""


def test_one_thing_is_not_another_unless_somebody_said_so() -> None:
    speech = "a cat sits beside an astronaut"
    assert facts.check_summary("The astronaut is a cat.", [], speech) == (
        "",
        ("The astronaut is a cat. (nobody said that astronaut is a cat)",),
    )
    assert facts.check_summary("The astronaut in the photo is a cat.", [], f"{speech} on a photo")[0] == ""
    assert facts.check_summary("A cat is an animal.", [], speech)[1] == ()
    assert facts.check_summary("On the table is an apple.", [], "an apple lies on the table")[1] == ()
    assert facts.check_summary("A cat is an animal.", ["dog"], "there is a cat and there is a dog")[1] == ()
    assert facts.check_summary("There is a cat and there is a dog.", ["dog", "cat"], "")[1] == ()


def test_invention_without_things_is_dropped_too() -> None:
    kept, dropped = facts.check_summary("It is a classic narrative of a bygone era.", ["bottle"], "the hose is green")
    assert kept == ""
    assert dropped[0].endswith("(little of it was seen or said)")


@given(TEXT, st.lists(st.sampled_from(LABELS), max_size=3), st.lists(st.sampled_from(LABELS), max_size=3), TEXT)
def test_nothing_unsupported_is_kept_and_nothing_is_lost(text: str, shown: list[str], named: list[str], speech: str) -> None:
    text = text + " " + " ".join(f"The {label} is here." for label in named)
    kept, dropped = facts.check_summary(text, shown, speech)
    assert len(sentences(text)) == len(dropped) + sum(1 for s in sentences(text) if not any(d.startswith(s + " (") for d in dropped))
    assert all(any(d.startswith(s) for s in sentences(text)) for d in dropped)
    known = {k for n in vocabulary().named(speech, lenient=True) for k in vocabulary().kinds(n.label)}
    known |= {k for label in shown for k in vocabulary().kinds(label)}
    assert {n.label for s in sentences(kept) for n in vocabulary().named(s)} <= known


@given(st.lists(st.sampled_from(LABELS), min_size=1, max_size=5))
def test_what_was_said_word_for_word_is_kept(named: list[str]) -> None:
    speech = " ".join(f"I noticed the {label} yesterday." for label in named)
    assert facts.check_summary(speech, [], speech) == (speech, ())


# --- passages -----------------------------------------------------------------------------------------------------------


def test_passages_are_sentences_intervals_and_summaries() -> None:
    found = passages.of_video(
        [transcript("Welcome.", "Behind the roses", "stands a bicycle. It is red.")], [detections([3, 4])], [Summary("A tour.", scene())]
    )
    assert [(p.kind, p.text) for p in found] == [
        ("transcript", "Welcome. Behind the roses stands a bicycle."),
        ("transcript", "It is red."),
        ("detections", "dog seen from 3.0 s to 5.0 s"),
        ("summary", "A tour."),
    ]
    assert found[0].end_s == found[1].start_s == pytest.approx(8 + 3 / 6 * 4)


@given(st.lists(TEXT, max_size=8))
def test_passages_keep_every_word_of_the_speech_once_and_in_order(texts: list[str]) -> None:
    speech = transcript(*texts)
    found = passages.of_video([speech], [], [])
    assert [w.low for p in found for w in words(p.text)] == [w.low for t in texts for w in words(t)]
    assert all(0 <= p.start_s <= p.end_s <= 4 * len(texts) for p in found)
    assert all(p.text.strip() and len(content(p.text)) >= 0 for p in found)
