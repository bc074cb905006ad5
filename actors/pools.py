"""What waits for which pool, and what may be released to it now. Pure.

What waits, waits here and not in the queue: so order is decided late, a plan can still change, and a queue never hides
an hour of work. Next is the tenant with the least dominant share by weight (`shares.py`); within a tenant, first ready, first released.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import inf

from ..bus.messages import HostHeartbeat
from ..bus.subjects import pool as pool_name
from .core import ActorBug
from .headroom import WINDOW_S, Headroom
from .run import Task
from .shares import Need, Shares

AHEAD = 4
"""Released tasks per slot. More than one keeps slots busy over the round trip; few keep decisions late."""
ROUND_S = 0.005
"""While several tenants have jobs, no more is released ahead than slots work off in this time: about a round trip. What one tenant has
ahead, another one's task stands behind."""
FALLS = 32
"""Longer tasks count at once, shorter ones slowly: of a pool with both, it is the longer ones that a slot is waited for."""
UNKNOWN_SLOTS = 1
"""A pool that nobody serves yet gets this many slots' worth, so that a worker that warms up finds work."""

Waiting = tuple[str, Task]
"""(job, task)"""


@dataclass(slots=True)
class Pool:
    """One work queue."""

    waiting: dict[str, OrderedDict[Waiting, Need]] = field(default_factory=dict)
    """By tenant, in order. (A plain dict would search from its emptied front.)"""
    released: dict[Waiting, tuple[str, Need]] = field(default_factory=dict)
    """With tenant."""
    headroom: Headroom = field(default_factory=Headroom)
    turns: dict[str, int] = field(default_factory=dict)
    """When each tenant was served last, by the count of all releases."""
    slots: int = 0
    task_s: float = 0.0
    """What the longer ones of its tasks take, of those that were done lately; before, what a plan expects."""


@dataclass(slots=True)
class Pools:
    pools: dict[str, Pool] = field(default_factory=dict)
    shares: Shares = field(default_factory=Shares)
    crowded: bool = False
    """Several tenants have jobs, or had some just now."""
    hosts: dict[str, tuple[float, dict[str, int]]] = field(default_factory=dict)
    """Host to (last heard, slots by pool)."""
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Host to its (cores, accelerators)."""
    offers: dict[str, frozenset[str]] = field(default_factory=dict)
    """Host to the pools that it can serve: those that it has instances of or offers; of one about to go, those where it still runs something."""
    ill: dict[str, dict[str, str]] = field(default_factory=dict)
    """Host to pool to why its instance of it does not run."""
    ill_since: dict[str, float] = field(default_factory=dict)
    """Pool to the time since when it has had a reason and no slot."""
    dirty: dict[str, None] = field(default_factory=dict)
    """Pools where something may be released."""
    blocked: dict[str, dict[str, str]] = field(default_factory=dict)
    """Tenant to pool to the quota for which its next task there waits."""
    backlog: dict[str, int] = field(default_factory=dict)
    """Tenant to how many of its tasks wait; only those that have some."""
    places: dict[str, dict[Task, str]] = field(default_factory=dict)
    """Job to task to its pool, of all that waits or is released."""
    served: int = 0
    turned: float = 0.0
    """When a window of `headroom.py` began."""

    def enqueue(self, name: str, tenant: str, job: str, task: Task, need: Need | None = None) -> None:
        pool = self.pools.get(name)
        if pool is None:
            pool = self.pools[name] = Pool()
            self._count_slots()
        need = need or Need()
        pool.task_s = pool.task_s or need.time_s
        pool.waiting.setdefault(tenant, OrderedDict())[(job, task)] = need
        self.places.setdefault(job, {})[task] = name
        self.backlog[tenant] = self.backlog.get(tenant, 0) + 1
        self.dirty[name] = None

    def done(self, name: str, job: str, task: Task, took_s: float = 0.0) -> None:
        """A released task came to its end, or to the end of an attempt; or a late result of an earlier one came while it waited."""
        pool = self.pools.get(name)
        if pool is None:
            return
        if took_s > 0:
            pool.task_s = max(took_s, pool.task_s + (took_s - pool.task_s) / FALLS)
        self._remove(name, pool, job, task)
        self.dirty[name] = None

    def take(self, name: str, tenant: str, job: str, stage: str) -> list[Task]:
        """Takes a stage's waiting tasks out of a pool, in their order."""
        pool = self.pools.get(name)
        queue = pool.waiting.get(tenant) if pool is not None else None
        if pool is None or queue is None:
            return []
        taken = [t for t, place in self.places.get(job, {}).items() if t[0] == stage and place == name and (job, t) in queue]
        for task in taken:
            self._remove(name, pool, job, task)
        return taken

    def drop(self, job: str) -> None:
        """A job has ended: nothing of it waits any more, and what was released no longer counts."""
        for task, name in list(self.places.get(job, {}).items()):
            self._remove(name, self.pools[name], job, task)
            self.dirty[name] = None

    def _remove(self, name: str, pool: Pool, job: str, task: Task) -> None:
        """Out of the waiting or the released, wherever it is."""
        places = self.places.get(job)
        if places is None or places.get(task) != name:
            return
        del places[task]
        if not places:
            del self.places[job]
        if held := pool.released.pop((job, task), None):
            self.shares.give_back(*held)
            pool.headroom.gave(held[0])
            for other in self.blocked.pop(held[0], ()):
                self.dirty[other] = None
            return
        for tenant, queue in pool.waiting.items():
            if queue.pop((job, task), None) is not None:
                self._one_less(pool, tenant)
                return

    def _one_less(self, pool: Pool, tenant: str) -> None:
        if not pool.waiting[tenant]:
            del pool.waiting[tenant]
        self.backlog[tenant] -= 1
        if not self.backlog[tenant]:
            del self.backlog[tenant]

    def release(self) -> Iterator[tuple[str, str, Task]]:
        """(pool, job, task) for everything that may go now; it counts as released."""
        while self.dirty:
            name = next(iter(self.dirty))
            del self.dirty[name]
            pool = self.pools[name]
            limit = self.limit(pool)
            while pool.waiting and len(pool.released) < limit:
                tenant = self._next(name, pool)
                if not tenant:
                    break
                (job, task), need = pool.waiting[tenant].popitem(last=False)
                self._one_less(pool, tenant)
                self.served += 1
                pool.turns[tenant] = self.served
                pool.released[(job, task)] = tenant, need
                self.shares.take(tenant, need)
                pool.headroom.took(tenant)
                yield name, job, task

    def limit(self, pool: Pool) -> int:
        """How many tasks of a pool may be released at a time."""
        slots = max(pool.slots, UNKNOWN_SLOTS)
        if not self.crowded or not pool.task_s:
            return AHEAD * slots
        return slots + int(slots * min(AHEAD - 1, ROUND_S / pool.task_s))

    def _next(self, name: str, pool: Pool) -> str:
        """The tenant whose turn it is of those that wait and may have more; empty when none may."""
        may, free = [], pool.slots - len(pool.released)
        kept = pool.headroom.kept(pool.slots, self._weight, pool.waiting) if self.crowded else {}
        all_kept = sum(kept.values())
        for tenant, queue in pool.waiting.items():
            if 0 < all_kept - kept.get(tenant, 0) >= free:  # what is free, is for others
                continue
            if quota := self.shares.beyond(tenant, next(iter(queue.values()))):
                self.blocked.setdefault(tenant, {})[name] = quota
            else:
                may.append(tenant)
        if len(may) < 2:
            return may[0] if may else ""
        return self.shares.next((t, pool.turns.get(t, 0)) for t in may)

    def _weight(self, tenant: str) -> float:
        return self.shares.of(tenant).tenant.weight

    def may_release(self, name: str) -> bool:
        pool = self.pools[name]
        return bool(pool.waiting) and len(pool.released) < self.limit(pool) and bool(self._next(name, pool))

    def heads(self) -> Iterator[tuple[str, str, Task, Need]]:
        """(tenant, job, task, need) of the first of each tenant's tasks that wait for a quota."""
        for tenant, pools in self.blocked.items():
            for name in pools:
                if queue := self.pools[name].waiting.get(tenant):
                    (job, task), need = next(iter(queue.items()))
                    yield tenant, job, task, need

    def reckon(self, need_of: Callable[[str, Task], Need]) -> None:
        """More is known now of what tasks take; for those that wait."""
        for name, pool in self.pools.items():
            for queue in pool.waiting.values():
                for job, task in queue:
                    queue[(job, task)] = need_of(job, task)
                    self.dirty[name] = None

    def look_again(self, now: float) -> None:
        """Time has passed, which quotas of dollars an hour depend on, and what is kept free."""
        if now - self.turned >= WINDOW_S:
            self.turned = now
            self.dirty.update((name, None) for name, pool in self.pools.items() if pool.headroom.turn() and pool.waiting)
        for pools in self.blocked.values():
            self.dirty.update(dict.fromkeys(pools))
        self.blocked.clear()

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
        size = (beat.cores, sum(1 for d in beat.devices if d.id))
        resized, self.sizes[beat.host] = self.sizes.get(beat.host) != size, size
        if known is None or known[1] != slots or resized:
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
            self.sizes.pop(host, None)
        if silent:
            self._count_slots()

    def _count_slots(self) -> None:
        self.shares.resize(sum(cores for cores, _ in self.sizes.values()), sum(devices for _, devices in self.sizes.values()))
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

    def check_quotas(self) -> None:
        """What tenants use is what is released of them, and within their quotas of cores and devices."""
        used: dict[str, tuple[float, float]] = {}
        for pool in self.pools.values():
            for tenant, need in pool.released.values():
                cores, devices = used.get(tenant, (0.0, 0.0))
                used[tenant] = cores + need.cores, devices + need.devices
        for tenant, account in self.shares.accounts.items():
            cores, devices = used.get(tenant, (0.0, 0.0))
            if abs(account.cores - cores) > 1e-6 or abs(account.devices - devices) > 1e-6:
                raise ActorBug(
                    f"{tenant} is said to use {account.cores} cores and {account.devices} devices, and uses {cores} and {devices}"
                )
            for what, amount, quota in (("cores", cores, account.tenant.cores), ("devices", devices, account.tenant.devices)):
                if quota is not None and amount > quota + 1e-6:
                    raise ActorBug(f"{tenant} uses {amount} {what}, and its quota is {quota}")

    def check(self, released: Mapping[str, Mapping[Task, float]]) -> None:
        """`released` is what the jobs think is released."""
        mine = {w for pool in self.pools.values() for w in pool.released}
        theirs = {(job, task) for job, tasks in released.items() for task in tasks}
        if mine != theirs:
            raise ActorBug(f"pools and jobs disagree on what is released: {sorted(mine ^ theirs)[:3]}")
