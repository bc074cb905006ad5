"""Benches of the code generation workflow, on small functions of our own. How good models are at it is measured by scripts/bench/code.py."""

from __future__ import annotations

from typing import Any

from .bench import Bench, Task
from .lab import Lab

PROMPTS = (
    ('def add(a, b):\n    """The sum of two numbers.\n    >>> add(2, 3)\n    5\n    """\n', "    return a + b\n"),
    (
        'def longest(words):\n    """The longest of a list of words, the first of several that are equally long; None for an empty list.\n'
        "    >>> longest(['a', 'bb', 'cc'])\n    'bb'\n    >>> longest([])\n    \"\"\"\n",
        "    return max(words, key=len) if words else None\n",
    ),
)


def _task(n: int) -> dict[str, Any]:
    prompt = PROMPTS[n][0]
    name = prompt.split("(")[0].removeprefix("def ")
    call = "add(2, 3)" if n == 0 else "longest(['a', 'bb', 'cc'])"
    gives = "5" if n == 0 else "'bb'"
    return {"prompt": prompt, "task_id": f"bench/{n}", "entry_point": name, "tests": "", "examples": [[3, call, gives]]}


def _candidate(n: int, number: int = 0, good: bool = True) -> dict[str, Any]:
    prompt, body = PROMPTS[n]
    return {"task": _task(n), "number": number, "code": prompt + (body if good else "    return 0\n")}


async def code_task_reader(lab: Lab) -> Bench:
    del lab
    return Bench(tuple(Task({"text": {"text": prompt, "name": "bench"}}) for prompt, _ in PROMPTS), 0)


async def candidate_spreader(lab: Lab) -> Bench:
    del lab
    return Bench(tuple(Task({"task": _task(0)}, {"candidates": k}) for k in (1, 4, 20)), 1)


async def code_generator(lab: Lab) -> Bench:
    del lab
    sizes = ((0, 8), (1, 8), (0, 48), (1, 96))
    return Bench(tuple(Task({"seed": {"task": _task(n), "number": 0}}, {"max_tokens": most}) for n, most in sizes), 2)


async def code_tester(lab: Lab) -> Bench:
    del lab
    return Bench(tuple(Task({"candidate": _candidate(n, good=good)}) for n, good in ((0, True), (1, True), (0, False))), 0)


async def code_ranker(lab: Lab) -> Bench:
    tested = [await lab.run("CodeTester", {"candidate": _candidate(0, number=n, good=n % 2 == 0)}) for n in range(4)]
    return Bench((Task({"tested": tested[:1]}), Task({"tested": tested})), 1)


async def code_repairer(lab: Lab) -> Bench:
    """A good candidate passes without a model being asked; a bad one is repaired, in answers of several lengths."""
    ranked = []
    for good in (True, False):
        tested = await lab.run("CodeTester", {"candidate": _candidate(0, good=good)})
        ranked.append(await lab.run("CodeRanker", {"tested": [tested]}))
    sizes = ((0, 8), (1, 8), (1, 32), (1, 96))
    return Bench(tuple(Task({"ranked": ranked[n]}, {"max_tokens": most}) for n, most in sizes), 2)


CODE = {
    "CodeTaskReader": code_task_reader,
    "CandidateSpreader": candidate_spreader,
    "CodeGenerator": code_generator,
    "CodeTester": code_tester,
    "CodeRanker": code_ranker,
    "CodeRepairer": code_repairer,
}
