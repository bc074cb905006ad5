"""JetStream's half of the simulated server: streams and durable pull consumers, as data. Time comes in; nothing is sent.

What is promised, after docs.nats.io: a message id seen within the window is not stored again; a publish may demand the last
sequence of its subject; a work queue forgets what is settled; what is delivered and unsettled after `ack_wait` comes again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ..bus.streams import StreamSpec

Headers = dict[str, str]
MSG_ID, EXPECT = "Nats-Msg-Id", "Nats-Expected-Last-Subject-Sequence"


@dataclass(slots=True)
class Stored:
    seq: int
    subject: str
    headers: Headers
    data: bytes
    at: float


@dataclass(slots=True)
class Ack:
    """The answer to a publish. `error` is JetStream's (err_code, description)."""

    seq: int
    duplicate: bool = False
    error: tuple[int, str] | None = None


@dataclass(slots=True)
class Request:
    """A pull that waits for messages."""

    reply: str
    left: int
    expires: float


@dataclass(slots=True)
class Consumer:
    """A durable pull consumer. `unsettled`: sequence to (when it is delivered again, deliveries)."""

    name: str
    stream: Stream
    subject: str
    ack_wait: float
    unsettled: dict[int, tuple[float, int]] = field(default_factory=dict)
    again: dict[int, int] = field(default_factory=dict)
    """Sequences whose lease is over, to the deliveries so far; they go first."""
    next_seq: int = 1
    waiting: list[Request] = field(default_factory=list)
    delivered: int = 0
    timer_at: float = -1.0

    def due(self, now: float) -> None:
        """Leases that are over."""
        for seq, (until, times) in list(self.unsettled.items()):
            if until <= now + 1e-9:
                del self.unsettled[seq]
                self.again[seq] = times

    def earliest(self) -> float | None:
        return min((until for until, _ in self.unsettled.values()), default=None)

    def take(self, now: float) -> tuple[Stored, int] | None:
        """The next message to deliver and how often it is delivered with this time."""
        while self.again:
            seq = min(self.again)
            times = self.again.pop(seq) + 1
            if seq in self.stream.msgs:
                return self._lease(seq, times, now)
        for seq in range(self.next_seq, self.stream.last + 1):
            self.next_seq = seq + 1
            msg = self.stream.msgs.get(seq)
            if msg is not None and matches(self.subject, msg.subject):
                return self._lease(seq, 1, now)
        return None

    def _lease(self, seq: int, times: int, now: float) -> tuple[Stored, int]:
        self.unsettled[seq] = (now + self.ack_wait, times)
        self.delivered += 1
        return self.stream.msgs[seq], times

    def extend(self, seq: int, now: float) -> None:
        if seq in self.unsettled:
            self.unsettled[seq] = (now + self.ack_wait, self.unsettled[seq][1])

    def hand_back(self, seq: int, until: float) -> None:
        """Delivered again, from then on."""
        if seq in self.unsettled:
            self.unsettled[seq] = (until, self.unsettled[seq][1])

    def settle(self, seq: int) -> None:
        self.unsettled.pop(seq, None)
        self.again.pop(seq, None)
        self.stream.msgs.pop(seq, None)


class Stream:
    def __init__(self, spec: StreamSpec) -> None:
        self.spec = spec
        self.msgs: dict[int, Stored] = {}
        self.last = 0
        self._last_of: dict[str, int] = {}
        self._ids: dict[str, tuple[float, int]] = {}
        self.consumers: dict[str, Consumer] = {}

    def store(self, subject: str, headers: Headers, data: bytes, now: float) -> Ack:
        """The duplicate is looked for before the expected sequence, as nats-server does."""
        name = headers.get(MSG_ID, "")
        seen = self._ids.get(name) if name else None
        if seen is not None and now - seen[0] <= self.spec.dedup_s:
            return Ack(seen[1], duplicate=True)
        expect = headers.get(EXPECT)
        last = self._last_of.get(subject, 0)
        if expect is not None and int(expect) != last:
            return Ack(0, error=(10071, f"wrong last sequence: {last}"))
        self.last += 1
        self.msgs[self.last] = Stored(self.last, subject, headers, data, now)
        if name:
            self._ids[name] = (now, self.last)
        if self.spec.per_subject == 1:
            self.msgs.pop(last, None)
        self._last_of[subject] = self.last
        return Ack(self.last)

    def read(self, subject: str, newest_only: bool) -> Iterator[Stored]:
        for seq, msg in list(self.msgs.items()):
            if matches(subject, msg.subject) and (not newest_only or self._last_of[msg.subject] == seq):
                yield msg

    def newest(self, subject: str) -> Stored | None:
        return self.msgs.get(self._last_of.get(subject, 0))

    def restarted(self) -> None:
        """The server was: ids are found again only for what is still stored; pulls that waited are gone."""
        self._ids = {name: at for name, at in self._ids.items() if at[1] in self.msgs}
        for consumer in self.consumers.values():
            consumer.waiting.clear()


def matches(pattern: str, subject: str) -> bool:
    """NATS's rule: `*` is one token."""
    if pattern == subject:
        return True
    if "*" not in pattern:
        return False
    a, b = pattern.split("."), subject.split(".")
    return len(a) == len(b) and all(x in ("*", y) for x, y in zip(a, b, strict=True))
