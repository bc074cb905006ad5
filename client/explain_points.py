"""The plans that no other beats in time, cost and energy at once, with the chosen one among them, and what each is best at. Pure."""

from __future__ import annotations

from math import isclose
from typing import NamedTuple

from ..bus.messages import Estimate, Plan

BEST = {"time_s": "fastest", "cost_usd": "cheapest", "energy_wh": "least energy", "quality": "highest quality"}


class Point(NamedTuple):
    """One plan: what it would take, in what it differs from the chosen one, and what none of the others does better."""

    estimate: Estimate
    changes: tuple[str, ...]
    chosen: bool
    best: tuple[str, ...]
    beaten: bool = False
    """Another of these is better in time, cost and energy at once; so the chosen one may be, for its quality or for want of search."""

    @property
    def words(self) -> str:
        mine = ["chosen, though beaten in all three" if self.beaten else "chosen"] if self.chosen else []
        return ", ".join([*mine, *self.best])


def estimate_of(plan: Plan) -> Estimate:
    return Estimate(plan.time_s, plan.cost_usd, plan.energy_wh, plan.quality)


def points(plan: Plan) -> list[Point]:
    """By time. Empty for a plan that was not asked to explain. A chosen plan that another beats (it is better in quality) is there too."""
    if not plan.frontier:
        return []
    mine = estimate_of(plan)
    found = [(one.estimate, one.changes) for one in plan.frontier]
    chosen = next((n for n, (e, changes) in enumerate(found) if not changes and _same(e, mine)), None)
    if chosen is None:
        found.append((mine, ()))
        chosen = len(found) - 1
    best: dict[int, list[str]] = {}
    for name, word in BEST.items():
        sign = -1 if name == "quality" else 1
        least = min(sign * getattr(e, name) for e, _ in found)
        equal = [n for n, (e, _) in enumerate(found) if isclose(sign * getattr(e, name), least, rel_tol=1e-6, abs_tol=1e-12)]
        best.setdefault(chosen if chosen in equal else equal[0], []).append(word)
    beaten = {n for n, (e, _) in enumerate(found) if any(_beats(other, e) for other, _ in found)}
    made = [Point(e, changes, n == chosen, tuple(best.get(n, ())), n in beaten) for n, (e, changes) in enumerate(found)]
    return sorted(made, key=lambda p: (p.estimate.time_s, p.estimate.cost_usd))


def _beats(a: Estimate, b: Estimate) -> bool:
    return all(getattr(a, n) < getattr(b, n) * (1 - 1e-6) for n in ("time_s", "cost_usd", "energy_wh"))


def _same(a: Estimate, b: Estimate) -> bool:
    return all(isclose(getattr(a, n), getattr(b, n), rel_tol=1e-3, abs_tol=1e-9) for n in BEST)
