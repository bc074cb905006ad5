"""The search against brute force, and what must hold whatever it finds."""

from __future__ import annotations

import random
from itertools import product

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from murakkab.optimizer.goals import AXES, Axis, Goal
from murakkab.optimizer.problem import Arc, NoSolution, Option, Problem, Values, simple, values
from murakkab.optimizer.search import frontier, runners_up, search

AMOUNT = st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0])
OPTION = st.builds(lambda a, b, c, e, q, u: Option((a, b), c, e, q, (u,)), AMOUNT, AMOUNT, AMOUNT, AMOUNT, AMOUNT, AMOUNT)


@st.composite
def problems(draw: st.DrawFn, goals: int = 2) -> Problem:
    """Up to four stages with up to three options: 81 plans at most. Some arcs name the second part of a stage; there is one resource."""
    n = draw(st.integers(1, 4))
    stages = tuple(tuple(draw(st.lists(OPTION, min_size=1, max_size=3))) for _ in range(n))
    arcs = []
    for i in range(n):
        for before in draw(st.sets(st.integers(0, i - 1), max_size=2)) if i else ():
            pipelined = draw(st.booleans())
            arcs.append(Arc(1 + 2 * before, 1 + 2 * i, before, 1) if pipelined else Arc(2 + 2 * before, 1 + 2 * i))
        arcs += [Arc(0, 1 + 2 * i), Arc(1 + 2 * i, 2 + 2 * i, i, 0)]
    axes = draw(st.lists(st.sampled_from(AXES), min_size=1, max_size=goals, unique=True))
    wanted = tuple(Goal(a, draw(st.sampled_from([0.0, 0.1]))) for a in axes)
    return Problem(stages, tuple(arcs), 1 + 2 * n, wanted, {}, (draw(st.sampled_from([0.5, 1.0, 4.0])),))


def everything(problem: Problem) -> dict[tuple[int, ...], Values]:
    """All plans that keep the bounds."""
    found = {picks: values(problem, picks) for picks in product(*(range(len(o)) for o in problem.stages))}
    return {k: v for k, v in found.items() if all(v.on(a) <= b + 1e-9 for a, b in problem.bounds.items())}


def most(goal: Goal, least: float) -> float:
    return least + goal.tolerance if goal.axis == "loss" else least * (1 + goal.tolerance)


def bounded(draw_from: random.Random, problem: Problem) -> Problem:
    """With one or two bounds that some plan keeps, at least each alone."""
    all_of_it = list(everything(problem).values())
    bounds: dict[Axis, float] = {}
    for axis in draw_from.sample(AXES, draw_from.randint(1, 2)):
        bounds[axis] = draw_from.choice(all_of_it).on(axis)
    return replace(problem, bounds=bounds)


@settings(deadline=None, max_examples=150)
@given(problems(), st.randoms(use_true_random=False), st.booleans())
def test_against_brute_force(problem: Problem, dice: random.Random, tight: bool) -> None:
    problem = bounded(dice, problem) if tight else problem
    plans = everything(problem)
    if not plans:
        with pytest.raises(NoSolution):
            search(problem, 5.0)
        return
    found = search(problem, 5.0)
    assert found.picks in plans
    assert found.values == values(problem, found.picks)
    first = problem.goals[0]
    best = min(v.on(first.axis) for v in plans.values())
    assert found.exact
    assert found.bound <= best + 1e-6
    left = list(plans.values())
    for n, goal in enumerate(problem.goals):
        least = min(v.on(goal.axis) for v in left)
        last = n == len(problem.goals) - 1
        assert found.values.on(goal.axis) <= (least if last else most(goal, least)) + 1e-6
        left = [v for v in left if v.on(goal.axis) <= most(goal, least) + 1e-9]


@settings(deadline=None, max_examples=60)
@given(problems(1), st.randoms(use_true_random=False))
def test_a_tighter_bound_never_makes_it_better(problem: Problem, dice: random.Random) -> None:
    problem = replace(problem, goals=(Goal(problem.goals[0].axis, 0.0),))
    axis = problem.goals[0].axis
    loose = search(problem, 5.0).values.on(axis)
    with_bounds = bounded(dice, problem)
    try:
        tight = search(with_bounds, 5.0).values.on(axis)
    except NoSolution:
        return
    assert tight >= loose - 1e-9
    tighter = replace(with_bounds, bounds={a: b * 0.9 for a, b in with_bounds.bounds.items()})
    try:
        assert search(tighter, 5.0).values.on(axis) >= tight - 1e-9
    except NoSolution:
        assert not everything(tighter)


@settings(deadline=None, max_examples=60)
@given(problems(1), OPTION, st.randoms(use_true_random=False))
def test_another_choice_never_makes_it_worse(problem: Problem, more: Option, dice: random.Random) -> None:
    problem = replace(problem, goals=(Goal(problem.goals[0].axis, 0.0),))
    where = dice.randrange(len(problem.stages))
    richer = replace(problem, stages=tuple((*o, more) if i == where else o for i, o in enumerate(problem.stages)))
    axis = problem.goals[0].axis
    assert search(richer, 5.0).values.on(axis) <= search(problem, 5.0).values.on(axis) + 1e-9


@settings(deadline=None, max_examples=60)
@given(problems(1), st.randoms(use_true_random=False))
def test_the_nearest_values_can_be_met(problem: Problem, dice: random.Random) -> None:
    asked = bounded(dice, problem)
    asked = replace(asked, bounds={a: b * 0.5 for a, b in asked.bounds.items()})
    assume(not everything(asked))
    with pytest.raises(NoSolution) as refused:
        search(asked, 5.0)
    assert refused.value.nearest
    for axis, nearest in refused.value.nearest.items():
        assert nearest > asked.bounds[axis]
        kept = {a: b for a, b in asked.bounds.items() if a != axis}
        with_it = replace(asked, bounds={**kept, axis: nearest + 1e-9})
        assert everything(with_it) or any(v.on(axis) <= nearest + 1e-9 for v in everything(replace(asked, bounds={})).values())


@settings(deadline=None, max_examples=50)
@given(problems(1))
def test_the_frontier_beats_itself_nowhere_and_rivals_differ(problem: Problem) -> None:
    front = frontier(problem, 2.0)
    assert front
    for a in front:
        assert a.values == values(problem, a.picks)
        for b in front:
            mine, theirs = (a.values.time, a.values.cost, a.values.energy), (b.values.time, b.values.cost, b.values.energy)
            assert mine == theirs or not all(x <= y for x, y in zip(mine, theirs, strict=True))
    best = search(problem, 2.0)
    rivals = runners_up(problem, best, 3)
    assert len({r.picks for r in rivals} | {best.picks}) == len(rivals) + 1


def layered(n: int, seed: int) -> Problem:
    """A random layered DAG with twelve choices a stage, and a deadline in between."""
    dice = random.Random(seed)
    after: list[list[int]] = []
    layer = max(2, int(n**0.5))
    for i in range(n):
        start = (i // layer - 1) * layer
        after.append(sorted(dice.sample(range(start, start + layer), min(layer, 2))) if start >= 0 else [])
    stages = []
    for _ in range(n):
        size = dice.uniform(1, 20)
        times = [size * 2 ** dice.uniform(-2, 2) for _ in range(12)]
        stages.append([Option((t,), size * dice.uniform(0.8, 1.2) / t, dice.random()) for t in times])
    problem = simple(stages, after, (Goal("cost", 0.0),))
    quick = values(problem, [min(range(12), key=lambda p: o[p].time[0]) for o in stages]).time
    slow = values(problem, [min(range(12), key=lambda p: o[p].cost) for o in stages]).time
    return replace(problem, bounds={"time": quick + 0.3 * (slow - quick)})


@pytest.mark.parametrize(("n", "seed"), [(100, 1), (150, 2), (600, 3)])
def test_of_many_stages_it_finds_a_plan_and_a_bound_below_it(n: int, seed: int) -> None:
    problem = layered(n, seed)
    found = search(problem, 2.0)
    assert found.values.time <= problem.bounds["time"] * (1 + 1e-6)
    assert found.bound <= found.values.cost
    # half of what could be lost at most: a plan that takes the quickest of everything is far from that
    quickest = values(problem, [min(range(len(o)), key=lambda p: o[p].time[0]) for o in problem.stages]).cost
    assert found.values.cost < 0.5 * (found.bound + quickest)


def test_a_deadline_that_nothing_keeps_names_the_nearest() -> None:
    problem = layered(40, 5)
    quick = values(problem, [min(range(12), key=lambda p: o[p].time[0]) for o in problem.stages]).time
    with pytest.raises(NoSolution) as refused:
        search(replace(problem, bounds={"time": quick * 0.9}), 2.0)
    assert refused.value.nearest == {"time": pytest.approx(quick)}
