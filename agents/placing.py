"""Which accelerator each instance of a host has: chosen when it starts, given back when it has ended.

A GPU with a driver takes whatever comes: its memory tells. A declared one is counted by what its instances declare.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from ..bus.messages import Desired, Device
from ..optimizer.hardware import hardware_of, split
from .devices import freest
from .library import Implementation


class Place(Struct, frozen=True):
    """`index` is the place of a GPU in the driver's list, None for a declared device. `need_mb`: what its instance declares."""

    id: str
    index: int | None = None
    need_mb: int = 0


class Placing:
    def __init__(self, declared: Sequence[Device]) -> None:
        self.declared = tuple(declared)
        self.of: dict[str, Place] = {}
        """Instance to its accelerator."""

    def choose(self, wanted: Desired, row: Implementation, gpus: Sequence[Device]) -> Place | None:
        """None: this host has none of its class, and nobody said which. Raises RuntimeError for one that is not there, or is full."""
        self.of.pop(wanted.id, None)
        base = split(wanted.hardware)[0]
        here = {**{d.id or f"gpu{n}": n for n, d in enumerate(gpus)}, **{d.id: None for d in self.declared}}
        if wanted.device and wanted.device not in here:
            raise RuntimeError(f"this host has no device '{wanted.device}'; it has {', '.join(here) or 'no accelerator'}")
        place = self._driven(wanted, base, gpus) or self._declared(wanted, base, row.memory_mb)
        if place is not None:
            self.of[wanted.id] = place
        return place

    def used(self) -> tuple[Device, ...]:
        """The declared devices, with the memory that their instances declare."""
        return tuple(replace(d, memory_used_mb=self._used_mb(d.id)) for d in self.declared)

    def _driven(self, wanted: Desired, base: str, gpus: Sequence[Device]) -> Place | None:
        if wanted.device:
            found = [n for n, d in enumerate(gpus) if (d.id or f"gpu{n}") == wanted.device]
            return Place(wanted.device, found[0]) if found else None
        index = freest(gpus, lambda name: hardware_of(name) == base, [p.index for p in self.of.values() if p.index is not None])
        return None if index is None else Place(gpus[index].id or f"gpu{index}", index)

    def _declared(self, wanted: Desired, base: str, need_mb: int) -> Place | None:
        ours = [d for d in self.declared if (d.id == wanted.device if wanted.device else hardware_of(d.name) == base)]
        if not ours:
            return None
        count = {d.id: sum(p.id == d.id for p in self.of.values()) for d in ours}
        fit = [d for d in ours if self._used_mb(d.id) + need_mb <= d.memory_mb]
        if not fit:
            most = max(ours, key=lambda d: d.memory_mb - self._used_mb(d.id))
            left_mb = most.memory_mb - self._used_mb(most.id)
            raise RuntimeError(f"it declares {need_mb} MB, and {most.id} has {left_mb} of {most.memory_mb} MB left")
        best = min(fit, key=lambda d: (count[d.id], self._used_mb(d.id) - d.memory_mb, d.id))
        return Place(best.id, None, need_mb)

    def _used_mb(self, device: str) -> int:
        return sum(p.need_mb for p in self.of.values() if p.id == device)
