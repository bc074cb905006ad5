"""A lower bound that gets better in a thread of its own while plans are looked for: HiGHS lets go of the interpreter as it runs.

Cutting planes close a quarter or so of the distance between the linear relaxation and the best plan of hundreds of stages in a second or
two; branching adds next to nothing in that time, and looking for plans is done better elsewhere (search_slices.py). Of up to two hundred
stages HiGHS's own way, with heuristics and restarts, proves more than plain branch and bound on some problems and less on others.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Thread
from time import perf_counter
from typing import Any

from .search_model import Answer, Model


class Prover:
    """Starts at once; `answer` ends it and says what it found."""

    def __init__(self, model: Model, until_s: float, start: Sequence[int] | None = None, heuristics: bool = False) -> None:
        self._until_s, self._cancelled = until_s, False
        self._solver: Any = None
        self._answer: Answer | BaseException | None = None
        self._thread = Thread(target=self._run, args=(model, start, heuristics), name="murakkab-prover", daemon=True)
        self._thread.start()

    def done(self) -> bool:
        return not self._thread.is_alive()

    def _run(self, model: Model, start: Sequence[int] | None, heuristics: bool) -> None:
        try:
            self._answer = model.solve(self._until_s - perf_counter(), True, start, heuristics=heuristics, watch=self._watch)
        except BaseException as error:  # raised where it is waited for
            self._answer = error

    def _watch(self, solver: Any) -> None:
        self._solver = solver
        if self._cancelled:
            solver.cancelSolve()

    def answer(self, wait: bool = True) -> Answer:
        """After at most the time that it was given, or as soon as it can stop if that is not to be waited for."""
        if not wait:
            self._cancelled = True
            if self._solver is not None:
                self._solver.cancelSolve()
        self._thread.join()
        if isinstance(self._answer, BaseException):
            raise self._answer
        assert self._answer is not None
        return self._answer
