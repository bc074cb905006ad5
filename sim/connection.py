"""One simulated connection: the part of nats-py's `Client` that the real link uses, over virtual time.

Frames are parsed as a server would. Both directions keep their order; a cut connection loses what is under way, and its
process notices only later.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

from nats.aio.msg import Msg
from nats.errors import FlushTimeoutError, NoRespondersError
from nats.errors import TimeoutError as NatsTimeout

from .clock import Loop
from .ledger import Broken

if TYPE_CHECKING:
    from .bus import Server

Headers = dict[str, str]
MAX_PAYLOAD = 1 << 20
FLUSH_S = 10.0


class Subscription:
    __slots__ = ("connection", "gone", "on", "queue", "subject")

    def __init__(self, connection: Connection, subject: str, queue: str, on: Callable[[Any], Awaitable[None]]) -> None:
        self.connection, self.subject, self.queue, self.on = connection, subject, queue, on
        self.gone = False

    async def unsubscribe(self) -> None:
        self.gone = True
        self.connection.server.unsubscribe(self)
        if self in self.connection.subs:
            self.connection.subs.remove(self)

    async def drain(self) -> None:
        """No more from the server; what is under way still arrives."""
        self.connection.server.unsubscribe(self)
        if self in self.connection.subs:
            self.connection.subs.remove(self)
        await self.connection.flush()
        self.gone = True


class Connection:
    """Stands where the link expects `nats.aio.client.Client`."""

    def __init__(self, server: Server, name: str, loop: Loop, inbox: str, max_payload: int = MAX_PAYLOAD) -> None:
        self.server, self.name, self.loop, self.inbox, self.max_payload = server, name, loop, inbox, max_payload
        self.is_connected = True
        self.is_closed = False
        self.subs: list[Subscription] = []
        self._cut = False
        self._life = 0
        """Counts connections; what is under way belongs to one."""
        self._up_at = self._down_at = self._said_at = 0.0
        self._inboxes = 0

    @property
    def is_reconnecting(self) -> bool:
        return not self.is_connected and not self.is_closed

    # --- what the link calls ------------------------------------------------------------------------------------------------------

    @property
    def _transport(self) -> Connection:
        return self

    def writelines(self, frames: list[bytes]) -> None:
        for frame in frames:
            subject, reply, headers, data = parse(frame)
            if len(data) > self.max_payload:
                raise Broken(f"{len(data)} bytes were sent on {subject}: a server would cut the connection")
            self._send(subject, reply, headers, data)

    def jetstream(self, timeout: float = 5) -> Connection:
        return self

    async def add_consumer(self, stream: str, config: Any) -> None:
        body = json.dumps({"filter_subject": config.filter_subject, "ack_wait": config.ack_wait}).encode()
        await self.request(f"$JS.API.CONSUMER.DURABLE.CREATE.{stream}.{config.durable_name}", body, 10.0)

    def new_inbox(self) -> str:
        self._inboxes += 1
        return f"{self.inbox}.{self._inboxes}"

    async def subscribe(self, subject: str, queue: str = "", cb: Any = None, **_: Any) -> Subscription:
        """The client queues its own commands; what the link writes may overtake them, unless it waits for `flush`."""
        sub = Subscription(self, subject, queue, cb)
        self.subs.append(sub)
        if not self._cut:
            self._said_at = max(self._said_at, self.server.clock.now + 2 * self.server.latency())
            self.server.clock.at(self._said_at, self._subscribed, self._life, sub)
        return sub

    def _subscribed(self, life: int, sub: Subscription) -> None:
        if life == self._life and not sub.gone:
            self.server.subscribe(sub)

    async def request(  # its parameters are nats-py's
        self,
        subject: str,
        data: bytes,
        timeout: float,  # noqa: ASYNC109
        headers: Headers | None = None,
    ) -> Any:
        answered = self.loop.create_future()

        async def on(msg: Any) -> None:
            if not answered.done():
                answered.set_result(msg)

        sub = Subscription(self, self.new_inbox(), "", on)
        self.subs.append(sub)
        if self.is_connected and not self._cut:
            self.server.subscribe(sub)
            self._said_at = max(self._said_at, self.server.clock.now + self.server.latency())  # behind the client's own commands
            self.server.clock.at(self._said_at, self._sent, self._life, subject, sub.subject, headers or {}, data)
        try:
            msg = await asyncio.wait_for(answered, timeout)
        except TimeoutError:
            raise NatsTimeout from None
        finally:
            await sub.unsubscribe()
        if (msg.headers or {}).get("Status") == "503":
            raise NoRespondersError
        return msg

    async def flush(self) -> None:
        """A round trip behind all commands so far. Raises FlushTimeoutError when the connection is lost meanwhile."""
        if not self.is_connected:  # nats-py: no read loop, no waiting
            return
        pong = self.loop.create_future()
        life = self._life

        def back() -> None:
            if life == self._life and not self._cut and not pong.done():
                pong.set_result(None)

        when = max(self._said_at, self.server.clock.now + self.server.latency()) + self.server.latency()
        self.server.clock.at(when, back, loop=self.loop)
        try:
            await asyncio.wait_for(pong, FLUSH_S)
        except TimeoutError:
            raise FlushTimeoutError from None

    # --- the wire -----------------------------------------------------------------------------------------------------------------

    def _send(self, subject: str, reply: str, headers: Headers, data: bytes) -> None:
        if self._cut:
            return
        delay = self.server.latency() + self.server.store_delay(subject)
        self._up_at = max(self._up_at, self.server.clock.now + delay)
        self.server.clock.at(self._up_at, self._sent, self._life, subject, reply, headers, data)

    def _sent(self, life: int, subject: str, reply: str, headers: Headers, data: bytes) -> None:
        if life == self._life and not self._cut and self.server.up:
            self.server.receive(subject, reply, headers, data)

    def deliver(self, sub: Subscription, subject: str, reply: str, headers: Headers, data: bytes, late_s: float) -> None:
        """From the server to here; what is late gets out of order."""
        if self._cut:
            return
        when = max(self._down_at, self.server.clock.now + self.server.latency())
        if late_s:
            when += late_s
        else:
            self._down_at = when
        self.server.clock.at(when, self._arrived, self._life, sub, subject, reply, headers, data, loop=self.loop)

    def _arrived(self, life: int, sub: Subscription, subject: str, reply: str, headers: Headers, data: bytes) -> None:
        if life != self._life or self._cut or sub.gone:
            return
        call = sub.on(Msg(_client=cast(Any, self), subject=subject, reply=reply, data=data, headers=headers or None))
        try:
            call.send(None)  # type: ignore[attr-defined]
        except StopIteration:
            return
        raise RuntimeError(f"the callback of {sub.subject} waits for something; here callbacks must not")

    # --- faults -------------------------------------------------------------------------------------------------------------------

    def cut(self) -> None:
        """The other side is no longer reached; nobody has noticed."""
        self._cut = True
        self._life += 1
        for sub in self.subs:
            self.server.unsubscribe(sub)

    @property
    def is_cut(self) -> bool:
        return self._cut

    def noticed(self) -> None:
        self.is_connected = not self._cut

    def mended(self) -> None:
        self._cut, self.is_connected = False, True
        self._life += 1
        self._up_at = self._down_at = self._said_at = self.server.clock.now
        for sub in self.subs:
            self.server.subscribe(sub)

    def close(self, lose: bool) -> None:
        """The process is gone; what it had written may still arrive."""
        self.is_closed = True
        self.is_connected = False
        for sub in self.subs:
            self.server.unsubscribe(sub)
            sub.gone = True
        self.subs = []
        if lose:
            self._cut = True


def parse(frame: bytes) -> tuple[str, str, Headers, bytes]:
    """One PUB or HPUB -> (subject, reply, headers, data)."""
    line, _, rest = frame.partition(b"\r\n")
    verb, subject, *words = line.decode().split(" ")
    if verb == "PUB":
        reply = words[0] if len(words) == 2 else ""
        return subject, reply, {}, rest[: int(words[-1])]
    reply = words[0] if len(words) == 3 else ""
    head, total = int(words[-2]), int(words[-1])
    headers: Headers = {}
    for text in rest[:head].decode().split("\r\n")[1:]:
        name, found, value = text.partition(": ")
        if found:
            headers[name] = value
    return subject, reply, headers, rest[head:total]
