"""Inside the sandbox, on the side of the tests: they run here, and the function under test is a call to the other interpreter.

So strange code never shares memory with the tests or with the report of how they went: it cannot see what is expected of it, print a
verdict, replace `assert`, or end the tests by ending its process. All it can do is give values, as plain data (`sandbox_plain`).
The tests themselves are trusted to judge, but confined like everything else. Standard library only.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import math
import os
import random
from collections.abc import Callable, Iterator
from typing import IO, Any

from .sandbox_plain import NotPlain, dumps, loads

LINE_MAX = 1 << 20
"""Characters of one answer; what gives more fails."""
CASES_MAX = 2000
"""So many cases are reported one by one; the rest only in the last line's sums."""


class CodeFailed(Exception):
    """The strange code cannot be asked any more, and why."""


class Remote:
    """The functions of the code under test. `behaviour` digests every call and what came of it."""

    def __init__(self, calls: IO[str], answers: IO[str]) -> None:
        self._calls, self._answers = calls, answers
        self.behaviour = hashlib.sha256()
        self.asked = 0
        self.last = ""
        """The last call's outcome, for error messages."""

    def ready(self) -> None:
        what, _, error = self._answer()
        if what != "ready":
            raise CodeFailed(error or "the code could not be loaded")

    def function(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                asked = dumps((name, args, kwargs))
            except NotPlain as why:
                raise CodeFailed(f"the test passes {why}") from None
            try:
                self._calls.write(asked + "\n")
                self._calls.flush()
            except OSError:
                raise CodeFailed("the code ended its process") from None
            what, value, error = self._answer()
            self.asked += 1
            outcome = value if what == "value" else ["raised", value]
            self.behaviour.update(f"{asked}\n{dumps(outcome)}\n".encode())
            if what == "value":
                self.last = f"{name} gave {_shown(value)}"
                return value
            self.last = f"{name} raised {error}"
            kind = getattr(builtins, value, None) if isinstance(value, str) else None
            known = isinstance(kind, type) and issubclass(kind, Exception) and kind is not AssertionError
            raise (kind if known else RuntimeError)(error)  # type: ignore[misc]  # a class that was just looked at

        call.__name__ = name
        return call

    def _answer(self) -> tuple[str, Any, str]:
        line = self._answers.readline(LINE_MAX)
        if not line:
            raise CodeFailed("the code ended its process")
        if not line.endswith("\n"):
            raise CodeFailed(f"the code gave more than {LINE_MAX} characters" if len(line) == LINE_MAX else "the code ended its process")
        try:
            what, value, error = loads(line)
        except (NotPlain, TypeError, ValueError):
            raise CodeFailed("the code answered in no known form") from None
        if what not in ("ready", "error", "value", "raised") or not isinstance(error, str):
            raise CodeFailed("the code answered in no known form")
        return what, value, " ".join(error.split())[:300]


class Report:
    """Lines of JSON into a file that only this process writes; see `sandbox_report.py`."""

    def __init__(self, fd: int) -> None:
        self._fd, self.passed, self.failed = fd, 0, 0

    def case(self, line: int, error: str = "") -> None:
        self.passed, self.failed = self.passed + (not error), self.failed + bool(error)
        if self.passed + self.failed <= CASES_MAX:
            self.write(["case", line, error])

    def write(self, value: object) -> None:
        os.write(self._fd, dumps(value).encode() + b"\n")


def exam(settings: dict[str, Any]) -> int:
    """The role `exam`: report lines ["planned", n], ["case", line, error]…, and ["done", passed, failed, behaviour] if it came to the end."""
    report = Report(settings["report"])
    answers, calls = (os.fdopen(fd, mode, buffering=1) for fd, mode in zip(settings["pipes"], ("r", "w"), strict=True))
    remote = Remote(calls, answers)
    random.seed(0)  # tests that draw their inputs draw the same for every candidate
    try:
        cases = _cases(settings, remote, report)
        remote.ready()
        for case in cases:
            case()
    except CodeFailed as error:
        report.case(0, str(error))
        return 1
    report.write(["done", report.passed, report.failed, remote.behaviour.hexdigest() if remote.asked else ""])
    return 0


def _cases(settings: dict[str, Any], remote: Remote, report: Report) -> Iterator[Callable[[], None]]:
    """The steps of the examination; what they find goes to the report. Only CodeFailed comes out of them."""
    names: dict[str, Any] = {"__name__": "tests"}
    name = settings["entry_point"]
    try:
        exec(compile(settings["prompt"], "<task>", "exec"), names)  # helpers that the tests lean on; the function itself is a stub there
    except Exception:
        names = {"__name__": "tests"}  # the task is in words
    if name:
        names[name] = remote.function(name)
    if settings["tests"]:
        try:
            parsed = _Counted().visit(ast.parse(settings["tests"]))
        except (SyntaxError, ValueError, RecursionError) as error:
            raise CodeFailed(f"the tests of this task are not Python: {error}") from None
        report.write(["planned", sum(map(_counts, ast.walk(parsed)))])
        return iter([lambda: _run_tests(parsed, names, name, report, remote)])
    report.write(["planned", len(settings["examples"])])
    return (lambda e=example: _run_example(e, names, report) for example in settings["examples"])  # type: ignore[misc]


def _run_tests(tests: ast.Module, names: dict[str, Any], name: str, report: Report, remote: Remote) -> None:
    """Module-level asserts count; a function `check` is called with the function under test (HumanEval's form)."""

    def failed(line: int, text: str, error: Exception) -> None:
        if isinstance(error, CodeFailed):
            raise error
        why = remote.last if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
        report.case(line, f"{text}: {why}"[:400])

    names["_passed"], names["_failed"], names["_Exception"] = report.case, failed, Exception
    try:
        exec(compile(ast.fix_missing_locations(tests), "<tests>", "exec"), names)
        if callable(names.get("check")):
            names["check"](names.get(name))
    except CodeFailed:
        raise
    except BaseException as error:
        report.case(0, f"the tests stopped: {type(error).__name__}: {error}"[:400])


def _run_example(example: list[Any], names: dict[str, Any], report: Report) -> None:
    """[line, call, what is expected as a literal or as it is printed]."""
    line, call, expected = example
    try:
        value = eval(compile(call, "<example>", "eval"), names)
    except CodeFailed:
        raise
    except Exception as error:
        report.case(line, f"{call}: {type(error).__name__}: {error}"[:400])
        return
    try:
        good = _same(value, ast.literal_eval(expected))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        good = _shown(value) == expected
    report.case(line, "" if good else f"{call} should give {expected}, gave {_shown(value)}"[:400])


def _shown(value: Any) -> str:
    try:
        return repr(value)[:200]
    except ValueError:  # an integer of more digits than Python writes
        return f"a {type(value).__name__}"


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)
    return bool(one == other)


def _counts(node: ast.AST) -> bool:
    return isinstance(node, ast.Try) and hasattr(node, "counted")


class _Counted(ast.NodeTransformer):
    """Each `assert` reports how it went and lets the next one have its turn. Not those inside a `try`, which wait for what is raised,
    nor `assert True`, which says nothing of the code."""

    def visit_Try(self, node: ast.Try) -> ast.AST:
        return node

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        if isinstance(node.test, ast.Constant):
            return node
        text = ast.unparse(node.test)[:200]
        made = ast.parse(f"try:\n pass\n _passed({node.lineno})\nexcept _Exception as _e:\n _failed({node.lineno}, {text!r}, _e)").body[0]
        assert isinstance(made, ast.Try)
        made.body[0] = node
        made.counted = True  # type: ignore[attr-defined]  # our own mark
        return made
