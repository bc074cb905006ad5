"""What a host has: CPU and memory by psutil, GPUs by NVML. A missing driver is a clear note, never an error."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import psutil

from ..bus.messages import Device


def cpu_device(memory_mb: int | None = None) -> Device:
    """All cores as one device, with all memory or as much of it as we may take. `busy` is the mean since the last look; the first
    look gives 0."""
    memory = psutil.virtual_memory()
    return Device(
        name=platform.processor() or platform.machine(),
        kind="cpu",
        memory_mb=min(memory.total >> 20, memory_mb or memory.total >> 20),
        memory_used_mb=(memory.total - memory.available) >> 20,
        busy=psutil.cpu_percent(interval=None) / 100,
    )


@cache
def nvml() -> tuple[Any, str]:
    """(the started library or None, why it is None)."""
    try:
        import pynvml
    except ImportError:
        return None, "no GPU: the package nvidia-ml-py is not installed"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return None, f"no GPU: {error}"
    return pynvml, ""


def gpu_devices() -> tuple[tuple[Device, ...], str]:
    """The GPUs, and a note that says why there are none."""
    library, note = nvml()
    if library is None:
        return (), note
    found = []
    for i in range(library.nvmlDeviceGetCount()):
        handle = library.nvmlDeviceGetHandleByIndex(i)
        memory = library.nvmlDeviceGetMemoryInfo(handle)
        name = library.nvmlDeviceGetName(handle)
        found.append(
            Device(
                name=name.decode() if isinstance(name, bytes) else name,
                kind="gpu",
                memory_mb=memory.total >> 20,
                memory_used_mb=memory.used >> 20,
                busy=_or_none(lambda h=handle: library.nvmlDeviceGetUtilizationRates(h).gpu / 100, library),
                power_w=_or_none(lambda h=handle: library.nvmlDeviceGetPowerUsage(h) / 1000, library),
                id=f"gpu{i}",
            )
        )
    return tuple(found), "" if found else "no GPU: NVML lists none"


def freest(gpus: Sequence[Device], wanted: Callable[[str], bool], taken: Sequence[int]) -> int | None:
    """The GPU for one more instance, by its place in `gpus`: of those whose name is `wanted` the one with the fewest instances (`taken`:
    the places of those that there are), then the most free memory. What is only being loaded shows in no memory yet. None: there is none."""
    fit = [(taken.count(n), d.memory_used_mb - d.memory_mb, n) for n, d in enumerate(gpus) if wanted(d.name)]
    return min(fit)[2] if fit else None


def _or_none(read: Any, nvml: Any) -> float | None:
    """Not every board tells everything."""
    try:
        return float(read())
    except nvml.NVMLError:
        return None
