"""How much of a node's free accelerators the expected asks cannot use: expected fragmentation. Pure.

After Q. Weng, L. Yang, Y. Yu et al., "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation Gradient Descent",
USENIX ATC 2023, section 3. With R_g what is free of device g of node n, and a mix M of asks m with probabilities p_m:

    F_n(m) = sum over g of R_g                               if n has no place for m, or m takes no device
    F_n(m) = sum over g of R_g where g alone is too little   otherwise
    F_n(M) = sum over m of p_m F_n(m)                        in devices

Placing is then descent: an ask goes where F_n(M) grows least. Ours differ from theirs in one thing: a device has memory besides compute,
so "too little" asks for both, and R_g is the lesser of the two shares that are free (`Free.amount`).

It is quick because F depends on amounts only by what they suffice for: how many of the mix's distinct demands lie below. So the part of
each device that is a fragment is looked up by these ranks.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from .asks import Ask
from .free import EPSILON, Free, allowed
from .nodes import Node

COVER = 0.95
"""Of all asks, so many are in the mix, the most frequent first; the paper's authors do likewise. The rest adds work and says little."""


class Mix(Struct, frozen=True):
    """What is expected to be asked for: asks and their probabilities, which sum to 1."""

    asks: tuple[tuple[Ask, float], ...] = ()

    @classmethod
    def of(cls, asks: Iterable[Ask], cover: float = COVER) -> Mix:
        """As often as they were seen. What they want to find there, and whether they are spread, says nothing of room."""
        return cls.weighted(((a, 1.0) for a in asks), cover)

    @classmethod
    def weighted(cls, asks: Iterable[tuple[Ask, float]], cover: float = COVER) -> Mix:
        """By weights of any scale above 0."""
        seen: Counter[Ask] = Counter()
        for ask, weight in asks:
            seen[replace(ask, wants=frozenset(), spread=False)] += weight  # type: ignore[assignment]
        total, covered, kept = sum(seen.values()), 0.0, list[tuple[Ask, float]]()
        for ask, weight in sorted(seen.items(), key=lambda aw: (-aw[1], str(aw[0]), aw[0].pool, aw[0].market)):
            if covered >= cover * total:
                break
            kept.append((ask, float(weight)))
            covered += weight
        return cls(tuple((a, w / covered) for a, w in kept))


_Rank = tuple[str, int, int]
"""A device's class, how many of the demands for its compute it satisfies, and of those for its memory."""
_State = tuple[int, int, int, tuple[_Rank, ...]]


class Fragmentation:
    """F_n(M) of nodes, for one mix."""

    def __init__(self, mix: Mix) -> None:
        self.mix = mix
        asks = [a for a, _ in mix.asks]
        self._cores = sorted({a.cores for a in asks})
        self._memory = sorted({a.memory_mb for a in asks})
        self._share = sorted({a.share for a in asks if a.device})
        self._device_mb = sorted({a.device_mb for a in asks if a.device})
        self._kinds: dict[tuple[str, frozenset[str] | None], int] = {}
        self._may: list[list[tuple[Ask, float]]] = []
        self._parts: dict[_State, dict[_Rank, float]] = {}

    def of(self, free: Free, ask: Ask | None = None, devices: Sequence[int] = ()) -> float:
        """F of the node, in devices; with an ask, as it will be with it on these devices."""
        if not free.share:
            return 0.0
        cores, memory_mb = (free.cores - ask.cores, free.memory_mb - ask.memory_mb) if ask else (free.cores, free.memory_mb)
        ranks, amounts = [], []
        for d, device in enumerate(free.node.devices):
            share, mb = free.share[d], free.device_mb[d]
            if ask and d in devices:
                share, mb = share - ask.share, mb - ask.device_mb
            ranks.append((device.hardware, bisect_right(self._share, share + EPSILON), bisect_right(self._device_mb, mb + EPSILON)))
            amounts.append(min(share, mb / device.memory_mb) if device.memory_mb > 0 else share)
        state = (
            self._kind(free.node),
            bisect_right(self._cores, cores + EPSILON),
            bisect_right(self._memory, memory_mb + EPSILON),
            tuple(sorted(ranks)),
        )
        parts = self._parts.get(state)
        if parts is None:
            parts = self._parts[state] = self._part(state)
        return sum([amount * parts[rank] for amount, rank in zip(amounts, ranks, strict=True)])

    def _kind(self, node: Node) -> int:
        """Nodes that may run the same asks of the mix are of one kind."""
        key = (node.market, node.pools)
        if key not in self._kinds:
            self._kinds[key] = len(self._may)
            self._may.append([(a, p) for a, p in self.mix.asks if a.device and allowed(node, a)])
        return self._kinds[key]

    def _part(self, state: _State) -> dict[_Rank, float]:
        """Of each kind of device, the probability of asks that it is a fragment for."""
        kind, cores, memory, ranks = state
        used: dict[_Rank, float] = dict.fromkeys(ranks, 0.0)
        for ask, p in self._may[kind]:
            if cores == 0 or memory == 0 or self._cores[cores - 1] < ask.cores or self._memory[memory - 1] < ask.memory_mb:
                continue
            holding = [r for r in ranks if self._holds(r, ask)]
            if len(holding) >= ask.devices:
                for rank in set(holding):
                    used[rank] += p
        return {rank: 1.0 - p for rank, p in used.items()}

    def _holds(self, rank: _Rank, ask: Ask) -> bool:
        hardware, share, mb = rank
        return (
            hardware == ask.device
            and share > 0
            and mb > 0
            and self._share[share - 1] >= ask.share
            and self._device_mb[mb - 1] >= ask.device_mb
        )
