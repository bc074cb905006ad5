"""Energy counters while something is measured: RAPL of the processor, NVML of a GPU. Where there is none, energy is modelled."""

from __future__ import annotations

import contextlib
from typing import Any

from msgspec import Struct

from ..agents.devices import gpu_devices
from ..agents.energy import PackageEnergy, share_wh
from ..agents.energy import Reading as Package
from ..optimizer.hardware import hardware_of

MJ_PER_WH = 3.6e6
ON_GPU_MB = 150
"""A GPU whose used memory grows by this while an implementation loads is the one that it runs on."""


class Reading(Struct, frozen=True):
    package: Package | None
    gpu_wh: tuple[float | None, ...] = ()


class Meter:
    """All counters of this machine."""

    def __init__(self) -> None:
        self.package = PackageEnergy()
        self.gpus, self.note = gpu_devices()
        self._nvml: Any = None
        if self.gpus:
            import pynvml

            self._nvml = pynvml

    def read(self) -> Reading:
        return Reading(self.package.read(), tuple(self._gpu_wh(n) for n in range(len(self.gpus))))

    def spent_wh(self, before: Reading, after: Reading, cpu_s: float, gpu: int | None) -> float | None:
        """Between two readings: of the GPU where one does the work (all of the board), else a share of the processor's. None: no counter."""
        if gpu is not None:
            a, b = before.gpu_wh[gpu], after.gpu_wh[gpu]
            return None if a is None or b is None else max(0.0, b - a)
        return share_wh(before.package, after.package, cpu_s)

    def gpu_memory_mb(self) -> list[int]:
        return [device.memory_used_mb for device in gpu_devices()[0]]

    def gpu_taken(self, before: list[int]) -> int | None:
        """Which GPU has taken a model since then."""
        grown = [now - then for now, then in zip(self.gpu_memory_mb(), before, strict=False)]
        return max(range(len(grown)), key=lambda n: grown[n]) if grown and max(grown) >= ON_GPU_MB else None

    def idle_w(self, gpu: int) -> float | None:
        """Draw of a GPU just now."""
        return gpu_devices()[0][gpu].power_w

    def hardware(self, gpu: int | None) -> str:
        """The hardware class: "cpu", or that of a GPU by its name."""
        return "cpu" if gpu is None else hardware_of(self.gpus[gpu].name)

    def _gpu_wh(self, n: int) -> float | None:
        with contextlib.suppress(self._nvml.NVMLError):
            return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._nvml.nvmlDeviceGetHandleByIndex(n))) / MJ_PER_WH
        return None
