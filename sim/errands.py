"""The slow work of a simulated host: instances that load, run, hang and die in virtual time, as `agents/host.py` has real ones."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from ..actors.core import Errand
from ..actors.errands import (
    Checked,
    CheckInstance,
    Measure,
    Ran,
    Readings,
    RestInstance,
    RunTask,
    Started,
    StartInstance,
    StopInstance,
    WatchInstance,
)
from ..agents.library import Implementation
from ..bus.messages import Device, TaskReady
from .clock import Clock
from .faults import Faults
from .outputs import output


@dataclass(slots=True)
class Running:
    """An instance's process."""

    pid: int
    run: int
    slots: int
    ended: asyncio.Future[str]
    tasks: dict[int, TaskReady] = field(default_factory=dict)


class Host:
    """All instances of one host; it dies with its worker."""

    def __init__(
        self, clock: Clock, dice: Random, faults: Faults, library: Mapping[tuple[str, str], Implementation], memory_mb: int
    ) -> None:
        self.clock, self.dice, self.faults, self.library, self.memory_mb = clock, dice, faults, library, memory_mb
        self.instances: dict[str, Running] = {}
        self._pids = 100
        self._runs = 0
        self.runs = 0
        self.revoked_in_s: float | None = None
        """Once its owner wants the machine back."""

    @property
    def errands(self) -> dict[type[Errand], Any]:
        return {
            StartInstance: self.start,
            WatchInstance: self.watch,
            StopInstance: self.stop,
            CheckInstance: self.check,
            RestInstance: self.rest,
            RunTask: self.run,
            Measure: self.measure,
        }

    def _chance(self, rate: float) -> bool:
        return rate > 0 and self.dice.random() < rate

    async def start(self, errand: StartInstance, _: str) -> Started:
        wanted = errand.instance
        row = self.library[(wanted.agent, wanted.implementation)]
        took_s = row.load_s * self.dice.uniform(0.3, 2.0)
        await asyncio.sleep(took_s)
        if self._chance(self.faults.load_fails):
            raise RuntimeError("loading failed: simulated")
        self._pids += 1
        before = self.instances.get(wanted.id)
        if before is not None and before.run > errand.run:
            raise RuntimeError("it was ended while it was loading")
        if before is not None:
            _end(before, "replaced")
        self.instances[wanted.id] = Running(self._pids, errand.run, row.slots, asyncio.get_running_loop().create_future())
        return Started(self._pids, took_s)

    async def watch(self, errand: WatchInstance, _: str) -> str:
        held = self.instances.get(errand.id)
        if held is None or held.pid != errand.pid:
            return "gone"
        return await asyncio.shield(held.ended)

    async def stop(self, errand: StopInstance, _: str) -> None:
        held = self.instances.get(errand.id)
        if held is not None and held.run == errand.run:
            del self.instances[errand.id]
            await asyncio.sleep(self.dice.uniform(0.0, 0.2))
            _end(held, "exit status 0")

    async def check(self, errand: CheckInstance, _: str) -> Checked:
        """One that hangs hangs in a task; here every process answers that is there."""
        held = self.instances.get(errand.id)
        if held is None or held.run != errand.run:
            raise RuntimeError("its process is gone")
        return Checked()

    async def rest(self, errand: RestInstance, _: str) -> None:
        raise RuntimeError("nothing simulated sleeps")

    async def run(self, errand: RunTask, _: str) -> Ran:
        task, start = errand.task, self.clock.wall
        held = self.instances.get(errand.instance)
        if held is None or held.run != errand.run:
            return Ran(start, start, error="its instance is gone", lost=True)
        self._runs += 1
        n = self._runs
        held.tasks[n] = task
        row = self.library[(task.agent, task.implementation)]
        busy_s = max(row.work_s, task.args.get("ms", 0.0) / 1000, 0.0005) * self.dice.uniform(0.5, 2.0) * self.faults.slow_tasks
        if self._chance(self.faults.task_hangs):
            busy_s = task.timeout_s
        dies = self._chance(self.faults.instance_dies)
        done, _pending = await asyncio.wait({held.ended}, timeout=busy_s * self.dice.random() if dies else min(busy_s, task.timeout_s))
        held.tasks.pop(n, None)
        self.runs += 1
        now = self.clock.wall
        if dies and not done:
            _end(held, "killed by signal 9")
            if self.instances.get(errand.instance) is held:
                del self.instances[errand.instance]
            done = {held.ended}
        if done:
            return Ran(start, now, error=f"its process ended ({held.ended.result()}) in the middle of the task", lost=True)
        if busy_s >= task.timeout_s:
            return Ran(start, now, error=f"it did not answer within {task.timeout_s:g} s and was ended", lost=True)
        if self._chance(self.faults.task_fails):
            return Ran(start, now, cpu_s=busy_s, error="simulated failure")
        if self._chance(self.faults.task_bad_input) or task.args.get("bad_input"):
            return Ran(start, now, cpu_s=busy_s, error="simulated bad input", bad_input=True)
        return Ran(start, now, output(task, self.dice), busy_s, units={"items": 1.0})

    async def measure(self, _: Measure, __: str) -> Readings:
        used = sum(40 for _ in self.instances)
        return Readings(
            (Device("simulated cpu", "cpu", self.memory_mb, used, 0.5),), "simulated", dict.fromkeys(self.instances, 40), self.revoked_in_s
        )


def _end(held: Running, how: str) -> None:
    if not held.ended.done():
        held.ended.set_result(how)
