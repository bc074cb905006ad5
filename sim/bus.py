"""The simulated NATS server: core messages (at most once) and JetStream, with faults at the seed's dice.

It speaks what the real link speaks: the frames of the client protocol, `$JS.API` requests, `$JS.ACK` acknowledgements. What a
connection carries keeps its order, as TCP does; plain messages may besides be dropped, doubled and delayed on their way
to each subscriber. JetStream's messages are lost only with a connection, or as acknowledgements (`Faults.acks_lost`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any, Protocol

from ..bus.streams import STREAMS
from .clock import Clock
from .connection import Headers, Subscription
from .faults import Faults
from .streams import Consumer, Request, Stored, Stream, matches


class Watcher(Protocol):
    """Sees everything at the moment when the server does it."""

    def stored(self, stream: str, msg: Stored) -> None: ...

    def settled(self, stream: str, msg: Stored, refused: bool) -> None: ...

    def replied(self, subject: str, data: bytes) -> None: ...


class Server:
    def __init__(self, clock: Clock, dice: Random, faults: Faults, watcher: Watcher, trace: Callable[[str, str], None]) -> None:
        self.clock, self.dice, self.faults, self.watcher, self.trace = clock, dice, faults, watcher, trace
        self.streams = {spec.name: Stream(spec) for spec in STREAMS}
        self.up = True
        self._exact: dict[str, list[Subscription]] = {}
        self._wild: list[Subscription] = []
        self._stream_of: dict[str, Stream | None] = {}

    # --- connections -------------------------------------------------------------------------------------------------------------

    def subscribe(self, sub: Subscription) -> None:
        if sub.subject.startswith("_INBOX") or "*" not in sub.subject:
            self._exact.setdefault(sub.subject, []).append(sub)
        else:
            self._wild.append(sub)

    def unsubscribe(self, sub: Subscription) -> None:
        subs = self._exact.get(sub.subject)
        if subs and sub in subs:
            subs.remove(sub)
            if not subs:
                del self._exact[sub.subject]
        elif sub in self._wild:
            self._wild.remove(sub)

    def listeners(self, subject: str) -> list[Subscription]:
        found = list(self._exact.get(subject, ()))
        if subject.startswith("_INBOX"):
            return found or list(self._exact.get(subject.rpartition(".")[0] + ".*", ()))
        return found + [s for s in self._wild if matches(s.subject, subject)]

    # --- what arrives --------------------------------------------------------------------------------------------------------------

    def receive(self, subject: str, reply: str, headers: Headers, data: bytes) -> None:
        if subject.startswith("$JS.ACK."):
            self._acknowledged(subject, data)
        elif subject.startswith("$JS.API."):
            self._api(subject, reply, data)
        else:
            if subject.startswith("_INBOX"):
                self.watcher.replied(subject, data)
            stream = self._find(subject)
            if stream is not None:
                self._store(stream, subject, reply, headers, data)
            elif reply and not self.listeners(subject):
                self._answer(reply, b"", {"Status": "503"})
            self._route(subject, reply, headers, data)

    def _route(self, subject: str, reply: str, headers: Headers, data: bytes) -> None:
        groups: dict[str, list[Subscription]] = {}
        for sub in self.listeners(subject):
            if sub.queue:
                groups.setdefault(sub.queue, []).append(sub)
            else:
                self._plain(sub, subject, reply, headers, data)
        for members in groups.values():
            self._plain(self.dice.choice(members), subject, reply, headers, data)

    def _plain(self, sub: Subscription, subject: str, reply: str, headers: Headers, data: bytes) -> None:
        faults = self.faults
        copies = 1
        if faults.drop and self.dice.random() < faults.drop:
            self.trace("bus", f"drops {subject} to {sub.connection.name}")
            copies = 0
        elif faults.duplicate and self.dice.random() < faults.duplicate:
            copies = 2
        for _ in range(copies):
            late = self.dice.random() * faults.late_s if faults.late and self.dice.random() < faults.late else 0.0
            sub.connection.deliver(sub, subject, reply, headers, data, late)

    def _answer(self, reply: str, data: bytes, headers: Headers | None = None, subject: str = "", ack: str = "") -> None:
        """From the server itself; no faults but those of the connection."""
        for sub in self.listeners(reply):
            sub.connection.deliver(sub, subject or reply, ack, headers or {}, data, 0.0)

    # --- streams -----------------------------------------------------------------------------------------------------------------

    def _find(self, subject: str) -> Stream | None:
        if subject not in self._stream_of:
            self._stream_of[subject] = next((s for s in self.streams.values() if any(matches(p, subject) for p in s.spec.subjects)), None)
        return self._stream_of[subject]

    def _store(self, stream: Stream, subject: str, reply: str, headers: Headers, data: bytes) -> None:
        ack = stream.store(subject, headers, data, self.clock.now)
        if ack.error is not None:
            self.trace("bus", f"refuses {subject}: {ack.error[1]}")
            body: dict[str, Any] = {
                "error": {"code": 400, "err_code": ack.error[0], "description": ack.error[1]},
                "stream": stream.spec.name,
            }
        else:
            body = {"stream": stream.spec.name, "seq": ack.seq}
            if ack.duplicate:
                body["duplicate"] = True
            else:
                self.watcher.stored(stream.spec.name, stream.msgs[ack.seq])
        if reply and not (self.faults.acks_lost and self.dice.random() < self.faults.acks_lost):
            self._answer(reply, json.dumps(body).encode())
        for consumer in stream.consumers.values():
            self._pump(consumer)

    def _acknowledged(self, subject: str, data: bytes) -> None:
        if self.faults.acks_lost and self.dice.random() < self.faults.acks_lost:
            return
        _, _, stream_name, name, _, seq, *_ = subject.split(".")
        stream = self.streams[stream_name]
        consumer, msg = stream.consumers[name], stream.msgs.get(int(seq))
        if data == b"+WPI":
            consumer.extend(int(seq), self.clock.now)
        elif data.startswith(b"-NAK"):
            delay_s = json.loads(data.removeprefix(b"-NAK"))["delay"] / 1e9
            consumer.hand_back(int(seq), self.clock.now + delay_s)
            self.clock.after(delay_s + 1e-6, self._lease_over, consumer)
        elif msg is not None:
            consumer.settle(msg.seq)
            self.watcher.settled(stream_name, msg, refused=data != b"+ACK")
            self._pump(consumer)

    def _pump(self, consumer: Consumer) -> None:
        now = self.clock.now
        while consumer.waiting:
            request = consumer.waiting[0]
            if request.left <= 0 or request.expires <= now or not self.listeners(request.reply):
                consumer.waiting.pop(0)
                if request.left > 0 and request.expires <= now:
                    self._answer(request.reply, b"", {"Status": "408", "Nats-Pending-Messages": str(request.left)})
                continue
            taken = consumer.take(now)
            if taken is None:
                break
            msg, times = taken
            request.left -= 1
            ack = f"$JS.ACK.{consumer.stream.spec.name}.{consumer.name}.{times}.{msg.seq}.{consumer.delivered}.{int(now * 1e9)}.0"
            self._answer(request.reply, msg.data, msg.headers, msg.subject, ack)
            self.clock.after(consumer.ack_wait + 1e-6, self._lease_over, consumer)

    def _lease_over(self, consumer: Consumer) -> None:
        now = self.clock.now
        consumer.due(now)
        until = consumer.earliest()
        if until is not None and consumer.timer_at <= now:  # one timer for all that was extended
            consumer.timer_at = until + 1e-6
            self.clock.at(consumer.timer_at, self._lease_over, consumer)
        if consumer.again and self.up:
            self._pump(consumer)

    # --- requests ----------------------------------------------------------------------------------------------------------------

    def _api(self, subject: str, reply: str, data: bytes) -> None:
        tokens = subject.split(".")
        match tokens[2:]:
            case ["CONSUMER", "CREATE", stream, _, *_]:
                self._replay(self.streams[stream], json.loads(data)["config"], reply)
            case ["CONSUMER", "DURABLE", "CREATE", stream, name]:
                config, at = json.loads(data), self.streams[stream]
                if name not in at.consumers:
                    at.consumers[name] = Consumer(name, at, config["filter_subject"], config["ack_wait"])
                self._answer(reply, b"{}")
            case ["CONSUMER", "MSG", "NEXT", stream, name]:
                body, consumer = json.loads(data), self.streams[stream].consumers[name]
                request = Request(reply, body["batch"], self.clock.now + body["expires"] / 1e9)
                consumer.waiting.append(request)
                self.clock.at(request.expires + 1e-6, self._pump, consumer)
                self._pump(consumer)
            case ["DIRECT", "GET", stream, *of]:
                found = self.streams[stream].newest(".".join(of))
                if found is None:
                    self._answer(reply, b"", {"Status": "404"})
                else:
                    self._answer(reply, found.data, {"Nats-Sequence": str(found.seq)})
            case _:
                raise ValueError(f"the simulated server knows no {subject}")

    def _replay(self, stream: Stream, config: dict[str, Any], reply: str) -> None:
        """An ephemeral push consumer: everything now stored. Messages may overtake the answer, which counts them."""
        found = list(stream.read(config["filter_subject"], config["deliver_policy"] == "last_per_subject"))
        first = self.dice.random() < 0.5
        counts = {"num_pending": 0 if first else len(found), "delivered": {"consumer_seq": len(found) if first else 0}}
        if not first:
            self._answer(reply, json.dumps(counts).encode())
        for n, msg in enumerate(found):
            ack = f"$JS.ACK.{stream.spec.name}.replay.1.{msg.seq}.{n + 1}.{int(self.clock.now * 1e9)}.{len(found) - n - 1}"
            self._answer(config["deliver_subject"], msg.data, msg.headers, msg.subject, ack)
        if first:
            self._answer(reply, json.dumps(counts).encode())

    # --- faults ------------------------------------------------------------------------------------------------------------------

    def latency(self) -> float:
        return self.dice.expovariate(1.0 / self.faults.latency_s)

    def store_delay(self, subject: str) -> float:
        """Extra time that a publish takes on its way to a stream."""
        if self.faults.store_slow and self._find(subject) is not None and self.dice.random() < self.faults.store_slow:
            return self.dice.random() * self.faults.store_slow_s
        return 0.0

    def stop(self) -> None:
        self.up = False

    def start(self) -> None:
        """Stored messages and leases have outlived it; the rest has not."""
        self.up = True
        for stream in self.streams.values():
            stream.restarted()
