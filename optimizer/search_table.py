"""A search problem made ready for computing: options without the hopeless ones, events without the superfluous ones. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .goals import AXES, Axis
from .problem import Option, Problem, Values

SLIGHT = 1e-9
"""Relative: two sums of the same numbers in another order may differ by so much, and so much over a bound is on it."""
INF = float("inf")


def meets(value: float, cap: float) -> bool:
    """Whether a value keeps a bound, but for rounding."""
    return value <= cap + SLIGHT * abs(cap) + 1e-15


class Table:
    """`options[i]` are those of stage i that are worth a look, `original[i]` their positions in the problem."""

    def __init__(self, problem: Problem, dominance: bool = True) -> None:
        self.problem = problem
        self.capacity = problem.capacity
        self.arcs, self.events = _contracted(problem)
        self.parts = _parts(problem)
        self.options: list[list[Option]] = []
        self.original: list[list[int]] = []
        for n, options in enumerate(problem.stages):
            keys = [self.key(n, o, AXES) for o in options]
            keep = best_of(keys) if dominance else list(range(len(options)))
            self.options.append([options[k] for k in keep])
            self.original.append(keep)

    def __len__(self) -> int:
        return len(self.options)

    def key(self, stage: int, option: Option, axes: Iterable[Axis]) -> tuple[float, ...]:
        """All that makes an option good or bad on some axes: smaller is better everywhere."""
        found: list[float] = []
        for axis in axes:
            if axis == "time":
                found += [option.time[p] for p in self.parts[stage]]
                found += (option.uses or (0.0,) * len(self.capacity))[: len(self.capacity)]
            else:
                found.append(float(getattr(option, axis)))
        return tuple(found)

    def time(self, picks: Sequence[int]) -> float:
        at = [0.0] * self.events
        times = [o[p].time for o, p in zip(self.options, picks, strict=True)]
        for source, target, stage, part in self.arcs:
            end = at[source] + times[stage][part] if stage >= 0 else at[source]
            if end > at[target]:
                at[target] = end
        return max([*at, *self.needs(picks)], default=0.0)

    def needs(self, picks: Sequence[int]) -> list[float]:
        """Seconds that each resource needs for all."""
        chosen = [o[p] for o, p in zip(self.options, picks, strict=True)]
        return [sum(o.uses[r] for o in chosen if o.uses) / c for r, c in enumerate(self.capacity)]

    def value(self, picks: Sequence[int], axis: Axis) -> float:
        return self.time(picks) if axis == "time" else sum(getattr(o[p], axis) for o, p in zip(self.options, picks, strict=True))

    def values(self, picks: Sequence[int]) -> Values:
        return Values(self.time(picks), self.value(picks, "cost"), self.value(picks, "energy"), self.value(picks, "loss"))

    def within(self, picks: Sequence[int], caps: Mapping[Axis, float]) -> bool:
        return all(meets(self.value(picks, axis), cap) for axis, cap in caps.items())

    def to_problem(self, picks: Sequence[int]) -> tuple[int, ...]:
        return tuple(o[p] for o, p in zip(self.original, picks, strict=True))


def best_of(keys: Sequence[tuple[float, ...]]) -> list[int]:
    """Positions of the keys that no other equals or beats everywhere; of equal ones the first. In their own order."""
    kept: list[int] = []
    for n in sorted(range(len(keys)), key=lambda n: (keys[n], n)):  # what is beaten comes after what beats it
        if not any(all(a <= b for a, b in zip(keys[k], keys[n], strict=True)) for k in kept):
            kept.append(n)
    return sorted(kept)


def _parts(problem: Problem) -> list[tuple[int, ...]]:
    """Of each stage the parts of time that some arc names."""
    found: list[set[int]] = [set() for _ in problem.stages]
    for arc in problem.arcs:
        if arc.stage >= 0:
            found[arc.stage].add(arc.part)
    return [tuple(sorted(f)) for f in found]


def _contracted(problem: Problem) -> tuple[list[tuple[int, int, int, int]], int]:
    """Arcs as (source, target, stage, part), and the number of events. An event with one incoming arc, which takes no time, is its
    source; so are an event without any (the start of all) and every other such event. Doubles go."""
    incoming: list[list[int]] = [[] for _ in range(problem.events)]
    for n, arc in enumerate(problem.arcs):
        incoming[arc.target].append(n)
    name: dict[int, int] = {}
    arcs: dict[tuple[int, int, int, int], None] = {}
    fresh = 1  # 0 is the start
    for arc in problem.arcs:
        for event in (arc.source, arc.target):
            if event in name:
                continue
            found = [problem.arcs[n] for n in incoming[event]]
            if not found:
                name[event] = 0
            elif len(found) == 1 and found[0].stage < 0:
                name[event] = name[found[0].source]
            else:
                name[event], fresh = fresh, fresh + 1
        source, target = name[arc.source], name[arc.target]
        if source != target:
            arcs[source, target, arc.stage, arc.part] = None
    return list(arcs), fresh
