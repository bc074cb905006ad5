"""The agent worker: makes its host match what the cluster manager desires, takes tasks for what is warm, runs, reports.

It decides nothing of policy. Models are processes of their own (`agents/host.py`): one may crash, hang or leak, and the
worker goes on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import msgspec

from ..agents.library import Implementation
from ..agents.machine import Machine
from ..bus.messages import (
    Desired,
    DesiredInstances,
    HostHeartbeat,
    Instance,
    LibraryOffered,
    Message,
    Offer,
    TaskDone,
    TaskFailed,
    TaskReady,
    TaskResults,
    Use,
)
from ..bus.subjects import pool as pool_name
from ..optimizer.prices import Prices
from .core import ActorBug, Command, Do, Event, Heard, Outcome, Replayed, Resumed, Send, Take, Wake, Woke
from .errands import Measure, Ran, Readings, RunTask, Started, StartInstance, StopInstance, WatchInstance

BEAT_EVERY_S = 2.0
BEAT_FIRST_S = 0.1
"""After the start, then twice as long each time: who was starting just then has missed the first ones, and a job may wait for them."""
TELL_MAX_S = 60.0
"""What a host brings is said after 1, 2, 4 … up to this many seconds again: who was starting just then has missed it."""
RESTART_MAX_S = 60.0
DELIVERIES_MAX = 5
"""A task that was delivered this often has probably taken its workers down; it is reported as failed."""
RESULTS_MAX = 256
"""Results in one message."""
BYTES_MAX = 600_000
"""Bytes of results in one message; NATS takes none over 1 MB."""
LEAK_FACTOR = 4
"""An idle instance that holds this many times its declared memory is started anew."""


@dataclass(slots=True)
class Slots:
    """One instance."""

    desired: Desired
    row: Implementation
    state: str = "loading"
    pid: int = 0
    running: dict[str, TaskReady] = field(default_factory=dict)
    """Key of a task's delivery to the task."""
    failures: int = 0
    error: str = ""
    since: float = 0.0
    rss_mb: int = 0

    @property
    def pool(self) -> str:
        return pool_name(self.desired.agent, self.desired.implementation, self.desired.hardware)

    @property
    def slots(self) -> int:
        """Calls at a time."""
        return self.desired.slots or self.row.slots

    @property
    def free(self) -> int:
        return self.slots - len(self.running) if self.state == "warm" else 0


class Worker:
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
    ) -> None:
        self.machine = machine or Machine()
        self.revoked_at: float | None = None
        self.host, self.library, self.offers, self.prices, self.cores = host, library, offers, prices, cores
        self.version = -1
        self.wanted: dict[str, Desired] = {}
        self.instances: dict[str, Slots] = {}
        self.queued: dict[str, deque[tuple[str, TaskReady, float]]] = {}
        """By pool: (key, task, since) delivered and waiting for a free slot."""
        self.results: list[tuple[str, TaskDone | TaskFailed]] = []
        self.brings = brings or LibraryOffered(host=host)
        self.told = self.beats = 0
        self.readings = Readings(())
        self.beating = self.leaving = False

    def on(self, event: Event, now: float) -> Iterable[Command]:
        match event:
            case Heard(msg=TaskReady() as task, key=key, deliveries=deliveries):
                return self._take_in(task, key, deliveries, now)
            case Outcome(errand=RunTask() as errand, value=value, error=error):
                return self._ran(errand, value if isinstance(value, Ran) else Ran(now, now, error=error or "no outcome"), now)
            case Heard(msg=DesiredInstances() as msg) | Replayed(msg=DesiredInstances() as msg):
                return self._desire(msg, live=isinstance(event, Heard), now=now)
            case Outcome(errand=StartInstance(instance=desired), value=value, error=error):
                return self._started(desired, value, error, now)
            case Outcome(errand=WatchInstance(id=name, pid=pid), value=code, error=error):
                return self._exited(name, pid, f"its process ended ({error or code})", now)
            case Outcome(errand=Measure(), value=Readings() as readings):
                self.readings = readings
                return self._readings(now)
            case Woke(key="results"):
                return self._report()
            case Woke(key="beat"):
                return [Do(Measure()), self._next_beat()]
            case Woke(key="tell"):
                return self._tell()
            case Woke(key="leave"):
                self.leaving = True
                return [*(Take(p, 0) for p in {s.pool for s in self.instances.values()}), self._beat(now)]
            case Woke(key=key) if key.startswith("restart:"):
                return self._reconcile(now)
            case Resumed():
                started, self.beating = not self.beating, True
                first = [*self._tell(), Do(Measure()), self._next_beat()]
                return [*self._reconcile(now), *(first if started else [self._beat(now)])]
        return ()

    def check(self) -> None:
        for name, slots in self.instances.items():
            if len(slots.running) > slots.slots:
                raise ActorBug(f"instance {name} runs {len(slots.running)} tasks in {slots.slots} slots")
        keys = [k for s in self.instances.values() for k in s.running] + [k for q in self.queued.values() for k, _, _ in q]
        if len(keys) != len(set(keys)):
            raise ActorBug("a delivered task is in two places")

    # --- desired and actual ---------------------------------------------------------------------------------------------------

    def _desire(self, msg: DesiredInstances, live: bool, now: float) -> Iterable[Command]:
        """Any order, any number of times: the newest version wins."""
        if msg.host != self.host or msg.version <= self.version:
            return ()
        self.version, self.wanted = msg.version, {d.id: d for d in msg.instances}
        return self._reconcile(now) if live else ()

    def _reconcile(self, now: float) -> Iterator[Command]:
        for name, slots in list(self.instances.items()):
            if name not in self.wanted and slots.state != "draining":
                slots.state = "draining"
                yield self._take(slots.pool)
            if slots.state == "draining" and not slots.running:
                yield from self._remove(name)
        for name, desired in self.wanted.items():
            row = self.library.get((desired.agent, desired.implementation))
            if row is None:
                continue
            known = self.instances.get(name)
            if known is None:
                self.instances[name] = Slots(desired, row, since=now)
                yield Do(StartInstance(desired))
            elif known.state == "failed" and now - known.since >= _pause(known.failures) - 1e-6:
                known.state, known.since = "loading", now
                yield Do(StartInstance(desired))
        yield self._beat(now)

    def _started(self, desired: Desired, value: object, error: str, now: float) -> Iterator[Command]:
        slots = self.instances.get(desired.id)
        if slots is None or slots.state == "draining":
            yield Do(StopInstance(desired.id))
            yield from self._reconcile(now)
            return
        if isinstance(value, Started):
            slots.state, slots.pid, slots.error, slots.since, slots.rss_mb = "warm", value.pid, "", now, 0
            yield Do(WatchInstance(desired.id, value.pid))
            yield self._take(slots.pool)
            yield from self._fill(slots.pool, now)
            yield self._beat(now)
        else:
            yield from self._failed(desired.id, error or "it did not start", now)

    def _exited(self, name: str, pid: int, error: str, now: float) -> Iterator[Command]:
        slots = self.instances.get(name)
        if slots is not None and slots.pid == pid and slots.state in ("warm", "draining"):
            yield from self._failed(name, error, now)

    def _failed(self, name: str, error: str, now: float) -> Iterator[Command]:
        """An instance is gone. Its tasks are answered by their own outcomes; it is started again after a growing pause."""
        slots = self.instances[name]
        if slots.state == "draining":
            slots.pid = 0
            yield from self._reconcile(now)  # removes it once its last task is answered
            return
        if slots.state == "warm" and now - slots.since > RESTART_MAX_S:
            slots.failures = 0  # it had worked for a while
        slots.state, slots.pid, slots.since, slots.error, slots.rss_mb = "failed", 0, now, error, 0
        slots.failures += 1
        yield self._take(slots.pool)
        yield Wake(_pause(slots.failures), f"restart:{name}")
        yield self._beat(now)

    def _remove(self, name: str) -> Iterator[Command]:
        slots = self.instances.pop(name)
        yield Do(StopInstance(name))
        yield self._take(slots.pool)

    # --- tasks ----------------------------------------------------------------------------------------------------------------

    def _take(self, pool: str) -> Take:
        """As many as there are slots, and a few more so that no slot waits for the network."""
        slots = sum(s.slots for s in self.instances.values() if s.pool == pool and s.state == "warm")
        return Take(pool, 0 if self.leaving or self.revoked_at is not None else slots + (max(1, slots) if slots else 0))

    def _take_in(self, task: TaskReady, key: str, deliveries: int, now: float) -> Iterator[Command]:
        if deliveries > DELIVERIES_MAX:
            yield from self._finish(key, _failure(task, "", f"it was delivered {deliveries - 1} times and never finished"))
            return
        self.queued.setdefault(task.pool, deque()).append((key, task, now))
        yield from self._fill(task.pool, now)

    def _fill(self, pool: str, now: float) -> Iterator[Command]:
        queue = self.queued.get(pool)
        while queue:
            slots = max((s for s in self.instances.values() if s.pool == pool), key=lambda s: s.free, default=None)
            if slots is None or slots.free <= 0:
                return
            key, task, since = queue.popleft()
            slots.running[key] = task
            cold_s = max(0.0, min(now, slots.since) - since)
            yield Do(RunTask(task, slots.desired.id, key, cold_s))

    def _ran(self, errand: RunTask, ran: Ran, now: float) -> Iterator[Command]:
        task, name, key = errand.task, errand.instance, errand.key
        slots = self.instances.get(name)
        if slots is None or slots.running.pop(key, None) is None:
            return
        if ran.error:
            result: TaskDone | TaskFailed = _failure(task, name, ran.error, ran.bad_input)
        else:
            result = TaskDone(task.job, task.stage, task.index, task.attempt, name, ran.output, self._use(slots, ran, errand.waited_cold_s))
        yield from self._finish(key, result)
        if ran.lost and slots.state == "warm":
            yield Do(StopInstance(name))
            yield from self._failed(name, ran.error, now)
        if slots.state == "draining" and not slots.running:
            yield from self._reconcile(now)  # also starts it anew if it has come to be wanted again
        yield from self._fill(task.pool, now)

    def _use(self, slots: Slots, ran: Ran, cold_s: float) -> Use:
        gpus = sum(d.kind == "gpu" for d in self.readings.devices)
        whole = self.machine.usd_per_hour
        rates = self.prices.of(slots.desired.hardware)
        rates = rates.at(None if whole is None else whole / ((gpus if rates.device_busy_w else self.cores) or 1))
        energy_wh, cost_usd = ran.cpu_s * rates.watts_per_core / 3600, ran.cpu_s * rates.usd_per_core_hour / 3600
        read_wh = ran.energy_wh
        if rates.device_busy_w:
            # a GPU counts while it is worked on, in equal shares of the calls that it may have; no counter of the CPU's sees it
            share_s = max(0.0, ran.end - ran.start) / slots.slots
            energy_wh, cost_usd = share_s * rates.device_busy_w / 3600, share_s * rates.usd_per_device_hour / 3600
            read_wh = None
        return Use(
            start=ran.start,
            end=ran.end,
            cpu_s=ran.cpu_s,
            energy_wh=energy_wh if read_wh is None else read_wh,
            energy_how="modelled" if read_wh is None else "measured",
            cost_usd=cost_usd,
            cold_s=cold_s,
            units=ran.units,
        )

    def _finish(self, key: str, result: TaskDone | TaskFailed) -> Iterator[Command]:
        if not self.results:
            yield Wake(0.0, "results")  # what falls into the same turn goes out as one message
        self.results.append((key, result))

    def _report(self) -> Iterator[Command]:
        results, self.results = self.results, []
        part: list[tuple[str, TaskDone | TaskFailed]] = []
        size = 0
        for key, result in results:
            more = len(msgspec.json.encode(result))
            if part and (len(part) >= RESULTS_MAX or size + more > BYTES_MAX):
                yield self._told(part)
                part, size = [], 0
            part.append((key, result))
            size += more
        if part:
            yield self._told(part)

    def _told(self, part: list[tuple[str, TaskDone | TaskFailed]]) -> Send:
        return Send(TaskResults(host=self.host, results=tuple(r for _, r in part)), settles=tuple(k for k, _ in part))

    # --- signs of life --------------------------------------------------------------------------------------------------------

    def _readings(self, now: float) -> Iterator[Command]:
        left_s = self.readings.revoked_in_s
        if (left_s is None) != (self.revoked_at is None):  # what runs is finished; what others can do goes to them, until it is withdrawn
            self.revoked_at = None if left_s is None else now + left_s
            yield from (self._take(pool) for pool in sorted({s.pool for s in self.instances.values()}))
        for name, slots in self.instances.items():
            slots.rss_mb = self.readings.rss_mb.get(name, slots.rss_mb)
            if slots.state == "warm" and not slots.running and slots.rss_mb > LEAK_FACTOR * slots.row.memory_mb + 500:
                error = f"it held {slots.rss_mb} MB, {LEAK_FACTOR} times the {slots.row.memory_mb} MB that it declares"
                yield Do(StopInstance(name))
                yield from self._failed(name, error, now)
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
                instances=tuple(
                    Instance(
                        name,
                        s.desired.agent,
                        s.desired.implementation,
                        s.desired.hardware,
                        s.state,  # type: ignore[arg-type]
                        s.slots,
                        len(s.running),
                        s.rss_mb,
                        s.pid,
                        s.error,
                    )
                    for name, s in self.instances.items()
                ),
                offers=self.offers,
                cores=self.cores,
                gpu_note=self.readings.gpu_note,
                leaving=self.leaving,
                version=self.version,
                market=self.machine.market,
                usd_per_hour=self.machine.usd_per_hour,
                revoked_at=self.revoked_at,
            )
        )


def _pause(failures: int) -> float:
    """Seconds before another start: 0, 1, 2, 4 … up to a minute; a crash loop costs little, a single crash nothing."""
    return 0.0 if failures <= 1 else min(RESTART_MAX_S, 2.0 ** (failures - 2))


def _failure(task: TaskReady, instance: str, error: str, bad_input: bool = False) -> TaskFailed:
    return TaskFailed(task.job, task.stage, task.index, task.attempt, instance, error, bad_input)
