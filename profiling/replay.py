"""A finished job's plan run again on this machine, stage by stage, with one stage changed: the same DAG and real models, without a bus.

What is asked a second time (the same implementation, inputs and arguments) is not run again: so only the changed stage and those after it
cost anything, and whatever differs follows from the change alone.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..actors.run import DagRun
from ..agents.library import Implementation
from ..bus.messages import Index, Plan
from .likeness import new
from .process import Crashed, Probe, TaskFailed

Rows = Mapping[tuple[str, str], Implementation]


class CannotReplay(RuntimeError):
    """A stage failed: which, and why."""


@dataclass(frozen=True, slots=True)
class Change:
    """One stage with another implementation, with other arguments, or with its output made worse."""

    stage: str
    implementation: str = ""
    args: Mapping[str, Any] = field(default_factory=dict)
    degrade: Callable[[Any], Any] | None = None


@dataclass(slots=True)
class Played:
    """What one run gave: the job's answer, and of every stage's outputs what the stage itself said, in the order of their indexes."""

    answer: list[Any]
    outputs: dict[str, list[Any]]


@dataclass(slots=True)
class Replay:
    """`folder` holds the artifacts by hash in `artifacts/`. `said` hears of every task that is really run."""

    plan: Plan
    inputs: tuple[Any, ...]
    rows: Rows
    folder: Path
    said: Callable[[str], None] = lambda _: None
    known: dict[str, Any] = field(default_factory=dict)
    _probes: dict[tuple[str, str], Probe] = field(default_factory=dict)

    async def run(self, change: Change | None = None) -> Played:
        """Raises CannotReplay."""
        dag = DagRun(self.plan, self.inputs)
        ready = deque(dag.start())
        while ready:
            name, index = ready.popleft()
            ready += dag.done(name, index, await self._task(dag, name, index, change if change and change.stage == name else None))
        outputs = {
            name: [new(run.output[i], [dag.inputs_of(name, i), self.inputs]) for i in sorted(run.output)]
            for name, run in dag.stages.items()
        }
        return Played(dag.answer(), outputs)

    async def _task(self, dag: DagRun, name: str, index: Index, change: Change | None) -> Any:
        run = dag.stages[name]
        implementation = (change.implementation if change else "") or run.choice.implementation
        row = self.rows[run.stage.agent, implementation]
        inputs = dag.inputs_of(name, index)
        args = {**run.stage.args, **(change.args if change else {})}
        key = json.dumps([run.stage.agent, implementation, inputs, args], sort_keys=True)
        if key not in self.known:
            self.said(f"{name} by {implementation}")
            try:
                probe = await self._probe(row)
                self.known[key] = (await probe.call(inputs, args, row.timeout_s)).output
            except (Crashed, TaskFailed) as error:
                if isinstance(error, Crashed) and (gone := self._probes.pop((row.agent, row.name), None)):
                    await gone.stop()  # another change may need it: it starts anew
                raise CannotReplay(f"stage '{name}' ({implementation}): {error}") from None
        output = self.known[key]
        return change.degrade(output) if change and change.degrade else output

    async def _probe(self, row: Implementation) -> Probe:
        key = (row.agent, row.name)
        if key not in self._probes:
            self._probes[key] = await Probe.start(row, self.folder)
        return self._probes[key]

    async def close(self) -> None:
        for probe in self._probes.values():
            await probe.stop()
        self._probes.clear()
