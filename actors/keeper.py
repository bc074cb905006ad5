"""The instances of a host, kept as the cluster manager desires them: started, drained, restarted after a pause, put to sleep, looked after.

Half of the worker, without its tasks (`worker.py`). Idempotent: what is desired may come late, twice, out of order, or from the past.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping

from ..agents.library import Implementation
from ..bus.messages import Desired, DesiredInstances
from .core import Command, Do, Send, Take, Wake
from .errands import Checked, CheckInstance, RestInstance, Started, StartInstance, StopInstance, WatchInstance
from .slots import Slots

CHECK_EVERY_S = 6.0
"""A warm instance is asked for a sign of life this often."""
DRAIN_S = 300.0
"""An instance that is no longer wanted has this long for the tasks that it runs; then they go to others."""


class Keeper(ABC):
    def __init__(self, host: str, library: Mapping[tuple[str, str], Implementation]) -> None:
        self.host, self.library = host, library
        self.version = -1
        self.wanted: dict[str, Desired] = {}
        self.instances: dict[str, Slots] = {}
        self.starts = 0

    @abstractmethod
    def _take(self, pool: str) -> Take:
        """As many tasks of a pool as its instances have slots for now."""

    @abstractmethod
    def _fill(self, pool: str, now: float) -> Iterator[Command]:
        """Tasks that wait to slots that are free."""

    @abstractmethod
    def _hand_back(self, keys: set[str]) -> Iterator[Command]:
        """Tasks, by the keys of their deliveries, to whoever takes them."""

    @abstractmethod
    def _stranded(self) -> set[str]:
        """Keys of what waits for an instance that will not come soon: others may have one."""

    @abstractmethod
    def _beat(self, now: float) -> Send:
        """What others are to know of this host."""

    def _desire(self, msg: DesiredInstances, live: bool, now: float) -> Iterable[Command]:
        """Any order, any number of times: the newest version wins."""
        if msg.host != self.host or msg.version <= self.version:
            return ()
        self.version, self.wanted = msg.version, {d.id: d for d in msg.instances}
        return self._reconcile(now) if live else ()

    def _reconcile(self, now: float) -> Iterator[Command]:
        for name, slots in list(self.instances.items()):
            wants = self.wanted.get(name)
            if wants is None or not slots.is_for(wants):
                yield from self._drain(name, slots, now)
            elif slots.state == "draining" and slots.pid:
                slots.turn("warm", now)  # wanted again, as it is
                yield self._take(slots.pool)
                yield from self._fill(slots.pool, now)
            elif slots.state == "draining" and not slots.running:
                yield from self._remove(name)  # its process ended meanwhile: it starts anew, below
        for name, desired in self.wanted.items():
            known = self.instances.get(name)
            if known is None:
                row = self.library.get((desired.agent, desired.implementation))
                if row is not None:
                    self.instances[name] = Slots(desired, row)
                    yield self._start(self.instances[name], now)
            elif known.state in ("failed", "quarantined") and now - known.since >= known.pause_s - 1e-6:
                yield self._start(known, now)
            elif known.is_for(desired):
                known.desired = desired
                yield from self._rest(name, known)
        yield from self._hand_back(self._stranded())
        yield self._beat(now)

    def _start(self, slots: Slots, now: float) -> Do:
        slots.start(self.starts, now)
        self.starts += 1
        return Do(StartInstance(slots.desired, slots.run))

    def _drain(self, name: str, slots: Slots, now: float) -> Iterator[Command]:
        """It finishes what it runs, within a grace period, and then goes. One that runs nothing goes at once."""
        if slots.state != "draining":
            slots.turn("draining", now)
            yield self._take(slots.pool)
            if slots.running:
                yield Wake(DRAIN_S, f"drain:{name}")
        if not slots.running:
            yield from self._remove(name)

    def _force(self, name: str, now: float) -> Iterator[Command]:
        slots = self.instances.get(name)
        if slots is not None and slots.state == "draining" and now - slots.since >= DRAIN_S - 1e-6:
            yield from self._hand_back(set(slots.running))
            yield from self._reconcile(now)

    def _mine(self, name: str, run: int) -> Slots | None:
        """The instance that news is about; None when that process has been given up meanwhile."""
        slots = self.instances.get(name)
        return slots if slots is not None and slots.run == run else None

    def _started(self, errand: StartInstance, value: object, error: str, now: float) -> Iterator[Command]:
        name = errand.instance.id
        slots = self._mine(name, errand.run)
        if slots is None or slots.state != "loading":
            yield Do(StopInstance(name, errand.run))
            yield from self._reconcile(now)
        elif isinstance(value, Started):
            slots.turn("warm", now)
            slots.pid, slots.load_s, slots.device, slots.checked = value.pid, value.load_s, value.device, now
            yield Do(WatchInstance(name, value.pid, errand.run))
            yield self._take(slots.pool)
            yield from self._rest(name, slots)
            yield from self._fill(slots.pool, now)
            yield self._beat(now)
        else:
            yield from self._failed(name, error or "it did not start", now)

    def _exited(self, errand: WatchInstance, error: str, now: float) -> Iterator[Command]:
        slots = self._mine(errand.id, errand.run)
        if slots is not None and slots.pid == errand.pid:
            yield from self._failed(errand.id, error, now)

    def _failed(self, name: str, error: str, now: float) -> Iterator[Command]:
        """An instance is gone. Its tasks are answered by their own outcomes; it is started again after a growing pause."""
        slots = self.instances[name]
        if slots.state == "draining":
            slots.pid = 0
            yield from self._reconcile(now)  # removes it once its last task is answered
            return
        pause_s = slots.fail(error, now)
        yield self._take(slots.pool)
        yield Wake(pause_s, f"restart:{name}")
        yield from self._hand_back(self._stranded())
        yield self._beat(now)

    def _end(self, name: str, error: str, now: float) -> Iterator[Command]:
        """Ends an instance that is of no use as it is; it is started anew."""
        yield Do(StopInstance(name, self.instances[name].run))
        yield from self._failed(name, error, now)

    def _remove(self, name: str) -> Iterator[Command]:
        slots = self.instances.pop(name)
        yield Do(StopInstance(name, slots.run))
        yield self._take(slots.pool)

    # --- health and sleep -----------------------------------------------------------------------------------------------------

    def _check_all(self, now: float) -> Iterator[Command]:
        for name, slots in self.instances.items():
            if slots.state in ("warm", "asleep") and not slots.checking and now - slots.checked >= CHECK_EVERY_S:
                slots.checking, slots.checked = True, now
                yield Do(CheckInstance(name, slots.run))

    def _checked(self, errand: CheckInstance, value: object, error: str, now: float) -> Iterator[Command]:
        slots = self._mine(errand.id, errand.run)
        if slots is None or not slots.checking:
            return
        slots.checking = False
        if isinstance(value, Checked):
            slots.load = value.load
        elif slots.idle and not slots.turning and slots.state in ("warm", "asleep"):  # what works is bounded by its tasks' time
            yield from self._end(errand.id, error or "it gave no sign of life", now)

    def _rest(self, name: str, slots: Slots) -> Iterator[Command]:
        asleep = slots.desired.asleep
        if slots.turning or slots.sleepless or slots.state != ("warm" if asleep else "asleep") or not slots.idle:
            return
        slots.turning = True
        yield self._take(slots.pool)
        yield Do(RestInstance(name, slots.run, asleep))

    def _rested(self, errand: RestInstance, error: str, now: float) -> Iterator[Command]:
        slots = self._mine(errand.id, errand.run)
        if slots is None or not slots.turning:
            return
        slots.turning = False
        if error and not errand.asleep:
            yield from self._end(errand.id, f"it did not wake: {error}", now)
            return
        if error:
            slots.sleepless, slots.error = True, f"it stays awake: {error}"
        elif slots.state != "draining":
            slots.turn("asleep" if errand.asleep else "warm", now)
        yield self._take(slots.pool)
        yield from self._fill(slots.pool, now)
        yield from self._reconcile(now)
