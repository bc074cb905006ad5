"""Runs one candidate against the tests of its task, in the sandbox."""

from __future__ import annotations

import ast
import hashlib

from .code_text import functions, parsed
from .interface import Call
from .sandbox import Exam, Limits, Sandbox
from .types_code import CodeCandidate, CodeTask, Outcome, TestedCode


class CodeTester:
    """An instance that cannot confine code does not come up, and says why."""

    def __init__(self) -> None:
        self._sandbox = Sandbox()

    def load(self) -> None:
        _ = self._sandbox.layers

    def run(self, call: Call) -> TestedCode:
        candidate = call.take("candidate", CodeCandidate)
        call.count("items", 1)
        return TestedCode(candidate.task, outcome(self._sandbox, candidate.task, candidate.number, candidate.code, limits(call)))


def limits(call: Call) -> Limits:
    time_s = call.arg("time_s", 10.0)
    return Limits(wall_s=time_s, cpu_s=time_s, memory_mb=call.arg("memory_mb", 512))


def outcome(sandbox: Sandbox, task: CodeTask, number: int, code: str, bounds: Limits) -> Outcome:
    """Blocks. Tests judge if the task has any, else the prompt's examples, else it counts that the code runs and defines a function."""
    name = task.entry_point or next((f for f in reversed(functions(code)) if not f.startswith("_")), "")
    by = "tests" if task.tests else "examples" if task.examples else "runs"
    examples = () if task.tests else task.examples
    verdict = sandbox.examine(code, Exam(name, task.prompt, task.tests, examples), bounds)
    report = verdict.report
    good, error = report.good, report.error
    if by == "runs" and good and name not in functions(code):
        good, error = False, f"the code defines no function{f' {name}' if name else ''}"
    return Outcome(
        number,
        code,
        by,
        good,
        report.passed,
        report.passed + report.failed,
        error,
        report.behaviour or _tree(code),
        verdict.wall_s,
        verdict.cpu_s,
        verdict.memory_mb,
    )


def _tree(code: str) -> str:
    """A digest of the syntax tree: the same for the same code with other comments and spaces."""
    tree = parsed(code)
    try:
        text = ast.dump(tree) if tree else code
    except RecursionError:
        text = code
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()
