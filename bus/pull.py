"""A continuous pull from a work queue, over a link."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import nats.errors
from nats.aio.msg import Msg

if TYPE_CHECKING:
    from .link import Link

PULL_EXPIRES_S = 30.0
HAND_BACK_S = 0.2
"""A message that is handed back is delivered again after this long."""


class Pull:
    """A continuous pull: asks for the next batch before the last one is used up, never for more than `upto` unsettled.

    A pull request dies with its server and nobody says so; so it is asked for again after a reconnect, and when it is
    older than it can be.
    """

    def __init__(self, link: Link, stream: str, consumer: str, on: Callable[[Msg, Pull], None], upto: int, lease_s: float) -> None:
        self.link, self.on, self.upto, self.lease_s = link, on, upto, lease_s
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._owed: dict[str, int] = {}
        self._asked_at: dict[str, float] = {}
        self._stopping = asyncio.Lock()
        self._requests = 0
        self.unsettled: dict[str, float] = {}
        """Acknowledgement subject to the time of the last sign of life that we gave for it."""

    async def start(self) -> None:
        self._inbox = self.link.nc.new_inbox()
        self._sub = await self.link.subscribe(self._inbox + ".*", self._on_message)
        self.link.spawn(self._keep())
        self.more()

    def set(self, upto: int) -> None:
        stops = self.upto > 0 and upto == 0
        self.upto = upto
        if stops:
            self.link.spawn(self._stop_asking())
        self.more()

    async def _stop_asking(self) -> None:
        """What was asked for would still be delivered here for half a minute, and what is handed back come straight back to us: so a
        new inbox is made, and the old one left, for a server forgets requests that nobody listens for. What is under way is still heard."""
        async with self._stopping:
            if self.upto > 0:
                return
            inbox = self.link.nc.new_inbox()
            sub = await self.link.subscribe(inbox + ".*", self._on_message)
            before, self._sub, self._inbox = self._sub, sub, inbox
            self._owed.clear()
            self._asked_at.clear()
            self.more()
            with contextlib.suppress(nats.errors.Error, TimeoutError):  # the connection is gone, and the requests with it
                await before.drain()

    def settle(self, ack: str) -> None:
        if self.unsettled.pop(ack, None) is not None:
            self.link.publish(ack, b"+ACK")
            self.more()

    def refuse(self, ack: str) -> None:
        """Never deliver this one again (it is kept as a dead letter)."""
        if self.unsettled.pop(ack, None) is not None:
            self.link.publish(ack, b"+TERM")
            self.more()

    def hand_back(self, ack: str) -> None:
        """Deliver this one again, in a moment: until then the server has heard that we ask for none."""
        if self.unsettled.pop(ack, None) is not None:
            self.link.publish(ack, b'-NAK {"delay": %d}' % int(HAND_BACK_S * 1e9))
            self.more()

    def asked_again(self) -> None:
        self._owed.clear()
        self._asked_at.clear()
        self.more()

    def more(self) -> None:
        room = self.upto - len(self.unsettled) - sum(self._owed.values())
        if room > 0 and room >= self.upto // 4:
            self._requests += 1
            token = str(self._requests)
            self._owed[token], self._asked_at[token] = room, self.link.loop.time()
            body = b'{"batch":%d,"expires":%d}' % (room, int(PULL_EXPIRES_S * 1e9))
            self.link.publish(self._next, body, reply=f"{self._inbox}.{token}")

    async def _on_message(self, msg: Msg) -> None:
        if not msg.reply:  # a status: this request is over, and the server says how much of it it still owed
            token = msg.subject.rpartition(".")[2]
            self._owed.pop(token, None)
            self._asked_at.pop(token, None)
            status = (msg.headers or {}).get("Status", "")
            if status in ("503", "409"):
                self.link.loop.call_later(0.3, self.more)
            else:
                self.more()
            return
        # a delivered message keeps its stream subject; the oldest open request is the one that it answers
        for token in self._owed:
            self._owed[token] -= 1
            if self._owed[token] <= 0:
                del self._owed[token], self._asked_at[token]
            break
        self.unsettled[msg.reply] = self.link.loop.time()
        self.on(msg, self)
        self.more()

    async def _keep(self) -> None:
        """Extends the lease of what is unsettled, and forgets requests that can no longer be alive."""
        while True:
            await asyncio.sleep(min(self.lease_s / 4, 1.0))
            now = self.link.loop.time()
            if not self.link.nc.is_connected:
                continue
            for ack, at in self.unsettled.items():
                if now - at > self.lease_s / 3:
                    self.unsettled[ack] = now
                    self.link.publish(ack, b"+WPI")
            for token, at in list(self._asked_at.items()):
                if now - at > PULL_EXPIRES_S + 5:
                    self._owed.pop(token, None)
                    self._asked_at.pop(token, None)
            self.more()


def deliveries(ack_subject: str) -> int:
    """How often a message was delivered, from its acknowledgement subject `$JS.ACK.[domain.account.]stream.consumer.N.…`."""
    tokens = ack_subject.split(".")
    return int(tokens[4] if len(tokens) == 9 else tokens[6])
