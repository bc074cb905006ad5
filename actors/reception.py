"""Where submissions wait for the conductor: a queue a tenant, by turns, a few in one turn of the event loop.

Ten thousand submissions at once take seconds to check and store. Taken one after the other as they came, they would hold up the results
of running tasks, the lease, and the one submission of another tenant.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

M = TypeVar("M")

PER_TURN = 2
"""Half a millisecond's worth: a hop of another tenant's job takes about ten turns."""
EACH_MAX = 20_000
"""Submissions of a tenant that wait here; more are refused at once."""


class Reception(Generic[M]):
    """`handle` is given one submission at a time, `refuse` those that find the queue full. `later` runs something in the event loop's next
    turn."""

    def __init__(self, handle: Callable[[M], None], refuse: Callable[[M], None], later: Callable[[Callable[[], None]], object]) -> None:
        self.handle, self.refuse, self.later = handle, refuse, later
        self.queues: dict[str, deque[M]] = {}
        """By tenant; the first one is next."""
        self._due = False

    def put(self, tenant: str, msg: M) -> None:
        queue = self.queues.setdefault(tenant, deque())
        if len(queue) >= EACH_MAX:
            self.refuse(msg)
            return
        queue.append(msg)
        if not self._due:
            self._due = True
            self.later(self._turn)

    def _turn(self) -> None:
        for _ in range(PER_TURN):
            if not self.queues:
                break
            tenant = next(iter(self.queues))
            queue = self.queues.pop(tenant)
            msg = queue.popleft()
            if queue:
                self.queues[tenant] = queue  # to the end of the turns
            self.handle(msg)
        self._due = bool(self.queues)
        if self._due:
            self.later(self._turn)
