"""The process of one instance, seen from its worker: lines to it and from it, and the memory that it may take."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import psutil

from .instance import Answer, CallIn

WATCH_EVERY_S = 0.25
"""How often a process with a hard limit is looked at; it may take more for this long."""


class InstanceLost(RuntimeError):
    """The instance's process is gone."""


class Process:
    """A running process and the calls that it has not answered yet. `run`: which start of its worker it is."""

    def __init__(self, process: asyncio.subprocess.Process, run: int = 0, *, spawns: bool = False) -> None:
        self.process, self.run, self.spawns = process, run, spawns
        self.calls: dict[int, asyncio.Future[Answer]] = {}
        self.ready = False
        self.n = 0
        self.ended = asyncio.get_running_loop().create_future()
        self.lines: list[bytes] = []
        self.why = ""
        """Why we ended it, where we did for a fault of its own."""

    async def call(self, limit_s: float, **what: Any) -> Answer:
        """Raises InstanceLost, or TimeoutError when it does not answer in time."""
        if self.ended.done():
            raise InstanceLost(f"its process ended ({self.ended.result()})")
        self.n += 1
        n = self.n
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.calls[n] = answered
        self._send(msgspec.json.encode(CallIn(n, **what)))
        try:
            async with asyncio.timeout(limit_s):
                return await answered
        finally:
            self.calls.pop(n, None)

    def _send(self, data: bytes) -> None:
        if not self.lines:
            asyncio.get_running_loop().call_soon(self._flush)
        self.lines.append(data)

    def _flush(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n".join(self.lines) + b"\n")
        self.lines.clear()

    async def read(self) -> None:
        """Until the process ends."""
        assert self.process.stdout is not None
        decode = msgspec.json.Decoder(Answer).decode
        try:
            while line := await self.process.stdout.readline():
                answer = decode(line)
                call = self.calls.get(answer.n)
                if call is not None and not call.done():
                    call.set_result(answer)
        finally:
            await self.over()

    async def over(self) -> str:
        """Waits for the end, tells everybody who waits for an answer, and says how it ended."""
        code = await self.process.wait()
        how = self.why or meaning(code)
        if not self.ended.done():
            self.ended.set_result(how)
        for call in self.calls.values():
            if not call.done():
                call.set_exception(InstanceLost(f"its process ended ({how}) in the middle of the task"))
        return how

    def rss_mb(self) -> int | None:
        """Resident memory of it, and of the servers that its model runs. None when it is gone."""
        try:
            own = psutil.Process(self.process.pid)
            bytes_ = own.memory_info().rss
            for child in own.children(recursive=True) if self.spawns else ():
                try:
                    bytes_ += child.memory_info().rss
                except psutil.Error:
                    continue
        except psutil.Error:
            return None
        return int(bytes_ >> 20)

    async def hold(self, limit_mb: int) -> None:
        """Ends it when it takes more. (A limit of the kernel would be of addresses, and libraries reserve many that they never use.)"""
        while (rss_mb := self.rss_mb()) is not None and not self.ended.done():
            if rss_mb > limit_mb:
                self.why = f"it took {rss_mb} MB of memory, over its limit of {limit_mb} MB"
                kill(self.process.pid)
                return
            await asyncio.sleep(WATCH_EVERY_S)


def family(pid: int) -> list[psutil.Process]:
    """All living descendants."""
    try:
        return psutil.Process(pid).children(recursive=True)  # type: ignore[no-any-return]
    except psutil.Error:
        return []


def kill(pid: int) -> None:
    """With all its descendants."""
    ours = family(pid)
    for one in [*ours, *_found(pid)]:
        try:
            one.kill()
        except psutil.Error:
            continue


def _found(pid: int) -> list[psutil.Process]:
    try:
        return [psutil.Process(pid)]
    except psutil.Error:
        return []


def meaning(code: int) -> str:
    """An exit code in words."""
    return f"killed by signal {-code}" if code < 0 else f"exit status {code}"
