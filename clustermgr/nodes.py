"""Hosts as placement sees them: what they have, what is free, and what is there already. Made from heartbeats and from what is desired. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from msgspec import Struct

from ..agents.spec import Implementation
from ..bus.messages import Desired, HostHeartbeat
from ..optimizer.hardware import hardware_of, split
from .asks import Ask
from .forecast import Key

MEMORY_SHARE = 0.8
"""Part of a memory that instances may take by their declared needs; the rest is the system's and the caches'."""


LOADED = ("warm", "asleep", "draining")
"""States of instances whose weights were read there: the host's file cache has them."""


class Accelerator(Struct, frozen=True):
    """One device. MB in all and free; of its compute, what is not promised yet, 0..1."""

    hardware: str
    memory_mb: float
    free_mb: float
    share: float = 1.0
    id: str = ""


class Node(Struct, frozen=True):
    host: str
    cores: float
    cores_free: float
    memory_mb: float
    free_mb: float
    devices: tuple[Accelerator, ...] = ()
    market: str = "on-demand"
    artifacts: frozenset[str] = frozenset()
    """Names of what is there already."""
    group: str = ""
    """Nodes of one group go away together; "" for alone."""
    pools: frozenset[str] | None = None
    """Those that it may run; None for any."""
    has: Mapping[str, int] = {}
    """Instances that it has, by pool."""

    def named(self, device: str) -> list[int]:
        """Indexes of the devices of that name: one, or none."""
        return [n for n, d in enumerate(self.devices) if d.id == device]

    @property
    def revocable(self) -> bool:
        return self.market != "on-demand"


def pool_of(key: Key) -> str:
    return "/".join(key)


def ask_of(key: Key, row: Implementation, *, cores: float | None = None, share: float | None = None, spread: bool | None = None) -> Ask:
    """An instance of a pool, by its row. Cores: by default its threads; 0 where stages may take turns on them. It is spread by default
    where it may be revoked. On an accelerator its memory and its share of compute, the row's by default, are the device's, and no two of a
    pool are on one."""
    base, market = split(key[2])
    on = "" if base == "cpu" else base
    return Ask(
        pool=pool_of(key),
        cores=float(row.threads) if cores is None else cores,
        memory_mb=0.0 if on else float(row.memory_mb),
        device=on,
        device_mb=float(row.memory_mb) if on else 0.0,
        share=(row.compute_share if on else 0.0) if share is None else share,
        wants=_artifacts(row, loaded=True),
        spread=market != "on-demand" if spread is None else spread,
        market=market,
        apart=bool(on),
    )


def node_of(beat: HostHeartbeat, library: Mapping[tuple[str, str], Implementation]) -> Node:
    """A host as if nothing were on it."""
    return _node(beat, (), library)


def nodes_of(
    beats: Iterable[HostHeartbeat],
    desired: Mapping[str, Iterable[Desired]],
    library: Mapping[tuple[str, str], Implementation],
) -> list[Node]:
    """Hosts that stay, less what they shall have by `desired` (host to instances). Of several heartbeats of a host the newest counts.

    A memory is taken by declared needs up to `MEMORY_SHARE`, a device's compute by declared shares. A host that has less than is
    desired of it has nothing left, never less than that.
    """
    newest: dict[str, HostHeartbeat] = {}
    for beat in beats:
        if beat.host not in newest or beat.at > newest[beat.host].at:
            newest[beat.host] = beat
    return [
        _node(newest[host], tuple(desired.get(host, ())), library)
        for host in sorted(newest)
        if newest[host].revoked_at is None and not newest[host].leaving
    ]


def _node(
    beat: HostHeartbeat,
    desired: tuple[Desired, ...],
    library: Mapping[tuple[str, str], Implementation],
) -> Node:
    memory_mb = MEMORY_SHARE * sum(max(0, d.memory_mb) for d in beat.devices if d.kind == "cpu")
    cores_free, free_mb = float(beat.cores), memory_mb
    ids = [d.id or str(n) for n, d in enumerate(beat.devices) if d.kind != "cpu"]
    gpus = [d for d in beat.devices if d.kind != "cpu"]
    classes = [hardware_of(d.name) for d in gpus]
    totals = [MEMORY_SHARE * max(0, d.memory_mb) for d in gpus]
    device_mb, share = list(totals), [1.0] * len(gpus)
    for d in desired:
        row, base = library.get((d.agent, d.implementation)), split(d.hardware)[0]
        takes_mb = float(row.memory_mb if row else d.memory_mb)
        cores_free -= row.threads if row else 0
        ours = [n for n, c in enumerate(classes) if d.device == ids[n] or (not d.device and c == base)]
        if ours:  # the host takes the freest where nobody said which
            n = max(ours, key=lambda n: (device_mb[n], -n))
            device_mb[n] -= takes_mb
            share[n] -= row.compute_share if row else 0.0
        else:
            free_mb -= takes_mb
    offered = [(o.agent, o.implementation, o.hardware) for o in beat.offers]
    loaded = {(i.agent, i.implementation) for i in beat.instances if i.state in LOADED}
    rows = {k[:2]: library[k[:2]] for k in offered if k[:2] in library}
    return Node(
        host=beat.host,
        cores=float(beat.cores),
        cores_free=max(0.0, cores_free),
        memory_mb=memory_mb,
        free_mb=max(0.0, free_mb),
        devices=tuple(
            Accelerator(classes[n], totals[n], max(0.0, device_mb[n]), max(0.0, min(1.0, share[n])), ids[n]) for n in range(len(gpus))
        ),
        market=beat.market,
        artifacts=frozenset().union(*(_artifacts(row, loaded=key in loaded) for key, row in rows.items())),
        pools=one(frozenset(map(pool_of, offered))),
        has=Counter(pool_of((d.agent, d.implementation, d.hardware)) for d in desired),
    )


@lru_cache(1000)
def one(found: frozenset[Any]) -> frozenset[Any]:
    """One object for equal ones: hosts and nodes are grouped by what they may run, thousands of them in each decision."""
    return found


def _artifacts(row: Implementation, *, loaded: bool) -> frozenset[str]:
    """Its weights on disk, and, once loaded, what the host's file cache has of it."""
    names = ([row.weights] if row.weights else []) + ([f"loaded:{row.agent}/{row.name}"] if loaded else [])
    return frozenset(names)
