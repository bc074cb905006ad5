"""Virtual time: one heap of timers for the whole world, and an event loop of each process on top of it.

The real shell and the real link are written for asyncio; they get a `Loop`, which is asyncio's interface over the heap. Nothing
sleeps and nothing runs in parallel: the timers of all processes run one by one, in order of time, then of their making.
"""

from __future__ import annotations

import asyncio
from asyncio import events
from collections.abc import Callable, Coroutine
from contextvars import Context
from heapq import heappop, heappush
from typing import Any, cast

WALL_S = 1_000_000_000.0
"""What the wall clock shows when the run starts; far from zero, so that mixing it up with loop time is loud."""


class Timer:
    """Something that will happen. A loop of None is the world's own (the server, the faults)."""

    __slots__ = ("args", "call", "cancelled_", "context", "loop", "when")

    def __init__(self, when: float, call: Callable[..., Any], args: tuple[Any, ...], loop: Loop | None, context: Context | None) -> None:
        self.when, self.call, self.args, self.loop, self.context = when, call, args, loop, context
        self.cancelled_ = False

    def cancel(self) -> None:
        self.cancelled_ = True
        self.call, self.args = _nothing, ()

    def cancelled(self) -> bool:
        return self.cancelled_


def _nothing() -> None:
    pass


class Clock:
    """`step` runs the next timer. `now` is seconds since the run began."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Timer]] = []
        self._made = 0

    @property
    def wall(self) -> float:
        return WALL_S + self.now

    def at(self, when: float, call: Callable[..., Any], *args: Any, loop: Loop | None = None, context: Context | None = None) -> Timer:
        timer = Timer(max(when, self.now), call, args, loop, context)
        self._made += 1
        heappush(self._heap, (timer.when, self._made, timer))
        return timer

    def after(self, delay_s: float, call: Callable[..., Any], *args: Any) -> Timer:
        return self.at(self.now + delay_s, call, *args)

    def step(self) -> bool:
        """Runs one timer; False when none is left."""
        while self._heap:
            when, _, timer = heappop(self._heap)
            loop = timer.loop
            if timer.cancelled_ or (loop is not None and loop.dead):
                continue
            self.now = when
            events._set_running_loop(cast(Any, loop))
            try:
                if timer.context is not None:
                    timer.context.run(timer.call, *timer.args)
                else:
                    timer.call(*timer.args)
            finally:
                events._set_running_loop(None)
            return True
        return False


class Loop:
    """The event loop of one process: as much of asyncio's interface as tasks, futures and timeouts need. When the process dies, nothing of it ever runs again."""

    def __init__(self, clock: Clock, on_error: Callable[[BaseException], None]) -> None:
        self.clock, self.on_error = clock, on_error
        self.dead = False
        self.tasks: list[asyncio.Task[Any]] = []

    def time(self) -> float:
        return self.clock.now

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:
        return self.clock.at(self.clock.now, callback, *args, loop=self, context=context)

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:
        return self.clock.at(self.clock.now + delay, callback, *args, loop=self, context=context)

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:
        return self.clock.at(when, callback, *args, loop=self, context=context)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=cast(Any, self))

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=cast(Any, self), name=name or "", context=context)
        self.tasks.append(task)
        if len(self.tasks) > 500:
            self.tasks = [t for t in self.tasks if not t.done()]
        return task

    def run(self, work: Coroutine[Any, Any, Any]) -> None:
        """Starts a coroutine; what it raises is an error of the run."""
        self.create_task(work).add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.on_error(error)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return self.dead

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is not None and not self.dead:
            self.on_error(error)

    def kill(self) -> None:
        """As by kill -9; only memory is given back."""
        self.dead = True
        for task in self.tasks:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                coro = task.get_coro()
                try:
                    if coro is not None:
                        coro.close()
                except (RuntimeError, ValueError):  # it is the running one, or it waits in a `finally`
                    continue
        self.tasks.clear()
