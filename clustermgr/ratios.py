"""How long stages really take beside what was planned: the quantiles of actual over planned, by agent. Pure."""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

QUANTILES = (0.1, 0.5, 0.9)
PRIOR = (0.6, 0.8, 0.95, 1.1, 1.4, 2.0)
"""What is believed before anything was seen: plans here were up to a quarter short, seldom twice (docs/benchmarks.md)."""
KEPT = 60
"""Newest ratios of one agent that count; the machine and the videos change."""
LEAST_S = 0.05
"""Shorter stages say more about messages on their way than about the stage."""


def quantile(ordered: Sequence[float], q: float) -> float:
    """With linear interpolation between the samples (type 7 of Hyndman and Fan, 1996)."""
    if not ordered:
        raise ValueError("a quantile of nothing")
    at = q * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (at - low) * (ordered[high] - ordered[low])


@dataclass(slots=True)
class Ratios:
    """Observed ratios by agent; each starts from the same prior, which fades as samples come."""

    seen: dict[str, deque[float]] = field(default_factory=dict)
    _known: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def observe(self, agent: str, planned_s: float, actual_s: float) -> None:
        if planned_s < LEAST_S or actual_s <= 0:
            return
        self._known.pop(agent, None)
        self.seen.setdefault(agent, deque(maxlen=KEPT)).append(min(20.0, max(0.05, actual_s / planned_s)))

    def quantiles(self, agent: str) -> tuple[float, ...]:
        """Those of `QUANTILES`."""
        found = self._known.get(agent)
        if found is None:
            samples = list(PRIOR)
            for ratio in self.seen.get(agent, ()):
                insort(samples, ratio)
            found = self._known[agent] = tuple(quantile(samples, q) for q in QUANTILES)
        return found
