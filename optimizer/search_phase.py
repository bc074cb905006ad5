"""One step of a search: one axis as small as can be within caps on the others. Pure but for the clock that limits it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter

from msgspec import Struct

from .goals import Axis
from .search_improve import descend, windows
from .search_model import Answer, Box, Model
from .search_prover import Prover
from .search_slices import cheap_enough, chosen, slices
from .search_table import INF, Table, best_of, meets

PROVED = 200
"""With more choices than stages like that, a proof is out of reach in the seconds that a plan may take: then the bound is made better in
one thread, by cuts, and the plan in another, slice by slice. With fewer, a good plan first and then branch and bound on what is left."""
TWICE = 40
"""With more choices branch and bound runs twice, in two threads and two ways, since either may be far behind the other."""
FEW = 15
"""So few choices need no good plan to start from."""
LATE_S = 0.1
"""For moves from the quickest plan, when the time is over and nothing better is known."""
FIRST = 0.25
"""Of the time, at most, for the plan that branch and bound starts from."""


class Found(Struct):
    """`picks` is None when nothing was found; then, if `exact`, there is nothing. `bound` holds for all plans within the caps."""

    picks: list[int] | None
    bound: float
    exact: bool
    method: str


def minimise(table: Table, axis: Axis, caps: Mapping[Axis, float], until_s: float, start: Sequence[int] | None = None) -> Found:
    """`until_s` is on `perf_counter`; `start` is a plan within the caps, if one is known."""
    open_to = viable(table, caps)
    if open_to is None:
        return Found(None, INF, True, "bounds")
    axes: list[Axis] = [axis, *(a for a in caps if a != axis)]
    for i, positions in enumerate(open_to):
        if len(positions) > 1:
            kept = best_of([table.key(i, table.options[i][p], axes) for p in positions])
            open_to[i] = [positions[k] for k in kept]
    each = [_best_alone(table, i, axis, p) for i, p in enumerate(open_to)]
    least = _least(table, axis, open_to, each)
    if table.within(each, caps) and (axis != "time" or meets(table.time(each), least)):
        return Found(each, least, True, "each stage alone")
    best = None if start is None else list(start)
    model = Model(table, axis, caps, open_to, _scales(table, axis, caps, least))
    if axis == "time" or "time" not in caps:
        return _closed(table, axis, caps, model.solve(until_s - perf_counter(), True, best), model, Found(best, least, False, "MILP"))
    return _timed(table, axis, caps, until_s, model, Found(best, least, False, ""))


def _timed(table: Table, axis: Axis, caps: Mapping[Axis, float], until_s: float, model: Model, known: Found) -> Found:
    """A sum as small as can be under a bound on time: from the linear relaxation to a plan, and from there to a better plan and bound."""
    best, value, least = known.picks, INF if known.picks is None else table.value(known.picks, axis), known.bound
    choices = sum(len(p) > 1 for p in model.open_to)
    prover = Prover(model, until_s) if choices > PROVED else None
    try:
        relaxed = model.solve(until_s - perf_counter(), False)
        if relaxed.state == "infeasible":
            return Found(best, value, True, "LP")
        least = max(least, relaxed.bound)
        if relaxed.at is not None:
            guess = windows(table, axis, relaxed.at)
            if table.within(guess, caps):
                guess = descend(table, axis, caps, guess, until_s)
                if (v := table.value(guess, axis)) < value:
                    best, value = guess, v
        if best is None and table.within(quick := _quickest(table, model.open_to), caps):  # the clock cut the relaxation short
            best = descend(table, axis, caps, quick, max(until_s, perf_counter() + LATE_S))
            value = table.value(best, axis)
        if best is not None and meets(value, least):
            return Found(best, value, True, "LP, moves")
        if prover is not None:
            if best is not None and relaxed.extra is not None:
                best = slices(model, relaxed, caps, best, until_s, enough=prover.done)
            return _closed(table, axis, caps, prover.answer(), model, Found(best, least, False, "LP, slices, cuts"))
        if best is None or relaxed.extra is None:
            answer = model.solve(until_s - perf_counter(), True)
            return _closed(table, axis, caps, answer, model, Found(best, least, False, "LP, MILP"))
        prover = Prover(model, until_s, best, heuristics=True) if choices > TWICE else None
        if choices > FEW:
            now = perf_counter()
            best = slices(model, relaxed, caps, best, now + FIRST * (until_s - now), rounds=1)
        box = Box(cheap_enough(model, relaxed, best, table.value(best, axis)))
        answer = model.solve(until_s - perf_counter(), True, best, box, heuristics=False)
        found = _closed(table, axis, caps, answer, model, Found(best, least, False, "LP, slices, branch and bound"))
        return found if found.exact or prover is None else _closed(table, axis, caps, prover.answer(), model, found)
    finally:
        if prover is not None:
            prover.answer(wait=False)


def _closed(table: Table, axis: Axis, caps: Mapping[Axis, float], answer: Answer, model: Model, known: Found) -> Found:
    """What a mixed-integer programme adds to what was known before it."""
    best, value = known.picks, INF if known.picks is None else table.value(known.picks, axis)
    if answer.state == "infeasible":
        return Found(best, value, True, known.method)
    picks = chosen(model, answer)
    if picks is not None and table.within(picks, caps) and (v := table.value(picks, axis)) < value:
        best, value = picks, v
    return Found(best, min(max(known.bound, answer.bound), value), answer.state == "optimal" and best is not None, known.method)


def viable(table: Table, caps: Mapping[Axis, float]) -> list[list[int]] | None:
    """Of each stage the options with which the caps can be kept if all others did their best; None where a stage has none."""
    open_to = [list(range(len(o))) for o in table.options]
    for axis, cap in caps.items():
        if axis == "time":
            if not meets(_least(table, "time", open_to, []), cap):
                return None
            continue
        lows = [min(getattr(o[p], axis) for p in ps) for o, ps in zip(table.options, open_to, strict=True)]
        total = sum(lows)
        if not meets(total, cap):
            return None
        for i, ps in enumerate(open_to):
            open_to[i] = [p for p in ps if meets(total - lows[i] + getattr(table.options[i][p], axis), cap)]
    return open_to


def _best_alone(table: Table, stage: int, axis: Axis, positions: Sequence[int]) -> int:
    options = table.options[stage]
    if axis != "time":
        return min(positions, key=lambda p: (getattr(options[p], axis), sum(options[p].time)))
    return min(positions, key=lambda p: (sum(options[p].time[k] for k in table.parts[stage]), sum(options[p].uses)))


def _quickest(table: Table, open_to: Sequence[Sequence[int]]) -> list[int]:
    return [_best_alone(table, i, "time", p) for i, p in enumerate(open_to)]


def _least(table: Table, axis: Axis, open_to: Sequence[Sequence[int]], each: Sequence[int]) -> float:
    """What no plan is below: every stage at its best, on every part and every resource."""
    if axis != "time":
        return table.value(each, axis)
    at = [0.0] * table.events
    for source, target, stage, part in table.arcs:
        lasts = min(table.options[stage][p].time[part] for p in open_to[stage]) if stage >= 0 else 0.0
        at[target] = max(at[target], at[source] + lasts)
    needs = [
        sum(min((o[p].uses[r] if o[p].uses else 0.0) for p in ps) for o, ps in zip(table.options, open_to, strict=True)) / c
        for r, c in enumerate(table.capacity)
    ]
    return max([*at, *needs], default=0.0)


def _scales(table: Table, axis: Axis, caps: Mapping[Axis, float], least: float) -> dict[Axis, float]:
    scale: dict[Axis, float] = {"time": 0.0, **{a: abs(c) for a, c in caps.items()}}
    scale[axis] = abs(least) or max((abs(getattr(o, axis)) for os in table.options for o in os), default=1.0) if axis != "time" else least
    return {a: s or 1.0 for a, s in scale.items()}
