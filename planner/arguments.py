"""Arguments of a call: values that fit their JSON Schema, and values that a job's words give. Pure.

The words are searched for what a schema asks for: a number beside the words of the argument's name or description
("10 frames" for `num_frames`), a stretch of time ("the first 30 seconds"), one of an enumeration, a language, a quotation.
Nothing is guessed: what the words do not say stays at its default.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, best_match

WORDS_MAX = 2_000
_WORD = re.compile(r"\d+(?:[.,]\d+)*|[a-z]+", re.I)
_UNITS_S = {
    "ms": 0.001,
    "millisecond": 0.001,
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "min": 60.0,
    "minute": 60.0,
    "h": 3600.0,
    "hour": 3600.0,
}
_SPELLED = {
    w: float(n)
    for n, w in enumerate(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"])
}
_DULL = frozenset(
    [
        "a",
        "an",
        "the",
        "of",
        "in",
        "to",
        "for",
        "at",
        "is",
        "as",
        "it",
        "and",
        "or",
        "by",
        "with",
        "from",
        "this",
        "that",
        "most",
        "many",
        "much",
        "number",
        "per",
        "num",
        "max",
        "min",
        "when",
        "whether",
    ]
)
_LANGUAGES = {
    "english": "en", "german": "de", "french": "fr", "spanish": "es", "italian": "it", "portuguese": "pt", "dutch": "nl", "arabic": "ar",
    "chinese": "zh", "japanese": "ja", "korean": "ko", "russian": "ru", "turkish": "tr", "polish": "pl", "hindi": "hi", "swedish": "sv",
}  # fmt: skip


class BadArgument(ValueError):
    """A value does not fit its schema: what it is, and what would be right."""


def fit(value: Any, schema: Mapping[str, Any]) -> Any:
    """The value as the schema wants it, numbers and flags in text being read. Raises BadArgument."""
    error = problem(value, schema)
    if not error:
        return value
    if isinstance(value, str):
        for read in (_json(value), [value]):
            if read is not None and not problem(read, schema):
                return read
    if isinstance(value, float) and value.is_integer() and not problem(int(value), schema):
        return int(value)
    if not isinstance(value, str) and not problem(str(value), schema):
        return str(value)
    raise BadArgument(error)


def problem(value: Any, schema: Mapping[str, Any]) -> str:
    """What is wrong with a value, in one line; empty when nothing is. A schema that is none accepts all."""
    try:
        found = best_match(_validator(json.dumps(schema, sort_keys=True, default=str)).iter_errors(value))
    except (SchemaError, TypeError, ValueError, RecursionError):
        return ""
    return "" if found is None else " ".join(f"{found.message}".split())[:200]


@cache
def _validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads(schema))


def from_words(text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Values of the arguments of `schema` (an object) that the words give; only such as fit."""
    found: dict[str, Any] = {}
    words = _WORD.findall(text)[:WORDS_MAX]
    for name, part in schema.get("properties", {}).items():
        for value in _candidates(name, part, words, text):
            if value is not None and not problem(value, part):
                found[name] = value
                break
    return found


def _candidates(name: str, part: Mapping[str, Any], words: list[str], text: str) -> list[Any]:
    kinds = {part.get("type")} | {p.get("type") for p in part.get("anyOf", ()) if isinstance(p, Mapping)}
    low = [w.lower() for w in words]
    if "enum" in part:
        return [v for v in part["enum"] if isinstance(v, str) and v.lower() in low]
    about = f"{name} {part.get('description', '')}".lower()
    if "language" in about and "string" in kinds:
        spoken = [_LANGUAGES[w] for w in low if w in _LANGUAGES]
        return spoken if name == "language" else []
    if kinds & {"integer", "number"}:
        if name.endswith("_s"):
            return [_span(name, low)]
        value = _number_beside(_key_words(name), low)
        return [int(value) if value is not None and value.is_integer() else value]
    return []


def _key_words(name: str) -> set[str]:
    return {_stem(w) for w in re.split(r"[^a-z]+", name.lower()) if w and w not in _DULL}


def _number_beside(keys: set[str], words: list[str]) -> float | None:
    """A number right before one of the words ("10 frames", "5 different paths"), or after it ("paths = 5", "k of 5")."""
    for at, word in enumerate(words):
        if _stem(word) not in keys:
            continue
        for back in (1, 2):
            if (
                at >= back and (value := _number(words[at - back])) is not None and words[at - back] != "one"
            ):  # "one frame every minute" is no count
                return value
        for ahead in (1, 2):
            if (
                at + ahead < len(words)
                and (value := _number(words[at + ahead])) is not None
                and (ahead == 1 or words[at + 1] in ("of", "is", "to"))
            ):
                return value
    return None


def _span(name: str, words: list[str]) -> float | None:
    """Seconds that the words give for a point or step in time: "first 30 seconds", "from 10 s to 20 s", "every 2 seconds"."""
    cue = {"start_s": ("from", "after", "between"), "end_s": ("to", "until", "first", "till"), "every_s": ("every",)}.get(name, ())
    for at, word in enumerate(words[:-1]):
        if word in cue and (value := _number(words[at + 1])) is not None:
            unit = next((_UNITS_S[u] for w in words[at + 2 : at + 6] if (u := _unit(w)) in _UNITS_S), None)
            if unit is not None:
                return value * unit
        if name == "end_s" and word == "and" and "between" in words[max(0, at - 4) : at] and (value := _number(words[at + 1])) is not None:
            unit = next((_UNITS_S[u] for w in words[at + 2 : at + 4] if (u := _unit(w)) in _UNITS_S), None)
            if unit is not None:
                return value * unit
    if name == "every_s" and "every" in words[:-1]:
        return _UNITS_S.get(_unit(words[words.index("every") + 1]))
    return None


def _unit(word: str) -> str:
    return word if word in _UNITS_S else word.removesuffix("s")


def _number(word: str) -> float | None:
    if word in _SPELLED:
        return _SPELLED[word]
    try:
        return float(word.replace(",", ""))
    except ValueError:
        return None


def _stem(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") else word


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        low = text.strip().lower()
        return {"yes": True, "true": True, "no": False, "false": False}.get(low)
