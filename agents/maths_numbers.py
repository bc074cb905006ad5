"""Numbers in text, exactly: what a text says, and which number is its final answer. Pure.

Numbers are `Fraction`s, so that 0.5, 1/2 and .50 are the same and nothing is rounded. Units, currency and percent signs
are left out: GSM8K's answers have none ("25%" is 25 there).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from fractions import Fraction

from msgspec import Struct

LENGTH_MAX = 60
"""A number of more characters is none: no problem has such an answer, and a model that repeats itself writes them."""
SCALE = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
MONEY = r"(?:\\?[$€£¥]|USD|EUR|Rs\.?)"
DIGITS = r"(?:\d{1,3}(?:[,\u00a0\u202f]\d{3})+(?![,\u00a0\u202f]?\d)|\d+)"
NUMBER = re.compile(
    rf"""
    (?<![A-Za-z_\d.])                           # not inside a word (H2O) or a number
    (?P<sign>(?<![\d)\]])[-+]\s?(?={MONEY})|(?<![\d)\]])[-+](?=[\d.])|)
    (?:{MONEY}\s?(?P<sign2>-?))?
    (?:
      (?P<whole>{DIGITS})[ ](?P<part>\d+/\d+)(?![\d/])                        # 1 1/2
      | (?P<over>{DIGITS})\s?/\s?(?P<under>{DIGITS})(?![\d/]|\.\d)             # 3/4
      | (?P<plain>{DIGITS}?\.\d+|{DIGITS})                                   # 1,234.5 and .5
    )
    (?:[ ](?P<scale>{"|".join(SCALE)})\b)?
    """,
    re.VERBOSE,
)
MARK = re.compile(r"#{4,}[ \t]*(?:(?:the\s+)?(?:final\s+)?answer\s*(?:is\s*:?|[:=])\s*)?[*`(\[]*", re.IGNORECASE)
BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
ANSWER = re.compile(
    r"\b(?:answer|solution|result)s?\b[^\n.]{0,60}?(?:\b(?:is|are|was|will be|would be|equals|be)\b|[:=])(?P<rest>(?:[^\n.!?]|[.!?](?!\s|$))*)",
    re.IGNORECASE,
)
HEADING = re.compile(r"[.)]\s+[A-Za-z]|:\s*[A-Za-z]")
"""What follows the number of a heading: "#### 2. Add them up"."""
WORKED = re.compile(r"<<[^<>\n]*>>")
"""GSM8K's notes for a calculator: 16 - 3 = <<16-3=13>>13."""


class Found(Struct, frozen=True):
    value: Fraction
    start: int
    end: int


def numbers(text: str) -> list[Found]:
    """Every number of a text, in order; `start` and `end` are places in `tidy(text)`."""
    return list(_numbers(tidy(text)))


def final_answer(text: str) -> Fraction | None:
    """The number that a worked solution ends with, or None when it holds none.

    In this order: after the last `####`; in the last `\\boxed{}`; what the last sentence with "answer is" (":", "=") says;
    else the last line's last number. Of a calculation ("2 * 9 = 18") it is what stands behind its last equals sign.
    """
    text = tidy(WORKED.sub("", text))
    for mark in reversed(list(MARK.finditer(text))):
        found = next(_numbers(text, mark.end(), _line_end(text, mark.end())), None)
        if found and not text[mark.end() : found.start].strip() and not HEADING.match(text, found.end):
            return _computed(text[mark.end() : _line_end(text, mark.end())])
    for box in reversed(list(BOXED.finditer(text))):
        if (value := _computed(box.group(1))) is not None:
            return value
    for said in reversed(list(ANSWER.finditer(text))):
        if (value := _computed(said.group("rest"))) is not None:
            return value
    for line in reversed(text.splitlines()):
        if there := list(_numbers(line)):
            return _computed(line) if "=" in line else there[-1].value
    return None


def as_number(text: str) -> Fraction | None:
    """The number that a text is, as a whole; a currency or percent sign may stand beside it. None for anything else."""
    text = tidy(text).strip()
    found = next(_numbers(text), None)
    if found is None or found.start > 0 or text[found.end :].strip() not in ("", "%", "."):
        return None
    return found.value


def plain(value: Fraction) -> str:
    """The one form in which a number travels: 18, -3, 0.75, and 1/3 where decimals do not end (or are more than twelve)."""
    if value.denominator == 1:
        return str(value.numerator)
    for places in range(1, 13):
        scaled = value * 10**places
        if scaled.denominator == 1:
            digits = str(abs(scaled.numerator)).rjust(places + 1, "0")
            return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"
    return f"{value.numerator}/{value.denominator}"


def tidy(text: str) -> str:
    """The same text with one way to write what has many: minus signs, ½, LaTeX's fractions and thin spaces."""
    text = re.sub(r"([½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞])", lambda m: " " + unicodedata.normalize("NFKC", m.group()), text)
    text = text.replace("\u2044", "/").replace("\u2212", "-").replace("{,}", ",").replace("\\!", "").replace("\\,", "")
    text = re.sub(
        r"(\d?)\\[dt]?frac\s*\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}", lambda m: f"{m[1]} {m[2]}/{m[3]}" if m[1] else f"{m[2]}/{m[3]}", text
    )
    return text


def _numbers(text: str, start: int = 0, end: int | None = None) -> Iterator[Found]:
    for match in NUMBER.finditer(text, start, len(text) if end is None else end):
        value = _value(match)
        if value is not None:
            yield Found(value, match.start(), match.end())


def _value(match: re.Match[str]) -> Fraction | None:
    if len(match.group()) > LENGTH_MAX:
        return None
    if match["whole"]:
        part = _ratio(*match["part"].split("/"))
        value = None if part is None else _digits(match["whole"]) + part
    elif match["over"]:
        value = _ratio(match["over"], match["under"])
    else:
        value = _digits(match["plain"])
    if value is None:
        return None
    value *= SCALE.get(match["scale"] or "", 1)
    return -value if "-" in (match["sign"][:1], match["sign2"]) else value


def _ratio(over: str, under: str) -> Fraction | None:
    below = _digits(under)
    return _digits(over) / below if below else None


def _digits(text: str) -> Fraction:
    """Decimal digits of any script are digits to Python and to the pattern alike."""
    return Fraction("0" + re.sub("[,\u00a0\u202f]", "", text))


def _computed(text: str) -> Fraction | None:
    """The first number behind the last equals sign that has one behind it; the first of all without an equals sign."""
    for piece in reversed(text.split("=")):
        if found := next(_numbers(piece), None):
            return found.value
    return None


def _line_end(text: str, start: int) -> int:
    end = text.find("\n", start)
    return len(text) if end < 0 else end
