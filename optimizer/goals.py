"""What a job wants: goals in order, each with a tolerance, and bounds that hold first. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Literal, get_args

from msgspec import Struct

Axis = Literal["time", "cost", "energy", "loss"]
"""What plans are measured by: seconds, dollars, watt-hours, and quality lost (the natural logarithm of 1 / quality, so that it adds up)."""
AXES: tuple[Axis, ...] = get_args(Axis)
AXIS: dict[str, Axis] = {"MIN_COST": "cost", "MIN_LATENCY": "time", "MIN_ENERGY": "energy", "MAX_QUALITY": "loss"}
UNIT: dict[Axis, str] = {"time": "s", "cost": "$", "energy": "Wh", "loss": ""}
TOLERANCE = 0.05
"""Plans within this part of the best by one goal count as equal, and the next goal decides. Of quality it is an absolute part of `loss`."""
TIES: tuple[Axis, ...] = ("cost", "energy", "time", "loss")
"""What decides after the last goal, whose tolerance is given to these: nobody wants to pay twice for a run that is 1 % shorter."""


class BadGoal(ValueError):
    """A constraint that is none: what was wrong and what would be right."""


class Goal(Struct, frozen=True):
    """One axis to make small, and how far from its best a plan may be for the sake of the next goal, or of `TIES` (0.05 is 5 %)."""

    axis: Axis
    tolerance: float = TOLERANCE

    @property
    def name(self) -> str:
        return next(name for name, axis in AXIS.items() if axis == self.axis)


def goal(text: str) -> Goal:
    """MIN_COST, or with a tolerance of its own: MIN_COST:0.1, MIN_COST:10%. Raises BadGoal."""
    name, colon, rest = text.partition(":")
    if name not in AXIS:
        raise BadGoal(f"unknown constraint '{name[:60]}': it is one of {', '.join(AXIS)}, with a tolerance where wanted (MIN_COST:0.1)")
    if not colon:
        return Goal(AXIS[name])
    try:
        tolerance = float(rest[:-1]) / 100 if rest.endswith("%") else float(rest)
    except ValueError:
        tolerance = -1.0
    if not (isfinite(tolerance) and 0 <= tolerance <= 10):
        raise BadGoal(f"constraint '{text[:60]}': the tolerance is a number from 0 to 10, or per cent (MIN_COST:0.1, MIN_COST:10%)")
    return Goal(AXIS[name], tolerance)


def goals(texts: Sequence[str]) -> tuple[Goal, ...]:
    """In order. Raises BadGoal for unknown ones, for none, and for one axis twice."""
    found = tuple(goal(text) for text in texts)
    if not found:
        raise BadGoal(f"no constraint: name at least one of {', '.join(AXIS)}")
    for n, one in enumerate(found):
        if any(one.axis == other.axis for other in found[:n]):
            raise BadGoal(f"constraint {one.name} is there twice")
    return found
