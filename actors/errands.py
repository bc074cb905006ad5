"""The slow work that a worker asks of its shell, and what it comes to. Only data; `agents/host.py` does it."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from ..bus.messages import Desired, Device, TaskReady
from .core import Errand


class StartInstance(Errand, frozen=True):
    """Start a process for an instance and load its model; the outcome is Started."""

    instance: Desired


class Started(Struct, frozen=True):
    pid: int
    load_s: float


class WatchInstance(Errand, frozen=True):
    """Wait for the end of an instance's process; the outcome is its exit code."""

    id: str
    pid: int


class StopInstance(Errand, frozen=True):
    """End an instance's process, by force if it does not go."""

    id: str


class RunTask(Errand, frozen=True):
    """Run a task on a warm instance; the outcome is Ran."""

    task: TaskReady
    instance: str
    key: str
    waited_cold_s: float = 0.0


class Ran(Struct, frozen=True):
    """What an instance made of a task. `error` is empty on success."""

    start: float
    end: float
    output: Any = None
    cpu_s: float = 0.0
    energy_wh: float | None = None
    """Measured on the device; None where it must be modelled."""
    error: str = ""
    bad_input: bool = False
    lost: bool = False
    """The instance's process is gone or was ended for it (crash, hang)."""
    units: dict[str, float] = {}
    """The work that it was, as the model counted it."""


class Measure(Errand, frozen=True):
    """Look at the host; the outcome is Readings."""


class Readings(Struct, frozen=True):
    devices: tuple[Device, ...]
    gpu_note: str = ""
    rss_mb: dict[str, int] = {}
    """Resident memory of each instance's process."""
    revoked_in_s: float | None = None
    """Until the machine is taken away, once its owner has said so."""
