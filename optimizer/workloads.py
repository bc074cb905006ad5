"""How much work a job's stages are expected to be: tasks, elements, work units; and how finished jobs refine that. Pure.

What a stage has to do follows, in this order, from what the stages before it give (frames become images, a stretch of a video is as much
sound); from the job's inputs, at the rate that earlier jobs showed; from what a task of its agent had before; from a prior.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from ..agents.spec import Agent
from ..bus.values import Stage, StageReport, Workflow, Workload
from ..planner.axes import shapes
from ..planner.calls import defaults
from .amounts import count, followed, prior, share
from .hops import MOVED_S

REMEMBERED = 20
"""Jobs that weigh against a new one."""
VARIANTS_MAX = 100
"""Sets of arguments of one agent that are kept apart."""
CUTS = ("start_s", "end_s")
"""Arguments that cut the input; they scale what is expected, and are no workload of their own."""
LEAST = 1e-6
"""Of an input unit."""


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
        self._sensed: dict[str, float] = {}
        """Agent to its sensitivity as it was measured: what is said of its amounts, before or after, does not change it."""

    def copy(self) -> Workloads:
        """One that later learning does not touch."""
        twin = Workloads(self.agents)
        twin._known, twin._sensed = dict(self._known), dict(self._sensed)
        return twin

    def put(self, load: Workload) -> bool:
        """In place of what was known. One with a negative amount, or one that is no number, is left out: False."""
        amounts = [load.elements, load.sensitivity, *load.units.values(), *load.elements_per.values()]
        amounts += [rate for rates in load.units_per.values() for rate in rates.values()]
        if not all(isfinite(a) and a >= 0 for a in amounts):
            return False
        self._known[(load.agent, load.args)] = replace(load, sensitivity=self._sensed.get(load.agent, load.sensitivity))
        return True

    def all(self) -> tuple[Workload, ...]:
        return tuple(self._known[key] for key in sorted(self._known))

    def sensed(self, agent: str, sensitivity: float) -> Workload:
        """Keeps how much a job's quality follows from an agent's, as it was measured."""
        load = replace(self._known.get((agent, "")) or self._guess(agent, {}), sensitivity=sensitivity)
        if self.put(load):
            self._sensed[agent] = sensitivity
            self.put(load)
        return load

    def get(self, agent: str, args: Mapping[str, Any]) -> Workload:
        """With these very arguments, else whatever they are, else a guess. Sensitivity is the agent's own."""
        alone = self._known.get((agent, ""))
        exact = self._known.get((agent, canonical(args)))
        guess = self._guess(agent, args)
        found = exact or alone or guess
        if not found.samples:  # it says how sensitive jobs are, and nothing of amounts
            found = replace(guess, sensitivity=found.sensitivity)
        if alone is not None and found is not alone:
            found = replace(found, sensitivity=alone.sensitivity)
        given = count(self._args(agent, args)) if self._many(agent) else None
        return found if given is None else replace(found, elements=given, elements_per={})

    def learn(self, stage: Stage, report: StageReport, inputs: Mapping[str, float]) -> tuple[Workload, ...]:
        """What a finished stage showed, for its agent and for its agent with these arguments; nothing when it says nothing. `inputs` is
        how much there was of all the job's inputs together; empty when nobody said, or when not all of it was worked on."""
        if report.tasks <= 0 or report.stage != stage.name or not (report.units or stage.many):
            return ()
        found = []
        for args in dict.fromkeys(("", canonical(stage.args))):
            if args and (stage.agent, args) not in self._known and self._variants(stage.agent) >= VARIANTS_MAX:
                continue
            before = self._known.get((stage.agent, args)) or Workload(stage.agent, args)
            after = _refined(before, stage, report, inputs)
            if self.put(after):
                found.append(after)
        return tuple(found)

    def expect(self, workflow: Workflow, inputs: int, units: Mapping[str, float]) -> dict[str, Expected]:
        """For every stage. `units` is how much there is of all inputs together, {"video_s": 59.5}; empty when nobody said."""
        shape = shapes(workflow)
        there = {u: v for u, v in units.items() if isfinite(v) and v > LEAST}
        along: dict[str, float] = {"": float(inputs)}
        """Axis to how many elements there are along it, over everything above it."""
        gives: dict[str, Mapping[str, float]] = {"": there}
        found: dict[str, Expected] = {}
        for stage in workflow.stages:
            axes = shape[stage.name].axes
            tasks = along[axes[-1]] if axes else 1.0
            load, args = self.get(stage.agent, stage.args), self._args(stage.agent, stage.args)
            flow = _joined([gives[source] for source in dict.fromkeys(e.stage for e in stage.edges)])
            mine = {u: self._amount(u, load, args, tasks, flow, there) for u in {**load.units, **load.units_per}}
            part = _share(args, inputs, there) if any(not e.stage for e in stage.edges) else 1.0
            total = next((rate * there[u] * part for u, rate in load.elements_per.items() if u in there), None)
            elements = load.elements if total is None or tasks <= 0 else max(total / tasks, 1.0)
            if stage.many:
                along[stage.name] = tasks * elements
            gives[stage.name] = {u: v * (part if u.endswith("_s") else 1.0) for u, v in mine.items()}
            found[stage.name] = Expected(tasks, mine, elements)
        return found

    def _amount(
        self, unit: str, load: Workload, args: Mapping[str, Any], tasks: float, flow: Mapping[str, float], there: Mapping[str, float]
    ) -> float:
        seen = followed(unit, args, tasks, flow)
        if seen is not None:
            return seen
        rates = load.units_per.get(unit, {})
        by_input = next((rate * there[source] for source, rate in rates.items() if source in there), None)
        return load.units.get(unit, 0.0) * tasks if by_input is None else by_input

    def _many(self, agent: str) -> bool:
        row = self.agents.get(agent)
        return row is not None and row.many

    def _args(self, agent: str, args: Mapping[str, Any]) -> dict[str, Any]:
        row = self.agents.get(agent)
        return {**(defaults(row.args) if row is not None else {}), **args}

    def _guess(self, agent: str, args: Mapping[str, Any]) -> Workload:
        return prior(agent, self._args(agent, args), self._many(agent))

    def _variants(self, agent: str) -> int:
        return sum(a == agent and args != "" for a, args in self._known)


def canonical(args: Mapping[str, Any]) -> str:
    """The same text for arguments that make the same work: free text and cuts are left out; empty when nothing is left."""
    kept = {name: value for name, value in args.items() if name not in CUTS and _tells(value)}
    return json.dumps(kept, sort_keys=True) if kept else ""


def _tells(value: object) -> bool:
    return isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= 16 and " " not in value)


def _joined(flows: list[Mapping[str, float]]) -> dict[str, float]:
    """Of several sources the greatest of each unit: they show the same thing."""
    found: dict[str, float] = {}
    for flow in flows:
        for unit, amount in flow.items():
            found[unit] = max(found.get(unit, 0.0), amount)
    return found


def _share(args: Mapping[str, Any], inputs: int, there: Mapping[str, float]) -> float:
    """What part of the job's media a stage passes on."""
    if not any(name in args for name in CUTS):
        return 1.0
    seconds = there.get("video_s", there.get("audio_s", 0.0))
    return share(args, seconds / max(inputs, 1))


def _refined(before: Workload, stage: Stage, report: StageReport, inputs: Mapping[str, float]) -> Workload:
    w = 1.0 / (min(before.samples, REMEMBERED) + 1)

    def mean(old: float | None, new: float) -> float:
        return new if old is None or not before.samples else old + w * (new - old)

    seen = {u: v for u, v in report.units.items() if isfinite(v) and v >= 0 and u != MOVED_S}  # how long it took is no amount of work
    # of next to nothing no rate can be told: it would be next to infinite
    given = {u: v for u, v in inputs.items() if isfinite(v) and v > LEAST}
    if len(given) > 1:  # nobody knows which of them it came from
        given = {}
    part = max(_share(stage.args, report.tasks, given), 1e-3)
    elements_per, units_per = dict(before.elements_per), {u: dict(rates) for u, rates in before.units_per.items()}
    for source, amount in given.items():
        if stage.many:
            elements_per[source] = mean(elements_per.get(source), report.elements / (amount * part))
        for unit, value in seen.items():
            rates = units_per.setdefault(unit, {})
            rates[source] = mean(rates.get(source), value / amount)
    return replace(
        before,
        elements=mean(before.elements, report.elements / report.tasks) if stage.many else before.elements,
        units={**before.units, **{u: mean(before.units.get(u), v / report.tasks) for u, v in seen.items()}},
        elements_per=elements_per,
        units_per=units_per,
        samples=before.samples + 1,
    )
