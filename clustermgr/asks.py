"""What is to be placed, and what came of it: data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct, field

Reason = Literal["no-nodes", "no-offer", "no-market", "no-class", "too-large", "fragmented", "full"]
"""Why an ask has no place, the first that is true: there is no node; none may run the pool; none of those is of the market; none of those has
a device of the class; none of those would be large enough if it were empty; of everything as much is free on them together, on no single one;
or not even together."""


class Ask(Struct, frozen=True):
    """An instance that is wanted. What it takes is its own as long as it lives."""

    pool: str
    cores: float = 0.0
    memory_mb: float = 0.0
    """Of the host."""
    device: str = ""
    """The class of accelerator, without a market; "" runs on the host's own cores."""
    device_mb: float = 0.0
    """Of each device."""
    share: float = 0.0
    """Of each device's compute, 0..1; 0 takes turns with whoever is there."""
    devices: int = 1
    """How many of one node; of the accelerators alone."""
    wants: frozenset[str] = frozenset()
    """Names of artifacts that it needs where it runs: cheaper where they are already."""
    spread: bool = False
    """Its pool must outlive the revocation of a node."""
    market: str = ""
    """Only nodes had so; "" for any."""
    apart: bool = False
    """No two of its pool on one device: they would take turns there, and one of them would do."""

    @property
    def count(self) -> int:
        """Devices that it takes."""
        return self.devices if self.device else 0

    def __str__(self) -> str:
        parts = [f"{self.cores:g} cores"] if self.cores else []
        if self.memory_mb or not (parts or self.device):
            parts.append(f"{self.memory_mb:g} MB")
        if self.device:
            share = f"{self.share:g} of its compute, " if self.share else ""
            parts.append(f"{self.count} x {self.device} ({share}{self.device_mb:g} MB)")
        return ", ".join(parts)


class Placed(Struct, frozen=True):
    """Where it goes. Lower scores were better; `why` has the score's parts."""

    ask: Ask
    host: str
    devices: tuple[int, ...] = ()
    """Indexes of the node's devices."""
    score: float = 0.0
    """In devices: what is expected to become unusable, and the price of what has to be fetched."""
    why: Mapping[str, float] = field(default_factory=dict)

    @property
    def device(self) -> int:
        """Index of the device, or of the first; -1 on the host's own cores."""
        return self.devices[0] if self.devices else -1


class Unplaced(Struct, frozen=True):
    """It has no place, why, and which node is nearest to having one."""

    ask: Ask
    code: Reason
    text: str
    host: str = ""
    missing: Mapping[str, float] = field(default_factory=dict)
    """What the nearest node has too little of: cores, memory_mb, devices, device_mb and share (summed over the devices); where the code
    is "too-large", if it were empty."""


Outcome = Placed | Unplaced
