"""How much work a job's stages are expected to be: tasks, elements, work units; and how finished jobs refine that. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from ..agents.spec import Agent
from ..bus.messages import Stage, StageReport, Workflow, Workload
from ..planner.axes import shapes
from ..planner.calls import defaults

REMEMBERED = 20
"""Jobs that weigh against a new one."""
ELEMENTS = 3.0
"""A collection of which nothing is known."""
COUNTS = ("paths", "candidates", "parts", "n")
"""Arguments that say how many elements a task gives."""
PRIORS: dict[str, dict[str, float]] = {"SceneSplitter": {"video_s": 0.1}}
"""Elements per input unit where nothing was learnt yet: the sample videos have a scene about every 10 s."""


class Expected(Struct, frozen=True):
    """Of one stage: tasks, work units over all of them, and elements that each gives (of stages with `many`)."""

    tasks: float
    units: dict[str, float] = field(default_factory=dict)
    elements: float = 1.0


class Workloads:
    """By agent, and by agent with arguments, which say more."""

    def __init__(self, agents: Mapping[str, Agent]) -> None:
        self.agents = agents
        self._known: dict[tuple[str, str], Workload] = {}

    def copy(self) -> Workloads:
        twin = Workloads(self.agents)
        twin._known = dict(self._known)
        return twin

    def put(self, load: Workload) -> None:
        self._known[(load.agent, load.args)] = load

    def all(self) -> tuple[Workload, ...]:
        return tuple(self._known[key] for key in sorted(self._known))

    def get(self, agent: str, args: Mapping[str, Any]) -> Workload:
        """With these very arguments, else whatever they are, else a guess. Sensitivity is the agent's own."""
        alone = self._known.get((agent, ""))
        exact = self._known.get((agent, canonical(args)))
        found = exact or alone or Workload(agent, elements=ELEMENTS, elements_per=PRIORS.get(agent, {}))
        if alone is not None and found is not alone:
            found = replace(found, sensitivity=alone.sensitivity)
        count = self._count(agent, args)
        return found if count is None else replace(found, elements=count, elements_per={})

    def _count(self, agent: str, args: Mapping[str, Any]) -> float | None:
        row = self.agents.get(agent)
        usual = defaults(row.args) if row is not None and row.many else {}
        for name in COUNTS:
            value = args.get(name, usual.get(name))
            if isinstance(value, int | float) and value >= 0 and row is not None and row.many:
                return float(value)
        return None

    def learn(self, stage: Stage, report: StageReport, inputs: Mapping[str, float]) -> tuple[Workload, ...]:
        """What a finished stage showed, for its agent and for its agent with these arguments; nothing when it says nothing."""
        if report.tasks <= 0 or report.stage != stage.name:
            return ()
        found = []
        for args in ("", canonical(stage.args)):
            before = self._known.get((stage.agent, args)) or Workload(stage.agent, args)
            after = _refined(before, stage, report, inputs)
            if after is not before:
                self.put(after)
                found.append(after)
        return tuple(found)

    def expect(self, workflow: Workflow, inputs: int, units: Mapping[str, float]) -> dict[str, Expected]:
        """For every stage. `units` is how much there is of all inputs together, {"video_s": 59.5}; empty when nobody said."""
        shape = shapes(workflow)
        along: dict[str, float] = {"": float(inputs)}
        """Axis to how many elements there are along it, over everything above it."""
        found: dict[str, Expected] = {}
        for stage in workflow.stages:
            axes = shape[stage.name].axes
            tasks = along[axes[-1]] if axes else 1.0
            load = self.get(stage.agent, stage.args)
            total = next((rate * units[u] for u, rate in load.elements_per.items() if u in units), None)
            # a rate per input holds for the whole job; a stage that runs once a job sees all inputs too
            elements = load.elements if total is None or tasks <= 0 else max(total / tasks, 1.0)
            if stage.many:
                along[stage.name] = tasks * elements
            found[stage.name] = Expected(tasks, self._units(load, tasks, units), elements)
        return found

    def _units(self, load: Workload, tasks: float, units: Mapping[str, float]) -> dict[str, float]:
        found = {unit: each * tasks for unit, each in load.units.items()}
        for unit, rates in load.units_per.items():
            for source, rate in rates.items():
                if source in units:
                    found[unit] = rate * units[source]
        return found


def canonical(args: Mapping[str, Any]) -> str:
    """The same text for the same arguments; texts of people's own are left out, since every job has others."""
    short = {k: v for k, v in args.items() if not isinstance(v, str) or len(v) <= 40}
    return json.dumps(short, sort_keys=True, default=str) if short else "{}"


def _refined(before: Workload, stage: Stage, report: StageReport, inputs: Mapping[str, float]) -> Workload:
    n = min(before.samples, REMEMBERED)
    w = 1.0 / (n + 1)

    def mean(old: float | None, new: float) -> float:
        return new if old is None or not before.samples else old + w * (new - old)

    seen = {u: v for u, v in report.units.items() if isfinite(v) and v >= 0}
    given = {u: v for u, v in inputs.items() if isfinite(v) and v > 0}
    if not seen and not stage.many:
        return before
    return replace(
        before,
        elements=mean(before.elements, report.elements / report.tasks) if stage.many else before.elements,
        units={**before.units, **{u: mean(before.units.get(u), v / report.tasks) for u, v in seen.items()}},
        elements_per={
            **before.elements_per,
            **({i: mean(before.elements_per.get(i), report.elements / v) for i, v in given.items()} if stage.many else {}),
        },
        units_per={
            **before.units_per,
            **{
                u: {**before.units_per.get(u, {}), **{i: mean(before.units_per.get(u, {}).get(i), v / g) for i, g in given.items()}}
                for u, v in seen.items()
            },
        },
        samples=before.samples + 1,
    )
