"""Which side of a video a text speaks of, what is shown or what is said, and whether it asks a question. Pure."""

from __future__ import annotations

import re

_WORD = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_QUESTION = re.compile(r"^\s*(what|who|whom|whose|which|when|where|why|how|does|do|did|is|are|was|were|can|could)\b", re.I)
_SEEN = frozenset("shown show shows seen see visible appear appears detect detection frame frames picture pictures".split())  # noqa: SIM905
_SAID = frozenset(
    "mentioned mention mentions said say says spoken speak speaks speaker speech speech-to-text transcribe transcript "  # noqa: SIM905
    "transcription talk".split()
)
EVERYTHING = frozenset(["transcript", "detections"])
"""What an index must hold for a search that does not say which side of a medium it is about."""


def is_question(text: str) -> bool:
    return text.strip().endswith("?") or bool(_QUESTION.match(text))


def kinds_asked(text: str) -> frozenset[str]:
    """What must have been indexed for an answer: of `transcript` and `detections`, those whose words occur."""
    words = set(_WORD.findall(text.lower()))
    return frozenset(kind for kind, about in (("transcript", _SAID), ("detections", _SEEN)) if words & about)
