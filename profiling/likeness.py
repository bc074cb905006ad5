"""How alike two outputs of a stage or a job are, 0..1, whatever they are made of. Pure.

An output is taken apart into facts: every number, truth value and word with the path of field names to it; places in lists do not count.
Likeness is the F1 of the two bags of facts: 1 for the same, 0 for nothing in common. Numbers count to a tenth, so that a start at 9.51 s
and one at 9.52 s are the same fact; of bytes (pictures, sound, vectors) only their hash is a fact. Of a stage's output `new` leaves what the stage
itself says: an object that it merely hands on (the scene of a transcript) makes any two outputs look alike.
"""

from __future__ import annotations

import json
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
    return _f1(Counter(facts(one)), Counter(facts(other)))


def extent(one: Any, other: Any) -> float:
    """As `likeness`, of how many facts there are in each field, whatever they say: a quarter of the pictures, at other times, is a quarter."""
    return _f1(Counter(path for path, _ in facts(one)), Counter(path for path, _ in facts(other)))


def _f1(mine: Counter[Any], theirs: Counter[Any]) -> float:
    return f1(sum((mine & theirs).values()), sum(mine.values()), sum(theirs.values()))


def new(output: Any, inputs: Any) -> Any:
    """The output without fields whose object is somewhere in the inputs as it is. Elements of lists stay, since a stage may choose among
    what it is given; so does all of an output that would be left with no fact at all."""
    left = _without(output, set(_objects(inputs)))
    return left if next(facts(left), None) is not None else output


def _objects(value: Any) -> Iterator[str]:
    match value:
        case dict():
            yield json.dumps(value, sort_keys=True)
            for part in value.values():
                yield from _objects(part)
        case list() | tuple():
            for part in value:
                yield from _objects(part)


def _without(value: Any, known: set[str]) -> Any:
    match value:
        case dict():
            return {k: _without(v, known) for k, v in value.items() if not (isinstance(v, dict) and json.dumps(v, sort_keys=True) in known)}
        case list() | tuple():
            return [_without(v, known) for v in value]
    return value
