"""Writes one candidate of a function with a language model."""

from __future__ import annotations

from .code_text import code_of, functions
from .interface import Call
from .llm import make_engine
from .types_code import CandidateSeed, CodeCandidate, CodeTask

SYSTEM = "You write correct Python. Answer with one Python code block that holds the whole function, and nothing else."


class CodeGenerator:
    """`engine` is a name of `llm.make_engine`."""

    def __init__(self, engine: str) -> None:
        self._engine = make_engine(engine)

    def load(self) -> None:
        self._engine.load()

    def close(self) -> None:
        self._engine.close()

    async def run_async(self, call: Call) -> CodeCandidate:
        seed = call.take("seed", CandidateSeed)
        temperature = call.arg("temperature", 0.8) if seed.number else 0.0
        task = seed.task
        answer = await self._engine.chat(SYSTEM, ask(task), call.arg("max_tokens", 384), temperature=temperature, seed=seed.number)
        return CodeCandidate(task, seed.number, code_of(answer, task.prompt, task.entry_point))


def ask(task: CodeTask) -> str:
    if functions(task.prompt):
        return f"Complete this Python function:\n```python\n{task.prompt.strip()}\n```"
    called = f" Name the function {task.entry_point}." if task.entry_point else ""
    return f"Write a Python function.{called}\n{task.prompt.strip()}"
