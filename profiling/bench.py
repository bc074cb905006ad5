"""What an agent is measured with: tasks of rising size, and an exam with known truth where there is one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from msgspec import Struct, field

from .lab import Lab


class Task(Struct, frozen=True):
    """One task as it travels."""

    inputs: dict[str, Any] = field(default_factory=dict)
    args: dict[str, Any] = field(default_factory=dict)


class Exam(Struct, frozen=True):
    """Tasks whose right answers are known. `mark` gets the outputs of the first n of them, and gives 0..1 and what that rests on
    ("139 words"); `larger` leaves a quality that the library's row says was measured, since that was on more material."""

    name: str
    tasks: tuple[Task, ...]
    mark: Callable[[Sequence[Any]], tuple[float, str]]
    larger: bool = False


class Bench(Struct, frozen=True):
    """`tasks` from small to large; `typical` is the one that stands for what jobs ask for."""

    tasks: tuple[Task, ...]
    typical: int = 0
    exam: Exam | None = None
    together: Task | None = None
    """What is asked several times at once, to see how tasks crowd each other; else the typical one."""


Make = Callable[[Lab], Awaitable[Bench]]
