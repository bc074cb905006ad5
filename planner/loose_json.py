"""JSON as language models write it: in prose or fences, cut off, with single quotes, comments, trailing commas, twins. Pure.

What is proper JSON is read as such. What is not is read as far as it makes sense; what was not finished is left out.
Time is linear in the text, but for a bounded number of tries; nothing here raises on any text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

DEPTH_MAX = 24
TRIES_MAX = 40
"""Places of a text where a value may begin, that are tried."""
DIGITS_MAX = 18
_OPEN, _CLOSE = "{[", "}]"
_WORDS = {"true": True, "false": False, "null": None, "none": None, "nan": None, "undefined": None}


def values(text: str) -> Iterator[tuple[Any, bool]]:
    """Every object and list in a text, outermost ones, in order; and whether it is whole as it stands."""
    text = text.encode("utf-8", "replace").decode()  # a lone surrogate cannot travel
    at = 0
    for _ in range(TRIES_MAX):
        at = min((p for c in _OPEN if (p := text.find(c, at)) >= 0), default=-1)
        if at < 0:
            return
        try:
            value, end = _STRICT.raw_decode(text, at)
            yield _travels(value), True
        except (ValueError, RecursionError):
            reader = _Reader(text, at)
            value, end = reader.value(0), reader.at
            yield _travels(value), not reader.cut
        at = max(end, at + 1)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of twins, the first that says something."""
    made: dict[str, Any] = {}
    for key, value in pairs:
        if made.get(key) in (None, "", [], {}):
            made[key] = value
    return made


def _int(digits: str) -> Any:
    return int(digits) if len(digits) <= DIGITS_MAX else _float(digits)


def _float(digits: str) -> float | None:
    value = float(digits)
    return value if math.isfinite(value) else None


_STRICT = json.JSONDecoder(object_pairs_hook=_pairs, parse_int=_int, parse_float=_float, parse_constant=lambda _: None)


def _travels(value: Any, depth: int = 0) -> Any:
    """The value without what is too deep, and without halves of characters, which escapes can still make."""
    if depth > DEPTH_MAX:
        return None
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case dict():
            return {_travels(k): _travels(v, depth + 1) for k, v in value.items()}
        case list():
            return [_travels(v, depth + 1) for v in value]
    return value


class _Unfinished(Exception):
    """The text ends inside a scalar, so what it was to be is not known."""


class _Reader:
    """A reader that goes on where JSON's grammar would stop. `cut`: the text ended before the value did."""

    def __init__(self, text: str, at: int) -> None:
        self.text, self.at, self.cut = text, at, False

    def value(self, depth: int) -> Any:
        """What begins here. Raises _Unfinished only for scalars."""
        char = self.text[self.at]
        if char in _OPEN:
            if depth >= DEPTH_MAX:  # nobody means this: the rest is not read
                self.at, self.cut = len(self.text), True
                return None
            self.at += 1
            return self._object(depth) if char == "{" else self._list(depth)
        return self._string(char) if char in "\"'" else self._word()

    def _object(self, depth: int) -> dict[str, Any]:
        pairs: list[tuple[str, Any]] = []
        try:
            while (char := self._next(",;")) not in _CLOSE:
                key = str(self._string(char) if char in "\"'" else self._word())
                if self._peek() == ":":
                    self.at += 1
                    if self._next("") in ",}":  # a key without a value
                        continue
                    pairs.append((key, self.value(depth + 1)))
            self.at += 1
        except _Unfinished:
            self.cut = True
        return _pairs(pairs)

    def _list(self, depth: int) -> list[Any]:
        items: list[Any] = []
        try:
            while (char := self._next(",;")) not in _CLOSE:
                if char == ":":
                    self.at += 1
                    continue
                items.append(self.value(depth + 1))
            self.at += 1
        except _Unfinished:
            self.cut = True
        return items

    def _peek(self) -> str:
        self._skip("")
        return self.text[self.at] if self.at < len(self.text) else ""

    def _next(self, between: str) -> str:
        """The next character that means something. Raises _Unfinished at the end."""
        self._skip(between)
        if self.at >= len(self.text):
            raise _Unfinished
        return self.text[self.at]

    def _skip(self, more: str) -> None:
        """Over spaces, comments, and `more`."""
        while self.at < len(self.text):
            if self.text.startswith("//", self.at):
                end = self.text.find("\n", self.at)
            elif self.text.startswith("/*", self.at):
                end = self.text.find("*/", self.at) + 1 or -1
            elif self.text[self.at].isspace() or self.text[self.at] in more:
                end = self.at
            else:
                return
            self.at = len(self.text) if end < 0 else end + 1

    def _string(self, quote: str) -> str:
        """Up to a quote that something follows which can follow a string: quotes inside need no escape."""
        made: list[str] = []
        self.at += 1
        while self.at < len(self.text):
            char = self.text[self.at]
            self.at += 1
            if char == "\\" and self.at < len(self.text):
                made.append(self._escape())
            elif char == quote and self._ends():
                return "".join(made)
            else:
                made.append(char)
        raise _Unfinished

    def _ends(self) -> bool:
        at = self.at
        while at < len(self.text) and self.text[at].isspace():
            at += 1
        return at >= len(self.text) or self.text[at] in ",:}]"

    def _escape(self) -> str:
        char = self.text[self.at]
        self.at += 1
        if char == "u":
            try:
                made = chr(int(self.text[self.at : self.at + 4], 16))
            except ValueError:
                return ""
            self.at += 4
            return made
        return {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}.get(char, char)

    def _word(self) -> Any:
        """A number, true, false, null, or a word without quotes."""
        start = self.at
        while self.at < len(self.text) and self.text[self.at] not in ",:;{}[]\n":
            self.at += 1
        if self.at >= len(self.text):
            raise _Unfinished
        if self.at == start:  # a character that can begin nothing
            self.at += 1
        word = self.text[start : self.at].strip()
        if word.lower() in _WORDS:
            return _WORDS[word.lower()]
        try:
            return _int(word) if word.lstrip("-").isdecimal() else _float(word)
        except ValueError:
            return word
