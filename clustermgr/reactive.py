"""Policies to compare with, which do not look ahead: always on, and reactive on the queue's length. Pure.

Reactive is what autoscalers of queues do, such as KEDA (defaults: it looks every 30 s, and takes the last instance away 300 s after the
last task; https://keda.sh/docs/latest/reference/scaledobject-spec/): an instance for every `per` tasks that are ready, nothing sooner.
"""

from __future__ import annotations

from math import ceil

from msgspec import Struct

from .state import Pool, Target

PER_SLOT = 6
"""Ready tasks per slot before one more instance is started."""


class Reactive(Struct, frozen=True):
    poll_s: float = 30.0
    cooldown_s: float = 300.0

    def target(self, pool: Pool) -> Target:
        ready = sum(n.ready for n in pool.needs)
        figures = {"ready": float(ready), "idle_s": pool.idle_s}
        if ready:
            wanted = min(pool.places, max(1, ceil(ready / (PER_SLOT * pool.slots))))
            return Target(max(wanted, pool.have), True, "queue", f"{ready} tasks are ready", figures)
        if pool.have and pool.idle_s < self.cooldown_s:
            return Target(pool.have, False, "cooldown", f"idle for {pool.idle_s:.0f} of {self.cooldown_s:.0f} s", figures)
        return Target(0, False, "idle", f"idle for {pool.idle_s:.0f} s", figures)


def always_on(pool: Pool) -> Target:
    """Whatever was ever needed stays, at the most that it ever had."""
    wanted = max([0, *(min(n.width, n.tasks) for n in pool.needs)])
    return Target(min(max(pool.have, wanted), pool.places), bool(pool.needs), "always-on", "never released")
