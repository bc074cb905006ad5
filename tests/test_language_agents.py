"""The language agents. With real weights where marked; what a model writes is never asserted, only what is built around it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from murakkab.agents import answer, gguf_convert, summarize, vectors, weights
from murakkab.agents.answer import QuestionAnswerer
from murakkab.agents.interface import BadInput, Call, Files
from murakkab.agents.llm_ctranslate2 import CTranslate2Engine
from murakkab.agents.minilm import MiniLM
from murakkab.agents.report import FactList
from murakkab.agents.summarize import Summarizer
from murakkab.agents.types import (
    Detection,
    Detections,
    Passage,
    Passages,
    QuestionAnswer,
    Scene,
    SeenObject,
    Segment,
    Summary,
    Transcript,
    VectorIndex,
)
from murakkab.agents.vectors import VectorIndexer, VectorSearcher
from murakkab.bus.messages import ArtifactRef

MEDIA = ArtifactRef("c" * 64, 1, "video/mp4")
SPEECH = (
    "On the table there is a red apple and a cup of coffee.",
    "The astronaut on this picture flew to the moon in nineteen sixty nine.",
    "Cats like to sleep on a sofa, but this one prefers a cardboard box.",
)


def scene(start_s: float = 0.0, end_s: float = 30.0, media: ArtifactRef = MEDIA) -> Scene:
    return Scene(media, "tour.mp4", int(start_s), start_s, end_s)


def transcript(*texts: str, where: Scene | None = None) -> Transcript:
    where = where or scene()
    return Transcript(tuple(Segment(where.start_s + 4.0 * i, where.start_s + 4.0 * i + 4, t) for i, t in enumerate(texts)), where)


def bottles() -> Detections:
    return Detections(tuple(Detection("bottle", 0.6, float(t), (0, 0, 1, 1)) for t in range(3, 8)), scene(), tuple(map(float, range(30))))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "files")


def call(files: Files, args: dict[str, Any] | None = None, **inputs: Any) -> Call:
    return Call({name: msgspec.to_builtins(value) for name, value in inputs.items()}, args or {}, files)


# --- report -------------------------------------------------------------------------------------------------------------


def test_a_report_gathers_the_scenes_in_order_of_time(files: Files) -> None:
    first, second = scene(0, 10), scene(10, 20)
    texts = [transcript("A cat and a dog.", where=second), transcript("One cat.", where=first)]
    summaries = [Summary("Later.", second, ("Gone. (why)",)), Summary("Early.", first)]
    report = FactList().run(call(files, transcripts=texts, detections=[bottles()], summaries=summaries))
    assert report.name == "tour.mp4"
    assert report.summary == "0.0–10.0 s: Early.\n10.0–20.0 s: Later."
    assert [s.text for s in report.transcript] == ["One cat.", "A cat and a dog."]
    assert [(m.label, m.start_s) for m in report.objects_mentioned] == [("cat", 2.0), ("dog", 13.2)]
    assert report.objects_seen == (SeenObject("bottle", 3.0, 8.0, 0.6),)
    assert report.summary_dropped == ("Gone. (why)",)


def test_a_report_of_nothing_or_of_two_videos_is_refused(files: Files) -> None:
    with pytest.raises(BadInput, match="none was given"):
        FactList().run(call(files))
    other = Summary("x", scene(media=ArtifactRef("d" * 64, 1, "video/mp4")))
    with pytest.raises(BadInput, match="one video"):
        FactList().run(call(files, summaries=[Summary("x", scene()), other]))


# --- the parts of summarizing and answering that need no model ------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('The speaker says: "A cat sleeps. It is', "A cat sleeps."),
        ("The speaker says that A cat sleeps.", "A cat sleeps."),
        ("A cat sleeps and", "A cat sleeps and"),
        ("The speaker was late.", "The speaker was late."),
        ("", ""),
    ],
)
def test_a_models_text_is_cut_to_whole_sentences_of_its_own(text: str, expected: str) -> None:
    assert summarize.whole(text) == expected


@given(st.lists(st.integers(0, 400), max_size=12))
def test_long_speech_is_thinned_to_the_limit_and_keeps_its_start(sizes: list[int]) -> None:
    said = [Segment(float(i), i + 1.0, "word " * n + "end.") for i, n in enumerate(sizes)]
    thinned = summarize.thinned(said)
    assert sum(len(t.split()) for t in thinned) <= summarize.SPEECH_WORDS_MAX
    assert not said or thinned[0] == " ".join(said[0].text.split())


def passage(text: str, score: float = 0.5, kind: str = "transcript", name: str = "tour.mp4", at_s: float = 0.0) -> Passage:
    return Passage(text, kind, name, at_s, at_s + 4, score)


def test_evidence_names_the_topic_or_is_alike_and_is_else_none() -> None:
    table, cats = passage(SPEECH[0], 0.2), passage(SPEECH[2], 0.25)
    assert answer.relevant("What is on the table?", [cats, table]) == ((table,), True)
    assert answer.relevant("Is there a couch?", [table, cats]) == ((cats,), True)
    assert answer.relevant("Is there a dish?", [passage("A fork.", 0.4)]) == ((passage("A fork.", 0.4),), False)
    assert answer.relevant("What is the price of gold?", [table, cats]) == ((), False)


def test_speech_is_quoted_for_say_questions_and_detections_for_see_questions() -> None:
    said, shown = passage("I like this bottle."), passage("bottle seen from 3.0 s to 8.0 s", kind="detections")
    assert answer.relevant("What does the speaker say about the bottle?", [shown, said])[0] == (said,)
    assert answer.relevant("When is a bottle visible?", [said, shown])[0] == (shown,)
    assert answer.relevant("Is a bottle shown or mentioned?", [said, shown])[0] == (said, shown)


def test_a_summary_is_evidence_only_where_nothing_else_is() -> None:
    text, told = passage(SPEECH[0]), passage("A red apple on a table.", kind="summary")
    assert answer.relevant("What is on the table?", [told, text])[0] == (text,)
    assert answer.relevant("What is on the table?", [told])[0] == (told,)


def test_quotes_carry_their_times_and_videos() -> None:
    assert answer.quoted([passage("Hello.", at_s=12.34)]) == "At 12.3 s: “Hello.”"
    two = [passage("Hello.", name="b.mp4"), passage("Hi.", name="a.mp4", at_s=2)]
    assert answer.quoted(two) == "a.mp4, at 2.0 s: “Hi.”; b.mp4, at 0.0 s: “Hello.”"


@pytest.mark.parametrize(
    ("text", "fine"),
    [
        ("The cat sleeps on a sofa.", True),
        ("The dog sleeps on a sofa.", False),
        ("The cat sleeps on 3 sofas.", False),
        ("Where does the cat sleep?", False),
        ("Quantum effects dominate everything.", False),
        ("", False),
        (SPEECH[2], False),
    ],
)
def test_a_rephrased_answer_must_agree_with_its_evidence_and_add_something(text: str, fine: bool) -> None:
    assert answer.agrees(text, "Where does the cat sleep?", [passage(SPEECH[2])]) is fine


# --- embeddings and the vector store --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def minilm() -> MiniLM:
    model = MiniLM()
    if weights.locate("minilm-l6-v2", os.environ) is None:
        pytest.skip(weights.WEIGHTS["minilm-l6-v2"].how)
    model.load()
    return model


@pytest.mark.models
def test_embeddings_are_unit_vectors_and_do_not_depend_on_the_batch(minilm: MiniLM) -> None:
    texts = [*SPEECH, "", "short", "naïve – 東京 🙂", "long " * 400]
    texts += texts[:6] * 5
    together = minilm.embed(texts)
    assert (together.dtype, together.shape) == (np.float32, (len(texts), 384))
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    alone = np.concatenate([minilm.embed([t]) for t in texts[:7]])
    np.testing.assert_allclose(together[:7], alone, atol=1e-5)
    np.testing.assert_allclose(together[7:13], together[:6], atol=1e-5)
    assert minilm.embed([]).shape == (0, 384)


@pytest.mark.models
@pytest.mark.parametrize(
    ("text", "same", "other"),
    [
        ("A man is eating food.", "Somebody has a meal.", "The rocket reached its orbit."),
        ("How do I reset my password?", "I forgot my login credentials.", "Tomatoes need water twice a week."),
        ("A cat sleeps on the couch.", "The kitten is napping on the sofa.", "The central bank raised interest rates."),
    ],
)
def test_a_paraphrase_is_nearer_than_another_subject(minilm: MiniLM, text: str, same: str, other: str) -> None:
    a, b, c = minilm.embed([text, same, other])
    assert a @ b > 0.35 > 0.2 > a @ c


@pytest.mark.models
def test_embeddings_equal_the_models_published_example(minilm: MiniLM) -> None:
    """Sentence-BERT's documentation gives these cosines for this very model (its quick start), to four digits."""
    a, b, c = minilm.embed(["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."])
    assert [float(a @ b), float(a @ c), float(b @ c)] == pytest.approx([0.6660, 0.1046, 0.1411], abs=2e-4)


@pytest.mark.models
def test_an_index_is_searched_exactly_and_best_first(minilm: MiniLM, files: Files) -> None:
    indexer, searcher = VectorIndexer(), VectorSearcher()
    indexer.load()
    searcher.load()
    first = indexer.run(call(files, transcripts=[transcript(*SPEECH)], detections=[bottles()], summaries=[Summary("A tour.", scene())]))
    other = scene(media=ArtifactRef("d" * 64, 1, "video/mp4"))
    second = indexer.run(call(files, transcripts=[transcript("The hose is green.", where=other)]))
    assert (first.media_hash, first.passages, second.passages) == (MEDIA.sha256, 5, 1)
    found = searcher.run(call(files, {"question": "Where does the kitten sleep?", "k": 6}, indexes=[second, first]))
    assert found.items[0].text == SPEECH[2]
    assert [p.score for p in found.items] == sorted((p.score for p in found.items), reverse=True)
    assert len(found.items) == 6
    query = minilm.embed(["Where does the kitten sleep?"])[0]
    for p in found.items:
        assert p.score == pytest.approx(float(minilm.embed([p.text])[0] @ query), abs=1e-3)
    assert (
        searcher.run(call(files, {"question": "x", "k": 2}, indexes=[second, first])).items
        == searcher.run(call(files, {"question": "x", "k": 9}, indexes=[first, second])).items[:2]
    )


@pytest.mark.models
def test_the_same_facts_give_the_same_store(minilm: MiniLM, files: Files) -> None:
    indexer = VectorIndexer()
    indexer.load()
    one, two = (indexer.run(call(files, transcripts=[transcript(*SPEECH)])) for _ in range(2))
    assert one == two


@pytest.mark.models
def test_nothing_to_index_is_an_index_of_nothing_and_search_takes_it(minilm: MiniLM, files: Files) -> None:
    indexer, searcher = VectorIndexer(), VectorSearcher()
    indexer.load()
    searcher.load()
    silent = indexer.run(call(files, transcripts=[transcript()]))
    nothing = indexer.run(call(files))
    assert (silent.passages, silent.media_hash) == (0, MEDIA.sha256)
    assert (nothing.passages, nothing.media_hash) == (0, vectors.NO_MEDIA)
    assert searcher.run(call(files, {"question": "anything?"}, indexes=[silent, nothing])) == Passages("anything?", ())
    assert searcher.run(call(files, {"question": "anything?"}, indexes=[])) == Passages("anything?", ())
    for args in ({"question": " "}, {}, {"question": "x", "k": 0}):
        with pytest.raises(BadInput):
            searcher.run(call(files, args, indexes=[silent]))


@pytest.mark.parametrize("raw", [b"", b"not a zip", b"PK\x05\x06" + b"\0" * 18])
def test_a_store_that_is_none_is_bad_input(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / ("e" * 64)
    path.write_bytes(raw)
    with pytest.raises(BadInput, match="the vector store eeeeeeeeeeee… cannot be read"):
        vectors.read(path)


def test_a_store_with_pickled_objects_or_wrong_shapes_is_bad_input(tmp_path: Path) -> None:
    for matrix in (np.array([object()], dtype=object), np.zeros((2, 3), np.float32), np.zeros((0, 384))):
        with (tmp_path / "store").open("wb") as file:
            np.savez(file, vectors=matrix, passages=np.frombuffer(b"[]", np.uint8))
        with pytest.raises(BadInput, match="the vector store"):
            vectors.read(tmp_path / "store")


def test_two_videos_make_no_index(files: Files) -> None:
    other = transcript("x", where=scene(media=ArtifactRef("d" * 64, 1, "video/mp4")))
    with pytest.raises(BadInput, match="an index is of one video"):
        VectorIndexer().run(call(files, transcripts=[transcript("y"), other]))


# --- the small language model ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if weights.locate("smollm2-135m", os.environ) is None:
        pytest.skip(weights.WEIGHTS["smollm2-135m"].how)
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def engine(home: Path, monkeypatch: pytest.MonkeyPatch) -> CTranslate2Engine:
    monkeypatch.setenv("MURAKKAB_HOME", str(home))
    one = CTranslate2Engine()
    one.load()
    return one


@pytest.mark.models
def test_the_model_answers_the_same_each_time_and_the_loop_lives_meanwhile(engine: CTranslate2Engine, home: Path) -> None:
    async def ask() -> tuple[list[str], int]:
        ticks, done = 0, asyncio.Event()

        async def tick() -> None:
            nonlocal ticks
            while not done.is_set():
                ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        texts = await asyncio.gather(*(engine.chat("You are helpful.", "Describe a garden.", 24) for _ in range(3)))
        done.set()
        await ticking
        return list(texts), ticks

    texts, ticks = asyncio.run(ask())
    assert texts[0]
    assert texts == [texts[0]] * 3
    assert ticks > 10
    assert len(list((home / "models").iterdir())) == 1


@pytest.mark.models
def test_a_seed_decides_a_drawn_answer_whatever_else_is_asked_meanwhile(engine: CTranslate2Engine) -> None:
    """CTranslate2 itself reads its seed once a thread; see llm_ctranslate2.py."""

    async def ask(seeds: list[int]) -> list[str]:
        asked = [engine.chat("You are helpful.", "Tell me a story.", 16, temperature=0.7 if seed else 0.0, seed=seed) for seed in seeds]
        return list(await asyncio.gather(*asked))

    first, again = asyncio.run(ask([1, 2, 0, 1, 2**40])), asyncio.run(ask([0, 2, 1]))
    assert first[0] == first[3] == again[2]
    assert first[1] == again[1]
    assert first[2] == again[0]
    assert len({first[0], first[1], first[2], first[4]}) == 4


@pytest.mark.models
def test_the_tokenizer_gives_every_text_back(engine: CTranslate2Engine, home: Path) -> None:
    from tokenizers import Tokenizer

    [folder] = (home / "models").iterdir()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for text in ("Hello, world!  Two spaces\n\tand 12345.", "naïve – 東京 🙂", "don't"):
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids) == text
    assert len(tokenizer.encode("<|im_end|>", add_special_tokens=False).ids) == 1


@pytest.mark.models
def test_converted_weights_predict_english(home: Path) -> None:
    """Nats a token on a plain sentence: 1.8 as converted, 2.5 when the q/k rows are left in GGUF's order."""
    import ctranslate2
    from tokenizers import Tokenizer

    gguf = weights.locate("smollm2-135m", os.environ)
    assert gguf is not None
    folder = gguf_convert.converted(gguf, home / "models")
    tokens = (
        Tokenizer.from_file(str(folder / "tokenizer.json"))
        .encode("The capital of France is Paris, and the capital of Italy is Rome.")
        .tokens
    )
    generator = ctranslate2.Generator(str(folder), device="cpu", compute_type="int8", intra_threads=1)
    [scored] = generator.score_batch([tokens])
    assert -np.mean(scored.log_probs) < 2.1


@pytest.mark.models
def test_a_prompt_longer_than_the_context_is_bad_input(engine: CTranslate2Engine) -> None:
    with pytest.raises(BadInput, match="exceed the model's 8192"):
        asyncio.run(engine.chat("", "word " * 9000, 16))


@pytest.mark.models
def test_a_summary_holds_only_what_was_seen_or_said(engine: CTranslate2Engine, files: Files) -> None:
    model = Summarizer("ctranslate2")
    model.load()
    got = asyncio.run(model.run_async(call(files, transcript=transcript(*SPEECH), detections=bottles())))
    assert isinstance(got, Summary)
    assert got.text
    assert got.scene == scene()
    from murakkab.agents.facts import check_summary

    body = got.text.removeprefix(summarize.FACTS)
    assert got.text.startswith(summarize.FACTS) or check_summary(body, ["bottle"], " ".join(SPEECH)) == (body, ())


@pytest.mark.models
def test_little_speech_is_quoted_and_silence_is_said_so(engine: CTranslate2Engine, files: Files) -> None:
    model = Summarizer("ctranslate2")
    model.load()

    def text(**inputs: Any) -> str:
        return asyncio.run(model.run_async(call(files, **inputs))).text

    assert text(transcript=transcript("Hello there."), detections=bottles()) == "Facts only: seen: bottle. said: “Hello there.”"
    assert text(detections=bottles()) == "Facts only: seen: bottle."
    assert text(transcript=transcript()) == "Facts only: nothing was recognised and nothing was said."
    with pytest.raises(BadInput, match="neither was given"):
        text()
    with pytest.raises(BadInput, match="max_tokens=0"):
        asyncio.run(model.run_async(call(files, {"max_tokens": 0}, transcript=transcript("x"))))


@pytest.mark.models
def test_from_speech_to_a_quoted_answer(engine: CTranslate2Engine, minilm: MiniLM, files: Files) -> None:
    indexer, searcher, answerer = VectorIndexer(), VectorSearcher(), QuestionAnswerer("ctranslate2")
    for part in (indexer, searcher, answerer):
        part.load()
    index = indexer.run(call(files, transcripts=[transcript(*SPEECH)], detections=[bottles()]))

    def ask(question: str) -> QuestionAnswer:
        found = searcher.run(call(files, {"question": question}, indexes=[index]))
        return asyncio.run(answerer.run_async(call(files, passages=found)))

    said = ask("What does the speaker say about the astronaut?")
    assert said.answer == f"At 4.0 s: “{SPEECH[1]}”"
    assert [p.text for p in said.evidence] == [SPEECH[1]]
    assert f"At 0.0 s: “{SPEECH[0]}”" in ask("What is on the table?").answer
    assert ask("When is a bottle visible?").answer == "Bottle seen from 3.0 s to 8.0 s"
    none = ask("What is the price of gold in Zurich?")
    assert (none.answer, none.evidence) == ("Nothing in the indexed videos answers “What is the price of gold in Zurich?”.", ())


def test_indexes_travel_as_plain_values() -> None:
    index = VectorIndex(MEDIA, MEDIA.sha256, 0)
    assert msgspec.convert(msgspec.to_builtins(index), VectorIndex) == index
