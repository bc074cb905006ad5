"""The slow work that a worker asks of its shell, and what it comes to. Only data; `agents/host.py` does it."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from ..bus.messages import Desired, Device, TaskReady
from .core import Errand


class StartInstance(Errand, frozen=True):
    """Start a process for an instance and load its model; the outcome is Started. `run` tells it from others of the same name."""

    instance: Desired
    run: int = 0


class Started(Struct, frozen=True):
    pid: int
    load_s: float
    device: str = ""
    """The accelerator that it was given."""


class WatchInstance(Errand, frozen=True):
    """Wait for the end of an instance's process; the outcome is how it ended, in words."""

    id: str
    pid: int
    run: int = 0


class StopInstance(Errand, frozen=True):
    """End an instance's process, by force if it does not go."""

    id: str
    run: int = 0


class CheckInstance(Errand, frozen=True):
    """Ask an instance for a sign of life; the outcome is Checked, or an error when it gives none."""

    id: str
    run: int


class Checked(Struct, frozen=True):
    load: dict[str, float] = {}
    """What its server has to do, where it tells: requests running and waiting, share of its cache in use."""


class RestInstance(Errand, frozen=True):
    """Put an instance to sleep, or wake it; an error says why it cannot."""

    id: str
    run: int
    asleep: bool


class RunTask(Errand, frozen=True):
    """Run a task on a warm instance; the outcome is Ran."""

    task: TaskReady
    instance: str
    key: str
    waited_cold_s: float = 0.0
    run: int = 0


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
