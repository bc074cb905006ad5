"""The search for a plan: goals in order within bounds, what lost, and the frontier. Pure but for the clock that limits it.

Goals are lexicographic with tolerance: the best by the first goal; of the plans within its tolerance the best by the second, and so on.
What still ties is decided by all axes in turn, one stage at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from time import perf_counter

from .goals import AXES, Axis, Goal
from .problem import NoSolution, Problem, Solution, Values, values
from .search_improve import polish
from .search_phase import Found, minimise
from .search_table import Table, meets

NEAREST_S = 0.3
"""To say what could be met instead, however long it took to find that nothing can."""
RESERVE = 0.04
"""Of the time: a solver sees a little late that it is over, and then the plan is looked over once more."""
SMALL = 200
"""Deviations that `runners_up` looks at in pairs."""


def search(problem: Problem, limit_s: float = 0.5) -> Solution:
    """The best plan that was found within `limit_s`, and a bound. Raises NoSolution when no plan meets the bounds."""
    began = perf_counter()
    until = began + limit_s * (1 - RESERVE)
    table = Table(problem)
    caps: dict[Axis, float] = dict(problem.bounds)
    first = minimise(table, problem.goals[0].axis, caps, until)
    for more in (4, 16):  # that nothing was found in time does not say that there is nothing
        if first.picks is None and not first.exact:
            first = minimise(table, problem.goals[0].axis, caps, perf_counter() + more * limit_s)
    if first.picks is None:
        raise NoSolution(_nearest(table, caps, perf_counter() + NEAREST_S))
    picks = first.picks
    for n, goal in enumerate(problem.goals):
        if n and perf_counter() < until:
            picks = minimise(table, goal.axis, caps, until, picks).picks or picks
        value = table.value(picks, goal.axis)
        slack = 0.0 if n == len(problem.goals) - 1 else goal.tolerance
        caps[goal.axis] = min(caps.get(goal.axis, float("inf")), value + slack if goal.axis == "loss" else value * (1 + slack))
    last = problem.goals[-1].axis
    order = list(dict.fromkeys([*(g.axis for g in problem.goals[:-1]), *(a for a in AXES if a != last)]))
    picks = polish(table, picks, caps, order, max(until, perf_counter() + 0.002))
    return _solution(table, picks, first, began)


def _solution(table: Table, picks: Sequence[int], first: Found, began: float) -> Solution:
    chosen = table.to_problem(picks)
    return Solution(chosen, values(table.problem, chosen), first.bound, first.exact, first.method, perf_counter() - began)


def _nearest(table: Table, caps: Mapping[Axis, float], until: float) -> dict[Axis, float]:
    """For each bound in the way the least value with the others kept; where these contradict each other, alone."""
    found: dict[Axis, float] = {}
    for axis, cap in caps.items():
        others = {a: c for a, c in caps.items() if a != axis}
        best = minimise(table, axis, others, until).picks or minimise(table, axis, {}, until).picks
        if best is not None and not meets(value := table.value(best, axis), cap):
            found[axis] = value
    if found:
        return found
    for axis in caps:  # each conflicts with each: keep what can be kept, in order
        kept: dict[Axis, float] = {}
        best = None
        for other in caps:
            if other != axis:
                more = minimise(table, axis, {**kept, other: caps[other]}, until).picks
                if more is not None:
                    kept[other], best = caps[other], more
        if best is not None:
            found[axis] = table.value(best, axis)
    return found


def frontier(problem: Problem, limit_s: float = 0.5, at_most: int = 8) -> tuple[Solution, ...]:
    """Plans within the bounds of which none is beaten by another in time, cost and energy at once, spread between the extremes."""
    began = perf_counter()
    table = Table(problem)
    caps: dict[Axis, float] = dict(problem.bounds)
    axes: tuple[Axis, ...] = ("time", "cost", "energy")
    pool: dict[tuple[int, ...], Values] = {}

    def add(order: Sequence[Axis], caps: Mapping[Axis, float]) -> Values | None:
        kept = dict(caps)
        picks: list[int] | None = None
        for axis in order:
            picks = minimise(table, axis, kept, began + limit_s, picks).picks or picks
            if picks is None:
                return None
            kept[axis] = table.value(picks, axis)
        assert picks is not None
        pool[table.to_problem(picks)] = table.values(picks)
        return table.values(picks)

    ends = [add((axis, *(a for a in axes if a != axis)), caps) for axis in axes]
    if ends[0] is not None and ends[1] is not None:
        low, high = ends[0].time, max(v.time for v in ends if v is not None)
        for n in range(1, at_most - 2):
            if perf_counter() > began + limit_s:
                break
            add(("cost", "energy", "time"), {**caps, "time": low + (high - low) * n / (at_most - 2)})
    good = {p: v for p, v in pool.items() if not any(_beats(w, v) for w in pool.values())}
    least = min((v.on(problem.goals[0].axis) for v in good.values()), default=0.0)
    chosen = sorted(good.items(), key=lambda item: item[1].time)[:at_most]
    return tuple(Solution(p, v, min(0.0, least), False, "frontier", perf_counter() - began) for p, v in chosen)


def _beats(a: Values, b: Values) -> bool:
    mine, theirs = (a.time, a.cost, a.energy), (b.time, b.cost, b.energy)
    return all(x <= y for x, y in zip(mine, theirs, strict=True)) and mine != theirs


def runners_up(problem: Problem, best: Solution, at_most: int = 3) -> tuple[Solution, ...]:
    """The best plans within the bounds that differ from `best` in one stage or in two, in the order of the goals."""
    began = perf_counter()
    pool: dict[tuple[int, ...], Values] = {}

    def look(picks: tuple[int, ...]) -> None:
        found = values(problem, picks)
        if all(meets(found.on(a), c) for a, c in problem.bounds.items()):
            pool[picks] = found

    ones = [(i, p) for i, options in enumerate(problem.stages) for p in range(len(options)) if p != best.picks[i]]
    for i, p in ones[:5000]:
        look((*best.picks[:i], p, *best.picks[i + 1 :]))
    if len(ones) <= SMALL:
        for (i, p), (j, q) in combinations(ones, 2):
            if i != j:
                both = list(best.picks)
                both[i], both[j] = p, q
                look(tuple(both))
    found: list[Solution] = []
    while pool and len(found) < at_most:
        picks = by_goals(pool, problem.goals)
        found.append(Solution(picks, pool.pop(picks), best.bound, False, "a deviation", perf_counter() - began))
    return tuple(found)


def by_goals(pool: Mapping[tuple[int, ...], Values], goals: Sequence[Goal]) -> tuple[int, ...]:
    """The best of some plans by the goals in order, each within its tolerance."""
    left = list(pool)
    for goal in goals[:-1]:
        least = min(pool[p].on(goal.axis) for p in left)
        most = least + goal.tolerance if goal.axis == "loss" else least * (1 + goal.tolerance)
        left = [p for p in left if meets(pool[p].on(goal.axis), most)]
    order = [goals[-1].axis, *(g.axis for g in goals[:-1]), *AXES]
    return min(left, key=lambda p: [pool[p].on(a) for a in order])
