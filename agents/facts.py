"""What was seen and what was said, as facts; and a language model's text held against them. Pure.

Facts come only from detections and transcripts, never from a language model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import combinations, pairwise
from statistics import median

from .types import Detections, MentionedObject, SeenObject, Segment, Transcript
from .vocabulary import Naming, supported, vocabulary
from .words import Word, content, overlap, sentences, spans, word_set, words

QUOTE_WORDS_MAX = 16
"""A longer sentence is quoted only around the word, `QUOTE_AROUND` words each side."""
QUOTE_AROUND = 6
SPACING_S = 1.0
"""Assumed between frames where nothing says it."""
OVERLAP_MIN = 0.5
"""A sentence of which fewer content words were said or seen is the model's own invention."""
ABOUT = frozenset(
    content("""scene video clip shot footage image picture frame camera show shown shows display speaker narrator voice person
    people someone talk talks talking speak speaks speaking say mention mentions mentioned describe describes discuss explain tells
    object objects appear appears visible audio transcript sentence text first second then""")
)
"""Words that speak of the video itself; they need no evidence."""
PLACES = word_set("on in at of near with from inside behind under over beside by next")
IS_A = re.compile(rf"(?:(?:{'|'.join(sorted(PLACES))})(?: \S+){{1,4}} )?(?:is|are|was|were) (?:a|an|the|all|both|actually|really)(?: \S+)?")


def mentioned(transcripts: Iterable[Transcript]) -> list[MentionedObject]:
    """The first mention of each concrete thing that is named in speech, in order of time.

    `start_s` is the word's place in its segment, by words: speech is taken as even within a segment.
    """
    segments = sorted((s for t in transcripts for s in t.segments), key=lambda s: (s.start_s, s.end_s))
    first: dict[str, MentionedObject] = {}
    for segment in segments:
        all_words = words(segment.text)
        for naming in vocabulary().named(segment.text):
            if naming.label not in first:
                start_s = at_s(segment, naming.first, len(all_words))
                first[naming.label] = MentionedObject(naming.label, quote(segment.text, all_words, naming), start_s)
    return sorted(first.values(), key=lambda m: (m.start_s, m.label))


def at_s(segment: Segment, word: int, count: int) -> float:
    """When word number `word` of `count` starts, with words spread evenly over the segment."""
    return round(segment.start_s + (segment.end_s - segment.start_s) * word / max(1, count), 2)


def quote(text: str, all_words: list[Word], naming: Naming) -> str:
    """The sentence that names the thing, cut to some words each side where it is long; always a piece of `text`, but for the dots."""
    at = all_words[naming.first].start
    start, end = next(span for span in spans(text) if span[0] <= at < span[1])
    inside = [i for i, word in enumerate(all_words) if start <= word.start < end]
    if len(inside) <= QUOTE_WORDS_MAX:
        return text[start:end]
    first, last = max(inside[0], naming.first - QUOTE_AROUND), min(inside[-1], naming.last + QUOTE_AROUND)
    before, after = "… " if first > inside[0] else "", " …" if last < inside[-1] else ""
    left = start if first == inside[0] else all_words[first].start
    right = end if last == inside[-1] else all_words[last].end
    return f"{before}{text[left:right]}{after}"


def seen(detections: Iterable[Detections]) -> list[SeenObject]:
    """When each label is seen: intervals over all scenes of one video, in order of time.

    Two sightings belong together when no more than twice the frame spacing lies between them, so that one missed frame does
    not part them. An interval ends when the next frame was taken (or the scene ends): an object counts as seen until a
    frame shows otherwise. `score` is the best of the interval, for one clear view is evidence that a poor one does not
    take back. Labels stay the detector's own.
    """
    sightings: dict[str, list[tuple[float, float, float, float]]] = {}
    for one in detections:
        spacing_s = frame_spacing_s(one)
        for item in one.items:
            until_s = max(item.t_s, min(item.t_s + spacing_s, one.scene.end_s))
            sightings.setdefault(item.label, []).append((item.t_s, until_s, item.score, spacing_s))
    found: list[SeenObject] = []
    for label, times in sightings.items():
        times.sort()
        start_s, end_s, best, last_s, last_spacing_s = times[0][0], times[0][1], times[0][2], times[0][0], times[0][3]
        for t_s, until_s, score, spacing_s in times[1:]:
            if t_s - last_s <= 2 * max(spacing_s, last_spacing_s) + 1e-6:
                end_s, best = max(end_s, until_s), max(best, score)
            else:
                found.append(SeenObject(label, round(start_s, 2), round(end_s, 2), best))
                start_s, end_s, best = t_s, until_s, score
            last_s, last_spacing_s = t_s, spacing_s
        found.append(SeenObject(label, round(start_s, 2), round(end_s, 2), best))
    return sorted(found, key=lambda s: (s.start_s, s.label))


def frame_spacing_s(detections: Detections) -> float:
    """Seconds between the frames that were looked at: the median step of their times; 1 when fewer than two are known."""
    times = sorted(set(detections.frame_times_s) or {item.t_s for item in detections.items})
    steps = [b - a for a, b in pairwise(times) if b > a]
    return median(steps) if steps else SPACING_S


def check_summary(text: str, seen_labels: Iterable[str], spoken_text: str) -> tuple[str, tuple[str, ...]]:
    """The sentences of a summary that the facts allow, and those dropped, each with its reason.

    A sentence is dropped when it names a thing that was neither seen nor said, when it says that one thing is another
    ("the astronaut is a cat") in words that nobody spoke, or when most of its content words come from nowhere.
    What is left can still be wrong (relations, counts, who did what); the facts are in the report beside it.
    """
    vocab = vocabulary()
    labels = list(seen_labels)
    said = [naming.label for naming in vocab.named(spoken_text, lenient=True)]
    allowed = supported([*labels, *said], vocab)
    evidence = {*content(spoken_text), *content(" ".join(labels)), *content(" ".join(allowed)), *ABOUT}
    kept, dropped = [], []
    for sentence in sentences(text):
        names = vocab.named(sentence)
        unknown = list(dict.fromkeys(n.label for n in names if n.label not in allowed))
        if unknown:
            reason = " and ".join(f"'{label}'" for label in unknown) + " neither seen nor said"
        elif equated := _equated(sentence, names, spoken_text):
            reason = f"nobody said that {equated}"
        elif content(sentence) and overlap(content(sentence), evidence) < OVERLAP_MIN:
            reason = "little of it was seen or said"
        elif not words(sentence):
            reason = "no words"
        else:
            kept.append(sentence)
            continue
        dropped.append(f"{sentence} ({reason})")
    return " ".join(kept), tuple(dropped)


def _equated(sentence: str, names: Sequence[Naming], spoken: str) -> str:
    """The first "X is a Y" of a sentence for two named things, neither a kind of the other, unless spoken in these words.

    Between X and "is" may stand a phrase ("the astronaut in the picture is a cat"); but "on the table is an apple" says where.
    """
    vocab, all_words = vocabulary(), words(sentence)
    for left, right in combinations(names, 2):
        before = [word.low for word in all_words[max(0, left.first - 3) : left.first]]
        between = " ".join(word.low for word in all_words[left.last + 1 : right.first])
        if PLACES.intersection(before) or not IS_A.fullmatch(between):
            continue
        claim = sentence[all_words[left.first].start : all_words[right.last].end]
        related = left.label in vocab.kinds(right.label) or right.label in vocab.kinds(left.label)
        if not related and claim.lower() not in spoken.lower():
            return claim
    return ""
