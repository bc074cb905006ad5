"""Heartbeats that cannot be true, or come from two hosts at once: what of them is used all the same, and what is told of them. Pure.

A host is never believed more than it can hold, and never put out for a figure that is wrong: it goes on with what is plausible. Of two
workers with one name the first keeps it. Times of a host are only compared with other times of it, so a clock that is wrong harms nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from msgspec.structs import replace

from ..bus.messages import Device, HostHeartbeat, Instance
from ..optimizer.hardware import hardware_of, known

SKEW_S = 5.0
"""Clocks that are further apart are told of; less is the network, or harmless."""
BEATS_MAX = 50
"""Heartbeats of a host in `FLOOD_S` that are looked at; a busy one says every change, which are a few a second."""
FLOOD_S = 5.0
SILENT_S = 10.0
"""A worker that was not heard for so long has given up its name."""
CORES_MAX = 4_096
SLOTS_MAX = 10_000
VERSION_AHEAD_MS = 86_400_000
"""Versions are milliseconds (actors/clustermgr.py); a day ahead of ours no clock is, whoever counted on from a predecessor."""
TOLD_S = 60.0
"""A fault that was not seen again for so long is told no more."""
KINDS = ("cpu", "gpu")


@dataclass(slots=True)
class _Seen:
    """One host name. `run`: the worker that has it; `before`: the one that had it until that came; `late`: those that came while it was in use."""

    run: str = ""
    at: float = 0.0
    before: str = ""
    late: set[str] = field(default_factory=set)
    beats: deque[float] = field(default_factory=lambda: deque(maxlen=BEATS_MAX))


@dataclass(slots=True)
class Suspects:
    """What was wrong, by host and kind of fault: since when, until when, and in words."""

    hosts: dict[str, _Seen] = field(default_factory=dict)
    faults: dict[tuple[str, str], tuple[float, str]] = field(default_factory=dict)

    def check(self, beat: HostHeartbeat, now: float) -> tuple[HostHeartbeat | None, list[str]]:
        """What is to be used of a heartbeat, None for nothing; and faults that are new, for the log."""
        new: list[str] = []

        def tell(code: str, text: str) -> None:
            if (beat.host, code) not in self.faults:
                new.append(text)
            self.faults[beat.host, code] = (now, text)

        seen = self.hosts.setdefault(beat.host, _Seen())
        if self._twin(seen, beat, now):
            tell(
                "twin",
                f"two workers call themselves {beat.host}: {beat.run} is ignored, for {seen.run} was first; start it with another --host",
            )
            return None, new
        if self._floods(seen, now) and not beat.leaving:
            tell("flood", f"{beat.host} says more than {BEATS_MAX} heartbeats in {FLOOD_S:g} s: the others are not looked at")
            return None, new
        skew_s = beat.at - now
        if abs(skew_s) > SKEW_S:
            way = "ahead of" if skew_s > 0 else "behind"
            tell(
                "clock",
                f"the clock of {beat.host} is {abs(skew_s):.0f} s {way} ours: nothing here depends on it, its pictures and logs will be off",
            )
        lies = list(_lies(beat, now))
        for code, text in lies:
            tell(code, text)
        return _corrected(beat, now) if lies else beat, new

    def told(self, now: float) -> tuple[str, ...]:
        """What is wrong at present."""
        self.faults = {key: fault for key, fault in self.faults.items() if now - fault[0] < TOLD_S}
        return tuple(text for _, text in self.faults.values())

    def forget(self, host: str) -> None:
        """It has left: whoever comes next has its name."""
        self.hosts.pop(host, None)

    def _twin(self, seen: _Seen, beat: HostHeartbeat, now: float) -> bool:
        """A worker that starts anew takes the name over. When the one before is heard again, both live: then it keeps the name."""
        if beat.run in seen.late and now - seen.at < SILENT_S:
            return True
        if seen.run and beat.run != seen.run:
            if now - seen.at >= SILENT_S:
                seen.before, seen.late = "", set()
            elif beat.run == seen.before:
                seen.late.add(seen.run)
                seen.before = ""
            else:
                seen.before = seen.run
        seen.run, seen.at = beat.run, now
        return False

    def _floods(self, seen: _Seen, now: float) -> bool:
        if len(seen.beats) == BEATS_MAX and now - seen.beats[0] < FLOOD_S:
            return True
        seen.beats.append(now)
        return False


def _lies(beat: HostHeartbeat, now: float) -> Iterator[tuple[str, str]]:
    """(code, what is wrong and what is done about it)."""
    name = beat.host
    if not 1 <= beat.cores <= CORES_MAX:
        yield "cores", f"{name} says that it has {beat.cores} cores: taken as {_within(beat.cores, 1, CORES_MAX)}"
    for d in beat.devices:
        if d.kind not in KINDS:
            yield (
                f"kind {d.id}",
                f"{name} has a device '{d.name}' of kind '{d.kind}', which nobody here knows (they are {', '.join(KINDS)}): left alone",
            )
        elif d.memory_mb < 0 or not 0 <= d.memory_used_mb <= max(0, d.memory_mb):
            yield f"memory {d.id}", f"{name} says {d.memory_used_mb} of {d.memory_mb} MB in use on '{d.name}': taken as full"
        elif d.kind == "gpu" and known(hardware_of(d.name)) is None:
            yield (
                f"class {d.id}",
                f"{name} has a '{d.name}', which is in no catalogue: a class of its own, '{hardware_of(d.name)}', without price or power",
            )
    ids = [d.id for d in beat.devices]
    if len(set(ids)) < len(ids):
        yield "devices", f"{name} names two devices alike: the first of each name is used"
    names = [i.id for i in beat.instances]
    if len(set(names)) < len(names):
        yield "instances", f"{name} names two instances alike: the first of each name is used"
    for i in beat.instances:
        if not 0 <= i.busy <= i.slots or not 1 <= i.slots <= SLOTS_MAX:
            yield (
                f"slots {i.id}",
                f"{name} says that {i.id} does {i.busy} tasks in {i.slots} slots: taken as {_slots(i).busy} in {_slots(i).slots}",
            )
    if beat.version > now * 1000 + VERSION_AHEAD_MS:
        yield "version", f"{name} says that it was given version {beat.version}, which nobody has said yet: restart it"


def plausible(beat: HostHeartbeat, now: float) -> HostHeartbeat:
    """The heartbeat as far as it can be believed; the same object where nothing is wrong."""
    return _corrected(beat, now) if any(True for _ in _lies(beat, now)) else beat


def _corrected(beat: HostHeartbeat, now: float) -> HostHeartbeat:
    devices: dict[str, Device] = {}
    for d in beat.devices:
        memory_mb = max(0, d.memory_mb)
        right = 0 <= d.memory_used_mb <= memory_mb
        if d.kind in KINDS:
            devices.setdefault(d.id, d if right and d.memory_mb >= 0 else replace(d, memory_mb=memory_mb, memory_used_mb=memory_mb))
    instances: dict[str, Instance] = {}
    for i in beat.instances:
        instances.setdefault(i.id, _slots(i))
    version = min(beat.version, int(now * 1000) + VERSION_AHEAD_MS)
    return replace(
        beat,
        cores=_within(beat.cores, 1, CORES_MAX),
        devices=tuple(devices.values()),
        instances=tuple(instances.values()),
        version=version,
    )


def _slots(i: Instance) -> Instance:
    slots = _within(i.slots, 1, SLOTS_MAX)
    busy = _within(i.busy, 0, slots)
    return i if (slots, busy) == (i.slots, i.busy) else replace(i, slots=slots, busy=busy)


def _within(value: int, low: int, high: int) -> int:
    return min(high, max(low, value))
