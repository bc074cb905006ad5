"""What a plan will take on this fleet: when each stage starts and ends. Pure; one run of the plan in thought.

The tasks that are expected are put through the very DAG that the conductor runs (`actors/run.py`), on instances that load, take calls
and share the cores of their hardware class fairly: when the tasks at work want more cores than there are, all slow down alike. The
search's own model (`problem.values`) leaves that out, and what lies between and around tasks (`hops.py`), so it is never longer than this; its
lower bound holds here too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import floor
from typing import Any

from msgspec import Struct

from ..actors.run import DagRun, Task
from ..bus.messages import Choice, Plan, Workflow
from .fleet import Fleet
from .hops import Hops
from .space import capacity_of
from .ways import Way
from .workloads import Expected

TASKS_MAX = 400
"""Beyond, the search's model has to do: running so many tasks in thought would take longer than it is worth."""
HOPS = Hops()


class Span(Struct, frozen=True):
    """A stage's first start and last end, seconds from the start of the run."""

    start_s: float
    end_s: float


class Timeline(Struct, frozen=True):
    """`critical` are the stages that the end waited for, first to last."""

    time_s: float
    spans: Mapping[str, Span]
    critical: tuple[str, ...]


@dataclass(slots=True)
class _Work:
    """Something that goes on: a task, tasks on their way to the worker, or (with neither) a load."""

    way: Way
    left_s: float
    cores: float
    task: Task | None = None
    coming: tuple[Task, ...] = ()


@dataclass(slots=True)
class _Pool:
    way: Way
    free: int
    waiting: deque[Task] = field(default_factory=deque)


def timeline(
    workflow: Workflow, ways: Mapping[str, Way], expected: Mapping[str, Expected], inputs: int, fleet: Fleet, hops: Hops = HOPS
) -> Timeline | None:
    """None when there are too many tasks, or stages that have been planned before and may be half done."""
    if sum(e.tasks for e in expected.values()) > TASKS_MAX or any(w.kept for w in ways.values()):
        return None
    choices = tuple(Choice(n, w.key[1], w.key[2], 0.0, 0.0, 0.0, 1.0) for n, w in ways.items())
    return _Run(DagRun(Plan(workflow, choices), tuple(range(inputs))), ways, expected, fleet, hops).to_the_end()


def moving_s(way: Way, hops: Hops) -> float:
    """Seconds of one task that artifacts are moved for."""
    return hops.moving_s(way.units) / way.tasks if way.tasks > 0 else 0.0


class _Run:
    def __init__(self, dag: DagRun, ways: Mapping[str, Way], expected: Mapping[str, Expected], fleet: Fleet, hops: Hops) -> None:
        self.dag, self.ways, self.expected, self.hops = dag, ways, expected, hops
        self.now = 0.0
        self.going: list[_Work] = []
        self.pools: dict[str, _Pool] = {}
        self.gave: dict[str, int] = {}
        self.spans: dict[str, list[float]] = {}
        self.why: dict[str, str] = {}
        """Stage to the stage whose task made its last task ready."""
        self.capacity: dict[str, float] = {}
        for name, way in ways.items():
            self.pools[name] = _Pool(way, (way.width - way.loads) * way.slots)
            hardware = way.key[2]
            mine = sum(w.work_s for w in ways.values() if w.key[2] == hardware)
            self.capacity[hardware] = capacity_of(fleet, hardware, mine)
            load_cpu_s = way.profile.load_cpu_s or way.profile.load_s
            for _ in range(way.loads):
                share = load_cpu_s / way.profile.load_s if way.profile.load_s > 0 else 0.0
                self.going.append(_Work(way, way.profile.load_s, share if way.on_cpu else 0.0))

    def to_the_end(self) -> Timeline:
        self._ready(self.dag.start(), "")
        while self.going:
            rate = self._rates()
            step = min(w.left_s / rate[w.way.key[2]] for w in self.going)
            self.now += step
            over: list[_Work] = []
            still: list[_Work] = []
            for work in self.going:
                work.left_s -= step * rate[work.way.key[2]]
                (over if work.left_s <= 1e-9 else still).append(work)
            self.going = still
            for work in over:
                self._over(work)
        end = max((s[1] for s in self.spans.values()), default=0.0)
        spans = {n: Span(s[0], s[1]) for n, s in self.spans.items()}
        return Timeline(end, spans, self._critical())

    def _rates(self) -> dict[str, float]:
        """How fast work goes on each class: 1 unless more cores are wanted than there are."""
        wanted: dict[str, float] = {}
        for work in self.going:
            wanted[work.way.key[2]] = wanted.get(work.way.key[2], 0.0) + work.cores
        return {h: min(1.0, self.capacity[h] / w) if w > 0 else 1.0 for h, w in wanted.items()}

    def _over(self, work: _Work) -> None:
        if work.coming:
            pool = self.pools[work.coming[0][0]]
            pool.waiting.extend(work.coming)
            self._take(pool)
            return
        if work.task is None:
            pool = next(p for p in self.pools.values() if p.way is work.way)
            pool.free += work.way.slots
            self._take(pool)
            return
        name, index = work.task
        pool = self.pools[name]
        pool.free += 1
        span = self.spans[name]
        span[1] = max(span[1], self.now)
        self._ready(self.dag.done(name, index, self._output(name)), name)
        self._take(pool)

    def _output(self, name: str) -> Any:
        """As many elements as are expected; parts of one are carried over to the next task."""
        if not self.dag.stages[name].stage.many:
            return None
        each, n = self.expected[name].elements, self.gave.get(name, 0)
        self.gave[name] = n + 1
        return [None] * (floor((n + 1) * each + 0.5) - floor(n * each + 0.5))

    def _ready(self, tasks: Sequence[Task], cause: str) -> None:
        """They get to their workers one hand over later, those of a stage together."""
        by_stage: dict[str, list[Task]] = {}
        for task in tasks:
            self.why[task[0]] = cause
            by_stage.setdefault(task[0], []).append(task)
        for name, coming in by_stage.items():
            self.going.append(_Work(self.ways[name], self.hops.hand_over_s, 0.0, coming=tuple(coming)))

    def _take(self, pool: _Pool) -> None:
        while pool.free > 0 and pool.waiting:
            task = pool.waiting.popleft()
            pool.free -= 1
            self.spans.setdefault(task[0], [self.now, self.now])
            way = pool.way
            around_s = self.hops.next_s + moving_s(way, self.hops)
            cores = way.cpu_s / (way.service_s + around_s) if way.on_cpu and way.service_s > 0 else 0.0
            self.going.append(_Work(way, way.service_s + around_s, cores, task))

    def _critical(self) -> tuple[str, ...]:
        if not self.spans:
            return ()
        name = max(self.spans, key=lambda n: self.spans[n][1])
        chain: list[str] = []
        while name and name not in chain:
            chain.append(name)
            name = self.why.get(name, "")
        return tuple(reversed(chain))
