"""The start of the code generation workflow: what is to be written, and one seed for each candidate of it."""

from __future__ import annotations

import json

from .code_examples import called, examples
from .code_text import functions
from .interface import BadInput, Call
from .types import Text
from .types_code import CandidateSeed, CodeTask


class CodeTaskReader:
    """A text is a task: a JSON row in HumanEval's form, Python that ends in a docstring, or plain words."""

    def load(self) -> None:
        pass

    def run(self, call: Call) -> CodeTask:
        text = call.take("text", Text)
        return read_task(text.text, text.name)


class CandidateSpreader:
    """The lever "paths": each candidate of a task is a task of its own for the stages that follow, wherever there is room."""

    def load(self) -> None:
        pass

    def run(self, call: Call) -> list[CandidateSeed]:
        task, count = call.take("task", CodeTask), call.arg("candidates", 4)
        if not 1 <= count <= 100:
            raise BadInput(f"candidates={count} is not between 1 and 100")
        return [CandidateSeed(task, n) for n in range(count)]


def read_task(text: str, name: str = "") -> CodeTask:
    """Raises BadInput. Of a row only prompt, task_id, entry_point and test are looked at: a solution in it stays unseen."""
    where = f"task '{name}'" if name else "the task"
    if not text.strip():
        raise BadInput(f"{where} is empty; it should be a HumanEval row, a function's head with its docstring, or words")
    if not text.lstrip().startswith("{"):
        return _task(text)
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{where} starts like a JSON row but is none: {error}") from None
    found = {}
    for key in ("prompt", "task_id", "entry_point", "test"):
        found[key] = row.get(key, "")
        if not isinstance(found[key], str):
            raise BadInput(f"{where}: '{key}' is {type(found[key]).__name__}; it should be text")
    if not found["prompt"].strip():
        raise BadInput(f"{where} has no 'prompt'; a HumanEval row has task_id, prompt, test and entry_point")
    if found["entry_point"] and not found["entry_point"].isidentifier():
        raise BadInput(f"{where}: 'entry_point' is '{found['entry_point'][:40]}'; it should be a function's name")
    return _task(found["prompt"], found["task_id"], found["entry_point"], found["test"])


def _task(prompt: str, task_id: str = "", entry_point: str = "", tests: str = "") -> CodeTask:
    """The function is the one that is named, else the last that the prompt defines, else the one that its examples call."""
    name = entry_point or next(reversed(functions(prompt)), "")
    found = examples(prompt, name)
    name = name or called(found)
    return CodeTask(prompt, task_id, name, tests, tuple(e for e in found if name and e[1].startswith(f"{name}(")))
