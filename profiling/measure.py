"""Measures one implementation within a limit of time: loading, tasks of several sizes, crowding, memory, idling, quality.

A worker's conditions: a process of its own, as many threads and slots as its row says. On a machine that others use, wall times are
only ever too long, so of each task the shortest counts (`summary.py`); CPU-seconds hardly change, so all of them count.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from ..agents.library import Implementation
from ..optimizer.hardware import split
from .bench import Bench, Task
from .power import Meter
from .process import Crashed, Done, Probe, TaskFailed

LOADS = 3
LOAD_SHARE, AGAIN_SHARE, SIZES_SHARE, EXAM_SHARE, ALL_SHARE = 0.25, 0.5, 0.35, 0.75, 0.9
"""Of the limit, when loading, the first round of sizes, the exam, and further rounds are to be over. The first load may convert weights
or read them from a slow disk, so it is done again unless that alone takes `AGAIN_SHARE`."""
IDLE_S = 1.0
PATIENCE_S = 15.0
"""A task gets at least this long, also when the limit is nearly over."""
CROWDS = (2, 4, 8, 16, 32)

Tell = Callable[[str, float], None]
"""(what is being done, 0..1)"""


class Run(Struct, frozen=True):
    """One task. `task` is its place in the bench; those of the exam follow the sizes."""

    task: int
    units: dict[str, float]
    wall_s: float
    cpu_s: float
    energy_wh: float | None = None


class Measured(Struct):
    """Everything about one implementation, as it was seen."""

    row: Implementation
    hardware: str = "cpu"
    loads_s: list[float] = field(default_factory=list)
    """First to last; the first may read weights from the disk."""
    loads_cpu_s: list[float] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    typical: int = 0
    crowd: dict[int, float] = field(default_factory=lambda: {1: 1.0})
    memory_mb: float = 0.0
    idle_cpu: float = 0.0
    """Busy cores while nobody asks anything."""
    idle_gpu_w: float | None = None
    quality: float | None = None
    quality_how: str = ""
    quality_n: str = ""
    failures: int = 0
    error: str = ""
    """Why nothing can be said of it; empty when it was measured."""
    note: str = ""
    spent_s: float = 0.0
    spent_cpu_s: float = 0.0


class Watch:
    """How much of the limit is over."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s, self.started = limit_s, time.perf_counter()

    @property
    def spent_s(self) -> float:
        return time.perf_counter() - self.started

    def over(self, share: float) -> bool:
        return self.spent_s > share * self.limit_s

    @property
    def patience_s(self) -> float:
        return max(PATIENCE_S, self.limit_s - self.spent_s)


class Measurer:
    """`measure` gives what was seen, also of one that crashed: then `error` says how."""

    def __init__(self, folder: Path, meter: Meter, *, limit_s: float, reps: int, hardware: str = "", python: str = "") -> None:
        self.folder, self.meter, self.limit_s, self.reps = folder, meter, limit_s, reps
        self.hardware, self.python = hardware, python
        self.on_gpu = split(hardware)[0] != "cpu"
        self.gpu: int | None = None
        """The GPU that the implementation under measurement runs on."""
        self.last: Any = None
        """The newest output."""

    async def measure(self, row: Implementation, bench: Bench | None, tell: Tell) -> Measured:
        found, watch, probe = Measured(row), Watch(self.limit_s), None
        try:
            probe = await self._load(found, watch, tell)
            if bench is not None:
                await self._work(found, probe, bench, watch, tell)
            await self._idle(found, probe, tell)
        except (Crashed, TaskFailed) as error:
            found.error = str(error)
        finally:
            if probe is not None:
                await probe.stop()
                found.spent_cpu_s += probe.spent_cpu_s
        found.spent_s = watch.spent_s
        return found

    async def _load(self, found: Measured, watch: Watch, tell: Tell) -> Probe:
        """Several fresh processes, one after the other; the last one stays."""
        while True:
            tell("loading", 0.0)
            before = self.meter.gpu_memory_mb()
            # weights may be converted, or a server started, at the very first time
            limit_s = max(watch.patience_s, found.row.timeout_s)
            probe = await Probe.start(found.row, self.folder, python=self.python, gpu=self.on_gpu, limit_s=limit_s)
            found.loads_s.append(probe.load_s)
            found.loads_cpu_s.append(probe.load_cpu_s)
            gpu = self.meter.gpu_taken(before)
            over = watch.spent_s + probe.load_s > LOAD_SHARE * watch.limit_s if len(found.loads_s) > 1 else watch.over(AGAIN_SHARE)
            if len(found.loads_s) >= LOADS or over:
                self.gpu, found.hardware = gpu, self.hardware or self.meter.hardware(gpu)
                return probe
            await probe.stop()
            found.spent_cpu_s += probe.spent_cpu_s

    async def _work(self, found: Measured, probe: Probe, bench: Bench, watch: Watch, tell: Tell) -> None:
        found.typical = bench.typical
        await self._ask(found, probe, bench.tasks[0], -1, watch)  # the first task allocates; it counts for nothing
        expected_s: dict[int, float] = {}
        for rep in range(self.reps):
            for n, task in enumerate(bench.tasks):
                if rep == 0 and n >= 2 and watch.over(SIZES_SHARE):
                    found.note = f"only {n} of {len(bench.tasks)} sizes fitted into {watch.limit_s:g} s"
                    break
                if rep and watch.spent_s + expected_s.get(n, 0.0) > ALL_SHARE * watch.limit_s:
                    break
                tell(f"round {rep + 1} of {self.reps}", watch.spent_s / watch.limit_s)
                run = await self._ask(found, probe, task, n, watch)
                if run is not None:
                    expected_s[n] = run.wall_s
            if rep == 0:
                await self._examine(found, probe, bench, watch, tell)
            if watch.over(ALL_SHARE):
                break
        if not found.runs:
            raise TaskFailed(f"every task failed: {found.note}")
        found.memory_mb = probe.rss_mb()
        await self._crowd(found, probe, bench.together or bench.tasks[bench.typical], watch, tell)

    async def _ask(self, found: Measured, probe: Probe, task: Task, n: int, watch: Watch) -> Run | None:
        """One task by itself. None when the model failed at it, which is counted."""
        before = self.meter.read()
        try:
            done = await probe.call(task.inputs, task.args, watch.patience_s)
        except TaskFailed as error:
            found.failures += 1
            found.note = str(error)
            return None
        run = Run(n, done.units, done.wall_s, done.cpu_s, self.meter.spent_wh(before, self.meter.read(), done.cpu_s, self.gpu))
        if n >= 0:
            found.runs.append(run)
        self.last = done.output
        return run

    async def _examine(self, found: Measured, probe: Probe, bench: Bench, watch: Watch, tell: Tell) -> None:
        exam = bench.exam
        if exam is None or (exam.larger and found.row.quality_how != "assumed"):
            return
        outputs: list[Any] = []
        for n, task in enumerate(exam.tasks):
            if watch.over(EXAM_SHARE):
                break
            tell("quality", watch.spent_s / watch.limit_s)
            if await self._ask(found, probe, task, len(bench.tasks) + n, watch) is None:
                break  # what cannot do the exam's tasks has no mark
            outputs.append(self.last)
        if outputs:
            found.quality, found.quality_n = exam.mark(outputs)
            whole = "" if len(outputs) == len(exam.tasks) else f", {found.quality_n} of it in the time that there was"
            found.quality_how = f"{exam.name}{whole}"

    async def _crowd(self, found: Measured, probe: Probe, task: Task, watch: Watch, tell: Tell) -> None:
        """How much longer a task takes when several are in one instance at a time, up to its slots."""
        alone_s = 0.0
        for at_once in (1, *CROWDS):
            if at_once > found.row.slots or found.row.slots == 1 or watch.over(ALL_SHARE):
                return
            tell(f"{at_once} at a time", watch.spent_s / watch.limit_s)
            best_s = 0.0
            for _ in range(3):
                calls = [probe.call(task.inputs, task.args, watch.patience_s) for _ in range(at_once)]
                done = await asyncio.gather(*calls, return_exceptions=True)
                times = [d.wall_s for d in done if isinstance(d, Done)]
                if len(times) < at_once:
                    found.failures += at_once - len(times)
                    if crashed := next((d for d in done if isinstance(d, Crashed)), None):
                        raise crashed
                    return
                mean_s = sum(times) / len(times)
                best_s = min(best_s or mean_s, mean_s)
                if watch.over(ALL_SHARE):
                    break
            alone_s = alone_s or best_s
            found.crowd[at_once] = max(1.0, best_s / alone_s)

    async def _idle(self, found: Measured, probe: Probe, tell: Tell) -> None:
        tell("idling", 1.0)
        before, started = probe.cpu_s(), time.perf_counter()
        await asyncio.sleep(IDLE_S)
        found.idle_cpu = max(0.0, probe.cpu_s() - before) / (time.perf_counter() - started)
        if self.gpu is not None:
            found.idle_gpu_w = self.meter.idle_w(self.gpu)
        found.memory_mb = max(found.memory_mb, probe.rss_mb())
        if probe.process.returncode is not None:
            raise Crashed("its process ended while it was idle")
