"""Why a choice won, why another plan lost, and what would have to change for it to win. Pure; words and numbers for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Context, Decimal
from math import exp

from ..bus.messages import Estimate, RunnerUp
from .goals import AXIS, TIES, Axis, Goal
from .hops import MOVED_MB
from .ways import Way

LOST_MAX = 6
"""Rivals named in one line."""
MOVING_LEAST_S = 0.005
WORD: dict[Axis, str] = {"time": "time", "cost": "cost", "energy": "energy", "loss": "quality"}


def why(won: Way, options: Sequence[Way], wanted: Sequence[Goal], ruled_out: Sequence[str] = ()) -> str:
    """Of one stage: what it was chosen for, by what the others lost, the best way of each pool, and what was never looked at."""
    goal = wanted[0]
    rivals: dict[tuple[str, ...], Way] = {}
    for way in options:
        if way.key != won.key and (way.key not in rivals or _value(way, goal.axis) < _value(rivals[way.key], goal.axis)):
            rivals[way.key] = way
    names = ", then ".join(g.name for g in wanted)
    notes = f" ({'; '.join(won.notes)})" if won.notes else ""
    unfit = f"; not fit: {', '.join(ruled_out)}" if ruled_out else ""
    if not rivals:
        only = "the only one that is fit" if ruled_out else "the only one offered"
        return f"best by {names}{notes}; {only}{unfit}" if len(options) > 1 else f"{only}{notes}{unfit}"
    ranked = sorted(rivals.values(), key=lambda w: _value(w, goal.axis))
    lost = [_against(w, won, goal.axis) for w in ranked[:LOST_MAX]]
    more = f" and {len(ranked) - LOST_MAX} more" if len(ranked) > LOST_MAX else ""
    return f"best by {names}{notes}; lost: {', '.join(lost)}{more}{unfit}"


def moving(way: Way, each_s: float) -> str:
    """What of a task's time goes into moving artifacts, where it is not nothing."""
    if each_s < MOVING_LEAST_S:
        return ""
    mb = way.units.get(MOVED_MB, 0.0) / way.tasks
    return f"; of a task's {way.service_s + each_s:.3g} s, {each_s:.2g} s move {mb:.2g} MB"


def _value(way: Way, axis: Axis) -> float:
    match axis:
        case "time":
            return way.load_s + way.span_s
        case "cost":
            return way.cost
        case "energy":
            return way.energy
        case "loss":
            return -way.quality


def _against(lost: Way, won: Way, axis: Axis) -> str:
    cold = "" if lost.warm else ", cold"
    name = lost.key[1] if lost.key[1] != won.key[1] else f"{lost.key[1]} on {lost.key[2]}"
    if axis == "loss":
        return f"{name} (quality {lost.quality:.3g} against {won.quality:.3g}{cold})"
    return f"{name} ({amount(_value(lost, axis), axis)} against {amount(_value(won, axis), axis)}{cold})"


def amount(value: float, axis: Axis) -> str:
    match axis:
        case "time":
            return f"{value:.3g} s"
        case "cost":
            return f"${value:.3g}" if value >= 1e-4 or value == 0 else f"{value * 1e6:.3g} µ$"
        case "energy":
            return f"{value * 1000:.3g} mWh"
        case "loss":
            return f"quality {exp(-value):.3g}"


def plain(value: float, up: bool = False) -> str:
    """Three digits as they can be typed, without an exponent: 0.00000893; `up` when what is said has to be enough."""
    context = Context(prec=3, rounding=ROUND_CEILING if up else ROUND_HALF_EVEN)
    text = f"{context.create_decimal(Decimal(repr(value))):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def runner_up(
    changes: tuple[str, ...],
    theirs: Estimate,
    best: Estimate,
    ways: Mapping[str, Way],
    best_ways: Mapping[str, Way],
    wanted: Sequence[Goal],
) -> RunnerUp:
    """A plan that lost: by what, and what would turn it."""
    for clearly in (True, False):  # what is worse within a goal's tolerance says less than what is worse by a later goal
        for goal in wanted:
            if _of(theirs, goal.axis) > _most(best, goal, clearly):
                lost = f"{_said(theirs, goal.axis)} against {_said(best, goal.axis)}"
                # as good is not enough where what decides between equals is against it: it has to leave the tolerance behind
                share = 1 / (1 + goal.tolerance) if not clearly and _decides(theirs, best, wanted) else 1.0
                return RunnerUp(changes, theirs, f"by {goal.name}: {lost}", _wins_if(theirs, best, ways, best_ways, goal, wanted, share))
    return RunnerUp(changes, theirs, *_tie(theirs, best, ways, best_ways, wanted))


def _most(best: Estimate, goal: Goal, clearly: bool) -> float:
    """What is more than this is worse than the best, beyond the goal's tolerance or at all."""
    value = _of(best, goal.axis)
    if not clearly:
        return value * (1 + 1e-6) + 1e-12
    return (value + goal.tolerance if goal.axis == "loss" else value * (1 + goal.tolerance)) + 1e-12


def _tie(
    theirs: Estimate, best: Estimate, ways: Mapping[str, Way], best_ways: Mapping[str, Way], wanted: Sequence[Goal]
) -> tuple[str, str]:
    """Of a plan that is worse by no goal: what decided, and what would have to change for it."""
    ahead = next((g for g in wanted if _of(theirs, g.axis) < _of(best, g.axis) * (1 - 1e-6) - 1e-12), None)
    equal = f"better by {ahead.name}, but within its tolerance" if ahead is not None else "equal by every goal"
    turns = []
    if ahead is not None:
        mine, other = _of(best, ahead.axis), _of(theirs, ahead.axis)
        apart = f"{mine - other:.2g}" if ahead.axis == "loss" else f"{(mine / max(other, 1e-12) - 1) * 100:.2g} %"
        turns.append(f"the tolerance of {ahead.name} were less than {apart}")
    axis = _decides(theirs, best, wanted)
    if axis is None:
        return f"{equal}; and no worse otherwise", turns[0] if turns else "nothing: the two are equal, and one was taken"
    more = _wins_if(theirs, best, ways, best_ways, Goal(axis), wanted)
    turns += [more] if not turns or not more.startswith("nothing") else []
    return f"{equal}; then by {WORD[axis]}: {_said(theirs, axis)} against {_said(best, axis)}", ", or ".join(turns)


def _decides(theirs: Estimate, best: Estimate, wanted: Sequence[Goal]) -> Axis | None:
    """By which axis `best` is taken of two plans that tie, to the three digits that count there."""
    for axis in TIES:
        if all(g.axis != axis for g in wanted):
            mine, other = (float(f"{_of(one, axis):.3g}") for one in (best, theirs))
            if mine != other:
                return axis if mine < other else None
    return None


def _wins_if(
    theirs: Estimate,
    best: Estimate,
    ways: Mapping[str, Way],
    best_ways: Mapping[str, Way],
    goal: Goal,
    wanted: Sequence[Goal],
    share: float = 1.0,
) -> str:
    """In order of how likely it is to come true: it is loaded already; it gets cheaper or faster; somebody wants something else.

    `share`: of the best's value, what it has to come down to.
    """
    changed = [w for n, w in ways.items() if n not in best_ways or best_ways[n].key != w.key or best_ways[n].width != w.width]
    excess = _of(theirs, goal.axis) - _of(best, goal.axis) * share
    reasons: list[str] = []
    loads = sum({"cost": w.load_usd, "energy": w.load_wh, "time": w.load_s, "loss": 0.0}[goal.axis] for w in changed)
    cold = [w.key[1] for w in changed if w.loads]
    if cold and loads >= excess > 0:
        reasons.append(f"{_names(cold)} {'was' if len(set(cold)) == 1 else 'were'} loaded already")
    if goal.axis != "loss":
        busy = sum({"cost": w.tasks * w.usd, "energy": w.tasks * w.wh, "time": w.span_s}[goal.axis] for w in changed)
        if busy > excess > 0:
            reasons.append(
                f"the {WORD[goal.axis]} of {_names([w.key[1] for w in changed])} a task fell by {max(excess / busy, 0.001) * 100:.2g} %"
            )
    elif changed:
        reasons.append(f"its quality rose from {theirs.quality:.3g} to {best.quality:.3g}")
    better = [name for name, axis in AXIS.items() if axis != goal.axis and _of(theirs, axis) < _of(best, axis) * (1 - 1e-6) - 1e-12]
    better = [name for name in better if not any(g.name == name for g in wanted[:1])]
    if better:
        reasons.append(f"the first goal were {' or '.join(better)}")
    return ", or ".join(reasons) or "nothing: it is no better at anything"


def _names(names: Sequence[str]) -> str:
    known = list(dict.fromkeys(names))
    return " and ".join(known) if len(known) <= 2 else f"{known[0]} and {len(known) - 1} others"


def _of(estimate: Estimate, axis: Axis) -> float:
    from math import log

    match axis:
        case "time":
            return estimate.time_s
        case "cost":
            return estimate.cost_usd
        case "energy":
            return estimate.energy_wh
        case "loss":
            return -log(max(estimate.quality, 1e-12))


def _said(estimate: Estimate, axis: Axis) -> str:
    return amount(_of(estimate, axis), axis)
