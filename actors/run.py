"""One running job as the conductor sees it: which tasks exist, which are ready, what they gave. Pure, and rebuilt by replay.

`planner/axes.py` says what tasks a stage has; here they come into being as widths become known, and each becomes ready
exactly once, when the last thing that it waits for is done.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ..bus.messages import Choice, Index, Plan, Stage
from ..planner.axes import Axes, Shape, shapes
from .core import ActorBug

Task = tuple[str, Index]


@dataclass(slots=True)
class StageRun:
    """The tasks of one stage."""

    stage: Stage
    choice: Choice
    axes: Axes
    out: Axes
    waits: dict[Index, int] = field(default_factory=dict)
    """Task to the number of its edges that are not satisfied yet; tasks that are ready or done have 0."""
    output: dict[Index, Any] = field(default_factory=dict)
    done_under: dict[Index, int] = field(default_factory=dict)
    """Done tasks by every proper prefix of their index."""
    complete: bool = False


class DagRun:
    """`start` and `done` give the tasks that became ready by it."""

    def __init__(self, plan: Plan, inputs: tuple[Any, ...]) -> None:
        self.plan, self.inputs = plan, inputs
        shape: dict[str, Shape] = shapes(plan.workflow)
        choice = {c.stage: c for c in plan.choices}
        self.stages: dict[str, StageRun] = {
            s.name: StageRun(s, choice[s.name], shape[s.name].axes, shape[s.name].out) for s in plan.workflow.stages
        }
        self._kids: dict[str, list[tuple[StageRun, str]]] = {name: [] for name in self.stages}
        for run in self.stages.values():
            for edge in run.stage.edges:
                if edge.stage:
                    self._kids[edge.stage].append((run, edge.param))
        self._gathered: set[tuple[str, str, Index]] = set()
        """(stage, param, task) of gathering edges that are satisfied, so that each is counted down once."""
        self._open = len(self.stages)
        self.observes = [s.name for s in plan.workflow.stages if s.observe]

    @property
    def finished(self) -> bool:
        return self._open == 0

    def start(self) -> list[Task]:
        ready: list[Task] = []
        for run in self.stages.values():
            if not run.axes:
                ready += self._create(run, ())
            elif run.axes == ("",):
                for i in range(len(self.inputs)):
                    ready += self._create(run, (i,))
        ready += self._settle_gathers()
        self._mark_complete(self.stages.values())
        return ready

    def extend(self, plan: Plan) -> list[Task]:
        """The workflow has grown: `plan` has all stages that were there, first and as they were, and new ones. What is ready of these."""
        if [s.name for s in plan.workflow.stages][: len(self.stages)] != list(self.stages):
            raise ActorBug("an extended workflow must begin with the stages that there are")
        shape = shapes(plan.workflow)
        choice = {c.stage: c for c in plan.choices}
        new = [StageRun(s, choice[s.name], shape[s.name].axes, shape[s.name].out) for s in plan.workflow.stages[len(self.stages) :]]
        self.plan = plan
        for run in new:
            self.stages[run.stage.name] = run
            self._kids[run.stage.name] = []
            for edge in run.stage.edges:
                if edge.stage:
                    self._kids[edge.stage].append((run, edge.param))
        self._open += len(new)
        self.observes += [run.stage.name for run in new if run.stage.observe]
        ready: list[Task] = []
        for run in new:
            for index in self._known(run.axes):
                ready += self._create(run, index)
        ready += self._settle_gathers()
        self._mark_complete(new)
        return ready

    def rechoose(self, plan: Plan) -> list[str]:
        """The same workflow with other choices; the stages whose pool is another one now."""
        if plan.workflow != self.plan.workflow:
            raise ActorBug("a plan that was made again must be for the same workflow")
        self.plan = plan
        moved = []
        for choice in plan.choices:
            run = self.stages[choice.stage]
            if (choice.implementation, choice.hardware) != (run.choice.implementation, run.choice.hardware):
                moved.append(choice.stage)
            run.choice = choice
        return moved

    def done(self, name: str, index: Index, output: Any) -> list[Task]:
        """Takes a task's output; the caller has made sure that it counts for the first time."""
        run = self.stages[name]
        if index in run.output or run.waits.get(index) != 0:
            raise ActorBug(f"task {name}{index} is done twice or was never ready")
        run.output[index] = output
        for cut in range(len(index)):
            run.done_under[index[:cut]] = run.done_under.get(index[:cut], 0) + 1
        ready: list[Task] = []
        grows = False
        if run.stage.many:
            axes = (*run.axes, name)
            for kid in self.stages.values():
                if kid.axes == axes:
                    grows = True
                    for j in range(len(output)):
                        ready += self._create(kid, (*index, j))
        for kid, param in self._kids[name]:
            width = len(kid.axes)
            if len(run.out) <= width:
                if not (run.stage.many and kid.axes[: len(run.out)] == run.out):
                    ready += self._count_down(kid, index)
            elif self._is_complete(run, index[:width]):
                ready += self._gather(kid, param, index[:width])
        if grows and not output:  # a collection of nothing completes what gathers it, any number of stages below
            ready += self._settle_gathers()
        self._mark_complete([run, *(k for k in self.stages.values() if name in k.axes)] if run.stage.many else [run])
        return ready

    def inputs_of(self, name: str, index: Index) -> dict[str, Any]:
        """What a ready task is given: parameter to value, or to a list in index order."""
        run = self.stages[name]
        return {**run.stage.given, **{edge.param: self._value(edge.stage, index, len(run.axes)) for edge in run.stage.edges}}

    def answer(self) -> list[Any]:
        """The outputs of the workflow's answer stages, flattened in index order."""
        return [self.stages[name].output[i] for name in self.plan.workflow.answer for i in sorted(self.stages[name].output)]

    def width(self, name: str) -> int | None:
        """How many tasks a stage has; None while that is not known."""
        run = self.stages[name]
        return self._expected(run.axes, ())

    def tasks(self) -> Iterator[tuple[Task, int]]:
        for name, run in self.stages.items():
            for index, waits in run.waits.items():
                yield (name, index), waits

    def check(self) -> None:
        for choice in self.plan.choices:
            if self.stages[choice.stage].choice != choice:
                raise ActorBug(f"stage {choice.stage}: what is done is not what the plan says")
        for name, run in self.stages.items():
            if any(run.waits.get(i) != 0 for i in run.output):
                raise ActorBug(f"stage {name}: a task is done that was never ready")
            if any(w < 0 for w in run.waits.values()):
                raise ActorBug(f"stage {name}: a task waits for fewer than no edges")
            if run.complete and len(run.output) != self.width(name):
                raise ActorBug(f"stage {name} is called complete with {len(run.output)} of {self.width(name)} tasks")

    # --- tasks come into being ------------------------------------------------------------------------------------------------

    def _create(self, run: StageRun, index: Index) -> list[Task]:
        waits = 0
        for edge in run.stage.edges:
            if not edge.stage:
                continue
            source = self.stages[edge.stage]
            if len(source.out) <= len(run.axes):
                waits += index[: len(source.axes)] not in source.output
            elif self._is_complete(source, index):
                self._gathered.add((run.stage.name, edge.param, index))
            else:
                waits += 1
        run.waits[index] = waits
        return [] if waits else [(run.stage.name, index)]

    def _count_down(self, kid: StageRun, prefix: Index) -> list[Task]:
        if len(prefix) == len(kid.axes):
            affected = [prefix] if prefix in kid.waits else []
        else:
            affected = [i for i in kid.waits if i[: len(prefix)] == prefix]
        ready: list[Task] = []
        for index in affected:
            kid.waits[index] -= 1
            if not kid.waits[index]:
                ready.append((kid.stage.name, index))
        return ready

    def _gather(self, kid: StageRun, param: str, index: Index) -> list[Task]:
        key = (kid.stage.name, param, index)
        if key in self._gathered or index not in kid.waits:
            return []
        self._gathered.add(key)
        return self._count_down(kid, index)

    def _settle_gathers(self) -> list[Task]:
        ready: list[Task] = []
        for kid in self.stages.values():
            for edge in kid.stage.edges:
                if edge.stage and len(self.stages[edge.stage].out) > len(kid.axes):
                    for index in list(kid.waits):
                        if self._is_complete(self.stages[edge.stage], index):
                            ready += self._gather(kid, edge.param, index)
        return ready

    # --- counting ---------------------------------------------------------------------------------------------------------------

    def _expected(self, axes: Axes, prefix: Index) -> int | None:
        """How many indexes along `axes` start with `prefix`; None while a width is not known."""
        if len(prefix) >= len(axes):
            return 1
        axis = axes[len(prefix)]
        if axis == "":
            n = len(self.inputs)
        else:
            output = self.stages[axis].output.get(prefix)
            if output is None:
                return None
            n = len(output)
        if len(prefix) + 1 == len(axes):
            return n
        total = 0
        for j in range(n):
            part = self._expected(axes, (*prefix, j))
            if part is None:
                return None
            total += part
        return total

    def _known(self, axes: Axes) -> list[Index]:
        """The indexes along `axes` whose collections are there already."""
        found: list[Index] = [()]
        for axis in axes:
            wider: list[Index] = []
            for index in found:
                output = self.inputs if axis == "" else self.stages[axis].output.get(index)
                wider += [(*index, j) for j in range(len(output or ()))]
            found = wider
        return found

    def _is_complete(self, run: StageRun, prefix: Index) -> bool:
        if len(prefix) >= len(run.axes):
            return prefix[: len(run.axes)] in run.output
        return run.done_under.get(prefix, 0) == self._expected(run.axes, prefix)

    def _mark_complete(self, runs: Iterable[StageRun]) -> None:
        for run in runs:
            if not run.complete and self._is_complete(run, ()):
                run.complete = True
                self._open -= 1

    def _value(self, source: str, index: Index, width: int) -> Any:
        if not source:
            return self.inputs[index[0]] if width else list(self.inputs)
        run = self.stages[source]
        own = len(run.axes)
        if own <= width:
            value = run.output[index[:own]]
            return value[index[own]] if run.stage.many and width > own else value
        found = [run.output[i] for i in sorted(run.output) if i[:width] == index]
        return [x for part in found for x in part] if run.stage.many else found
