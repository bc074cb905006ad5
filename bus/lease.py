"""One holder at a time: a lease on a role, kept in a stream whose messages expire. The others stand by.

Taken with the expected last sequence of its subject, so that of two who try, one gets it. A holder that dies is followed
by a stand-by after `LEASE_TTL_S`, by itself at once (it is known by its holder id). A holder that was cut off for too
long finds that its sequence is no longer the last, and must stop; whatever it wrote meanwhile was fenced by the logs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .link import HEADER_EXPECT, Link
from .messages import LeaseHeld
from .streams import LEASE_TTL_S
from .subjects import subject_of, wildcard
from .wire import BadMessage, decode, encode

LOOK_EVERY_S = 0.5


class Lease:
    def __init__(self, link: Link, role: str, holder: str) -> None:
        self.link, self.role, self.holder = link, role, holder
        self.sequence = 0
        self._renewals = 0

    async def acquire(self, waiting: Callable[[str], None]) -> None:
        """Returns once the lease is ours. `waiting` is told, once, who has it meanwhile."""
        told = False
        while True:
            other = await self._try()
            if not other:
                return
            if not told:
                told = True
                waiting(other)
            await asyncio.sleep(LOOK_EVERY_S)

    async def keep(self) -> None:
        """Renews until the lease is lost, which is when it returns."""
        while True:
            await asyncio.sleep(LEASE_TTL_S / 4)
            if await self._put(LeaseHeld(role=self.role, holder=self.holder), self.sequence):
                return

    async def release(self) -> None:
        """For a good end: the next one need not wait."""
        await self._put(LeaseHeld(role=self.role, holder=""), self.sequence)

    async def _try(self) -> str:
        """Empty when the lease is ours now, else who has it."""
        subject = wildcard(LeaseHeld, role=self.role)
        try:
            last = await self.link.last(LeaseHeld.stream, subject)
            held = decode(last[1]) if last else None
        except (TimeoutError, BadMessage) as error:
            return f"nobody known ({error})"
        if isinstance(held, LeaseHeld) and held.holder not in ("", self.holder):
            return held.holder
        return await self._put(LeaseHeld(role=self.role, holder=self.holder), last[0] if last else 0)

    async def _put(self, msg: LeaseHeld, expected: int) -> str:
        """Returns why it was refused, or empty. Waits as long as it takes: the link sends again until it is answered."""
        self._renewals += 1
        answered: asyncio.Future[str] = self.link.loop.create_future()

        def stored(sequence: int, error: str) -> None:
            if not error:
                self.sequence = sequence
            if not answered.done():
                answered.set_result(error)

        headers = {"Nats-Msg-Id": f"{self.holder}/{self.role}/{expected}/{self._renewals}", HEADER_EXPECT: str(expected)}
        self.link.store(subject_of(msg), encode(msg), headers, stored)
        return await answered
