"""How many instances of what, on which host: demand and fleet in, desired instances out. Pure.

Every implementation that a running job still needs is wanted on every host that can run it and has the memory; what
nobody needs stays warm for a while (the next job may want it) and goes first when memory is short.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

from msgspec import Struct

from ..agents.library import Implementation
from ..bus.messages import Desired, HostHeartbeat
from ..bus.subjects import token
from ..optimizer.hardware import hardware_of, split

KEEP_WARM_S = 300.0
MEMORY_SHARE = 0.8
"""Part of a host's memory that instances may take by their declared needs; the rest is the system's and the caches'."""
TASKS_PER_INSTANCE = 6
"""Open tasks per slot before one more instance is worth its load."""

Key = tuple[str, str, str]
"""(agent, implementation, hardware)"""


class Demand(Struct, frozen=True):
    """Open tasks of a pool that are known or expected, over all jobs."""

    tasks: int
    jobs: int
    width: int = 1
    """Instances that the widest of their plans counts on."""
    slots: int = 0
    power_w: float | None = None


def desired(
    host: HostHeartbeat,
    now_has: tuple[Desired, ...],
    demand: Mapping[Key, Demand],
    needed_at: Mapping[Key, float],
    library: Mapping[tuple[str, str], Implementation],
    now: float,
) -> tuple[tuple[Desired, ...], list[str]]:
    """The host's instances and the reasons for each change. `needed_at` is when a pool was last in demand."""
    offered = {(o.agent, o.implementation, o.hardware) for o in host.offers}
    room = MEMORY_SHARE * sum(d.memory_mb for d in host.devices if d.kind == "cpu")
    kept: list[Desired] = []
    reasons: list[str] = []

    def need_mb(key: Key) -> int:
        return library[key[:2]].memory_mb

    def add(key: Key, wanted: int, why: str) -> None:
        nonlocal room
        mine = [d for d in now_has if (d.agent, d.implementation, d.hardware) == key]
        for n in range(wanted):
            if need_mb(key) > room:
                reasons.append(f"{key[1]} for {key[0]}: {need_mb(key)} MB do not fit, {room:.0f} MB are left")
                return
            room -= need_mb(key)
            if n < len(mine):
                kept.append(mine[n])
            else:
                known = demand.get(key, Demand(0, 0))
                kept.append(Desired(_instance_id(key, host.host, kept, now_has), *key, known.slots, known.power_w))
                reasons.append(f"+ {key[1]} for {key[0]}: {why}")

    wanted_now = [k for k in demand if k in offered and k[:2] in library and host.revoked_at is None]
    for key in sorted(wanted_now, key=lambda k: -demand[k].tasks):
        has = sum((d.agent, d.implementation, d.hardware) == key for d in now_has)
        row = library[key[:2]]
        places = _gpus(host, key[2]) or max(1, host.cores // row.threads)
        most = _gpus(host, key[2]) or max(1, host.cores // (2 * row.threads))
        by_tasks = ceil(demand[key].tasks / (TASKS_PER_INSTANCE * (demand[key].slots or row.slots)))
        # never more than there are tasks for: a plan counts on its width for its widest moment
        planned = min(demand[key].width, demand[key].tasks, places)
        most = max(most, planned)
        wanted = min(most, max(1, by_tasks, planned))
        # growing costs a load, shrinking in the middle of a job wastes one: so within a job it only grows
        add(key, max(wanted, min(has, most)), f"{demand[key].tasks} tasks of {demand[key].jobs} jobs")
    idle = {(d.agent, d.implementation, d.hardware) for d in now_has} - set(wanted_now)
    for key in sorted(idle, key=lambda k: -needed_at.get(k, 0.0)):
        if key not in offered or key[:2] not in library:
            reasons.append(f"- {key[1]} for {key[0]}: the host no longer offers it")
        elif now - needed_at.get(key, 0.0) > KEEP_WARM_S:
            reasons.append(f"- {key[1]} for {key[0]}: not needed for {KEEP_WARM_S:.0f} s")
        else:
            add(key, sum((d.agent, d.implementation, d.hardware) == key for d in now_has), "stays warm")
    return tuple(kept), reasons


def _gpus(host: HostHeartbeat, hardware: str) -> int:
    """Devices of a GPU class: an instance has one for itself. 0 for CPU classes."""
    return sum(d.kind == "gpu" and hardware_of(d.name) == split(hardware)[0] for d in host.devices)


def _instance_id(key: Key, host: str, kept: list[Desired], now_has: tuple[Desired, ...]) -> str:
    taken = {d.id for d in kept} | {d.id for d in now_has}
    n = 1
    while (name := token(f"{key[0]}-{key[1]}-{n}")[:80]) in taken:
        n += 1
    return name
