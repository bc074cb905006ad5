"""What placement is compared with in scripts/bench/placement.py: best fit, dot product, random. Not part of the product.

Best fit and dot product see a node as (cores, memory, compute of its accelerators), each as a part of the most that any node has.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from murakkab.clustermgr.asks import Ask, Outcome, Placed
from murakkab.clustermgr.free import Free
from murakkab.clustermgr.nodes import Node
from murakkab.clustermgr.shortage import Shortage


class Sizes:
    """The most that any node has of each resource."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        nodes = list(nodes)
        self.cores = max([1.0, *(n.cores for n in nodes)])
        self.memory_mb = max([1.0, *(n.memory_mb for n in nodes)])
        self.devices = max([1.0, *(float(len(n.devices)) for n in nodes)])


class BestFit(Sizes):
    """The node that has least left afterwards, the three parts summed; on it the device that has."""

    def score(self, free: Free, ask: Ask, devices: tuple[int, ...]) -> float:
        cores, memory = (free.cores - ask.cores) / self.cores, (free.memory_mb - ask.memory_mb) / self.memory_mb
        return cores + memory + (sum(free.share) - ask.share * len(devices)) / self.devices


class DotProduct(Sizes):
    """The node whose free resources point least along what is asked for: the smallest dot product, as in the FGD authors' comparison (their
    simulator also takes the smallest; Tetris, SIGCOMM 2014, the greatest). The accelerator's part is of the device's compute itself."""

    def __init__(self, nodes: Iterable[Node], greatest: bool = False) -> None:
        super().__init__(nodes)
        self.sign = -1.0 if greatest else 1.0

    def score(self, free: Free, ask: Ask, devices: tuple[int, ...]) -> float:
        cores, memory = free.cores * ask.cores / self.cores**2, free.memory_mb * ask.memory_mb / self.memory_mb**2
        return self.sign * (cores + memory + sum(free.share[d] * ask.share for d in devices) / self.devices**2)


class RandomFit:
    """Any node with room, and any of its devices. The same seed gives the same places."""

    def __init__(self, nodes: Iterable[Node], seed: int) -> None:
        self.free = [Free(n) for n in sorted(nodes, key=lambda n: n.host)]
        self.dice = random.Random(seed)

    def place(self, ask: Ask) -> Outcome:
        for free in self.dice.sample(self.free, len(self.free)):
            if choices := free.choices(ask):
                devices = self.dice.choice(choices)
                free.take(ask, devices)
                return Placed(ask, free.node.host, devices)
        return Shortage(ask, self.free).now(self.free)
