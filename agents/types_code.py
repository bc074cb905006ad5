"""The values that flow through the code generation workflow. The tests of a task are for judging: no model sees them before a candidate fails."""

from __future__ import annotations

from msgspec import Struct


class CodeTask(Struct, frozen=True):
    """One function to write."""

    prompt: str
    """Python up to and with the docstring of the function (HumanEval's form), or plain words."""
    task_id: str = ""
    entry_point: str = ""
    """The function's name; empty when the words do not say it."""
    tests: str = ""
    """Python that defines `check(candidate)`, or asserts that call the function by its name; empty: there are none."""
    examples: tuple[tuple[int, str, str], ...] = ()
    """What the prompt shows: (its line, the call, what the call gives). They judge where there are no tests."""


class CandidateSeed(Struct, frozen=True):
    """A candidate yet to be written. Number 0 is the model's likeliest answer, the others are drawn with their number as seed."""

    task: CodeTask
    number: int


class CodeCandidate(Struct, frozen=True):
    task: CodeTask
    number: int
    code: str


class Outcome(Struct, frozen=True):
    """How one candidate did in the sandbox. Seconds and megabytes are of its own interpreter."""

    number: int
    code: str
    tested_by: str
    """`tests`, `examples` of the prompt, or only that it `runs`."""
    good: bool
    """All passed, to the end."""
    passed: int = 0
    total: int = 0
    error: str = ""
    """The first failure, in one line."""
    behaviour: str = ""
    """Equal for candidates that gave the same values to the same calls; where nothing was called, for equal syntax trees."""
    wall_s: float = 0.0
    cpu_s: float = 0.0
    memory_mb: float = 0.0


class TestedCode(Struct, frozen=True):
    __test__ = False  # not a test case, whatever pytest makes of its name

    task: CodeTask
    outcome: Outcome


class RankedCode(Struct, frozen=True):
    """All candidates of one task, best first."""

    task: CodeTask
    outcomes: tuple[Outcome, ...]


class CodeSolution(Struct, frozen=True):
    """The answer for one task.

    `passed` is about the code that is given: the best of k candidates by the task's own tests, perhaps repaired with their first failure in
    sight. Only `first_passed`, about candidate 0 as it was written, may be compared with a published pass@1.
    """

    task_id: str
    code: str
    passed: bool
    tested_by: str
    passed_tests: int
    total_tests: int
    candidates: int
    passed_candidates: int
    """Of the candidates as they were written, so of k draws; a repaired one is not among them."""
    first_passed: bool
    repaired: bool = False
    """The code given is the repaired one, since it passed more."""
    repairs_tried: int = 0
    error: str = ""
    """Why the code given does not pass."""


CODE_TYPES: tuple[type[Struct], ...] = (CodeTask, CandidateSeed, CodeCandidate, TestedCode, RankedCode, CodeSolution)
