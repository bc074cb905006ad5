"""A sum made smaller under a bound on time, by moves of one stage at a time along the slack that the network leaves. Pure but for the clock.

With the longest way to every event and from every event to the end, it is known of each option of each stage whether it still keeps
the bound, all others staying as they are; so a step looks at every move, and takes the one that saves most for the slack it uses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from time import perf_counter

from .goals import Axis
from .search_table import Table, meets
from .search_walk import Network, Walk

STEP = 50
"""A fiftieth of the stages moves before all moves are sorted anew."""
TRIED = 3
"""Quicker options of one stage that a detour tries, the cheapest first."""


def descend(table: Table, axis: Axis, caps: Mapping[Axis, float], picks: Sequence[int], until_s: float) -> list[int]:
    """From a plan within the caps to one that no single move improves on a sum (`axis`), or as far as the clock allows."""
    walk = Walk(Network(table), picks)
    _descend(walk, axis, caps, range(len(table)), until_s)
    return walk.picks


def _descend(walk: Walk, axis: Axis, caps: Mapping[Axis, float], stages: Iterable[int], until_s: float) -> None:
    """Moves of these stages, and of those whose slack that changes, as long as any saves something."""
    deadline, open_to = caps["time"], set(stages)
    while open_to and perf_counter() < until_s:
        moves: list[tuple[float, int, int]] = []
        for i in open_to:
            options, now = walk.table.options[i], walk.picks[i]
            least = getattr(options[now], axis)
            gains = [(least - getattr(option, axis), p) for p, option in enumerate(options)]
            if all(gain <= 1e-15 for gain, _ in gains):
                continue
            before = walk.through(i, now)
            for gain, p in gains:
                if gain <= 1e-15:
                    continue
                through = walk.through(i, p)
                if meets(through, deadline):
                    used = max(through - before, 0.0) / (deadline - before) if deadline > before else 0.0
                    moves.append((gain / (used + 1e-3), i, p))
        moves.sort(reverse=True)
        open_to, moved = set(), set()
        for n, (_, i, p) in enumerate(moves):
            if i in moved or not walk.keeps(i, p, caps):
                continue
            moved.add(i)
            open_to |= walk.move(i, p) | {i}
            if len(moved) >= max(1, len(walk.picks) // STEP):  # what they were sorted by is of before: soon it is sorted anew
                open_to |= {j for _, j, _ in moves[n:]}
                break


def windows(table: Table, axis: Axis, at: Sequence[float], slip: float = 1e-9) -> list[int]:
    """For each stage the option that is best on a sum among those that fit between its events as a linear programme has placed them; the
    quickest where none does."""
    arcs = Network(table).of_stage
    picks = []
    for i, options in enumerate(table.options):
        fit = [p for p, o in enumerate(options) if all(o.time[part] <= at[t] - at[s] + slip * max(1.0, at[t]) for s, t, part in arcs[i])]
        quickest = min(range(len(options)), key=lambda p: sum(options[p].time[part] for _, _, part in arcs[i]))
        picks.append(min(fit, key=lambda p: (getattr(options[p], axis), p)) if fit else quickest)
    return picks


def detour(table: Table, axis: Axis, caps: Mapping[Axis, float], picks: Sequence[int], until_s: float) -> list[int]:
    """Out of a dead end: one stage on the longest way is done quicker at a price, so that others may be done cheaper; kept when it pays."""
    best, others = Walk(Network(table), picks), {a: c for a, c in caps.items() if a not in (axis, "time")}
    better = True
    while better and perf_counter() < until_s:
        better = False
        for i in sorted(range(len(table)), key=lambda i: -best.through(i, best.picks[i])):
            if perf_counter() >= until_s:
                break
            options, now = table.options[i], best.picks[i]
            parts = {part for _, _, part in best.network.of_stage[i]}
            quicker = [p for p, o in enumerate(options) if p != now and all(o.time[k] <= options[now].time[k] for k in parts)]
            for p in sorted(quicker, key=lambda p: getattr(options[p], axis))[:TRIED]:
                if not best.keeps(i, p, others):
                    continue
                tried = best.copy()
                _descend(tried, axis, caps, tried.move(i, p) - {i}, until_s)
                if tried.sums[axis] < best.sums[axis] * (1 - 1e-9):
                    best, better = tried, True
                    break
    return best.picks


def polish(table: Table, picks: Sequence[int], caps: Mapping[Axis, float], order: Sequence[Axis], until_s: float) -> list[int]:
    """Decides what ties: by the axes in `order`, with moves of one stage that keep the caps and everything that was decided before."""
    best, kept = list(picks), dict(caps)
    for axis in order:
        value = table.value(best, axis)
        for i, options in enumerate(table.options):
            if perf_counter() > until_s:
                return best
            for p in range(len(options)):
                if p == best[i] or (axis != "time" and getattr(options[p], axis) >= getattr(options[best[i]], axis)):
                    continue
                tried = [*best[:i], p, *best[i + 1 :]]
                now = table.value(tried, axis)
                if now < value * (1 - 1e-9) - 1e-15 and table.within(tried, kept):
                    best, value = tried, now
        kept[axis] = value
    return best
