"""A plan made better a slice at a time: all stages but those of some stretch of the schedule stay, and these are chosen anew together by
branch and bound. Pure but for the clock.

Within a slice only options are in question that cost little more than the best at the prices of the linear relaxation (its reduced costs);
so a slice may be long, which matters more than having all options: what is gained comes of time that moves between far stages. (This is
large neighbourhood search, Shaw, CP 1998, with the neighbourhoods of Danna, Rothberg & Le Pape, Mathematical Programming 102, 2005.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter

from .goals import Axis
from .search_model import Answer, Box, Model
from .search_table import Table, meets

SLICES = (200, 300)
"""Stages at once, at least and at most: else two thirds of them, so that cuts between slices can move."""
STEP = 0.382
"""Of a slice, by which the cuts move from round to round."""
DEAR = 0.3
"""An option is in question when it costs at most so much more than the best, in mean costs of a stage (half of it where a slice is not
everything); doubled in rounds that gain nothing."""
SLICE_S = 0.15
"""For one slice; most need less."""
ROUNDS = 12


def slices(
    model: Model,
    relaxed: Answer,
    caps: Mapping[Axis, float],
    picks: Sequence[int],
    until_s: float,
    rounds: int = ROUNDS,
    enough: Callable[[], bool] = lambda: False,
) -> list[int]:
    """From a plan within the caps to a better one, if any; `relaxed` is the model's linear relaxation, solved. Ends early when `enough`."""
    table, axis, best = model.table, model.axis, list(picks)
    assert relaxed.at is not None
    assert relaxed.extra is not None
    order = _by_time(table, relaxed.at)
    size = min(max(SLICES[0], 2 * len(best) // 3), SLICES[1])
    whole = size >= len(order)
    value, shift = table.value(best, axis), 0
    dear = (DEAR if whole else DEAR / 2) * abs(relaxed.bound) / len(best)
    for _ in range(rounds):
        gained = False
        for begin in range(-shift, len(order), size):
            if perf_counter() >= until_s or enough() or meets(value, relaxed.bound):
                return best
            free = set(order[max(begin, 0) : begin + size])
            open_to = [
                [p for p, extra in zip(ps, more, strict=True) if extra <= dear or p == now] if i in free else [now]
                for i, (ps, more, now) in enumerate(zip(model.open_to, relaxed.extra, best, strict=True))
            ]
            if sum(len(ps) > 1 for ps in open_to) < 2:
                continue
            early, late = box_of(table, open_to, caps["time"])
            limit = min(SLICE_S, until_s - perf_counter())
            found = chosen(model, model.solve(limit, True, best, Box(open_to, early, late), heuristics=False))
            if found is not None and table.within(found, caps) and (now_worth := table.value(found, axis)) < value * (1 - 1e-9):
                best, value, gained = found, now_worth, True
        if not gained:
            if whole and dear > abs(relaxed.bound):
                return best
            dear *= 2
        shift = 0 if whole else (shift + int(STEP * size)) % size
    return best


def chosen(model: Model, answer: Answer) -> list[int] | None:
    """The plan in an answer."""
    if answer.x is None:
        return None
    return [p[max(range(len(p)), key=lambda k: x[k])] for p, x in zip(model.open_to, answer.x, strict=True)]


def cheap_enough(model: Model, relaxed: Answer, picks: Sequence[int], value: float) -> list[list[int]]:
    """Of each stage those options with which a plan can be better than `picks`, which is worth `value`: taking any other costs more than
    the gap between that and the relaxation, and a millionth for its tolerances. What `picks` has is kept."""
    assert relaxed.extra is not None
    value += 1e-6 * abs(value)
    return [
        [p for p, extra in zip(ps, more, strict=True) if p == now or meets(relaxed.bound + extra, value)]
        for ps, more, now in zip(model.open_to, relaxed.extra, picks, strict=True)
    ]


def box_of(table: Table, open_to: Sequence[Sequence[int]], deadline: float) -> tuple[list[float], list[float]]:
    """The earliest and the latest time of each event (seconds), when each stage does its quickest. An event that no stage with a choice
    comes before stands at its earliest, one that none comes after at its latest, so that only what lies between is left to solve."""
    early, late = [0.0] * table.events, [deadline] * table.events
    after, before = [False] * table.events, [False] * table.events
    lasts = [min(table.options[i][p].time[part] for p in open_to[i]) if i >= 0 else 0.0 for _, _, i, part in table.arcs]
    choice = [i >= 0 and len(open_to[i]) > 1 for _, _, i, _ in table.arcs]
    for (source, target, _, _), length, free in zip(table.arcs, lasts, choice, strict=True):
        early[target] = max(early[target], early[source] + length)
        after[target] = after[target] or free or after[source]
    for (source, target, _, _), length, free in zip(reversed(table.arcs), reversed(lasts), reversed(choice), strict=True):
        late[source] = min(late[source], late[target] - length)
        before[source] = before[source] or free or before[target]
    for event in range(table.events):
        late[event] = max(late[event], early[event])
        if not after[event]:
            late[event] = early[event]
        elif not before[event]:
            early[event] = late[event]
    return early, late


def _by_time(table: Table, at: Sequence[float]) -> list[int]:
    """The stages in the order in which a schedule has them."""
    middle = [0.0] * len(table)
    for source, target, stage, _ in table.arcs:
        if stage >= 0:
            middle[stage] = max(middle[stage], at[source] + at[target])
    return sorted(range(len(table)), key=lambda i: (middle[i], i))
