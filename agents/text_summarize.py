"""Any text in a few sentences, by a language model that is held to the text; and the words of a transcript as a text."""

from __future__ import annotations

from .facts import check_summary
from .interface import BadInput, Call
from .llm import make_engine
from .summarize import SPEECH_WORDS_MIN, thinned, whole
from .types import Segment, Text, Transcript
from .words import sentences, words

SYSTEM = "You summarize a text. Use only the text's own words. Write one or two short sentences."
TOKENS = 96
TOKENS_MAX = 1024
LEAD = 2
"""How many first sentences stand for a text when nothing that the model wrote holds."""


class TextSummarizer:
    """`engine` is a name of `llm.make_engine`. Every sentence of its text passes `facts.check_summary`, or is left out.

    A very short text, or none at all, is its own summary. Of a long one the model reads sentences taken evenly from all of it.
    """

    def __init__(self, engine: str) -> None:
        self._engine = make_engine(engine)

    def load(self) -> None:
        self._engine.load()

    def close(self) -> None:
        self._engine.close()

    async def run_async(self, call: Call) -> Text:
        given, max_tokens = call.take("text", Text), call.arg("max_tokens", TOKENS)
        if not 1 <= max_tokens <= TOKENS_MAX:
            raise BadInput(f"max_tokens={max_tokens} is not between 1 and {TOKENS_MAX}")
        if len(words(given.text)) < SPEECH_WORDS_MIN:
            return Text(given.text.strip(), given.name)
        written = whole(await self._engine.chat(SYSTEM, prompt(given.text), max_tokens))
        kept, _ = check_summary(written, (), given.text)
        return Text(kept or " ".join(sentences(given.text)[:LEAD]), given.name)


def prompt(text: str) -> str:
    """What the model reads; the wish comes last, where a small model heeds it most."""
    read = " ".join(thinned([Segment(0.0, 0.0, sentence) for sentence in sentences(text)]))
    return f"Text: {read}\n\nSummarize the text in one or two sentences."


class TranscriptText:
    """The words of one video or sound, scene after scene."""

    def load(self) -> None:
        pass

    def run(self, call: Call) -> Text:
        transcripts = sorted(call.take("transcripts", list[Transcript]), key=lambda t: t.scene.start_s)
        said = (segment.text.strip() for t in transcripts for segment in sorted(t.segments, key=lambda s: s.start_s))
        return Text(" ".join(text for text in said if text), transcripts[0].scene.name if transcripts else "")
