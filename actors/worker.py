"""The agent worker: makes its host match what the cluster manager desires, takes tasks for what is warm, runs, reports.

It decides nothing of policy. Models are processes of their own (`agents/host.py`): one may crash, hang or leak, and the
worker goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar

from ..agents.library import Implementation
from ..agents.machine import Machine
from ..bus.messages import (
    DesiredInstances,
    HostHeartbeat,
    LibraryOffered,
    Message,
    Offer,
    TaskDone,
    TaskFailed,
    TaskReady,
    TaskResults,
    Use,
)
from ..optimizer.prices import Prices
from .charges import at_owners_price, use
from .core import ActorBug, Command, Do, Event, Heard, Outcome, Replayed, Resumed, Return, Send, Take, Wake, Woke
from .departure import Durations, margin_s, too_long
from .errands import (
    CheckInstance,
    Measure,
    Ran,
    Readings,
    RestInstance,
    RunTask,
    StartInstance,
    WatchInstance,
)
from .keeper import Keeper
from .results import parts
from .slots import Slots
from .waiting import Waiting

BEAT_EVERY_S = 2.0
BEAT_FIRST_S = 0.1
"""After the start, then twice as long each time: who was starting just then has missed the first ones, and a job may wait for them."""
TELL_MAX_S = 60.0
"""What a host brings is said after 1, 2, 4 … up to this many seconds again: who was starting just then has missed it."""
DELIVERIES_MAX = 5
"""A task that was delivered this often has probably taken its workers down; it is reported as failed."""
LEAK_FACTOR = 4
"""An idle instance that holds this many times its declared memory is started anew."""


class Worker(Keeper):
    role: ClassVar[str] = "worker"
    hears: ClassVar[tuple[type[Message], ...]] = (DesiredInstances,)
    replays: ClassVar[tuple[type[Message], ...]] = (DesiredInstances,)
    works: ClassVar[tuple[type[Message], ...]] = ()

    def __init__(
        self,
        host: str,
        library: Mapping[tuple[str, str], Implementation],
        offers: tuple[Offer, ...],
        prices: Prices,
        cores: int,
        brings: LibraryOffered | None = None,
        machine: Machine | None = None,
        run: str = "",
    ) -> None:
        """`run` tells this process from others that were given the same name."""
        self.run = run
        self.machine = machine or Machine()
        self.revoked_at: float | None = None
        self.margin_s = 0.0
        super().__init__(host, library)
        self.offers, self.prices, self.cores = offers, prices, cores
        self.queued = Waiting()
        self.results: list[tuple[str, TaskDone | TaskFailed]] = []
        self.brings = brings or LibraryOffered(host=host)
        self.told = self.beats = 0
        self.readings = Readings(())
        self.beating = self.leaving = False
        self.took = Durations()

    def on(self, event: Event, now: float) -> Iterable[Command]:
        match event:
            case Heard(msg=TaskReady() as task, key=key, deliveries=deliveries):
                return self._take_in(task, key, deliveries, now)
            case Outcome(errand=RunTask() as errand, value=value, error=error):
                return self._ran(errand, value if isinstance(value, Ran) else Ran(now, now, error=error or "no outcome"), now)
            case Heard(msg=DesiredInstances() as msg) | Replayed(msg=DesiredInstances() as msg):
                return self._desire(msg, live=isinstance(event, Heard), now=now)
            case Outcome(errand=StartInstance() as errand, value=value, error=error):
                return self._started(errand, value, error, now)
            case Outcome(errand=WatchInstance() as errand, value=how, error=error):
                return self._exited(errand, f"its process ended ({error or how})", now)
            case Outcome(errand=CheckInstance() as errand, value=value, error=error):
                return self._checked(errand, value, error, now)
            case Outcome(errand=RestInstance() as errand, error=error):
                return self._rested(errand, error, now)
            case Outcome(errand=Measure(), value=Readings() as readings):
                self.readings = readings
                return self._readings(now)
            case Woke(key="results"):
                return self._report()
            case Woke(key="beat"):
                return [Do(Measure()), *self._check_all(now), self._next_beat()]
            case Woke(key="tell"):
                return self._tell()
            case Woke(key="leave"):
                self.leaving = True
                return [*(Take(p, 0) for p in self._pools()), *self._hand_back(set(self.queued.keys())), self._beat(now)]
            case Woke(key="handback"):
                return self._last_call(now)
            case Woke(key="abandon"):
                return self._hand_back(self._all_keys())
            case Woke(key=key) if key.startswith("restart:"):
                return self._reconcile(now)
            case Woke(key=key) if key.startswith("drain:"):
                return self._force(key.removeprefix("drain:"), now)
            case Resumed():
                started, self.beating = not self.beating, True
                first = [*self._tell(), Do(Measure()), self._next_beat()]
                return [*self._reconcile(now), *(first if started else [self._beat(now)])]
        return ()

    def check(self) -> None:
        for name, slots in self.instances.items():
            if len(slots.running) + len(slots.left) > slots.slots:
                raise ActorBug(f"instance {name} runs {len(slots.running)} tasks in {slots.slots} slots")
        keys = [k for s in self.instances.values() for k in s.running] + self.queued.keys()
        if len(keys) != len(set(keys)):
            raise ActorBug("a delivered task is in two places")

    # --- tasks ----------------------------------------------------------------------------------------------------------------

    def _take(self, pool: str) -> Take:
        """As many as there are slots, and a few more so that no slot waits for the network."""
        slots = sum(s.slots for s in self.instances.values() if s.pool == pool and s.state == "warm" and not s.resting)
        return Take(pool, 0 if self.leaving or self.revoked_at is not None else slots + (max(1, slots) if slots else 0))

    def _take_in(self, task: TaskReady, key: str, deliveries: int, now: float) -> Iterator[Command]:
        if deliveries > DELIVERIES_MAX:
            yield from self._finish(key, _failure(task, "", f"it was delivered {deliveries - 1} times and never finished"))
            return
        self.queued.put(key, task, now)
        yield from self._hand_back({key} & (self._stranded() | self._too_late(now)))
        yield from self._fill(task.pool, now)

    def _fill(self, pool: str, now: float) -> Iterator[Command]:
        while self.queued.any(pool):
            slots = max((s for s in self.instances.values() if s.pool == pool), key=lambda s: s.free, default=None)
            if slots is None or slots.free <= 0:
                return
            key, task, since = self.queued.pop(pool)
            slots.running[key], slots.began[key] = task, now
            cold_s = max(0.0, min(now, slots.since) - since)
            yield Do(RunTask(task, slots.desired.id, key, cold_s, slots.run))

    def _ran(self, errand: RunTask, ran: Ran, now: float) -> Iterator[Command]:
        task, name, key = errand.task, errand.instance, errand.key
        slots = self.instances.get(name)
        if slots is None:
            return
        known, began = slots.running.pop(key, None), slots.began.pop(key, now)
        if known is None and key not in slots.left:
            return
        slots.left.discard(key)
        if known is not None:
            if ran.error:
                result: TaskDone | TaskFailed = _failure(task, name, ran.error, ran.bad_input)
            else:
                self.took.note(slots.pool, now - began)
                slots.ends.clear()
                charged = self._use(slots, ran, errand.waited_cold_s)
                result = TaskDone(task.job, task.stage, task.index, task.attempt, name, ran.output, charged)
            yield from self._finish(key, result)
        if ran.lost and slots.state == "warm" and slots.run == errand.run:
            yield from self._end(name, ran.error, now)
        if (slots.state == "draining" or slots.resting) and not slots.running:
            yield from self._reconcile(now)  # also starts it anew if it has come to be wanted again
        yield from self._fill(task.pool, now)

    def _use(self, slots: Slots, ran: Ran, cold_s: float) -> Use:
        rates = self.prices.of(slots.desired.hardware)
        return use(ran, at_owners_price(rates, self.machine.usd_per_hour, self.readings.devices, self.cores), slots, cold_s, self.readings)

    def _finish(self, key: str, result: TaskDone | TaskFailed) -> Iterator[Command]:
        if not self.results:
            yield Wake(0.0, "results")  # what falls into the same turn goes out as one message
        self.results.append((key, result))

    def _report(self) -> Iterator[Command]:
        results, self.results = self.results, []
        for part in parts(results):
            yield Send(TaskResults(host=self.host, results=tuple(r for _, r in part)), settles=tuple(k for k, _ in part))

    # --- handing back ---------------------------------------------------------------------------------------------------------

    def _pools(self) -> list[str]:
        return sorted({s.pool for s in self.instances.values()})

    def _all_keys(self) -> set[str]:
        return {*self.queued.keys(), *(k for s in self.instances.values() for k in s.running)}

    def _stranded(self) -> set[str]:
        """What waits for an instance that will not come soon: others may have one."""
        served = {s.pool for name, s in self.instances.items() if s.takes and name in self.wanted and not self.leaving}
        return {k for pool, keys in self.queued.by_pool().items() if pool not in served for k in keys}

    def _too_late(self, now: float) -> set[str]:
        end = None if self.revoked_at is None else self.revoked_at - self.margin_s
        return set() if end is None else too_long(self.instances, self.queued.by_pool(), self.took, now, end)

    def _hand_back(self, keys: set[str]) -> Iterator[Command]:
        """The bus delivers them again, elsewhere: here nothing is taken for them any more."""
        if not keys:
            return
        self.queued.drop(keys)
        for slots in self.instances.values():
            for key in keys & slots.running.keys():
                del slots.running[key]
                slots.left.add(key)
        yield Return(tuple(sorted(keys)))

    def _last_call(self, now: float) -> Iterator[Command]:
        """The machine is about to be taken away: whatever is not done goes to others."""
        if self.revoked_at is not None and now >= self.revoked_at - self.margin_s - 1e-6:
            yield from self._hand_back(self._all_keys())

    # --- signs of life --------------------------------------------------------------------------------------------------------

    def _readings(self, now: float) -> Iterator[Command]:
        left_s = self.readings.revoked_in_s
        if (left_s is None) != (self.revoked_at is None):  # what can still be done is; the rest goes to others; until it is withdrawn
            self.revoked_at = None if left_s is None else now + left_s
            yield from (self._take(pool) for pool in self._pools())
            if left_s is not None:
                self.margin_s = margin_s(left_s)
                yield from self._hand_back(self._too_late(now))
                yield Wake(max(0.0, left_s - self.margin_s), "handback")
        for name, slots in list(self.instances.items()):
            slots.rss_mb = self.readings.rss_mb.get(name, slots.rss_mb)
            if slots.state == "warm" and not slots.running and slots.rss_mb > LEAK_FACTOR * slots.row.memory_mb + 500:
                error = f"it held {slots.rss_mb} MB, {LEAK_FACTOR} times the {slots.row.memory_mb} MB that it declares"
                yield from self._end(name, error, now)
        yield self._beat(now)

    def _tell(self) -> Iterator[Command]:
        """Also when it is nothing, once: it may have been something before this start."""
        yield Send(self.brings)
        if self.brings.agents or self.brings.implementations or self.brings.problems:
            yield Wake(min(TELL_MAX_S, 2.0**self.told), "tell")
            self.told = min(self.told + 1, 10)

    def _next_beat(self) -> Wake:
        self.beats += 1
        return Wake(min(BEAT_EVERY_S, BEAT_FIRST_S * 2.0 ** min(self.beats - 1, 10)), "beat")

    def _beat(self, now: float) -> Send:
        return Send(
            HostHeartbeat(
                host=self.host,
                at=now,
                devices=self.readings.devices,
                instances=tuple(s.told(name) for name, s in self.instances.items()),
                offers=self.offers,
                cores=self.cores,
                gpu_note=self.readings.gpu_note,
                leaving=self.leaving,
                version=self.version,
                market=self.machine.market,
                usd_per_hour=self.machine.usd_per_hour,
                revoked_at=self.revoked_at,
                run=self.run,
            )
        )


def _failure(task: TaskReady, instance: str, error: str, bad_input: bool = False) -> TaskFailed:
    return TaskFailed(task.job, task.stage, task.index, task.attempt, instance, error, bad_input)
