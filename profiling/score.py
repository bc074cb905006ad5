"""How right an answer is, against what is known. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

ONES = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
nineteen""".split()  # noqa: SIM905
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()  # noqa: SIM905
SAME = {"mr": "mister", "mrs": "missus", "meter": "meter", "metre": "meter", "metres": "meters", "okay": "ok"}


def words(text: str) -> list[str]:
    """Lower case, no punctuation (hyphens part words), numbers below 100 and titles as words."""
    found: list[str] = []
    for word in re.findall(r"[a-z0-9]+(?:'[a-z]+)?", text.lower().replace("’", "'")):
        if word.isdigit() and int(word) < 100:
            n = int(word)
            found += [ONES[n]] if n < 20 else [TENS[n // 10 - 2], *([ONES[n % 10]] if n % 10 else [])]
        else:
            found.append(SAME.get(word, word))
    return found


def edits(wanted: Sequence[str], heard: Sequence[str]) -> int:
    """Least number of words put in, left out or replaced (Levenshtein)."""
    row = list(range(len(heard) + 1))
    for i, want in enumerate(wanted, 1):
        before, row = row, [i]
        for j, hear in enumerate(heard, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (want != hear)))
    return row[-1]


def f1(right: int, said: int, true: int) -> float:
    """Harmonic mean of precision and recall; saying nothing where nothing is to be said is right."""
    return 2 * right / (said + true) if said + true else 1.0
