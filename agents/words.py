"""Text in pieces: sentences, words, and the words that carry meaning. English, by plain rules; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from msgspec import Struct

WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d+(?:[.,]\d+)*")
END = re.compile(r"""[.!?…]+["'”’)\]]*(?=\s|$)""")
ABBREVIATION = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|St|Prof|Sr|Jr|vs|etc|e\.g|i\.e|[A-Z])\.$")


def word_set(text: str) -> frozenset[str]:
    return frozenset(text.split())


STOP = word_set(
    """a about above after again against ain't all also am an and any are aren't as at be because been before being below between
    both but by can can't cannot could couldn't did didn't do does doesn't doing don't down during each even ever every few for from
    further get gets got had hadn't has hasn't have haven't having he he's her here hers herself him himself his how i i'd i'll i'm
    i've if in into is isn't it it's its itself just let let's like made make many may me might more most much must my myself no nor
    not now of off oh on once one only or other our ours ourselves out over own please quite rather really said same say says see
    seen shall she she's should shouldn't so some such than that that's the their theirs them themselves then there there's these
    they they're this those though through to too under until up upon us very was wasn't we we're we've well were weren't what
    what's when where which while who whom whose why will with won't would wouldn't yes yet you you'd you'll you're you've your
    yours yourself yourselves"""
)


class Word(Struct, frozen=True):
    """A word as written, and where it stands in its text."""

    text: str
    start: int
    end: int

    @property
    def low(self) -> str:
        """Lower case, with a straight apostrophe and without a possessive 's."""
        return self.text.lower().replace("’", "'").removesuffix("'s")


def words(text: str) -> list[Word]:
    """The words and numbers of a text; hyphens part words."""
    return [Word(m.group(), m.start(), m.end()) for m in WORD.finditer(text)]


def spans(text: str) -> Iterator[tuple[int, int]]:
    """Where each sentence starts and ends; space around sentences belongs to none. A text without full stops is one sentence."""
    start = 0
    for match in END.finditer(text):
        if match.group() == "." and ABBREVIATION.search(text[start : match.end()]) and match.end() < len(text):
            continue
        yield from _tight(text, start, match.end())
        start = match.end()
    yield from _tight(text, start, len(text))


def _tight(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    piece = text[start:end]
    if stripped := piece.strip():
        at = start + piece.index(stripped[0])
        yield at, at + len(stripped)


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in spans(text)]


def stem(word: str) -> str:
    """A rough stem, so that "apples", "apple" and "talked", "talking" meet. Only ever compared with other stems."""
    for ending, least in (("ies", 5), ("ing", 6), ("ed", 5), ("es", 5), ("ly", 6), ("s", 4)):
        if len(word) >= least and word.endswith(ending) and not word.endswith("ss"):
            word = word[: -len(ending)] + ("y" if ending == "ies" else "")
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiouls":
        word = word[:-1]
    return word[:-1] if len(word) > 3 and word.endswith("e") else word


def content(text: str) -> list[str]:
    """The stems of the words that carry meaning, in order, with repeats."""
    return [stem(word.low) for word in words(text) if word.low not in STOP and (len(word.low) > 1 or word.low.isdigit())]


def overlap(part: Iterable[str], whole: Iterable[str]) -> float:
    """How much of `part` (0..1, each stem once) is in `whole`; 0 for an empty part."""
    inner = set(part)
    return len(inner & set(whole)) / len(inner) if inner else 0.0
