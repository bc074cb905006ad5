"""The search against brute force, and what must hold whatever it finds."""

from __future__ import annotations

import random
from itertools import product
from time import perf_counter

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from murakkab.optimizer.goals import AXES, Axis, Goal
from murakkab.optimizer.problem import Arc, NoSolution, Option, Problem, Values, simple, values
from murakkab.optimizer.search import frontier, runners_up, search
from murakkab.optimizer.search_model import Answer, Box, Model
from murakkab.optimizer.search_prover import Prover
from murakkab.optimizer.search_slices import box_of, cheap_enough, chosen, slices
from murakkab.optimizer.search_table import Table

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


def modelled(problem: Problem) -> tuple[Table, Model, Answer]:
    """A problem of least cost, its model, and its linear relaxation."""
    table = Table(problem)
    every = [range(len(o)) for o in table.options]
    scale: dict[Axis, float] = {"time": max(problem.bounds["time"], 1.0), "cost": 1.0, "energy": 1.0, "loss": 1.0}
    model = Model(table, "cost", problem.bounds, every, scale)
    return table, model, model.solve(5.0, False)


def quickest(table: Table) -> list[int]:
    return [min(range(len(o)), key=lambda p: o[p].time[0]) for o in table.options]


@settings(deadline=None, max_examples=60)
@given(problems(1), st.randoms(use_true_random=False))
def test_what_the_relaxation_rules_out_is_in_no_better_plan(problem: Problem, dice: random.Random) -> None:
    bound = dice.choice([v.time for v in everything(problem).values()])
    problem = replace(problem, goals=(Goal("cost", 0.0),), bounds={"time": bound})
    table, model, relaxed = modelled(problem)
    within = [p for p in product(*(range(len(o)) for o in table.options)) if table.within(p, problem.bounds)]
    known = dice.choice(within)
    left = cheap_enough(model, relaxed, known, table.value(known, "cost"))
    for picks in within:
        if table.value(picks, "cost") < table.value(known, "cost") - 1e-6:
            assert all(p in ps for p, ps in zip(picks, left, strict=True))


@settings(deadline=None, max_examples=60)
@given(problems(1), st.randoms(use_true_random=False))
def test_a_slice_is_solved_as_if_by_brute_force(problem: Problem, dice: random.Random) -> None:
    bound = dice.choice([v.time for v in everything(problem).values()])
    problem = replace(problem, goals=(Goal("cost", 0.0),), bounds={"time": bound})
    table, model, _ = modelled(problem)
    within = [p for p in product(*(range(len(o)) for o in table.options)) if table.within(p, problem.bounds)]
    known = dice.choice(within)
    free = {i for i in range(len(table)) if dice.random() < 0.5}
    open_to = [list(range(len(o))) if i in free else [known[i]] for i, o in enumerate(table.options)]
    early, late = box_of(table, open_to, bound)
    found = chosen(model, model.solve(5.0, True, known, Box(open_to, early, late), heuristics=False))
    assert found is not None
    same = [p for p in within if all(i in free or p[i] == known[i] for i in range(len(table)))]
    assert table.within(found, problem.bounds)
    assert table.value(found, "cost") == pytest.approx(min(table.value(p, "cost") for p in same), abs=1e-6)


def test_slices_save_and_keep_the_deadline() -> None:
    problem = layered(500, 4)
    table, model, relaxed = modelled(problem)
    start = quickest(table)
    found = slices(model, relaxed, problem.bounds, start, perf_counter() + 20.0, rounds=2)
    assert table.within(found, problem.bounds)
    assert table.value(found, "cost") < 0.9 * table.value(start, "cost")
    assert table.value(found, "cost") >= relaxed.bound - 1e-6
    assert slices(model, relaxed, problem.bounds, start, perf_counter() + 20.0, enough=lambda: True) == start


def test_a_prover_can_be_stopped_and_its_bound_holds() -> None:
    problem = layered(24, 6)
    _, model, relaxed = modelled(problem)
    best = search(problem, 20.0)
    assert best.exact
    full = Prover(model, perf_counter() + 20.0).answer()
    assert relaxed.bound - 1e-6 <= full.bound <= best.values.cost + 1e-6
    stopped = Prover(model, perf_counter() + 20.0).answer(wait=False)
    assert stopped.bound <= best.values.cost + 1e-6


@pytest.mark.parametrize("seed", range(4))
def test_thirty_stages_are_solved_and_always_the_same(seed: int) -> None:
    problem = layered(30, seed)
    found = search(problem, 20.0)
    assert found.exact
    assert found.bound == pytest.approx(found.values.cost, rel=1e-6)
    assert search(problem, 20.0).picks == found.picks


def test_out_of_time_is_not_out_of_plans() -> None:
    problem = layered(400, 7)
    found = search(problem, 1e-6)
    assert found.values.time <= problem.bounds["time"] * (1 + 1e-6)
    assert found.bound <= found.values.cost
    assert not found.exact
