"""From workflow to plan: an implementation and hardware class for every stage. Pure.

A first, per-stage search: the stages of a plan share nothing yet, so the best of each is the best of all. Estimates come
from the library's priors, refined by every job that ran (`Profile`); what is warm somewhere has no load to pay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from ..agents.library import Implementation
from ..bus.messages import Choice, Offer, Plan, Workflow

TOLERANCE = 0.05
"""Choices within this part of the best by one goal count as equal, and the next goal decides."""


class Infeasible(Exception):
    """No choice meets the bounds: which stage, which bound, and the nearest value that would do."""


class NoOffer(Exception):
    """No living host can run an agent; one may still appear."""


class Profile(Struct, frozen=True):
    """What one task of an implementation takes: busy CPU-seconds, seconds of wall time, and of loading."""

    work_s: float
    time_s: float
    load_s: float
    samples: int = 0

    def refined(self, work_s: float, time_s: float, tasks: int) -> Profile:
        """A running mean that forgets: the prior counts as 5 tasks, and no more than 50 are remembered."""
        n = min(self.samples + 5, 50)
        w = tasks / (n + tasks)
        return Profile(
            self.work_s + w * (work_s - self.work_s), self.time_s + w * (time_s - self.time_s), self.load_s, self.samples + tasks
        )


class Rates(Struct, frozen=True):
    """Watts of a busy core and dollars of a core-hour on a hardware class."""

    watts_per_core: float
    usd_per_core_hour: float


class Candidate(Struct, frozen=True):
    """One way to do a stage's agent, with what it takes."""

    row: Implementation
    hardware: str
    profile: Profile
    rates: Rates
    warm: bool

    @property
    def time_s(self) -> float:
        return self.profile.time_s + (0.0 if self.warm else self.profile.load_s)

    @property
    def cpu_s(self) -> float:
        return self.profile.work_s + (0.0 if self.warm else self.profile.load_s)

    @property
    def cost_usd(self) -> float:
        return self.cpu_s * self.rates.usd_per_core_hour / 3600

    @property
    def energy_wh(self) -> float:
        return self.cpu_s * self.rates.watts_per_core / 3600

    def value(self, goal: str) -> float:
        """What the goal wants small."""
        match goal:
            case "MIN_COST":
                return self.cost_usd
            case "MIN_LATENCY":
                return self.time_s
            case "MIN_ENERGY":
                return self.energy_wh
            case "MAX_QUALITY":
                return 1.0 - self.row.quality
        raise ValueError(f"unknown goal {goal}")


def choose(
    workflow: Workflow,
    goals: Sequence[str],
    offers: Mapping[str, Sequence[Offer]],
    candidates: Mapping[tuple[str, str, str], Candidate],
    quality_floor: float | None = None,
    budget_usd: float | None = None,
    chosen: Sequence[Choice] = (),
) -> Plan:
    """A choice for every stage. `offers` by agent; `candidates` by (agent, implementation, hardware). What was `chosen` before
    stays, and its cost counts.

    Raises NoOffer or Infeasible.
    """
    choices = []
    kept = {c.stage: c for c in chosen}
    for stage in workflow.stages:
        if stage.name in kept:
            choices.append(kept[stage.name])
            continue
        open_to = [candidates[(o.agent, o.implementation, o.hardware)] for o in offers.get(stage.agent, ())]
        if not open_to:
            raise NoOffer(f"no host can run {stage.agent} (stage '{stage.name}'); see: murakkab doctor")
        fit = [c for c in open_to if quality_floor is None or c.row.quality >= quality_floor]
        if not fit:
            best = max(c.row.quality for c in open_to)
            raise Infeasible(
                f"quality floor {quality_floor:g} cannot be met by stage '{stage.name}' ({stage.agent}): the best here reaches {best:g}"
            )
        choices.append(_best(stage.name, fit, goals))
    cost_usd = sum(c.cost_usd for c in choices)
    if budget_usd is not None and cost_usd > budget_usd:
        if goals[0] != "MIN_COST":  # what was wanted first is too dear: the cheapest may still do
            return choose(workflow, ("MIN_COST", *goals), offers, candidates, quality_floor, budget_usd, chosen)
        raise Infeasible(f"budget ${budget_usd:.3g} cannot be met: the cheapest plan here is estimated at ${cost_usd:.3g}")
    return Plan(workflow, tuple(choices), *(sum(getattr(c, f) for c in choices) for f in ("time_s", "cost_usd", "energy_wh")))


def _best(stage: str, open_to: Sequence[Candidate], goals: Sequence[str]) -> Choice:
    left = sorted(open_to, key=lambda c: (c.row.name, c.hardware))
    for goal in goals:
        least = min(c.value(goal) for c in left)
        left = [c for c in left if c.value(goal) <= least * (1 + TOLERANCE) + 1e-12]
    best = max(left, key=lambda c: c.row.quality)
    lost = [f"{c.row.name} ({_why(c, best, goals[0])})" for c in open_to if c is not best]
    why = f"best by {', then '.join(goals)}" + (f"; lost: {', '.join(lost)}" if lost else "; the only one offered")
    return Choice(
        stage=stage,
        implementation=best.row.name,
        hardware=best.hardware,
        time_s=round(best.time_s, 6),
        cost_usd=best.cost_usd,
        energy_wh=best.energy_wh,
        quality=best.row.quality,
        warm=best.warm,
        timeout_s=best.row.timeout_s,
        why=why,
    )


def _why(lost: Candidate, won: Candidate, goal: str) -> str:
    a, b = lost.value(goal), won.value(goal)
    if goal == "MAX_QUALITY":
        return f"quality {lost.row.quality:g} against {won.row.quality:g}"
    unit = {"MIN_COST": "$", "MIN_LATENCY": "s", "MIN_ENERGY": "Wh"}[goal]
    return f"{a:.3g} {unit} against {b:.3g} {unit}" + ("" if lost.warm else ", cold")
