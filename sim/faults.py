"""How badly the world behaves: every rate in one place, drawn from the seed ("swarm": each fault is off in some runs)."""

from __future__ import annotations

from random import Random

from msgspec import Struct


class Faults(Struct):
    """Rates are probabilities a message or task, times seconds. The defaults are a good day."""

    latency_s: float = 0.0005
    """Mean of one way through the network."""
    drop: float = 0.0
    """Plain messages and replies that never arrive."""
    duplicate: float = 0.0
    late: float = 0.0
    """Plain messages that arrive up to `late_s` later than they should, and so out of order."""
    late_s: float = 2.0
    acks_lost: float = 0.0
    """Acknowledgements, of publishes by the server and of deliveries to it, that never arrive."""
    store_slow: float = 0.0
    """Publishes that the server takes up to `store_slow_s` to store."""
    store_slow_s: float = 1.0
    crash_every_s: float = 0.0
    """Mean time between two kills of some process; 0 is never."""
    bus_restart_every_s: float = 0.0
    partition_every_s: float = 0.0
    partition_s: float = 5.0
    task_fails: float = 0.0
    task_bad_input: float = 0.0
    instance_dies: float = 0.0
    """Tasks in whose middle their instance dies."""
    task_hangs: float = 0.0
    load_fails: float = 0.0
    slow_tasks: float = 1.0
    """Factor on every task's duration."""


def swarm(dice: Random) -> Faults:
    """Some faults on, some off, each at a strength of its own."""

    def maybe(most: float, chance: float = 0.5) -> float:
        return dice.random() * most if dice.random() < chance else 0.0

    def every(least_s: float, most_s: float, chance: float = 0.5) -> float:
        return dice.uniform(least_s, most_s) if dice.random() < chance else 0.0

    return Faults(
        latency_s=10 ** dice.uniform(-4, -1.5),
        drop=maybe(0.3),
        duplicate=maybe(0.3),
        late=maybe(0.3),
        late_s=dice.choice([0.1, 1.0, 5.0]),
        acks_lost=maybe(0.3),
        store_slow=maybe(0.5),
        store_slow_s=dice.choice([0.05, 0.5, 4.0]),
        crash_every_s=every(1, 20, 0.7),
        bus_restart_every_s=every(5, 40, 0.4),
        partition_every_s=every(3, 30, 0.4),
        partition_s=dice.choice([0.5, 4.0, 15.0]),
        task_fails=maybe(0.15),
        task_bad_input=maybe(0.01, 0.3),
        instance_dies=maybe(0.1),
        task_hangs=maybe(0.03, 0.3),
        load_fails=maybe(0.3, 0.3),
        slow_tasks=dice.choice([0.1, 1.0, 1.0, 5.0]),
    )


def calm(faults: Faults) -> None:
    """All faults end (in place); the speed of the network and of tasks stays."""
    good = Faults()
    for name in faults.__struct_fields__:
        if name not in ("latency_s", "slow_tasks"):
            setattr(faults, name, getattr(good, name))
