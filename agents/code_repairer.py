"""The end of the code generation workflow: the best candidate, repaired by a language model when it fails its tests."""

from __future__ import annotations

import asyncio

from .code_tester import limits, outcome
from .code_text import code_of
from .interface import BadInput, Call
from .llm import make_engine
from .sandbox import Sandbox
from .types_code import CodeSolution, CodeTask, Outcome, RankedCode

SYSTEM = "You repair Python. Answer with one Python code block that holds the whole corrected function, and nothing else."


class CodeRepairer:
    """`engine` is a name of `llm.make_engine`; it is asked only when the best candidate fails. The better of old and new is kept."""

    def __init__(self, engine: str) -> None:
        self._engine = make_engine(engine)
        self._sandbox = Sandbox()

    def load(self) -> None:
        _ = self._sandbox.layers
        self._engine.load()

    def close(self) -> None:
        self._engine.close()

    async def run_async(self, call: Call) -> CodeSolution:
        given = call.take("ranked", RankedCode)
        if not given.outcomes:
            raise BadInput("there is no candidate to give")
        task, best = given.task, given.outcomes[0]
        bounds, tried, repaired = limits(call), 0, False
        for number in range(call.arg("repairs", 1)):
            if best.good:
                break
            tried += 1
            try:
                # the first repair is the model's likeliest; a further one of the same code has to differ
                temperature = 0.8 if number and not repaired else 0.0
                answer = await self._engine.chat(SYSTEM, ask(best), call.arg("max_tokens", 384), temperature=temperature, seed=number)
            except BadInput:
                break  # code and error exceed what the model takes: the candidate stays as it is
            code = code_of(answer, task.prompt, task.entry_point)
            new = await asyncio.to_thread(outcome, self._sandbox, task, best.number, code, bounds)
            if better(new, best):
                best, repaired = new, True
        return solution(task, given.outcomes, best, repaired, tried)


def ask(failed: Outcome) -> str:
    return f"This Python code is wrong:\n```python\n{failed.code.strip()}\n```\nIts error: {failed.error}\nCorrect the code."


def better(new: Outcome, old: Outcome) -> bool:
    """Only what passes more takes the place of a candidate."""
    return (new.good, new.passed) > (old.good, old.passed)


def solution(task: CodeTask, outcomes: tuple[Outcome, ...], best: Outcome, repaired: bool, tried: int) -> CodeSolution:
    return CodeSolution(
        task.task_id,
        best.code,
        best.good,
        best.tested_by,
        best.passed,
        best.total,
        len(outcomes),
        sum(o.good for o in outcomes),
        any(o.good for o in outcomes if o.number == 0),
        repaired,
        tried,
        best.error,
    )
