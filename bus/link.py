"""The link to NATS: the only file (with `pull.py` and `artifacts.py`) that imports nats-py.

Three things that plain client calls do too slowly or not at all, each explained where it stands:
*coalesced writes* (all publishes of one turn of the loop are one write), *stored publishes* whose acknowledgements share
one inbox and that are sent again until acknowledged, and a *continuous pull* (`pull.py`) that is asked for again after a reconnect.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import nats.errors
from msgspec import Struct
from msgspec.json import Decoder
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError

from .pull import Pull
from .streams import StreamSpec

log = logging.getLogger("murakkab.bus")
logging.getLogger("murakkab").addHandler(logging.NullHandler())  # a library says nothing unless it is asked to

RESEND_AFTER_S = 3.0
HEADER_EXPECT = "Nats-Expected-Last-Subject-Sequence"
WRONG_LAST_SEQUENCE = 10071
"""JetStream's err_code for a publish whose expected last sequence is not the last one."""


class _Ack(Struct):
    """What JetStream answers to a publish."""

    seq: int = 0
    error: dict[str, Any] | None = None


_ack = Decoder(_Ack).decode

Headers = Mapping[str, str]
OnStored = Callable[[int, str], None]
"""(sequence, error): error is empty when the message is stored."""


class Unreachable(ConnectionError):
    """No NATS server answers, or it refuses us. The text is fit for a user."""


TASK_FAILED = "a task of the link failed: %r"


class NotMade(RuntimeError):
    """JetStream would not make a stream, or not now: which, and what it said."""


@dataclass(slots=True)
class _Unstored:
    frame: bytes
    """The whole HPUB, so that sending again is one write."""
    on_stored: OnStored
    sent_at: float


class Link:
    """One connection of one role. Callbacks run in its event loop and must not block."""

    def __init__(self, nc: Client, prefix: str) -> None:
        self.nc, self.prefix = nc, prefix
        self.js = nc.jetstream(timeout=10)
        self.loop = asyncio.get_running_loop()
        self.on_reconnect: list[Callable[[], Awaitable[None]]] = []
        self._buffer: list[bytes] = []
        self._armed = False
        self._unstored: dict[int, _Unstored] = {}
        self._next_token = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._pulls: list[Pull] = []
        self._ack_prefix = ""

    @property
    def max_payload(self) -> int:
        return int(self.nc.max_payload)

    # --- opening and closing ----------------------------------------------------------------------------------------------

    @classmethod
    async def open(cls, url: str, name: str, *, inbox: str = "_INBOX", wait_s: float = 5.0) -> Link:
        """Connects within `wait_s`, then stays: later losses are mended by reconnecting for ever. Raises Unreachable."""
        last: list[str] = []

        async def on_error(error: Exception) -> None:
            last.append(str(error) or type(error).__name__)
            log.warning("nats: %s", last[-1])

        nc = Client()
        link_box: list[Link] = []
        servers = url.split(",")
        mine = urlsplit(servers[0])

        async def on_reconnected() -> None:
            for link in link_box:
                await link._reconnected()

        # the client library tries a first connection for ever when it may reconnect for ever; so the waiting is bounded here
        connect = nc.connect(
            servers,
            # as options too: a server of the cluster that the client is told of, and not we, has no name and password in its URL
            user=mine.username if mine.password else None,
            password=mine.password,
            name=name,
            error_cb=on_error,
            reconnected_cb=on_reconnected,
            allow_reconnect=True,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.2,  # type: ignore[arg-type]  # annotated as int, used as seconds of sleep
            connect_timeout=2,
            ping_interval=10,
            inbox_prefix=inbox.encode(),
            pending_size=64 << 20,
        )
        connecting = asyncio.get_running_loop().create_task(connect)
        end = asyncio.get_running_loop().time() + wait_s
        while not connecting.done() and asyncio.get_running_loop().time() < end:
            await asyncio.wait({connecting}, timeout=0.05)
            if any("authorization" in reason.lower() for reason in last):
                break
        if not connecting.done() or connecting.exception() is not None:
            reason = next((r for r in last if "authorization" in r.lower()), last[-1] if last else "no answer")
            if connecting.done() and not last:
                reason = str(connecting.exception())
            # asyncio's wait_for loses a cancellation that meets the end of what it waits for (Python before 3.12, gh-86296),
            # and the client library goes on with its next try: so asked until it has ended
            while not connecting.done():
                connecting.cancel()
                await asyncio.wait({connecting}, timeout=0.05)
            with contextlib.suppress(Exception):
                await nc.close()
            raise Unreachable(f"no NATS server for us at {_without_password(url)}: {reason}")
        link = cls(nc, inbox)
        link_box.append(link)
        link._ack_prefix = nc.new_inbox()
        await link.subscribe(link._ack_prefix + ".*", link._on_stored)
        link.spawn(link._resend())
        return link

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        self._flush()
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self.nc.flush(), 2)
        with contextlib.suppress(Exception):
            async with asyncio.timeout(2):
                await self.nc.close()
        self._abandon()

    def _abandon(self) -> None:
        """Lets go of a connection that is being closed. The client library waits for what is unsent on it, which on a cable that is cut
        takes until TCP gives up, a quarter of an hour (nats.py issue 671); whatever must not be lost is sent again on the next one."""
        writer = getattr(self.nc._transport, "_io_writer", None)
        if writer is not None and writer.is_closing():
            writer.transport.abort()

    def spawn(self, work: Any) -> None:
        """Runs a coroutine until it ends or the link closes; what it raises is logged."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error(TASK_FAILED, error)

    async def _reconnected(self) -> None:
        log.info("nats: connected again")
        self._buffer.clear()
        for unstored in self._unstored.values():  # in order; the server drops what it has by its message id
            unstored.sent_at = self.loop.time()
            self._write(unstored.frame)
        for pull in self._pulls:
            pull.asked_again()
        for follow in self.on_reconnect:
            await follow()

    # --- publishing -------------------------------------------------------------------------------------------------------

    def _write(self, frame: bytes) -> None:
        self._buffer.append(frame)
        if not self._armed:
            self._armed = True
            self.loop.call_soon(self.loop.call_soon, self._flush)  # one turn later: what that turn reads answers in the same write

    def _flush(self) -> None:
        """One write for all that was published in this turn; nothing is lost while disconnected that promises to be kept,
        since stored publishes are sent again."""
        self._armed = False
        frames, self._buffer = self._buffer, []
        if frames and self.nc.is_connected and self.nc._transport is not None:
            self.nc._transport.writelines(frames)

    def publish(self, subject: str, data: bytes, headers: Headers | None = None, reply: str = "") -> None:
        """At most once, at once."""
        self._write(_frame(subject, data, headers, reply))

    def store(self, subject: str, data: bytes, headers: Headers, on_stored: OnStored) -> None:
        """At least once, until JetStream has acknowledged; with a `Nats-Msg-Id` among the headers, once."""
        self._next_token += 1
        token = self._next_token
        frame = _frame(subject, data, headers, f"{self._ack_prefix}.{token}")
        self._unstored[token] = _Unstored(frame, on_stored, self.loop.time())
        self._write(frame)

    async def _on_stored(self, msg: Msg) -> None:
        token = int(msg.subject.rpartition(".")[2])
        unstored = self._unstored.get(token)
        if unstored is None:
            return
        if msg.headers and "Status" in msg.headers:  # no stream listens: it is being made, or has no leader; sent again later
            return
        ack = _ack(msg.data)
        error = ack.error
        if error is None:
            del self._unstored[token]
            unstored.on_stored(ack.seq, "")
        elif error.get("code") == 503:  # no leader just now
            return
        else:
            del self._unstored[token]
            unstored.on_stored(0, f"{error.get('err_code', 0)}: {error.get('description', 'refused')}")

    async def _resend(self) -> None:
        while True:
            await asyncio.sleep(RESEND_AFTER_S / 3)
            now = self.loop.time()
            if self.nc.is_reconnecting:
                self._abandon()
            if self.nc.is_connected:
                for unstored in self._unstored.values():
                    if now - unstored.sent_at > RESEND_AFTER_S:
                        unstored.sent_at = now
                        self._write(unstored.frame)

    async def stored(self, timeout_s: float = 10.0) -> None:
        """Waits until nothing is on its way to a stream. Raises TimeoutError."""
        end = self.loop.time() + timeout_s
        while self._unstored:
            if self.loop.time() > end:
                raise TimeoutError(f"{len(self._unstored)} messages are not stored after {timeout_s:g} s")
            await asyncio.sleep(0.01)

    # --- hearing ------------------------------------------------------------------------------------------------------------

    async def subscribe(self, subject: str, on: Callable[[Msg], Awaitable[None]], queue: str = "") -> Any:
        sub = await self.nc.subscribe(subject, queue=queue, cb=on, pending_msgs_limit=1_000_000)
        # the client queues its own commands while our writes go out at once: without this round trip, what we ask for
        # next could be answered before the server knows that we listen
        with contextlib.suppress(TimeoutError):  # the connection was lost meanwhile: the client subscribes again by itself
            await self.nc.flush()
        return sub

    async def request(self, subject: str, data: bytes, timeout_s: float, headers: Headers | None = None) -> Msg:
        """Raises TimeoutError when nobody answers in time, or nobody listens."""
        try:
            return await self.nc.request(subject, data, timeout=timeout_s, headers=dict(headers) if headers else None)
        except nats.errors.NoRespondersError:
            raise TimeoutError(f"nobody listens on {subject}") from None
        except nats.errors.TimeoutError:
            raise TimeoutError(f"no answer on {subject} within {timeout_s:g} s") from None

    async def replay(self, stream: str, subject: str, *, newest_only: bool = False, timeout_s: float = 30.0) -> AsyncIterator[Msg]:
        """Everything stored on a subject, oldest first, up to now; or only the newest of each subject."""
        inbox = self.nc.new_inbox()
        queue: asyncio.Queue[Msg] = asyncio.Queue()

        async def put(msg: Msg) -> None:
            queue.put_nowait(msg)

        sub = await self.nc.subscribe(inbox, cb=put, pending_msgs_limit=1_000_000, pending_bytes_limit=1 << 30)
        name = inbox.rpartition(".")[2]
        config = {
            "name": name,
            "deliver_subject": inbox,
            "deliver_policy": "last_per_subject" if newest_only else "all",
            "ack_policy": "none",
            "filter_subject": subject,
            "inactive_threshold": 30_000_000_000,
            "mem_storage": True,
            "num_replicas": 1,
        }
        try:
            body = json.dumps({"stream_name": stream, "config": config}).encode()
            answer = json.loads((await self.request(f"$JS.API.CONSUMER.CREATE.{stream}.{name}.{subject}", body, 10)).data)
            if error := answer.get("error"):
                raise LookupError(f"stream {stream}: {error.get('description')}")
            left = int(answer["num_pending"]) + int(answer.get("delivered", {}).get("consumer_seq", 0))
            while left > 0:
                async with asyncio.timeout(timeout_s):
                    msg = await queue.get()
                left -= 1
                yield msg
        finally:
            await sub.unsubscribe()

    async def last(self, stream: str, subject: str) -> tuple[int, bytes] | None:
        """The newest message of one subject, as (sequence, payload), or None."""
        try:
            msg = await self.nc.request(f"$JS.API.DIRECT.GET.{stream}.{subject}", b"", timeout=5)
        except nats.errors.Error as error:
            raise TimeoutError(f"stream {stream} does not answer: {error}") from None
        if msg.headers and msg.headers.get("Status"):
            return None
        return int((msg.headers or {}).get("Nats-Sequence", 0)), msg.data

    # --- streams and queues -----------------------------------------------------------------------------------------------------

    async def ensure(self, spec: StreamSpec, replicas: int = 1) -> None:
        """Makes a stream, or brings an existing one up to date. Raises NotMade."""
        config = StreamConfig(
            name=spec.name,
            subjects=list(spec.subjects),
            retention=RetentionPolicy(spec.retention),
            storage=StorageType.FILE,
            max_msgs_per_subject=spec.per_subject,
            max_age=spec.max_age_s,
            max_bytes=spec.max_bytes,
            duplicate_window=min(spec.dedup_s, spec.max_age_s) if spec.max_age_s else spec.dedup_s,
            allow_direct=spec.direct,
            num_replicas=replicas,
        )
        await self.making(f"stream {spec.name}", self._make(config))

    async def _make(self, config: StreamConfig) -> None:
        try:
            await self.js.add_stream(config)
        except APIError:
            await self.js.update_stream(config)

    async def making(self, what: str, work: Awaitable[None]) -> None:
        try:
            await work
        except APIError as error:
            raise NotMade(f"{what}: {error.description or error}") from None
        except nats.errors.Error as error:
            raise NotMade(f"{what}: {error or type(error).__name__}") from None

    async def has_stream(self, name: str) -> bool:
        try:
            await self.js.stream_info(name)
        except (NotFoundError, APIError, nats.errors.Error):
            return False
        return True

    async def pull(self, stream: str, consumer: str, subject: str, on: Callable[[Msg, Pull], None], *, upto: int, lease_s: float) -> Pull:
        """Takes from a work queue through a durable consumer, which is made if it is not there."""
        config = ConsumerConfig(durable_name=consumer, filter_subject=subject, ack_wait=lease_s, max_ack_pending=50_000, max_deliver=-1)
        await self.js.add_consumer(stream, config)
        pull = Pull(self, stream, consumer, on, upto, lease_s)
        await pull.start()
        self._pulls.append(pull)
        return pull


def _frame(subject: str, data: bytes, headers: Headers | None, reply: str) -> bytes:
    """One PUB or HPUB of the NATS client protocol (docs.nats.io/reference/reference-protocols/nats-protocol)."""
    to = f"{subject} {reply} " if reply else f"{subject} "
    if not headers:
        return b"PUB %b%d\r\n%b\r\n" % (to.encode(), len(data), data)
    lines = "".join(f"{k}: {v}\r\n" for k, v in headers.items())
    head = f"NATS/1.0\r\n{lines}\r\n".encode()
    return b"HPUB %b%d %d\r\n%b%b\r\n" % (to.encode(), len(head), len(head) + len(data), head, data)


def _without_password(url: str) -> str:
    def shown(server: str) -> str:
        scheme, at, rest = server.rpartition("@")
        return f"{scheme.partition('://')[0]}://{rest}" if at else server

    return ", ".join(shown(server) for server in url.split(","))
