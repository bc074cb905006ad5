"""Why an ask has no place, and which node is nearest to having one. Pure; what is said is true of the nodes as they are when it is said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .asks import Ask, Reason, Unplaced
from .free import EPSILON, Free

WORDS: Mapping[Reason, str] = {
    "too-large": "would not fit even if it were empty:",
    "fragmented": "as much is free, but on no single node; nearest is",
    "full": "nearest is",
}


UNITS: Mapping[str, str] = {
    "cores": "cores",
    "memory_mb": "MB",
    "devices": "devices",
    "device_mb": "MB of the device",
    "share": "of the device's compute",
}


class Shortage:
    """One kind of ask that none of the nodes has room for. Of nodes that changed since, and only of these, it has to be told."""

    def __init__(self, ask: Ask, nodes: Sequence[Free]) -> None:
        self.ask = ask
        self._never: Unplaced | None = None
        found = _able(ask, nodes)
        if isinstance(found, Unplaced):
            self._never = found
            return
        empty = [Free(nodes[i].node, empty=True) for i in found]
        if not any(f.choices(ask) for f in empty):
            self._never = _unplaced(ask, "too-large", min(empty, key=lambda f: (_distance(ask, missing(ask, f)), f.node.host)))
        else:
            self._distances = {i: _distance(ask, missing(ask, nodes[i])) for i in found}
            self._amounts = {i: _amounts(ask, nodes[i]) for i in found}
            self._sums = [sum(column) for column in zip(*self._amounts.values(), strict=True)]
            self._nearest = min(self._distances, key=lambda i: (self._distances[i], i))

    def now(self, nodes: Sequence[Free], changed: Iterable[int] = ()) -> Unplaced:
        """What to say, once these nodes have less than before."""
        if self._never:
            return self._never
        ours = [i for i in changed if i in self._distances]
        for i in ours:
            self._distances[i] = _distance(self.ask, missing(self.ask, nodes[i]))
            before, self._amounts[i] = self._amounts[i], _amounts(self.ask, nodes[i])
            self._sums = [s - b + a for s, b, a in zip(self._sums, before, self._amounts[i], strict=True)]
        if self._nearest in ours:  # the others can only have come to lack more
            self._nearest = min(self._distances, key=lambda i: (self._distances[i], i))
        a = self.ask
        needs = (a.cores, a.memory_mb, a.share * a.count, a.device_mb * a.count)
        together = all(free + EPSILON >= need for free, need in zip(self._sums, needs, strict=True))
        return _unplaced(a, "fragmented" if together else "full", nodes[self._nearest])


def _able(ask: Ask, nodes: Sequence[Free]) -> list[int] | Unplaced:
    """Nodes that could have it if they were free and large enough."""
    if not nodes:
        return Unplaced(ask, "no-nodes", "there is no node")
    may = [i for i, f in enumerate(nodes) if f.node.pools is None or ask.pool in f.node.pools]
    if not may:
        return Unplaced(ask, "no-offer", f"no node may run {ask.pool}")
    had = [i for i in may if ask.market in ("", nodes[i].node.market)]
    if not had:
        return Unplaced(ask, "no-market", f"none of the nodes that may run {ask.pool} ({len(may)}) is {ask.market}")
    of_class = [i for i in had if not ask.device or any(d.hardware == ask.device for d in nodes[i].node.devices)]
    if not of_class:
        return Unplaced(ask, "no-class", f"none of the nodes that may run {ask.pool} ({len(had)}) has a device of the class {ask.device}")
    return of_class


def missing(ask: Ask, free: Free) -> dict[str, float]:
    """What a node has too little of, above 0; on those of its devices that come nearest."""
    found = {"cores": ask.cores - free.cores, "memory_mb": ask.memory_mb - free.memory_mb}
    if ask.device:
        gaps = sorted([_gap(ask, free, d) for d in free.of_class(ask.device)])[: ask.devices]
        found["devices"] = float(ask.devices - len(gaps))
        found["device_mb"] = sum([mb for _, mb, _ in gaps])
        found["share"] = sum([share for _, _, share in gaps])
    return {name: round(amount, 6) for name, amount in found.items() if amount > EPSILON}


def _gap(ask: Ask, free: Free, device: int) -> tuple[float, float, float]:
    """How far a device is from holding it, in parts of what is asked for; MB and compute share that it lacks."""
    share, mb = ask.share - free.share[device], ask.device_mb - free.device_mb[device]
    share, mb = share if share > EPSILON else 0.0, mb if mb > EPSILON else 0.0
    return ((share / ask.share if share else 0.0) + (mb / ask.device_mb if mb else 0.0), mb, share)


def _distance(ask: Ask, lacking: Mapping[str, float]) -> float:
    """Parts of what is asked for, summed."""
    n = ask.count
    whole = {"cores": ask.cores, "memory_mb": ask.memory_mb, "devices": float(n), "device_mb": ask.device_mb * n, "share": ask.share * n}
    return round(sum(amount / whole[name] for name, amount in lacking.items()), 9)


def _amounts(ask: Ask, free: Free) -> tuple[float, float, float, float]:
    """Free on the node: cores, MB, compute and MB of its devices of the class."""
    ours = free.of_class(ask.device) if ask.device else ()
    return free.cores, free.memory_mb, sum([free.share[d] for d in ours]), sum([free.device_mb[d] for d in ours])


def _unplaced(ask: Ask, code: Reason, nearest: Free) -> Unplaced:
    lacking = missing(ask, nearest)
    said = ", ".join(f"{amount:g} {UNITS[name]}" for name, amount in lacking.items()) or "a device of its own"
    text = f"it takes {ask}; {WORDS[code]} {nearest.node.host}, which has too little by {said}"
    return Unplaced(ask, code, text, nearest.node.host, lacking)
