"""The shell: nowhere else does an actor meet the network or the clock.

`Actor.on` is synchronous and is only ever called from one event loop, one event at a time: that is what makes it an actor.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from msgspec.structs import replace
from nats.aio.msg import Msg

from ..bus import metrics, tracing
from ..bus.ids import message_id
from ..bus.link import Link
from ..bus.messages import DeadLetter, JobLog, JobRefused, JobResult, Message, SubmitJob, TaskReady
from ..bus.pull import Pull, deliveries
from ..bus.streams import RESULTS_CONSUMER
from ..bus.subjects import subject_of, token, wildcard
from ..bus.wire import BadMessage, decode, encode
from .core import (
    Actor,
    Command,
    Do,
    Errand,
    Event,
    Heard,
    Note,
    Outcome,
    Replayed,
    Reply,
    Resumed,
    Return,
    Send,
    Settle,
    Take,
    Wake,
    Woke,
    Write,
)
from .journal import Journal
from .reception import EACH_MAX, Reception

log = logging.getLogger("murakkab.actor")

LEASE_S = 10.0
"""How long a delivered task may go without a sign of life before it is delivered again."""

STREAMS_WAIT_S = 60.0

Errands = Mapping[type[Errand], Callable[[Any, str], Awaitable[object]]]
"""How to do each kind of slow work: (errand, traceparent) -> value. Exceptions become Outcome.error."""

TRACED = {"SubmitJob": "accept job", "MakeWorkflow": "plan job", "MakePlan": "optimize job"}
"""Requests that get a span of their own, with its name."""


class Fenced(RuntimeError):
    """Another process writes the logs that we thought ours; the only safe thing is to start anew from the bus."""


class Shell:
    def __init__(self, actor: Actor, link: Link, errands: Errands | None = None, *, lease_s: float = LEASE_S) -> None:
        self.actor, self.link, self.errands, self.lease_s = actor, link, errands or {}, lease_s
        self.writer = f"{actor.role}-{os.getpid()}-{os.urandom(4).hex()}"
        self.journal = Journal(link, self.writer, self._stored, self._fence)
        self.ended: asyncio.Future[None] = link.loop.create_future()
        self._sent = 0
        self._pools: dict[str, Pull | None] = {}
        self._wanted: dict[str, int] = {}
        self._pull_of: dict[str, Pull] = {}
        self._holds: dict[str, int] = {}
        """Key to the number of messages that must be stored before it is settled."""
        self._trace = ""
        self._live = False
        self._early: list[Msg] = []
        self.reception: Reception[Msg] = Reception(self._receive, self._turn_away, link.loop.call_soon)

    # --- life ---------------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Rebuilds the actor from its streams, resumes it, and then listens."""
        tables = [kind for kind in self.actor.hears if kind in self.actor.replays]
        for kind in tables:  # before their replay, so that nothing said meanwhile is missed; a table's news may come twice
            await self.link.subscribe(wildcard(kind), self._on_table)
        for kind in self.actor.replays:
            await self._replay(kind)
        for kind in self.actor.hears:
            if kind in tables:
                continue
            # actors of one role share requests; news goes to each of them
            queue = self.actor.role if kind.__name__ in TRACED or kind.__name__ in ("CancelJob", "ListJobs") else ""
            await self.link.subscribe(wildcard(kind), self._on_submission if kind is SubmitJob else self._on_message, queue=queue)
        self._live = True
        self.deliver(Resumed())
        early, self._early = self._early, []
        for msg in early:
            await self._on_message(msg)
        for kind in self.actor.works:
            await self.link.pull(kind.stream, RESULTS_CONSUMER, wildcard(kind), self._on_queued, upto=4_096, lease_s=self.lease_s)
        self.link.on_reconnect.append(self._reconnected)

    async def _replay(self, kind: type[Message]) -> None:
        """Waits for the stream to be there: the conductor makes it, and processes start in any order."""
        end = self.link.loop.time() + STREAMS_WAIT_S
        while True:
            try:
                return await self._replay_once(kind)
            except (LookupError, TimeoutError) as error:
                if self.link.loop.time() > end:
                    raise TimeoutError(f"{error}; after {STREAMS_WAIT_S:g} s: is a conductor running?") from None
                await asyncio.sleep(0.1)

    async def _replay_once(self, kind: type[Message]) -> None:
        newest_only = kind is not JobLog
        async for msg in self.link.replay(kind.stream, wildcard(kind), newest_only=newest_only):
            try:
                past = decode(msg.data)
            except BadMessage as error:
                self._bury(msg.subject, msg.data, str(error))
                continue
            if isinstance(past, JobLog):
                self.journal.seen(past.tenant, past.job, msg.metadata.sequence.stream)
            self.deliver(Replayed(past))

    async def _reconnected(self) -> None:
        """News may have been missed while away; logs cannot have been written by others, tables may."""
        self.link.spawn(self._catch_up())

    async def _catch_up(self) -> None:
        try:
            for kind in self.actor.replays:
                if kind is not JobLog:
                    await self._replay(kind)
        except TimeoutError as error:  # an actor that may have missed news must not go on: start anew from the bus
            self._fence(str(error))
        else:
            self.deliver(Resumed())

    async def run(self) -> None:
        """Until cancelled, or fenced (raises Fenced)."""
        await self.start()
        await self.ended

    # --- events in ------------------------------------------------------------------------------------------------------------

    def deliver(self, event: Event, trace: str = "") -> None:
        self._trace = trace
        try:
            for command in self.actor.on(event, time.time()):
                self._act(command)
        except Exception:
            log.exception("%s failed on %s", self.actor.role, type(event).__name__)
            match event:
                case Heard(msg=msg, key=key):
                    self._bury(subject_of(msg) if msg.subject else "", encode(msg), "the actor failed on it; see its log")
                    if pull := self._pull_of.pop(key, None):
                        pull.refuse(key)
        self._trace = ""

    async def _on_table(self, msg: Msg) -> None:
        if self._live:
            await self._on_message(msg)
        else:
            self._early.append(msg)

    async def _on_submission(self, msg: Msg) -> None:
        self.reception.put(msg.subject.split(".")[3], msg)

    def _turn_away(self, msg: Msg) -> None:
        if msg.reply:
            problem = f"more than {EACH_MAX} submissions of this tenant wait to be looked at: try again in about 10 s"
            self.link.publish(msg.reply, encode(JobRefused(error=problem)))

    async def _on_message(self, msg: Msg) -> None:
        self._receive(msg)

    def _receive(self, msg: Msg) -> None:
        if not self._live:  # news that arrives between the replay and Resumed would come twice; whoever needs it asks again
            return
        heard = self._read(msg)
        if heard is None:
            return
        trace = (msg.headers or {}).get(tracing.HEADER, "")
        name = TRACED.get(type(heard).__name__)
        if name is None:
            self.deliver(Heard(heard, msg.reply), trace)
            return
        attributes = {
            "messaging.system": "nats",
            "messaging.operation.type": "process",
            "messaging.destination.name": msg.subject,
            "murakkab.job": getattr(heard, "job", ""),
        }
        with tracing.span(f"{self.actor.role}: {name}", trace, "consumer", attributes) as mine:
            if isinstance(heard, SubmitJob):
                heard = replace(heard, traceparent=mine)
            self.deliver(Heard(heard, msg.reply), mine)

    def _on_queued(self, msg: Msg, pull: Pull) -> None:
        heard = self._read(msg)
        if heard is None:
            pull.refuse(msg.reply)
            return
        metrics.heard(heard)
        self._pull_of[msg.reply] = pull
        self.deliver(Heard(heard, msg.reply, deliveries(msg.reply)), (msg.headers or {}).get(tracing.HEADER, ""))

    def _read(self, msg: Msg) -> Message | None:
        """Decodes; what cannot be read is kept as a dead letter, and the asker is told."""
        try:
            heard = decode(msg.data)
            if heard.subject and (said := subject_of(heard)) != msg.subject:
                raise BadMessage(f"a {type(heard).__name__} for '{said}' came on '{msg.subject}'")
            return heard
        except (BadMessage, ValueError) as error:
            self._bury(msg.subject, msg.data, str(error))
            if msg.reply and not msg.reply.startswith("$JS.ACK."):
                self.link.publish(msg.reply, encode(JobRefused(error=f"message on {msg.subject}: {error}")))
            return None

    def _bury(self, subject: str, data: bytes, reason: str) -> None:
        letter = DeadLetter(
            role=token(self.actor.role), on=subject, reason=reason[:1_000], start=data[:1_000].decode("utf-8", "backslashreplace")
        )
        log.warning("dead letter from %s: %s", subject, reason)
        self._store(letter, encode(letter), (), "")

    # --- commands out -----------------------------------------------------------------------------------------------------------

    def _act(self, command: Command) -> None:
        match command:
            case Send(msg=msg, settles=settles, after_records=job, trace=trace):
                trace = trace or self._trace
                if job:
                    self.journal.after(job, lambda: self._send(msg, settles, trace))
                else:
                    self._send(msg, settles, trace)
            case Write(tenant=tenant, job=job, record=record, settles=settles):
                self._hold(settles)
                self.journal.write(tenant, job, record, settles)
            case Do(errand=errand, trace=trace):
                self.link.spawn(self._do(errand, trace or self._trace))
            case Settle(keys=keys, after_records=jobs):
                for _ in jobs:
                    self._hold(keys)
                for job in jobs:
                    self.journal.after(job, lambda: self._stored(keys))
                if not jobs:
                    self._settle(keys)
            case Wake(after_s=after_s, key=key):
                if after_s <= 0:
                    self.link.loop.call_soon(self.deliver, Woke(key))
                else:
                    self.link.loop.call_later(after_s, self.deliver, Woke(key))
            case Reply(key=key, msg=msg, after_records=job):
                if key:
                    self.journal.after(job, lambda: self._reply(key, msg))
            case Take(pool=pool, upto=upto):
                self._take(pool, upto)
            case Note(text=text):
                log.warning("%s", text)
            case Return(keys=keys):
                for key in keys:
                    if pull := self._pull_of.pop(key, None):
                        pull.hand_back(key)

    def _send(self, msg: Message, settles: tuple[str, ...], trace: str) -> None:
        data = encode(msg)
        if len(data) > self.link.max_payload - 1_000:
            # a server would cut our connection for it; so it is refused here, where somebody can be told
            self._too_large(msg, len(data))
            return
        if msg.stream:
            self._store(msg, data, settles, trace)
        else:
            self.link.publish(subject_of(msg), data, {tracing.HEADER: trace} if trace else None)
            self._settle(settles)
        metrics.sent(msg)
        if isinstance(msg, JobResult):
            self.journal.forget(msg.job)

    def _reply(self, key: str, msg: Message) -> None:
        data = encode(msg)
        if len(data) > self.link.max_payload - 1_000:
            data = encode(JobRefused(error=f"the answer, a {type(msg).__name__} of {len(data)} bytes, does not fit into a message"))
        self.link.publish(key, data)

    def _store(self, msg: Message, data: bytes, settles: tuple[str, ...], trace: str) -> None:
        self._sent += 1
        subject = subject_of(msg)
        headers = {"Nats-Msg-Id": message_id(msg, f"{self.writer}/{self._sent}")}
        if trace:
            headers[tracing.HEADER] = trace

        def stored(_: int, error: str) -> None:
            if error:
                log.error("%s is not stored: %s", subject, error)
            else:
                self._stored(settles)

        self._hold(settles)
        self.link.store(subject, data, headers, stored)

    def _too_large(self, msg: Message, size: int) -> None:
        problem = f"a {type(msg).__name__} of {size} bytes does not fit into a message of {self.link.max_payload} bytes"
        log.error("%s", problem)
        # not at once: the actor is in the middle of the event that caused this
        self.link.loop.call_soon(self.deliver, Outcome(TooLarge(msg), error=problem))

    def _hold(self, keys: tuple[str, ...]) -> None:
        for key in keys:
            self._holds[key] = self._holds.get(key, 0) + 1

    def _stored(self, keys: tuple[str, ...]) -> None:
        for key in keys:
            left = self._holds.get(key, 1) - 1
            if left:
                self._holds[key] = left
            else:
                self._holds.pop(key, None)
                self._settle((key,))

    def _settle(self, keys: tuple[str, ...]) -> None:
        for key in keys:
            if pull := self._pull_of.pop(key, None):
                pull.settle(key)

    def _fence(self, problem: str) -> None:
        log.error("fenced: %s", problem)
        if not self.ended.done():
            self.ended.set_exception(Fenced(problem))

    async def _do(self, errand: Errand, trace: str) -> None:
        work = self.errands.get(type(errand))
        try:
            if work is None:
                raise NotImplementedError(f"no shell does {type(errand).__name__}")
            value = await work(errand, trace)
        except Exception as error:
            log.info("%s: %s", type(errand).__name__, error, exc_info=log.isEnabledFor(logging.DEBUG))
            self.deliver(Outcome(errand, error=_one_line(error)), trace)
        else:
            self.deliver(Outcome(errand, value), trace)

    def _take(self, pool: str, upto: int) -> None:
        self._wanted[pool] = upto
        if pool not in self._pools:
            if upto:
                self._pools[pool] = None
                self.link.spawn(self._open_pool(pool))
        elif pull := self._pools[pool]:
            pull.set(upto)

    async def _open_pool(self, pool: str) -> None:
        while True:
            try:
                pull = await self.link.pull(
                    TaskReady.stream,
                    pool,
                    wildcard(TaskReady, pool=pool),
                    self._on_queued,
                    upto=self._wanted[pool],
                    lease_s=self.lease_s,
                )
                break
            except Exception as error:  # the stream is being made, or the server is away: ask again
                log.info("pool %s: %s", pool, error)
                await asyncio.sleep(0.5)
        self._pools[pool] = pull
        pull.set(self._wanted[pool])


class TooLarge(Errand, frozen=True):
    """Not work but news: this message of ours could not be sent since no server would take it."""

    msg: Message


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
