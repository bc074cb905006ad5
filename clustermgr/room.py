"""What still fits on one host: memory of the host, and of each accelerator. Pure.

CPU cores are no hard room: stages of one job take turns on them, so more instances are warm than could work at once. But of one pool no
more than can work at once (`places`). An accelerator takes several instances as long as its memory does.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..agents.library import Implementation
from ..bus.messages import HostHeartbeat
from ..optimizer.hardware import hardware_of, split

MEMORY_SHARE = 0.8
"""Part of a memory that instances may take by their declared needs; the rest is the system's and the caches'."""


@dataclass(slots=True)
class Room:
    cores: int
    left_mb: float
    devices: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Accelerator to (its hardware class, memory that is left, in MB)."""

    @classmethod
    def of(cls, beat: HostHeartbeat) -> Room:
        memory_mb = sum(d.memory_mb for d in beat.devices if d.kind == "cpu")
        devices = {d.id or str(n): (hardware_of(d.name), MEMORY_SHARE * d.memory_mb) for n, d in enumerate(beat.devices) if d.kind != "cpu"}
        return cls(beat.cores, MEMORY_SHARE * memory_mb, devices)

    def places(self, row: Implementation, hardware: str) -> int:
        """Instances of one pool that can work at a time."""
        ours = [d for d, (name, _) in self.devices.items() if name == split(hardware)[0]]
        return len(ours) or max(1, self.cores // max(1, row.threads))

    def device(self, row: Implementation, hardware: str) -> str | None:
        """Where it would go: "" on a host's own cores, else the fullest accelerator of the class with the memory; None if nowhere."""
        ours = {d: left for d, (name, left) in self.devices.items() if name == split(hardware)[0]}
        if not ours:
            return "" if row.memory_mb <= self.left_mb else None
        fit = [(left, d) for d, left in ours.items() if row.memory_mb <= left]
        return min(fit)[1] if fit else None

    def fits(self, row: Implementation, device: str) -> bool:
        if device in self.devices:
            return row.memory_mb <= self.devices[device][1]
        return row.memory_mb <= self.left_mb

    def take(self, row: Implementation, device: str) -> None:
        if device in self.devices:
            name, left = self.devices[device]
            self.devices[device] = (name, left - row.memory_mb)
        else:
            self.left_mb -= row.memory_mb
