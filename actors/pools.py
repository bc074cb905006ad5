"""What waits for which pool, and what may be released to it now. Pure.

What waits, waits here and not in the queue: so order is decided late, a plan can still change, and a queue never hides
an hour of work. Tenants take turns; within a tenant, first ready, first released.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import inf

from ..bus.messages import HostHeartbeat
from ..bus.subjects import pool as pool_name
from .core import ActorBug
from .run import Task

AHEAD = 4
"""Released tasks per slot. More than one keeps slots busy over the round trip; few keep decisions late."""
UNKNOWN_SLOTS = 1
"""A pool that nobody serves yet gets this many slots' worth, so that a worker that warms up finds work."""

Waiting = tuple[str, Task]
"""(job, task)"""


@dataclass(slots=True)
class Pool:
    """One work queue."""

    waiting: dict[str, deque[Waiting]] = field(default_factory=dict)
    """By tenant; the first tenant is the next in turn."""
    released: set[Waiting] = field(default_factory=set)
    slots: int = 0


@dataclass(slots=True)
class Pools:
    pools: dict[str, Pool] = field(default_factory=dict)
    hosts: dict[str, tuple[float, dict[str, int]]] = field(default_factory=dict)
    """Host to (last heard, slots by pool)."""
    offers: dict[str, frozenset[str]] = field(default_factory=dict)
    """Host to the pools that it can serve: those that it has instances of or offers; of one about to go, those where it still runs something."""
    ill: dict[str, dict[str, str]] = field(default_factory=dict)
    """Host to pool to why its instance of it does not run."""
    ill_since: dict[str, float] = field(default_factory=dict)
    """Pool to the time since when it has had a reason and no slot."""
    dirty: dict[str, None] = field(default_factory=dict)
    """Pools where something may be released."""

    def enqueue(self, name: str, tenant: str, job: str, task: Task) -> None:
        pool = self.pools.get(name)
        if pool is None:
            pool = self.pools[name] = Pool()
            self._count_slots()
        pool.waiting.setdefault(tenant, deque()).append((job, task))
        self.dirty[name] = None

    def done(self, name: str, job: str, task: Task) -> None:
        """A released task came to its end, or to the end of an attempt."""
        pool = self.pools.get(name)
        if pool is None:
            return
        if (job, task) in pool.released:
            pool.released.discard((job, task))
        else:  # it was waiting to be released again when a late result of an earlier attempt came
            for tenant, queue in pool.waiting.items():
                if (job, task) in queue:
                    queue.remove((job, task))
                    if not queue:
                        del pool.waiting[tenant]
                    break
        self.dirty[name] = None

    def take(self, name: str, tenant: str, job: str, stage: str) -> list[Task]:
        """Takes a stage's waiting tasks out of a pool, in their order."""
        pool = self.pools.get(name)
        queue = pool.waiting.get(tenant) if pool is not None else None
        if pool is None or queue is None:
            return []
        taken = [task for j, task in queue if j == job and task[0] == stage]
        if taken:
            left = deque((j, task) for j, task in queue if j != job or task[0] != stage)
            if left:
                pool.waiting[tenant] = left  # its turn stays what it was
            else:
                del pool.waiting[tenant]
        return taken

    def drop(self, job: str) -> None:
        """A job has ended: nothing of it waits any more, and what was released no longer counts."""
        for name, pool in self.pools.items():
            for tenant, queue in list(pool.waiting.items()):
                kept = deque(w for w in queue if w[0] != job)
                if kept:
                    pool.waiting[tenant] = kept
                else:
                    del pool.waiting[tenant]
            pool.released = {w for w in pool.released if w[0] != job}
            self.dirty[name] = None

    def release(self) -> Iterator[tuple[str, str, Task]]:
        """(pool, job, task) for everything that may go now; it counts as released."""
        while self.dirty:
            name = next(iter(self.dirty))
            del self.dirty[name]
            pool = self.pools[name]
            limit = AHEAD * max(pool.slots, UNKNOWN_SLOTS)
            while pool.waiting and len(pool.released) < limit:
                tenant = next(iter(pool.waiting))
                queue = pool.waiting.pop(tenant)
                job, task = queue.popleft()
                if queue:
                    pool.waiting[tenant] = queue  # to the end of the turn
                pool.released.add((job, task))
                yield name, job, task

    def has_slots(self, name: str) -> bool:
        pool = self.pools.get(name)
        return pool is not None and pool.slots > 0

    def offered(self, name: str) -> bool:
        """Whether any living host can serve a pool."""
        return any(name in pools for pools in self.offers.values())

    def beat(self, beat: HostHeartbeat, now: float) -> None:
        going = beat.leaving or beat.revoked_at is not None  # it finishes what it runs, and takes nothing more
        has = [i for i in beat.instances if i.busy or not going]
        may = () if going else beat.offers
        self.offers[beat.host] = frozenset(
            [pool_name(i.agent, i.implementation, i.hardware) for i in has]
            + [pool_name(o.agent, o.implementation, o.hardware) for o in may]
        )
        slots: dict[str, int] = {}
        if not going:
            for i in beat.instances:
                if i.state == "warm":
                    key = pool_name(i.agent, i.implementation, i.hardware)
                    slots[key] = slots.get(key, 0) + i.slots
        known = self.hosts.get(beat.host)
        self.hosts[beat.host] = (now, slots)
        if known is None or known[1] != slots:
            self._count_slots()
        self.ill[beat.host] = {
            pool_name(i.agent, i.implementation, i.hardware): f"{i.implementation} on {beat.host}: {i.error}"
            for i in beat.instances
            if i.error and i.state != "warm" and not beat.leaving
        }
        ill = {name for reasons in self.ill.values() for name in reasons if not self.has_slots(name)}
        self.ill_since = {name: self.ill_since.get(name, now) for name in ill}

    def why_ill(self, name: str, since: float) -> str:
        """Why nobody can run this pool, if that has been so since then; else empty."""
        if self.ill_since.get(name, inf) > since:
            return ""
        return next((reasons[name] for reasons in self.ill.values() if name in reasons), "")

    def forget_silent(self, before: float) -> None:
        silent = [host for host, (heard, _) in self.hosts.items() if heard < before]
        for host in silent:
            del self.hosts[host]
            self.ill.pop(host, None)
            self.offers.pop(host, None)
        if silent:
            self._count_slots()

    def _count_slots(self) -> None:
        for name, pool in self.pools.items():
            slots = sum(s.get(name, 0) for _, s in self.hosts.values())
            if slots > pool.slots:
                self.dirty[name] = None
            pool.slots = slots

    def held(self) -> Iterator[tuple[str, Waiting]]:
        """Every task that waits or is released, with its pool."""
        for name, pool in self.pools.items():
            for queue in pool.waiting.values():
                yield from ((name, w) for w in queue)
            yield from ((name, w) for w in pool.released)

    def check(self, released: Mapping[str, Mapping[Task, float]]) -> None:
        """`released` is what the jobs think is released."""
        mine = {w for pool in self.pools.values() for w in pool.released}
        theirs = {(job, task) for job, tasks in released.items() for task in tasks}
        if mine != theirs:
            raise ActorBug(f"pools and jobs disagree on what is released: {sorted(mine ^ theirs)[:3]}")
