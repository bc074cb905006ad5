"""A worker and its host on a desk: what is desired of it, what runs on it, and what of its commands tests look at."""

from __future__ import annotations

from typing import Any

from murakkab.actors.core import Command, Do, Event, Heard, Outcome, Return, Send, Take, Woke
from murakkab.actors.errands import (
    Ran,
    RunTask,
    Started,
    StartInstance,
    WatchInstance,
)
from murakkab.actors.worker import Worker
from murakkab.agents.library import Implementation
from murakkab.bus.messages import (
    Desired,
    DesiredInstances,
    HostHeartbeat,
    Offer,
    TaskReady,
)
from murakkab.optimizer.prices import Prices

LIBRARY = {
    ("A", "two"): Implementation("two", "A", "m:C", slots=2, memory_mb=100),
    ("A", "one"): Implementation("one", "A", "m:C", slots=1, memory_mb=100),
}
POOL = "A-two-cpu"
OFFERS = (Offer("A", "two", "cpu"),)


def want(*ids: str, version: int = 1, host: str = "h", implementation: str = "two") -> DesiredInstances:
    return DesiredInstances(host=host, version=version, instances=tuple(Desired(i, "A", implementation, "cpu") for i in ids))


def task(n: int, pool: str = POOL) -> TaskReady:
    return TaskReady(pool=pool, tenant="t", job="j", stage="s", index=(n,), attempt=1, agent="A", implementation="two")


class Host:
    """A worker and its shell: what runs, what is taken, what was told."""

    def __init__(self) -> None:
        self.worker = Worker("h", LIBRARY, OFFERS, Prices({"MURAKKAB_WATTS_PER_CORE": "3600", "MURAKKAB_USD_PER_CORE_HOUR": "3600"}), 4)
        self.now = 100.0
        self.processes: dict[str, int] = {}
        self.pids = 0
        self.asked: list[RunTask] = []
        self.take: dict[str, int] = {}
        self.returned: list[str] = []

    def on(self, event: Event) -> list[Command]:
        commands = list(self.worker.on(event, self.now))
        self.worker.check()
        self.asked += [c.errand for c in commands if isinstance(c, Do) and isinstance(c.errand, RunTask)]
        self.returned += [k for c in commands if isinstance(c, Return) for k in c.keys]
        self.take.update({c.pool: c.upto for c in commands if isinstance(c, Take)})
        return commands

    def hear(self, msg: DesiredInstances) -> list[Command]:
        return self.on(Heard(msg))

    def give(self, n: int, key: str = "", deliveries: int = 1) -> list[Command]:
        return self.on(Heard(task(n), key or f"k{n}", deliveries))

    def started(self, name: str, error: str = "") -> list[Command]:
        desired = self.worker.instances[name].desired if name in self.worker.instances else want(name).instances[0]
        run = self.worker.instances[name].run if name in self.worker.instances else 0
        self.pids += 1
        return self.on(Outcome(StartInstance(desired, run), None if error else Started(self.pids, 0.5), error))

    def ended(self, n: int, **what: Any) -> list[Command]:
        errand = next(a for a in self.asked if a.task.index == (n,))
        self.asked.remove(errand)
        return self.on(Outcome(errand, Ran(self.now - 1.0, self.now, **what)))

    def exited(self, name: str) -> list[Command]:
        slots = self.worker.instances[name]
        return self.on(Outcome(WatchInstance(name, slots.pid, slots.run), "killed by signal 9"))

    def report(self) -> list[Send]:
        return [c for c in self.on(Woke("results")) if isinstance(c, Send)]

    def states(self) -> dict[str, str]:
        return {name: s.state for name, s in self.worker.instances.items()}


def errands(commands: list[Command], kind: type) -> list[Any]:
    return [c.errand for c in commands if isinstance(c, Do) and isinstance(c.errand, kind)]


def beats(commands: list[Command]) -> list[HostHeartbeat]:
    return [c.msg for c in commands if isinstance(c, Send) and isinstance(c.msg, HostHeartbeat)]
