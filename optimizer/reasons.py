"""Why a choice won, why another plan lost, and what would have to change for it to win. Pure; words and numbers for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp

from ..bus.messages import Estimate, RunnerUp
from .goals import AXIS, Axis, Goal
from .hops import MOVED_MB
from .ways import Way

LOST_MAX = 6
"""Rivals named in one line."""
MOVING_LEAST_S = 0.005


def why(won: Way, options: Sequence[Way], wanted: Sequence[Goal]) -> str:
    """Of one stage: what it was chosen for, and by what the others lost, the best way of each pool."""
    goal = wanted[0]
    rivals: dict[tuple[str, ...], Way] = {}
    for way in options:
        if way.key != won.key and (way.key not in rivals or _value(way, goal.axis) < _value(rivals[way.key], goal.axis)):
            rivals[way.key] = way
    names = ", then ".join(g.name for g in wanted)
    notes = f" ({'; '.join(won.notes)})" if won.notes else ""
    if not rivals:
        return f"best by {names}{notes}; the only one offered" if len(options) > 1 else f"the only one offered{notes}"
    ranked = sorted(rivals.values(), key=lambda w: _value(w, goal.axis))
    lost = [_against(w, won, goal.axis) for w in ranked[:LOST_MAX]]
    more = f" and {len(ranked) - LOST_MAX} more" if len(ranked) > LOST_MAX else ""
    return f"best by {names}{notes}; lost: {', '.join(lost)}{more}"


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
            return f"${value:.3g}"
        case "energy":
            return f"{value * 1000:.3g} mWh"
        case "loss":
            return f"quality {exp(-value):.3g}"


def runner_up(
    changes: tuple[str, ...],
    theirs: Estimate,
    best: Estimate,
    ways: Mapping[str, Way],
    best_ways: Mapping[str, Way],
    wanted: Sequence[Goal],
) -> RunnerUp:
    """A plan that lost: by what, and what would turn it."""
    decisive = next((g for g in wanted if _differs(_of(theirs, g.axis), _of(best, g.axis), g)), None)
    if decisive is None:
        return RunnerUp(
            changes, theirs, "as good by every goal, within their tolerances", f"a tolerance of less than {wanted[0].tolerance:.0%}"
        )
    axis = decisive.axis
    lost = f"{_said(theirs, axis)} against {_said(best, axis)}"
    return RunnerUp(changes, theirs, f"by {decisive.name}: {lost}", _wins_if(theirs, best, ways, best_ways, decisive, wanted))


def _wins_if(
    theirs: Estimate, best: Estimate, ways: Mapping[str, Way], best_ways: Mapping[str, Way], goal: Goal, wanted: Sequence[Goal]
) -> str:
    """In order of how likely it is to come true: it is loaded already; it gets cheaper or faster; somebody wants something else."""
    changed = [w for n, w in ways.items() if n not in best_ways or best_ways[n].key != w.key or best_ways[n].width != w.width]
    excess = _of(theirs, goal.axis) - _of(best, goal.axis)
    reasons: list[str] = []
    loads = sum({"cost": w.load_usd, "energy": w.load_wh, "time": w.load_s, "loss": 0.0}[goal.axis] for w in changed)
    cold = [w.key[1] for w in changed if w.loads]
    if cold and loads >= excess > 0:
        reasons.append(f"{_names(cold)} {'was' if len(set(cold)) == 1 else 'were'} loaded already")
    if goal.axis != "loss":
        busy = sum({"cost": w.tasks * w.usd, "energy": w.tasks * w.wh, "time": w.span_s}[goal.axis] for w in changed)
        if busy > excess > 0:
            what = {"cost": "cost", "energy": "energy", "time": "time"}[goal.axis]
            reasons.append(f"the {what} of {_names([w.key[1] for w in changed])} a task fell by {excess / busy:.0%}")
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


def _differs(theirs: float, best: float, goal: Goal) -> bool:
    most = best + goal.tolerance if goal.axis == "loss" else best * (1 + goal.tolerance)
    return theirs > most + 1e-12 or theirs > best * (1 + 1e-6) + 1e-12


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
