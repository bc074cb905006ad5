"""A problem in words to several reasoning paths: the lever "execution paths". Each path is a task of its own, so they run side by side."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from .interface import BadInput, Call
from .maths_numbers import as_number, final_answer, plain
from .types import Text
from .types_maths import MathProblem, ReasoningPath

PATHS = 5
PATHS_MAX = 100
QUESTION_MAX = 20_000
"""Characters; a longer text is no problem but a file of them."""

WISH = re.compile(r"^[^:.?!\n]{0,150}\b(?:paths?|votes?|voting|problem)\b[^:.?!\n]{0,60}:\s+(?=\S)", re.IGNORECASE)
"""What a job says before its problem: "Solve this problem along 5 paths and vote: ...". A model would take it for part of the problem."""


class PathSpreader:
    """Reads a problem and gives `paths` attempts at it; nothing is solved here."""

    def load(self) -> None:
        pass

    def run(self, call: Call) -> list[ReasoningPath]:
        k = call.arg("paths", PATHS)
        if not 1 <= k <= PATHS_MAX:
            raise BadInput(f"paths={k} is not between 1 and {PATHS_MAX}")
        found = problem(call.take("problem", Text))
        return [ReasoningPath(found, number, k) for number in range(k)]


def problem(text: Text) -> MathProblem:
    """Plain words, without a wish before them; of a JSON object its `question`, and its `answer` as the known one (GSM8K: the number after ####)."""
    where = f"{text.name}: " if text.name else ""
    row = _row(text.text)
    question, known = WISH.sub("", text.text.strip()), ""
    if row is not None:
        if not isinstance(row.get("question"), str):
            there = ", ".join(map(str, list(row)[:8])) or "nothing"
            raise BadInput(f"{where}a row with a maths problem has its words in 'question'; this one has {there}")
        question, known = row["question"].strip(), _known(row.get("answer"))
    if not question:
        raise BadInput(f"{where}there is no problem in an empty text")
    if len(question) > QUESTION_MAX:
        raise BadInput(
            f"{where}a maths problem has at most {QUESTION_MAX} characters, this text has {len(question)}; give one problem a line"
        )
    return MathProblem(question, text.name, known)


def _row(text: str) -> Mapping[str, Any] | None:
    """The text as a JSON object; None for words, also for words that begin with a brace."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _known(answer: Any) -> str:
    """A known answer in plain form; "" where there is none, or none that is a number."""
    if isinstance(answer, bool) or not isinstance(answer, str | int | float):
        return ""
    text = str(answer)
    value = final_answer(text) if "####" in text else as_number(text)
    return "" if value is None else plain(value)
