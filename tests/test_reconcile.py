"""What a host has comes to be what is desired of it, whatever happens on the way.

A cluster manager that says versions, a network that loses, doubles and reorders them, a table that keeps the newest, a worker whose
processes start, fail, hang and die in any order, and restarts of either side. Then it becomes quiet, and the two have to agree.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from murakkab.actors.core import Command, Do, Errand, Event, Heard, Outcome, Replayed, Resumed, Wake, Woke
from murakkab.actors.errands import (
    Checked,
    CheckInstance,
    RestInstance,
    RunTask,
    Started,
    StartInstance,
    StopInstance,
    WatchInstance,
)
from murakkab.actors.slots import QUARANTINE_S
from murakkab.actors.worker import Worker
from murakkab.agents.library import Implementation
from murakkab.bus.messages import Desired, DesiredInstances, TaskReady
from murakkab.optimizer.prices import Prices

LIBRARY = {("A", "i"): Implementation("i", "A", "m:C", slots=2, memory_mb=100)}
WISHES = st.builds(
    lambda name, cores, asleep: Desired(name, "A", "i", "cpu", cores=cores, asleep=asleep),
    st.sampled_from("xyz"),
    st.sampled_from([(), (0,), (1,)]),
    st.booleans(),
)


class Processes:
    """Those of one worker: as `agents/host.py` has them, with outcomes that come when the test says so."""

    def __init__(self) -> None:
        self.alive: dict[int, tuple[StartInstance, bool]] = {}
        """Process to (as what it was started, whether it sleeps)."""
        self.starting: list[StartInstance] = []
        self.ended_early: set[tuple[str, int]] = set()
        self.open: list[Errand] = []
        """Questions without an answer."""
        self.watched: dict[int, WatchInstance] = {}
        self.pids = 0

    def of(self, name: str, run: int) -> int | None:
        return next((p for p, (s, _) in self.alive.items() if (s.instance.id, s.run) == (name, run)), None)


class Reconciling(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.now = 100.0
        self.stored: DesiredInstances | None = None
        self.network: list[DesiredInstances] = []
        self.given = 0
        self.begin_worker()

    # --- the world ---------------------------------------------------------------------------------------------------------------

    def begin_worker(self) -> None:
        """Its processes have died with the one before."""
        self.worker = Worker("h", LIBRARY, (), Prices({}), 2)
        self.processes = Processes()
        self.wakes: list[tuple[float, str]] = []
        if self.stored is not None:
            self.on(Replayed(self.stored))
        self.on(Resumed())

    def on(self, event: Event) -> None:
        commands = list(self.worker.on(event, self.now))
        self.worker.check()
        for command in commands:
            self.act(command)

    def act(self, command: Command) -> None:
        ours = self.processes
        match command:
            case Do(errand=StartInstance() as start):
                ours.starting.append(start)
            case Do(errand=StopInstance(id=name, run=run)):
                pid = ours.of(name, run)
                if pid is not None:
                    self.end(pid)
                else:
                    ours.ended_early.add((name, run))
            case Do(errand=WatchInstance(pid=pid) as watch):
                if pid in ours.alive:
                    ours.watched[pid] = watch
                else:
                    ours.open.append(watch)
            case Do(errand=CheckInstance() | RestInstance() | RunTask() as errand):
                ours.open.append(errand)
            case Wake(after_s=after_s, key=key) if key not in ("beat", "tell"):
                self.wakes.append((self.now + after_s, key))

    def end(self, pid: int) -> None:
        """A process is gone; whoever watches it hears so, later."""
        ours = self.processes
        del ours.alive[pid]
        if watch := ours.watched.pop(pid, None):
            ours.open.append(watch)

    def load(self, start: StartInstance, *, well: bool) -> None:
        ours = self.processes
        ours.starting.remove(start)
        if not well or (start.instance.id, start.run) in ours.ended_early:
            self.on(Outcome(start, None, "it did not load"))
            return
        ours.pids += 1
        ours.alive[ours.pids] = (start, False)
        self.on(Outcome(start, Started(ours.pids, 1.0)))

    def answer(self, errand: Errand, *, well: bool) -> None:
        ours = self.processes
        ours.open.remove(errand)
        match errand:
            case WatchInstance():
                self.on(Outcome(errand, "killed by signal 9"))
            case CheckInstance(id=name, run=run):
                alive = well and ours.of(name, run) is not None
                self.on(Outcome(errand, Checked() if alive else None, "" if alive else "no answer"))
            case RestInstance(id=name, run=run, asleep=asleep):
                pid = ours.of(name, run)
                if pid is not None and (well or not asleep):
                    ours.alive[pid] = (ours.alive[pid][0], asleep)
                    self.on(Outcome(errand))
                else:
                    self.on(Outcome(errand, None, "it cannot"))
            case RunTask():
                self.on(Outcome(errand, None, "it broke"))

    # --- what may happen ---------------------------------------------------------------------------------------------------------

    @rule(wishes=st.lists(WISHES, max_size=3, unique_by=lambda d: d.id), said=st.booleans())
    def desire(self, wishes: list[Desired], said: bool) -> None:
        """The cluster manager goes on from what is stored, also when it has been restarted."""
        version = (self.stored.version if self.stored else 0) + 1
        self.stored = DesiredInstances(host="h", version=version, instances=tuple(wishes))
        if said:
            self.network.append(self.stored)

    @precondition(lambda self: self.network)
    @rule(data=st.data(), twice=st.booleans())
    def arrives(self, data: st.DataObject, twice: bool) -> None:
        """Any of those under way; the others later, or never."""
        msg = data.draw(st.sampled_from(self.network))
        if not twice:
            self.network.remove(msg)
        self.on(Heard(msg))

    @rule()
    def worker_restarts(self) -> None:
        self.begin_worker()

    @precondition(lambda self: self.stored is not None)
    @rule()
    def reconnects(self) -> None:
        assert self.stored
        self.on(Replayed(self.stored))
        self.on(Resumed())

    @precondition(lambda self: self.processes.starting)
    @rule(data=st.data(), well=st.sampled_from([True, True, False]))
    def loads(self, data: st.DataObject, well: bool) -> None:
        self.load(data.draw(st.sampled_from(self.processes.starting)), well=well)

    @precondition(lambda self: self.processes.open)
    @rule(data=st.data(), well=st.booleans())
    def answers(self, data: st.DataObject, well: bool) -> None:
        self.answer(data.draw(st.sampled_from(self.processes.open)), well=well)

    @precondition(lambda self: self.processes.alive)
    @rule(data=st.data())
    def dies(self, data: st.DataObject) -> None:
        self.end(data.draw(st.sampled_from(sorted(self.processes.alive))))

    @rule()
    def task(self) -> None:
        self.given += 1
        ready = TaskReady(
            pool="A-i-cpu", tenant="t", job="j", stage="s", index=(self.given,), attempt=1, agent="A", implementation="i", timeout_s=600.0
        )
        self.on(Heard(ready, f"k{self.given}", 1))

    @rule(seconds=st.sampled_from([0.5, 7.0, 70.0, 301.0, QUARANTINE_S]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        due = [wake for wake in self.wakes if wake[0] <= self.now]
        self.wakes = [wake for wake in self.wakes if wake[0] > self.now]
        for _, key in sorted(due):
            self.on(Woke(key))
        self.on(Woke("beat"))

    # --- what must hold ----------------------------------------------------------------------------------------------------------

    @invariant()
    def one_process_a_name(self) -> None:
        """None is started while another of its name has not been told to end."""
        ours = self.processes
        names = [(s.instance.id, s.run) for s in [*ours.starting, *(s for s, _ in ours.alive.values())]]
        kept = [name for name, run in names if (name, run) not in ours.ended_early]
        assert len(kept) == len(set(kept)), kept

    def teardown(self) -> None:
        """All becomes quiet: what is stored is heard, all that is started loads, every question has its answer."""
        if not hasattr(self, "worker"):
            return
        if self.stored is not None:
            self.on(Heard(self.stored))
        for _ in range(60):
            while self.processes.starting or self.processes.open:
                for start in list(self.processes.starting):
                    self.load(start, well=True)
                for errand in list(self.processes.open):
                    self.answer(errand, well=True)
            self.time_passes(QUARANTINE_S if self.worker.instances else 1.0)
            if not self.processes.starting and not self.processes.open and self.agreed():
                break
        assert self.agreed(), (self.stored, self.worker.instances, self.processes.alive)

    def agreed(self) -> bool:
        wanted = {d.id: d for d in self.stored.instances} if self.stored else {}
        has = {start.instance.id: (start, sleeps) for start, sleeps in self.processes.alive.values()}
        if len(has) != len(self.processes.alive) or has.keys() != wanted.keys() or self.worker.instances.keys() != wanted.keys():
            return False
        for name, (start, sleeps) in has.items():
            slots, wants = self.worker.instances[name], wanted[name]
            if start.instance.cores != wants.cores or slots.run != start.run or slots.state != ("asleep" if sleeps else "warm"):
                return False
            if sleeps != wants.asleep and not (wants.asleep and slots.sleepless):
                return False
        return True


TestReconciling = Reconciling.TestCase
TestReconciling.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
