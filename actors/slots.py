"""One instance as its worker sees it: the state that it is in, what runs on it, and how often it has failed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from ..agents.library import Implementation
from ..bus.messages import Desired, Instance, TaskReady
from ..bus.subjects import pool as pool_name

RESTART_MAX_S = 60.0
CRASHES_MAX = 6
"""So many ends within the window below, with no task done well in between, are a crash loop: it is started no more."""
CRASH_WINDOW_S = 300.0
QUARANTINE_S = 900.0
"""After that it is tried once more; sooner when something else is desired of it."""


@dataclass(slots=True)
class Slots:
    """One instance."""

    desired: Desired
    row: Implementation
    run: int = 0
    """Which start of the worker it is: news of an earlier process of the same name is none of its own."""
    state: str = "loading"
    pid: int = 0
    running: dict[str, TaskReady] = field(default_factory=dict)
    """Key of a task's delivery to the task."""
    began: dict[str, float] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)
    """Keys of tasks that were handed back and still run: they take a slot until they end."""
    failures: int = 0
    ends: list[float] = field(default_factory=list)
    """When it ended by itself, since a task was done well."""
    error: str = ""
    since: float = 0.0
    rss_mb: int = 0
    load_s: float = 0.0
    device: str = ""
    load: Mapping[str, float] = field(default_factory=dict)
    checked: float = 0.0
    checking: bool = False
    turning: bool = False
    """It is being put to sleep, or woken."""
    sleepless: bool = False
    """It cannot sleep; it has said why."""

    @property
    def pool(self) -> str:
        return pool_name(self.desired.agent, self.desired.implementation, self.desired.hardware)

    @property
    def slots(self) -> int:
        """Calls at a time."""
        return self.desired.slots or self.row.slots

    @property
    def resting(self) -> bool:
        """It is to sleep, or does: it takes no tasks."""
        return self.turning or (self.desired.asleep and not self.sleepless)

    @property
    def free(self) -> int:
        return self.slots - len(self.running) - len(self.left) if self.state == "warm" and not self.resting else 0

    @property
    def idle(self) -> bool:
        return not self.running and not self.left

    @property
    def takes(self) -> bool:
        """Whether what waits for it may go on waiting: it is warm, or will be in a moment."""
        rests = self.desired.asleep and not self.sleepless
        return not rests and (self.state in ("loading", "warm", "asleep") or (self.state == "failed" and self.failures <= 1))

    def is_for(self, wanted: Desired) -> bool:
        """Whether its process is what is wanted; sleep is no reason for another one."""
        return replace(self.desired, asleep=wanted.asleep) == wanted

    def turn(self, state: str, now: float, error: str = "") -> None:
        self.state, self.since, self.error = state, now, error

    def start(self, run: int, now: float) -> None:
        """As a new process; its predecessor's failures and running tasks stay."""
        self.run, self.pid, self.rss_mb, self.load, self.device = run, 0, 0, {}, ""
        self.checking = self.turning = self.sleepless = False
        self.turn("loading", now, self.error)

    def fail(self, error: str, now: float) -> float:
        """Its process is gone. Seconds until it is tried again."""
        if self.state == "warm" and now - self.since > RESTART_MAX_S:
            self.failures = 0  # it had worked for a while
        self.failures += 1
        self.ends = [at for at in self.ends if now - at < CRASH_WINDOW_S] + [now]
        self.pid, self.rss_mb, self.load = 0, 0, {}
        self.checking = self.turning = False
        if len(self.ends) < CRASHES_MAX:
            self.turn("failed", now, error)
        else:
            took = f"{len(self.ends)} times within {now - self.ends[0]:.0f} s with no task done"
            self.turn("quarantined", now, f"it ended {took}; the last time: {error}")
        return self.pause_s

    @property
    def pause_s(self) -> float:
        """0, 1, 2, 4 … up to a minute; a crash loop costs little, a single crash nothing."""
        if self.state == "quarantined":
            return QUARANTINE_S
        return 0.0 if self.failures <= 1 else min(RESTART_MAX_S, 2.0 ** (self.failures - 2))

    def told(self, name: str) -> Instance:
        wants = self.desired
        return Instance(
            id=name,
            agent=wants.agent,
            implementation=wants.implementation,
            hardware=wants.hardware,
            state=self.state,  # type: ignore[arg-type]
            slots=self.slots,
            busy=len(self.running),
            memory_mb=self.rss_mb,
            pid=self.pid,
            error=self.error,
            failures=self.failures,
            since=self.since,
            load_s=self.load_s,
            device=self.device,
            load=dict(self.load),
        )
