"""Benches of the maths workflow: small sums for time, ten rows of GSM8K for what answers are worth."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..agents.maths_numbers import as_number, final_answer
from .bench import Bench, Exam, Task
from .lab import DATA, Lab

SUMS = (
    "Tom has 4 apples and gets 3 more. How many apples does Tom have now?",
    "Mia has 12 books and gives 5 away. Then she buys 2 books for each of her 3 brothers. How many books are there now?",
    "A box holds 6 rows of 8 pencils. Ali has 3 such boxes and shares them equally among 9 friends. Each friend gives 2 pencils "
    "to a teacher, and the teacher sharpens half of those. How many pencils does the teacher sharpen?",
)


def _path(question: str, known: str = "") -> dict[str, Any]:
    return {"path": {"problem": {"question": question, "name": "bench", "known": known}, "number": 0, "of": 1}}


async def maths_reasoner(lab: Lab) -> Bench:
    del lab
    rows = [json.loads(line) for line in (DATA / "gsm8k_10.jsonl").read_text().splitlines()]
    known = [final_answer(row["answer"]) for row in rows]
    sizes = ((0, 8), (2, 8), (0, 32), (1, 64), (2, 128))
    return Bench(
        tuple(Task(_path(SUMS[n]), {"max_tokens": most}) for n, most in sizes),
        3,
        Exam(
            f"accuracy of one path on {len(rows)} rows of GSM8K",
            tuple(Task(_path(row["question"])) for row in rows),
            lambda out: _right(known, out),
            larger=True,
        ),
    )


def _right(known: Sequence[Any], outputs: Sequence[Any]) -> tuple[float, str]:
    right = [as_number(out["answer"]) == value for value, out in zip(known, outputs, strict=False)]
    return sum(right) / len(right), f"{len(right)} problems"


async def path_spreader(lab: Lab) -> Bench:
    del lab
    return Bench(tuple(Task({"problem": {"text": SUMS[1], "name": "bench"}}, {"paths": k}) for k in (1, 5, 20)), 1)


async def majority_voter(lab: Lab) -> Bench:
    del lab

    def answers(count: int) -> list[dict[str, Any]]:
        return [
            {"path": {**_path(SUMS[0])["path"], "number": n, "of": count}, "reasoning": "4 + 3 = 7\n#### 7", "answer": "7"}
            for n in range(count)
        ]

    return Bench(tuple(Task({"answers": answers(k)}) for k in (1, 5, 20)), 1)


MATHS = {"PathSpreader": path_spreader, "MathReasoner": maths_reasoner, "MajorityVoter": majority_voter}
