"""The power cap of a GPU, set through NVML: needs a driver and, as a rule, root. What cannot be set is said and left."""

from __future__ import annotations

from .devices import nvml


def cap(index: int, watts: float) -> str:
    """Caps one GPU. Why it could not be done, for people; empty when it was."""
    library, note = nvml()
    if library is None:
        return note
    try:
        handle = library.nvmlDeviceGetHandleByIndex(index)
        least, most = library.nvmlDeviceGetPowerManagementLimitConstraints(handle)
        library.nvmlDeviceSetPowerManagementLimit(handle, int(min(max(watts * 1000, least), most)))
    except library.NVMLError as error:
        return f"GPU {index} keeps its power limit: {error}"
    return ""
