"""Tasks that were delivered to a worker and wait there for a free slot, by pool, first come first. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from ..bus.messages import TaskReady


class Waiting:
    def __init__(self) -> None:
        self._queues: dict[str, deque[tuple[str, TaskReady, float]]] = {}
        """Pool to (key of the delivery, task, since when)."""

    def put(self, key: str, task: TaskReady, now: float) -> None:
        self._queues.setdefault(task.pool, deque()).append((key, task, now))

    def any(self, pool: str) -> bool:
        return bool(self._queues.get(pool))

    def pop(self, pool: str) -> tuple[str, TaskReady, float]:
        return self._queues[pool].popleft()

    def drop(self, keys: Collection[str]) -> None:
        for pool, queue in self._queues.items():
            if any(key in keys for key, _, _ in queue):
                self._queues[pool] = deque(one for one in queue if one[0] not in keys)

    def keys(self) -> list[str]:
        return [key for queue in self._queues.values() for key, _, _ in queue]

    def by_pool(self) -> dict[str, list[str]]:
        return {pool: [key for key, _, _ in queue] for pool, queue in self._queues.items() if queue}
