"""The streams that JetStream keeps for us, as data. Whoever may create streams (the conductor) makes them at its start."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from .messages import (
    ClusterLearnt,
    ClusterOutlook,
    DeadLetter,
    DesiredInstances,
    Indexed,
    LeaseHeld,
    LibraryOffered,
    ProfileKept,
    SensitivityKept,
    TaskReady,
    TaskResults,
    TenantsState,
    WorkloadKept,
)
from .subjects import wildcard

DAY_S = 86_400.0


LEASE_TTL_S = 6.0
"""A lease that was not renewed for so long is free."""


class StreamSpec(Struct, frozen=True):
    """One stream. `per_subject` keeps only the newest n of each subject (1 makes it a key-value table)."""

    name: str
    subjects: tuple[str, ...]
    retention: Literal["limits", "workqueue"] = "limits"
    per_subject: int = -1
    max_age_s: float = 0.0
    dedup_s: float = 120.0
    direct: bool = True
    max_bytes: int = -1


STREAMS: tuple[StreamSpec, ...] = (
    # the log and the result of every job; a week is enough to ask "what happened?"
    StreamSpec("JOBS", ("mk.v1.job.*.*.log", "mk.v1.job.*.*.result"), max_age_s=7 * DAY_S),
    # dedup longer than any conductor restart: a replayed conductor publishes the open tasks again, with the same ids
    StreamSpec("TASKS", (wildcard(TaskReady),), "workqueue", dedup_s=600.0),
    StreamSpec("RESULTS", (wildcard(TaskResults),), "workqueue"),
    StreamSpec(
        "FLEET",
        (wildcard(DesiredInstances), wildcard(LibraryOffered), wildcard(ClusterOutlook), wildcard(ClusterLearnt), wildcard(TenantsState)),
        per_subject=1,
    ),
    StreamSpec("INDEX", (wildcard(Indexed),), per_subject=1),
    StreamSpec("PROFILES", (wildcard(ProfileKept), wildcard(WorkloadKept), wildcard(SensitivityKept)), per_subject=1),
    StreamSpec("LEASE", (wildcard(LeaseHeld),), per_subject=1, max_age_s=LEASE_TTL_S),
    StreamSpec("DEAD", (wildcard(DeadLetter),), max_age_s=7 * DAY_S, max_bytes=64 << 20),
)

RESULTS_CONSUMER = "conductor"
