"""What is left on a node while instances are placed. Mutable; nothing is ever given back, so what does not fit once never will."""

from __future__ import annotations

from collections.abc import Sequence

from .asks import Ask
from .nodes import Node

EMPTY: frozenset[str] = frozenset()
EPSILON = 1e-6
"""Amounts that differ by less are equal: tenths of a device do not add up to one in binary."""


class Free:
    """One node's free cores, MB, and of each device MB and compute share."""

    __slots__ = ("changes", "cores", "device_mb", "memory_mb", "node", "on", "share")

    def __init__(self, node: Node, *, empty: bool = False) -> None:
        self.node = node
        self.cores = node.cores if empty else node.cores_free
        self.memory_mb = node.memory_mb if empty else node.free_mb
        self.device_mb = [d.memory_mb if empty else d.free_mb for d in node.devices]
        self.share = [1.0 if empty else d.share for d in node.devices]
        self.on: list[frozenset[str]] = [EMPTY] * len(node.devices)
        """Pools on each device of what was placed here that shall be apart."""
        self.changes = 0

    def copy(self) -> Free:
        twin = object.__new__(Free)
        twin.node, twin.cores, twin.memory_mb, twin.changes = self.node, self.cores, self.memory_mb, self.changes
        twin.device_mb, twin.share, twin.on = list(self.device_mb), list(self.share), list(self.on)
        return twin

    def of_class(self, hardware: str) -> list[int]:
        return [n for n, d in enumerate(self.node.devices) if d.hardware == hardware]

    def holds(self, ask: Ask, device: int) -> bool:
        """Is the device of the class, with enough left?"""
        return (
            self.node.devices[device].hardware == ask.device
            and self.share[device] + EPSILON >= ask.share
            and self.device_mb[device] + EPSILON >= ask.device_mb
            and not (ask.apart and ask.pool in self.on[device])
        )

    def choices(self, ask: Ask) -> list[tuple[int, ...]]:
        """Devices that it could take, () for none; [] where it does not fit. Of devices that are alike only the first; of several at a time
        only the fullest."""
        if self.cores + EPSILON < ask.cores or self.memory_mb + EPSILON < ask.memory_mb:
            return []
        if not ask.device:
            return [()]
        fit = [d for d in range(len(self.share)) if self.holds(ask, d)]
        if ask.devices == 1:
            alike = {(self.share[d], self.device_mb[d], self.node.devices[d].memory_mb): d for d in reversed(fit)}
            return [(d,) for d in alike.values()]
        fullest = sorted(fit, key=lambda d: (self.share[d], self.device_mb[d], d))[: ask.devices]
        return [tuple(sorted(fullest))] if len(fullest) == ask.devices else []

    def hold(self, ask: Ask, device: str = "", force: bool = False) -> bool:
        """What is there stays, on the device of that name: False if there is no room for it; by `force` it stays all the same."""
        devices, fits = self.held(ask, device)
        if fits or force:
            self.take(ask, devices)
        return fits or force

    def held(self, ask: Ask, device: str = "") -> tuple[tuple[int, ...], bool]:
        """The devices that it would be on, and whether it fits."""
        if not ask.device:
            return (), self.memory_mb + EPSILON >= ask.memory_mb and self.cores + EPSILON >= ask.cores
        ours = self.node.named(device) if device else self.of_class(ask.device)
        if not ours:  # the device that it was on is gone
            return (), False
        best = ours[0] if len(ours) == 1 else max(ours, key=lambda d: (self.holds(ask, d), self.device_mb[d], -d))
        return (best,), self.holds(ask, best)

    def take(self, ask: Ask, devices: Sequence[int]) -> None:
        self.changes += 1
        self.cores = max(0.0, round(self.cores - ask.cores, 9))
        self.memory_mb = max(0.0, round(self.memory_mb - ask.memory_mb, 6))
        for d in devices:
            self.share[d] = max(0.0, round(self.share[d] - ask.share, 9))
            self.device_mb[d] = max(0.0, round(self.device_mb[d] - ask.device_mb, 6))
            if ask.apart:
                self.on[d] |= {ask.pool}

    def amount(self, device: int) -> float:
        """The most that may still be given away of a device, 0..1: a device without memory has no compute to give either."""
        total = self.node.devices[device].memory_mb
        return min(self.share[device], self.device_mb[device] / total) if total > 0 else self.share[device]


def allowed(node: Node, ask: Ask) -> bool:
    """May it run there at all, whatever is left?"""
    return (node.pools is None or ask.pool in node.pools) and ask.market in ("", node.market)
