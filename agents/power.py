"""The power cap of a GPU, set through NVML: needs a driver and, as a rule, root. What cannot be set is said and left.

Whoever sets one keeps the limit that was there (`limit_w`) and sets that again in the end: a cap outlives the process that set it.
"""

from __future__ import annotations

from .devices import nvml


def limit_w(index: int) -> float | None:
    """The limit of a GPU now, in watts; None where nobody can tell."""
    library, _ = nvml()
    if library is None:
        return None
    try:
        return float(library.nvmlDeviceGetPowerManagementLimit(library.nvmlDeviceGetHandleByIndex(index))) / 1000
    except library.NVMLError:
        return None


def cap(index: int, watts: float) -> str:
    """Caps one GPU, within what it allows. Why it could not be done, for people; empty when it was."""
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
