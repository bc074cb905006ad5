"""One step of a search: one axis as small as can be within caps on the others. Pure but for the clock that limits it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter

from msgspec import Struct

from .goals import Axis
from .search_improve import descend, detour, windows
from .search_model import Model
from .search_table import INF, Table, best_of, meets

MILP_STAGES = 400
"""With more stages a branch and bound gets nowhere in the seconds that a plan may take; moves of one stage from the relaxation's plan do."""


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
    best, value = (list(start), table.value(start, axis)) if start is not None else (None, INF)
    model = Model(table, axis, caps, open_to, _scales(table, axis, caps, least))
    if axis != "time" and "time" in caps:
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
        if len(open_to) > MILP_STAGES and best is not None:
            best = detour(table, axis, caps, best, until_s)
            return Found(best, min(least, table.value(best, axis)), False, "LP, moves of one stage")
    answer = model.solve(until_s - perf_counter(), True, best)
    if answer.state == "infeasible":
        return Found(best, value, True, "MILP")
    if answer.x is not None:
        picks = [p[max(range(len(p)), key=lambda k: x[k])] for p, x in zip(open_to, answer.x, strict=True)]
        if table.within(picks, caps) and (v := table.value(picks, axis)) < value:
            best, value = picks, v
    exact = answer.state == "optimal" and best is not None
    return Found(best, min(max(least, answer.bound), value), exact, "LP, moves, MILP" if "time" in caps and axis != "time" else "MILP")


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
