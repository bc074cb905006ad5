"""A scene in one or two sentences, by a language model that is held to the facts."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .facts import check_summary, seen
from .interface import BadInput, Call
from .llm import make_engine
from .passages import pieces
from .types import Detections, Scene, SeenObject, Segment, Summary, Transcript
from .words import END, words

SYSTEM = "You summarize what a speaker says. Use only the speaker's own words. Write one or two short sentences."
SPEECH_WORDS_MIN = 12
"""Shorter speech is its own summary: it is quoted, and no model is asked."""
SPEECH_WORDS_MAX = 600
"""Of longer speech the model reads sentences taken evenly from all of it, so that time and context stay bounded."""
TOKENS_MAX = 1024
LEAD_IN = re.compile(
    r"""^(?:in summary[:,]?\s*)?(?:the|this) (?:speaker|narrator|text|summary)(?: (?:says|states|said|is|mentions))(?: that)?\s*[:,]?\s*(?=["“]|[A-Z])""",
    re.IGNORECASE,
)
FACTS = "Facts only: "
"""How a summary begins that no language model wrote."""


class Summarizer:
    """`engine` is a name of `llm.make_engine`. Every sentence of its text passes `facts.check_summary` or is dropped."""

    def __init__(self, engine: str) -> None:
        self._engine = make_engine(engine)

    def load(self) -> None:
        self._engine.load()

    def close(self) -> None:
        self._engine.close()

    async def run_async(self, call: Call) -> Summary:
        transcript, detections = call.maybe("transcript", Transcript), call.maybe("detections", Detections)
        given = transcript or detections
        if given is None:
            raise BadInput("a summary needs the transcript or the detections of a scene; neither was given")
        max_tokens = call.arg("max_tokens", 64)
        if not 1 <= max_tokens <= TOKENS_MAX:
            raise BadInput(f"max_tokens={max_tokens} is not between 1 and {TOKENS_MAX}")
        said = pieces(transcript.segments) if transcript else []
        shown = seen([detections]) if detections else []
        return await self._summary(said, shown, given.scene, max_tokens)

    async def _summary(self, said: Sequence[Segment], shown: Sequence[SeenObject], scene: Scene, max_tokens: int) -> Summary:
        speech = " ".join(piece.text for piece in said)
        dropped: tuple[str, ...] = ()
        if len(words(speech)) >= SPEECH_WORDS_MIN:
            text = await self._engine.chat(SYSTEM, prompt(said, shown), max_tokens)
            text, dropped = check_summary(whole(text), [s.label for s in shown], speech)
            if text:
                return Summary(text, scene, dropped)
        return Summary(from_facts(said, shown), scene, dropped)


def prompt(said: Sequence[Segment], shown: Sequence[SeenObject]) -> str:
    """What the model reads: the things seen, the speech, the wish; the wish comes last, where a small model heeds it most."""
    labels = ", ".join(dict.fromkeys(s.label for s in shown))
    picture = f"In the picture: {labels}.\n" if labels else ""
    return f'{picture}The speaker says: "{" ".join(thinned(said))}"\nSummarize in one sentence what the speaker says.'


def thinned(said: Sequence[Segment]) -> list[str]:
    """The sentences, or every n-th of them where all together would be too many words; the first is always there."""
    texts = [piece.text for piece in said]
    total = sum(len(words(text)) for text in texts)
    step = max(1, -(-total // SPEECH_WORDS_MAX))
    kept, left = [], SPEECH_WORDS_MAX
    for text in texts[::step]:
        kept.append(" ".join(text.split()[:left]))
        left -= len(text.split())
        if left <= 0:
            break
    return kept


def whole(text: str) -> str:
    """The text without a lead-in ("The speaker says:"), quotation marks around it, and a last sentence cut off at the token limit.

    A text of one unfinished sentence is left as it is.
    """
    text = LEAD_IN.sub("", text.strip())
    if text.count('"') == 1:
        text = text.replace('"', "")
    text = text.strip().strip('"“”').strip()
    end = max((m.end() for m in END.finditer(text)), default=0)
    return text[: end or None]


def from_facts(said: Sequence[Segment], shown: Sequence[SeenObject], sentences_max: int = 2) -> str:
    """A summary without a language model, marked as such: what was seen, and the first sentences that were said."""
    labels = list(dict.fromkeys(s.label for s in shown))
    parts = [f"seen: {', '.join(labels)}."] if labels else []
    if said:
        parts.append(f"said: “{' '.join(piece.text for piece in said[:sentences_max])}”")
    return FACTS + (" ".join(parts) or "nothing was recognised and nothing was said.")
