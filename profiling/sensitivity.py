"""How much of a job's quality follows from each of its stages, from what perturbing them one at a time showed. Pure.

Quality composes as the product of the stages' qualities, each to the power of its sensitivity (docs/optimizer.md). So with a stage's own
output at likeness l to what it was and the job's answer at likeness L, the sensitivity is ln L / ln l: 1 when the answer suffers as much as
the stage, 0 when not at all, above 1 when more. Of several perturbations the logarithms are added first, so larger ones weigh more.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log

from msgspec import Struct

LEAST = 0.01
"""A likeness below counts as this: nothing is worse than hardly anything in common."""
MOST = 4.0
"""Of a sensitivity; beyond, one perturbation has shown a break and not a slope."""
SAME = 0.999
"""A stage whose own output is still this much alike has not been perturbed."""


class Perturbed(Struct, frozen=True):
    """One run: what was changed, and how alike to the reference the stage's own output and the job's answer still were."""

    stage: str
    how: str
    own: float
    answer: float
    error: str = ""


class Sensitivity(Struct, frozen=True):
    """Of one stage; `value` is None when nothing perturbed it. `usd` is what it cost in the job as it ran, `per_usd` the share of the
    answer's quality that moves with one per cent of the stage's, by dollar of its cost."""

    stage: str
    agent: str
    implementation: str
    value: float | None
    usd: float
    per_usd: float | None
    runs: tuple[Perturbed, ...] = ()


def sensitivity(runs: Sequence[Perturbed]) -> float | None:
    told = [r for r in runs if not r.error and r.own < SAME]
    own = sum(log(max(r.own, LEAST)) for r in told)
    answer = sum(log(max(min(r.answer, 1.0), LEAST)) for r in told)
    return min(MOST, max(0.0, answer / own)) if told else None


def summarized(stage: str, agent: str, implementation: str, usd: float, runs: Sequence[Perturbed]) -> Sensitivity:
    value = sensitivity(runs)
    return Sensitivity(stage, agent, implementation, value, usd, value / usd if value is not None and usd > 0 else None, tuple(runs))


def by_agent(found: Sequence[Sensitivity]) -> dict[str, float]:
    """Agent to sensitivity; of an agent with several stages the largest, since a floor on it has to hold for all."""
    most: dict[str, float] = {}
    for one in found:
        if one.value is not None:
            most[one.agent] = max(one.value, most.get(one.agent, 0.0))
    return most
