"""How alike two outputs of a stage or a job are, 0..1, whatever they are made of. Pure.

An output is taken apart into facts: every number, truth value and word with the path of field names to it; places in lists do not count.
Likeness is the F1 of the two bags of facts: 1 for the same, 0 for nothing in common. Numbers count to a tenth, so that a start at 9.51 s
and one at 9.52 s are the same fact; of bytes (pictures, sound, vectors) only their hash is a fact.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from .score import f1

Fact = tuple[tuple[str, ...], str]

WORD = re.compile(r"\w+(?:['’]\w+)?")


def facts(value: Any, path: tuple[str, ...] = ()) -> Iterator[Fact]:
    match value:
        case None:
            return
        case bool():
            yield path, str(value)
        case int() | float():
            yield path, f"{round(float(value), 1):g}"
        case str():
            yield from ((path, word) for word in WORD.findall(value.lower()))
        case dict():
            if "sha256" in value:  # size and name follow from it, or say nothing
                yield path, str(value["sha256"])
                return
            for name, part in value.items():
                yield from facts(part, (*path, str(name)))
        case list() | tuple():
            for part in value:
                yield from facts(part, path)
        case _:
            yield path, repr(value)


def likeness(one: Any, other: Any) -> float:
    mine, theirs = Counter(facts(one)), Counter(facts(other))
    return f1(sum((mine & theirs).values()), sum(mine.values()), sum(theirs.values()))
