"""From workflow to plan: variants of the workflow, the ways of each stage, a search, and the estimates of what won. Pure."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from math import exp, inf

from msgspec import Struct
from msgspec.structs import replace

from ..bus.messages import Choice, Estimate, MakePlan, Plan, RunnerUp
from .goals import TIES, Axis, Goal, goals
from .hops import Hops
from .problem import NoSolution, Solution, Values, values
from .reasons import moving, plain, runner_up, why
from .rewrite import Variant, as_it_is, variants
from .schedule import Timeline, moving_s, timeline
from .search import frontier, runners_up, search
from .space import Infeasible, NoOffer, Space, World, space
from .ways import Way

__all__ = ["Infeasible", "NoOffer", "World", "make_plan"]

LIMIT_S = 0.5
"""Seconds that one search may take."""
RIVALS = 8
GAIN = 0.1
"""A running job's plan is changed for at least this part of its first goal."""
BOUND_NAME: dict[Axis, tuple[str, str]] = {"time": ("deadline", "s"), "cost": ("budget", "$"), "energy": ("energy budget", "Wh")}


class Found(Struct, frozen=True):
    """A variant of the workflow with the best choices for it."""

    variant: Variant
    space: Space
    solution: Solution
    line: Timeline | None

    @property
    def ways(self) -> dict[str, Way]:
        names = [s.name for s in self.space.workflow.stages]
        return {n: o[p] for n, o, p in zip(names, self.space.ways, self.solution.picks, strict=True)}

    @property
    def values(self) -> Values:
        """With the time that the schedule gives, where there is one."""
        return self.solution.values if self.line is None else replace(self.solution.values, time=self.line.time_s)


def make_plan(world: World, ask: MakePlan, limit_s: float = LIMIT_S, before: Plan | None = None) -> Plan:
    """The best plan by the job's goals within its bounds, with its lower bound. Raises NoOffer, Infeasible, BadGoal.

    `before` is the plan that the job has; it is changed only for what gains enough.
    """
    wanted = goals(ask.constraints)
    bounds = _bounds(ask)
    found, refused = _all(world, ask, wanted, bounds, limit_s)
    if not found:
        raise refused
    in_time = [f for f in found if f.values.time <= bounds.get("time", inf)]
    best = _best(in_time or found, wanted)
    if before is not None:
        best = _steady(best, before, wanted, bounds, world, ask.inputs)
    lowest = min(f.solution.bound for f in found)
    plan = _plan(best, wanted, lowest, world)
    return _explained(plan, best, found, wanted, world, ask.inputs) if ask.explain else plan


def _bounds(ask: MakePlan) -> dict[Axis, float]:
    found: dict[Axis, float] = {}
    if ask.deadline_s is not None:
        found["time"] = ask.deadline_s - ask.spent_s
    if ask.budget_usd is not None:
        found["cost"] = ask.budget_usd
    if ask.energy_budget_wh is not None:
        found["energy"] = ask.energy_budget_wh
    return found


def _all(world: World, ask: MakePlan, wanted: tuple[Goal, ...], bounds: dict[Axis, float], limit_s: float) -> tuple[list[Found], Exception]:
    """The best of each variant, and why there is none of those that cannot be."""
    tunable = ask.quality_floor is not None or bool(bounds) or any(g.axis == "loss" for g in wanted)
    idle = sum(h.cores for h in world.fleet.hosts if not h.ending)
    open_to = (as_it_is(ask.workflow, world.agents),) if ask.chosen or ask.again else variants(ask.workflow, world.agents, idle, tunable)
    found: list[Found] = []
    refused: list[Exception] = []
    for variant in open_to:
        try:
            where = space(world, variant.workflow, ask.inputs, ask.units, wanted, bounds, ask.quality_floor, ask.chosen, variant.quality)
            solution = search(where.problem, limit_s / len(open_to))
        except (NoOffer, Infeasible) as error:
            refused.append(error)
            continue
        except NoSolution as error:
            refused.append(_infeasible(error, bounds, ask.spent_s))
            continue
        ones = _scheduled(Found(variant, where, solution, None), wanted, world, ask.inputs)
        late = min(f.values.time for f in ones) / bounds["time"] if "time" in bounds else 0.0
        if late > 1:  # the search does not see how tasks share the cores: asked for that much less, it may find what keeps the deadline
            sooner = replace(where, problem=replace(where.problem, bounds={**bounds, "time": bounds["time"] / late}))
            with contextlib.suppress(NoSolution):
                again = replace(search(sooner.problem, limit_s / len(open_to)), bound=solution.bound, exact=False)
                ones += _scheduled(Found(variant, where, again, None), wanted, world, ask.inputs)
        found += ones
    # of several reasons, that of the workflow as it is says most
    return found, refused[0] if refused else NoOffer("no plan")


def _scheduled(one: Found, wanted: tuple[Goal, ...], world: World, inputs: int) -> list[Found]:
    """What was found, run in thought; where time is what counts, its rivals too, since the search does not see how tasks share the cores."""
    solutions = [one.solution]
    if wanted[0].axis == "time":
        solutions += [*runners_up(one.space.problem, one.solution, RIVALS), *frontier(one.space.problem, 0.1, RIVALS)]
    # the bound is of them all: it belongs to the problem
    all_of_it = [replace(one, solution=replace(s, bound=one.solution.bound, exact=False)) for s in solutions[1:]]
    return [
        replace(f, line=timeline(f.space.workflow, f.ways, f.space.expected, inputs, world.fleet, world.hops)) for f in (one, *all_of_it)
    ]


def _infeasible(error: NoSolution, bounds: Mapping[Axis, float], spent_s: float) -> Infeasible:
    parts = []
    for axis, nearest in error.nearest.items():
        name, unit = BOUND_NAME[axis]
        gone = spent_s if axis == "time" else 0.0  # a deadline counts from the submission, as it was said
        said, least = (f"${v}" if unit == "$" else f"{v} {unit}" for v in (plain(bounds[axis] + gone), plain(nearest + gone, up=True)))
        parts.append(f"{name} {said} cannot be met: the nearest is {least}")
    if not parts:
        return Infeasible("no plan within all of the bounds was found in the time that a search may take: loosen one of them")
    return Infeasible(
        "; ".join(parts) + (" (each with the other bounds kept, or alone where these contradict each other)" if len(parts) > 1 else "")
    )


def _best(found: Sequence[Found], wanted: tuple[Goal, ...]) -> Found:
    """By the goals in order, each within its tolerance, the last one too; then by `TIES`, to three digits; then what changes least.

    The search of one variant gives up nothing of the last goal; here plans are compared that were run in thought, and a percent of time is
    less than that can tell.
    """
    left = list(found)
    for one in wanted:
        least = min(f.values.on(one.axis) for f in left)
        most = least + one.tolerance if one.axis == "loss" else least * (1 + one.tolerance)
        left = [f for f in left if f.values.on(one.axis) <= most + 1e-12]
    rest = [axis for axis in TIES if all(g.axis != axis for g in wanted)]
    return min(
        left, key=lambda f: (*(float(f"{f.values.on(axis):.3g}") for axis in rest), len(f.variant.changes), f.values.on(wanted[0].axis))
    )


def _steady(best: Found, before: Plan, wanted: tuple[Goal, ...], bounds: Mapping[Axis, float], world: World, inputs: int) -> Found:
    """The choices that the job has, as they stand now, unless the best ones gain `GAIN` by the first goal: else plans would swing between equals."""
    had = {c.stage: (c.implementation, c.hardware, c.width, c.slots) for c in before.choices}
    picks = []
    for stage, options in zip(best.space.workflow.stages, best.space.ways, strict=True):
        same = [n for n, w in enumerate(options) if (*w.key[1:], w.width, w.slots if w.own_slots else 0) == had.get(stage.name)]
        if not same:  # it is not to be had any more
            return best
        picks.append(same[0])
    now = values(best.space.problem, picks)
    if any(now.on(axis) > bound for axis, bound in bounds.items()):
        return best
    kept = replace(
        best, solution=replace(best.solution, picks=tuple(picks), values=now, method="as it was: nothing gains enough"), line=None
    )
    kept = replace(kept, line=timeline(kept.space.workflow, kept.ways, kept.space.expected, inputs, world.fleet, world.hops))
    axis = wanted[0].axis
    limit = best.values.on(axis) + GAIN if axis == "loss" else best.values.on(axis) * (1 + max(GAIN, wanted[0].tolerance))
    return kept if kept.values.on(axis) <= limit else best


def _plan(best: Found, wanted: tuple[Goal, ...], lowest: float, world: World) -> Plan:
    first = wanted[0].axis
    value, total = best.values, best.solution.values
    open_stages = any(len(o) > 1 for o in best.space.ways)
    bound = exp(-lowest) if first == "loss" else lowest
    # of quality the gap is the part that may be missing; of the others how much more it may be than it need be
    gap = max(0.0, value.on(first) - lowest) if first == "loss" else max(0.0, value.on(first) / lowest - 1) if lowest > 1e-12 else 0.0
    return Plan(
        workflow=best.space.workflow,
        choices=tuple(_choice(best, n, wanted, world.hops) for n in range(len(best.space.ways))),
        time_s=round(value.time, 6),
        cost_usd=total.cost,
        energy_wh=total.energy,
        quality=round(exp(-total.loss), 6),
        critical=best.line.critical if best.line is not None else (),
        goal=wanted[0].name,
        bound=bound if open_stages else None,
        gap=round(gap, 9) if open_stages else None,
        search=best.solution.method if open_stages else "nothing to choose",
    )


def _choice(best: Found, n: int, wanted: tuple[Goal, ...], hops: Hops) -> Choice:
    stage, options = best.space.workflow.stages[n], best.space.ways[n]
    way = options[best.solution.picks[n]]
    if way.kept is not None:
        return way.kept
    span = best.line.spans.get(stage.name) if best.line is not None else None
    start, end = (span.start_s, span.end_s) if span is not None else (way.load_s, way.load_s + way.span_s)
    move_s = moving_s(way, hops)
    return Choice(
        stage=stage.name,
        implementation=way.key[1],
        hardware=way.key[2],
        time_s=round(way.service_s + move_s, 6),
        cost_usd=way.usd,
        energy_wh=way.wh,
        quality=way.quality,
        warm=way.warm,
        timeout_s=way.timeout_s,
        why=why(way, options, wanted, best.space.ruled_out.get(stage.name, ())) + moving(way, move_s),
        tasks=round(way.tasks, 3),
        units={u: round(v, 3) for u, v in way.units.items()},
        width=way.width,
        slots=way.slots if way.own_slots else 0,
        power_w=way.power_w,
        args=dict(best.variant.args.get(stage.name, {})),
        start_s=round(start, 4),
        end_s=round(end, 4),
        load_s=round(way.load_s, 4),
        total=Estimate(round(end - start, 4), way.cost, way.energy, way.quality),
        how=way.profile.how,
    )


def _explained(plan: Plan, best: Found, found: Sequence[Found], wanted: tuple[Goal, ...], world: World, inputs: int) -> Plan:
    """With the plans that lost, and the frontier."""

    def estimate(one: Found) -> Estimate:
        v = one.values
        return Estimate(round(v.time, 6), v.cost, v.energy, round(exp(-v.loss), 6))

    def another(base: Found, solution: Solution) -> Found:
        one = replace(base, solution=solution, line=None)
        return replace(one, line=timeline(base.space.workflow, one.ways, base.space.expected, inputs, world.fleet, world.hops))

    rewritten = dict.fromkeys(f.variant.changes for f in found if f.variant.changes != best.variant.changes)
    others = [_best([f for f in found if f.variant.changes == c], wanted) for c in rewritten] + [
        another(best, s) for s in runners_up(best.space.problem, best.solution, 40)
    ]
    lost = {_changes(f, best): f for f in others}
    lost.pop((), None)
    # another model or machine is worth more words than one instance more of the same
    ranked = sorted(lost.values(), key=lambda f: (not _other_pools(f, best), [f.values.on(g.axis) for g in wanted]))
    rivals = [runner_up(_changes(f, best), estimate(f), estimate(best), f.ways, best.ways, wanted) for f in ranked[:3]]
    variants_of = {f.variant.changes: f for f in found}.values()
    front = [another(f, s) for f in variants_of for s in frontier(f.space.problem, 0.2 / len(variants_of), 8)]
    front = [f for f in front if not any(_beats(g.values, f.values) for g in front)]
    points: dict[tuple[float, ...], RunnerUp] = {}
    for f in sorted(front, key=lambda f: f.values.time):
        e = estimate(f)
        points.setdefault((round(e.time_s, 3), float(f"{e.cost_usd:.4g}"), float(f"{e.energy_wh:.4g}")), RunnerUp(_changes(f, best), e))
    return replace(plan, runners_up=tuple(rivals), frontier=tuple(points.values()))


def _other_pools(one: Found, best: Found) -> bool:
    theirs = best.ways
    return one.variant is not best.variant or any(n in theirs and w.key != theirs[n].key for n, w in one.ways.items())


def _beats(a: Values, b: Values) -> bool:
    axes: tuple[Axis, ...] = ("time", "cost", "energy")
    return all(a.on(x) <= b.on(x) for x in axes) and any(a.on(x) < b.on(x) * (1 - 1e-9) for x in axes)


def _changes(one: Found, best: Found) -> tuple[str, ...]:
    """In what a plan differs from the one that won."""
    theirs, mine = best.ways, one.ways
    changed = [
        f"{n}: {mine[n].label()} instead of {theirs[n].label()}" for n in mine if n in theirs and mine[n].label() != theirs[n].label()
    ]
    rewritten = [c for c in one.variant.changes if c not in best.variant.changes]
    undone = [f"without: {c}" for c in best.variant.changes if c not in one.variant.changes]
    return (*rewritten, *undone, *changed)
