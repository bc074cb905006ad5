"""How many cores this process may use: fewer than the machine has under taskset, or in a container with a limit."""

from __future__ import annotations

import os
from pathlib import Path

QUOTAS = ("/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
"""Of a container's own control group, version 2 or 1 (kernel documentation, cgroup-v2.rst and scheduler/sched-bwc.rst)."""


def cores() -> int:
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for file in map(Path, QUOTAS):
        try:
            text = file.read_text()
            if "cfs" in file.name:
                text += " " + file.with_name("cpu.cfs_period_us").read_text()
        except OSError:
            continue
        return allowed(text, here)
    return here


def allowed(quota: str, here: int) -> int:
    """`quota`: microseconds of CPU time and in how many, or "max" or -1 for no limit. A part of a core counts as none, but there is one."""
    try:
        used, per = map(int, quota.split())
    except ValueError:
        return here
    return min(here, max(1, used // per)) if used > 0 and per > 0 else here
