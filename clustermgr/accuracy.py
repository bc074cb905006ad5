"""How good the forecasts of stages' starts were: the first one of each stage beside what came true. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from statistics import fmean, median

from ..bus.messages import ForecastError

KEPT = 200
"""Newest errors of one agent that count."""


@dataclass(slots=True)
class Accuracy:
    """Only stages that were ahead when they were first forecast count: of those that start at once nothing was foretold."""

    said: dict[tuple[str, str], tuple[str, tuple[float, ...]]] = field(default_factory=dict)
    """(job, stage) to its agent and the quantiles of its start, as first said."""
    errors: dict[str, deque[tuple[float, bool]]] = field(default_factory=dict)
    """Agent to (actual minus the middle, whether within the outer quantiles)."""

    def say(self, job: str, stage: str, agent: str, start: tuple[float, ...]) -> None:
        self.said.setdefault((job, stage), (agent, start))

    def came(self, job: str, stage: str, at: float) -> None:
        found = self.said.pop((job, stage), None)
        if found is not None:
            agent, (low, middle, high) = found
            self.errors.setdefault(agent, deque(maxlen=KEPT)).append((at - middle, low <= at <= high))

    def forget(self, job: str) -> None:
        for key in [k for k in self.said if k[0] == job]:
            del self.said[key]

    def report(self) -> tuple[ForecastError, ...]:
        """Of each agent, and of all first; empty before anything came true."""
        every = [e for errors in self.errors.values() for e in errors]
        rows = [("", every), *((agent, list(errors)) for agent, errors in sorted(self.errors.items()))]
        return tuple(_error(agent, errors) for agent, errors in rows if errors)


def _error(agent: str, errors: list[tuple[float, bool]]) -> ForecastError:
    off = [e for e, _ in errors]
    return ForecastError(agent, len(off), median(off), fmean(abs(e) for e in off), fmean(within for _, within in errors))
