"""How much there is of an input, told from its file alone: what estimates of a job's time rest on before anything has run."""

from __future__ import annotations

import math
import mimetypes
from pathlib import Path

LINES = (".jsonl", ".ndjson")
"""One text a line; any other file of text is one."""
TEXT = (".md", ".txt", ".json", ".csv", ".py")


def units_of(path: Path) -> dict[str, float]:
    """{"video_s": …} or {"audio_s": …} by the container's header (nothing is decoded), {"texts": …} for text; {} when it cannot tell.

    Never raises: a file that is none is refused elsewhere, with a reason.
    """
    try:
        kind, suffix = mimetypes.guess_type(path.name)[0] or "", path.suffix.lower()
        if suffix in LINES:
            with path.open("rb") as lines:
                count = sum(1 for line in lines if line.strip())
            return {"texts": float(count)} if count else {}
        if suffix in TEXT or kind.startswith("text/"):
            return {"texts": 1.0}
        return _media(path)
    except Exception:  # whatever a strange file does to a parser
        return {}


def _media(path: Path) -> dict[str, float]:
    try:
        import av

        from ..agents.media import SAFE, picture_stream
    except ImportError:
        return {}
    with av.open(str(path), options=SAFE) as container:
        duration_s = (container.duration or 0) / 1e6
        if not (math.isfinite(duration_s) and duration_s > 0):
            return {}  # raw and live-recorded streams do not say; only reading them whole would tell
        if picture_stream(container) is not None:
            return {"video_s": round(duration_s, 3)}
        return {"audio_s": round(duration_s, 3)} if container.streams.audio else {}
