"""The search problem behind a plan, and nothing of agents: for every stage one option of several. Pure data.

Time is the longest path of a network of events (a stage's start, its end), whose arcs last as the option of their stage says,
but never less than any resource needs for what all stages use of it; cost, energy and loss of quality are sums over stages. To
choose well under a bound on time is the discrete time-cost trade-off problem, which is NP-hard (De et al., Operations Research 45,
1997); so every solution carries a lower bound of its first goal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct, field

from .goals import Axis, Goal


class Option(Struct, frozen=True):
    """One way to do a stage. `time` is seconds by part of the stage (arcs name the part); `uses` is what it takes of each resource."""

    time: tuple[float, ...]
    cost: float = 0.0
    energy: float = 0.0
    loss: float = 0.0
    uses: tuple[float, ...] = ()


class Arc(Struct, frozen=True):
    """`target` comes no sooner than `source` and the time of a part of a stage after it; with stage -1 it takes no time."""

    source: int
    target: int
    stage: int = -1
    part: int = 0


class Problem(Struct, frozen=True):
    """`arcs` are sorted: an event's incoming arcs stand before its outgoing ones. `capacity` is units of a resource a second:
    a plan that uses u of one whose capacity is c takes at least u / c seconds. `bounds` hold whatever the goals are."""

    stages: tuple[tuple[Option, ...], ...]
    arcs: tuple[Arc, ...]
    events: int
    goals: tuple[Goal, ...]
    bounds: Mapping[Axis, float] = field(default_factory=dict)
    capacity: tuple[float, ...] = ()


class Values(Struct, frozen=True):
    """A plan on all axes."""

    time: float
    cost: float
    energy: float
    loss: float

    def on(self, axis: Axis) -> float:
        return float(getattr(self, axis))


class Solution(Struct, frozen=True):
    """An option for every stage, by position. No plan that meets the bounds is below `bound` on the first goal's axis."""

    picks: tuple[int, ...]
    values: Values
    bound: float
    exact: bool
    method: str
    """How it was found, for people."""
    took_s: float = 0.0

    def gap(self, axis: Axis) -> float:
        """How far it may be from the best: 0 is optimal, 0.02 is 2 %."""
        value = self.values.on(axis)
        return max(0.0, value - self.bound) / max(abs(self.bound), 1e-12) if value - self.bound > 1e-9 * max(1.0, abs(value)) else 0.0


class NoSolution(Exception):
    """No plan meets the bounds. `nearest`: for each bound that is in the way, the least value that could be met with the others kept
    (or, where even these contradict each other, alone)."""

    def __init__(self, nearest: Mapping[Axis, float]) -> None:
        super().__init__(f"no plan meets the bounds; nearest: {dict(nearest)}")
        self.nearest = dict(nearest)


def values(problem: Problem, picks: Sequence[int]) -> Values:
    """What a plan comes to."""
    chosen = [options[pick] for options, pick in zip(problem.stages, picks, strict=True)]
    at = [0.0] * problem.events
    for arc in problem.arcs:
        lasts = chosen[arc.stage].time[arc.part] if arc.stage >= 0 else 0.0
        at[arc.target] = max(at[arc.target], at[arc.source] + lasts)
    needs = [sum(o.uses[r] for o in chosen if o.uses) / c for r, c in enumerate(problem.capacity)]
    return Values(max([*at, *needs], default=0.0), sum(o.cost for o in chosen), sum(o.energy for o in chosen), sum(o.loss for o in chosen))


def simple(
    stages: Sequence[Sequence[Option]], after: Sequence[Sequence[int]], goals: tuple[Goal, ...], bounds: Mapping[Axis, float] | None = None
) -> Problem:
    """A problem in which each stage starts when those before it (`after`, by position, all smaller) have ended."""
    arcs: list[Arc] = []
    for n, before in enumerate(after):
        arcs += [Arc(2 * b + 1, 2 * n) for b in before]
        arcs.append(Arc(2 * n, 2 * n + 1, n))
    return Problem(tuple(tuple(s) for s in stages), tuple(arcs), 2 * len(stages), goals, bounds or {})
