"""Facts about one video as passages: pieces of text small enough to embed and to quote. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .facts import at_s, seen
from .types import Detections, Passage, Segment, Summary, Transcript
from .words import spans, words

WORDS_MIN, WORDS_MAX = 5, 40
"""A passage of speech ends at a full stop once it has the least words; it never grows over the most."""
SILENCE_S = 3.0
"""A longer pause parts passages even in the middle of a sentence."""


def of_video(transcripts: Sequence[Transcript], detections: Sequence[Detections], summaries: Sequence[Summary]) -> list[Passage]:
    """Every passage of one video: speech, then intervals in which each label is seen, then summaries; each by time."""
    found: list[Passage] = []
    for transcript in sorted(transcripts, key=lambda t: t.scene.start_s):
        found += _speech(transcript)
    if detections:
        name = detections[0].scene.name
        for s in seen(detections):
            text = f"{s.label} seen from {s.start_s:.1f} s to {s.end_s:.1f} s"
            found.append(Passage(text, "detections", name, s.start_s, s.end_s))
    for summary in sorted(summaries, key=lambda s: s.scene.start_s):
        if summary.text.strip():
            scene = summary.scene
            found.append(Passage(summary.text.strip(), "summary", scene.name, scene.start_s, scene.end_s))
    return found


def _speech(transcript: Transcript) -> list[Passage]:
    found: list[Passage] = []
    open_: list[Segment] = []

    def close() -> None:
        if open_:
            text = " ".join(piece.text for piece in open_)
            found.append(Passage(text, "transcript", transcript.scene.name, open_[0].start_s, open_[-1].end_s))
            open_.clear()

    for piece in pieces(transcript.segments):
        count = sum(len(words(p.text)) for p in open_)
        if open_ and (count + len(words(piece.text)) > WORDS_MAX or piece.start_s - open_[-1].end_s > SILENCE_S):
            close()
            count = 0
        open_.append(piece)
        if count + len(words(piece.text)) >= WORDS_MIN and piece.text.rstrip("\"'”’)]")[-1:] in ".!?…":
            close()
    close()
    return found


def pieces(segments: Iterable[Segment]) -> list[Segment]:
    """Segments cut at sentence ends, times shared out by words. Empty ones are left out; no word is lost or doubled."""
    found: list[Segment] = []
    for segment in sorted(segments, key=lambda s: s.start_s):
        all_words = words(segment.text)
        cuts = list(spans(segment.text))
        done = 0
        for n, (start, end) in enumerate(cuts):
            inside = sum(start <= word.start < end for word in all_words)
            start_s = segment.start_s if n == 0 else at_s(segment, done, len(all_words))
            end_s = segment.end_s if n + 1 == len(cuts) else at_s(segment, done + inside, len(all_words))
            done += inside
            if inside:
                found.append(Segment(start_s, end_s, segment.text[start:end]))
    return found
