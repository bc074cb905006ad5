"""A sum made smaller under a bound on time, by moves of one stage at a time along the slack that the network leaves. Pure but for the clock.

With the longest way to every event and from every event to the end, it is known of each option of each stage whether it still keeps
the bound, all others staying as they are; so a step looks at every move, and takes the one that saves most for the slack it uses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter

from .goals import Axis
from .search_table import Table, meets

TIRED = 3
"""Rounds without a better plan after which the search for one by detours ends."""


class Slack:
    """The longest ways through the network, for one plan."""

    def __init__(self, table: Table, picks: Sequence[int]) -> None:
        self.table = table
        self.head = [0.0] * table.events
        self.tail = [0.0] * table.events
        times = [o[p].time for o, p in zip(table.options, picks, strict=True)]
        lasts = [times[stage][part] if stage >= 0 else 0.0 for _, _, stage, part in table.arcs]
        for (source, target, _, _), length in zip(table.arcs, lasts, strict=True):
            end = self.head[source] + length
            if end > self.head[target]:
                self.head[target] = end
        for (source, target, _, _), length in zip(reversed(table.arcs), reversed(lasts), strict=True):
            rest = self.tail[target] + length
            if rest > self.tail[source]:
                self.tail[source] = rest

    def through(self, stage: int, option: int, arcs: Sequence[tuple[int, int, int]]) -> float:
        """The longest way through any arc of a stage, if it were done so."""
        time = self.table.options[stage][option].time
        return max((self.head[s] + time[part] + self.tail[t] for s, t, part in arcs), default=0.0)


def arcs_of(table: Table) -> list[list[tuple[int, int, int]]]:
    """By stage: (source, target, part)."""
    found: list[list[tuple[int, int, int]]] = [[] for _ in table.options]
    for source, target, stage, part in table.arcs:
        if stage >= 0:
            found[stage].append((source, target, part))
    return found


def descend(table: Table, axis: Axis, caps: Mapping[Axis, float], picks: Sequence[int], until_s: float) -> list[int]:
    """From a plan within the caps to one that no single move improves on a sum (`axis`), or as far as the clock allows."""
    best, arcs, deadline = list(picks), arcs_of(table), caps["time"]
    open_to = set(range(len(best)))
    while perf_counter() < until_s:
        slack = Slack(table, best)
        moves: list[tuple[float, int, int]] = []
        for i in list(open_to):
            options, now = table.options[i], best[i]
            least, before = getattr(options[now], axis), slack.through(i, now, arcs[i])
            any_better = False
            for p, option in enumerate(options):
                gain = least - getattr(option, axis)
                if gain <= 1e-15:
                    continue
                any_better = True
                through = slack.through(i, p, arcs[i])
                if meets(through, deadline):
                    used = max(through - before, 0.0) / (deadline - before) if deadline > before else 0.0
                    moves.append((gain / (used + 1e-3), i, p))
            if not any_better:
                open_to.discard(i)
        moves.sort(reverse=True)
        taken = _take(table, caps, best, arcs, moves, deadline)
        if not taken:
            return best
    return best


def _take(
    table: Table,
    caps: Mapping[Axis, float],
    best: list[int],
    arcs: Sequence[Sequence[tuple[int, int, int]]],
    moves: Sequence[tuple[float, int, int]],
    deadline: float,
) -> int:
    """Makes the best moves in turn, each checked against what those before it have used; a few at a time, then all is measured anew."""
    taken, moved = 0, set()
    slack = Slack(table, best)
    for _, i, p in moves:
        if i in moved:
            continue
        if taken and not meets(slack.through(i, p, arcs[i]), deadline):
            continue
        before, best[i] = best[i], p
        if table.within(best, caps):
            taken += 1
            moved.add(i)
            slack = Slack(table, best)
            if taken >= max(1, len(best) // 50):
                break
        else:
            best[i] = before
    return taken


def windows(table: Table, axis: Axis, at: Sequence[float], slip: float = 1e-9) -> list[int]:
    """For each stage the option that is best on a sum among those that fit between its events as a linear programme has placed them; the
    quickest where none does."""
    arcs = arcs_of(table)
    picks = []
    for i, options in enumerate(table.options):
        fit = [p for p, o in enumerate(options) if all(o.time[part] <= at[t] - at[s] + slip * max(1.0, at[t]) for s, t, part in arcs[i])]
        quickest = min(range(len(options)), key=lambda p: sum(options[p].time[part] for _, _, part in arcs[i]))
        picks.append(min(fit, key=lambda p: (getattr(options[p], axis), p)) if fit else quickest)
    return picks


def detour(table: Table, axis: Axis, caps: Mapping[Axis, float], picks: Sequence[int], until_s: float) -> list[int]:
    """Out of a dead end: one stage on the longest way is done quicker at a price, so that others may be done cheaper; kept when it pays."""
    best = list(picks)
    value, arcs = table.value(best, axis), arcs_of(table)
    tired, start = 0, 0
    while perf_counter() < until_s and tired < TIRED:
        slack = Slack(table, best)
        order = sorted(range(len(best)), key=lambda i: -slack.through(i, best[i], arcs[i]))
        better = False
        for i in order[start : start + 40]:
            if perf_counter() >= until_s:
                break
            own = table.options[i][best[i]]
            quicker = [p for p, o in enumerate(table.options[i]) if all(o.time[k] <= own.time[k] for _, _, k in arcs[i]) and p != best[i]]
            for p in sorted(quicker, key=lambda p: getattr(table.options[i][p], axis))[:2]:
                tried = list(best)
                tried[i] = p
                if not table.within(tried, {a: c for a, c in caps.items() if a != axis}):
                    continue
                tried = descend(table, axis, caps, tried, until_s)
                now = table.value(tried, axis)
                if now < value * (1 - 1e-9) and table.within(tried, caps):
                    best, value, better = tried, now, True
                    break
        tired = 0 if better else tired + 1
        start = 0 if better else start + 40
    return best


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
