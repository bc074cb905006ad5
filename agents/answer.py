"""Answers to questions, resting on retrieved passages: quotes first, a language model's words only where they agree with them."""

from __future__ import annotations

from collections.abc import Sequence

from .facts import check_summary
from .interface import Call
from .llm import make_engine
from .summarize import whole
from .types import Passage, Passages, QuestionAnswer
from .vocabulary import vocabulary
from .words import content, overlap, sentences, word_set, words

SYSTEM = "You answer questions with one short sentence. Use only the given text."
TOKENS_MAX = 48
COSINE_MIN = 0.3
"""A passage less alike than this is evidence only if it names what is asked for. See tests/test_language_agents.py."""
COSINE_NEAR = 0.12
"""Weaker passages than the best by more than this are not quoted beside it."""
NAMED_MIN = 0.5
"""A passage that names this part of what is asked for is evidence however little alike."""
QUOTES_MAX = 3
AGREE_MIN = 0.8
"""How much of a rephrased answer must stand in its evidence or in the question."""
SAME_MIN = 0.8
"""An answer with this much of its evidence's words is the evidence over again; the quote alone says it."""
SPEECH_WORDS = word_set(
    "say says said mention mentions mentioned talk talks tell tells told speak speaks speaker spoken discuss hear heard"
)
SIGHT_WORDS = word_set("see seen show shows shown visible appear appears picture pictured screen look looks detected")
ASKING = frozenset(content(" ".join(SPEECH_WORDS | SIGHT_WORDS)) + content("video clip scene time happen thing find question know"))


class QuestionAnswerer:
    """`engine` is a name of `llm.make_engine`; it is asked only for questions that a quote alone does not answer."""

    def __init__(self, engine: str) -> None:
        self._engine = make_engine(engine)

    def load(self) -> None:
        self._engine.load()

    def close(self) -> None:
        self._engine.close()

    async def run_async(self, call: Call) -> QuestionAnswer:
        passages = call.take("passages", Passages)
        question = passages.question
        evidence, named = relevant(question, passages.items)
        if not evidence:
            return QuestionAnswer(question, f"Nothing in the indexed videos answers “{question}”.", ())
        quotes = quoted(evidence)
        if asks_for(question, SPEECH_WORDS) or all(p.kind == "detections" for p in evidence):
            lead = "" if named else "Nothing names this; the nearest is: "
            return QuestionAnswer(question, lead + quotes, evidence)
        text = whole(await self._engine.chat(SYSTEM, prompt(question, evidence), TOKENS_MAX))
        answer = f"{text} ({quotes})" if agrees(text, question, evidence) else quotes
        return QuestionAnswer(question, answer, evidence)


def asks_for(question: str, kind: frozenset[str]) -> bool:
    return any(word.low in kind for word in words(question))


def topic(question: str) -> set[str]:
    """What a question is about: the things that it names, by label, and the stems of its other content words."""
    all_words, namings = words(question), vocabulary().named(question)
    taken = {i for n in namings for i in range(n.first, n.last + 1)}
    stems = {s for i, word in enumerate(all_words) if i not in taken for s in content(word.low)}
    return {f"={n.label}" for n in namings} | (stems - ASKING)


def topics(text: str) -> set[str]:
    """What a passage is about, likewise; a thing also counts as what it is a kind of, so that a woman answers for a person."""
    vocab = vocabulary()
    labels = {f"={kind}" for n in vocab.named(text, lenient=True) for kind in vocab.kinds(n.label)}
    return labels | set(content(text))


def relevant(question: str, passages: Sequence[Passage]) -> tuple[tuple[Passage, ...], bool]:
    """The passages to rest on, best first, at most `QUOTES_MAX`, and whether they name what is asked for.

    None when no passage is about it. One that names the topic outranks one that is only alike. "Say" questions look at
    speech and "see" questions at detections, where such passages qualify; a summary is evidence only where nothing else is.
    """
    about = topic(question)
    rated = []
    for p in dict.fromkeys(passages):
        named = overlap(about, topics(p.text))
        if named >= NAMED_MIN or not about or (p.score >= COSINE_MIN and p.kind != "summary"):
            rated.append((named, p))
    wished = {kind for kind, asking in (("transcript", SPEECH_WORDS), ("detections", SIGHT_WORDS)) if asks_for(question, asking)}
    fitting = [pair for pair in rated if pair[1].kind in wished]
    rated = fitting or [pair for pair in rated if pair[1].kind != "summary"] or rated
    if not rated:
        return (), False
    rated.sort(key=lambda pair: (-pair[0], -pair[1].score, pair[1].start_s))
    best_named, best = rated[0]
    kept = [p for named, p in rated if named == best_named and (named > 0 or best.score - p.score <= COSINE_NEAR)]
    return tuple(kept[:QUOTES_MAX]), best_named > 0 or not about


def quoted(evidence: Sequence[Passage]) -> str:
    """The passages in order of video and time: speech as quotes, detections as facts; videos are named where there are several."""
    several = len({p.name for p in evidence}) > 1
    parts = []
    for p in sorted(evidence, key=lambda p: (p.name, p.start_s)):
        where = f"{p.name}, " if several else ""
        if p.kind == "transcript":
            parts.append(f"{where}at {p.start_s:.1f} s: “{p.text}”")
        elif p.kind == "detections":
            parts.append(f"{where}{p.text}")
        else:
            parts.append(f"{where}summary of {p.start_s:.1f}–{p.end_s:.1f} s: {p.text}")
    text = "; ".join(parts)
    return text[:1].upper() + text[1:] if not several else text


def prompt(question: str, evidence: Sequence[Passage]) -> str:
    return "\n".join([*(f"Text: {p.text}" for p in evidence), f"Question: {question}", "Answer:"])


def agrees(text: str, question: str, evidence: Sequence[Passage]) -> bool:
    """Whether an answer says something, and only what the evidence says: words, numbers and things all stand there."""
    source = " ".join(p.text for p in evidence)
    stems = content(text)
    new = [stem for stem in stems if stem not in content(question)]
    numbers = {word.text for word in words(text) if word.text[0].isdigit()}
    if not new or len(sentences(text)) > 2 or not numbers <= {word.text for word in words(source)}:
        return False
    _, dropped = check_summary(text, (), f"{source} {question}")
    return not dropped and overlap(content(source), stems) < SAME_MIN and overlap(new, content(source)) >= AGREE_MIN
