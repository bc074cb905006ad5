"""What an actor is: a pure state machine. One event in, some commands out; no await, no clock, no dice, no network.

The shell (`shell.py`) runs an actor on NATS; the simulator (`sim/`) runs the same actor in virtual time.

Delivery, in one paragraph. An event that came from a work queue or as a request carries a `key`. A queued event stays the
bus's to deliver again until a command *settles* its key; a command that settles a key does so only once its own message
is stored. So an actor that dies has lost nothing: what it had not settled comes again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Protocol

from msgspec import Struct

from ..bus.messages import Message
from ..bus.messages import Record as LogRecord


class ActorBug(AssertionError):
    """An invariant of an actor does not hold; our fault, never a peer's."""


# --- events ---------------------------------------------------------------------------------------------------------------


class Heard(Struct, frozen=True):
    """A message arrived. `key` is empty for a plain one; else it is what to settle or reply to."""

    msg: Message
    key: str = ""
    deliveries: int = 1
    """How often the bus has delivered this one, this time counted."""


class Woke(Struct, frozen=True):
    """The wake-up that an earlier Wake asked for."""

    key: str


class Replayed(Struct, frozen=True):
    """A message of the past, while an actor rebuilds itself; nothing is sent in answer."""

    msg: Message


class Resumed(Struct, frozen=True):
    """The past is over: do what is due."""


class Outcome(Struct, frozen=True):
    """What a Do came to. `error` is one line; empty means that `value` is good."""

    errand: Errand
    value: object = None
    error: str = ""


Event = Heard | Woke | Replayed | Resumed | Outcome


# --- commands -------------------------------------------------------------------------------------------------------------


class Errand(Struct, frozen=True):
    """Base of slow or impure work that a shell knows how to do."""


class Send(Struct, frozen=True):
    """Publish; the subject follows from the message. `settles` are acknowledged once it is stored."""

    msg: Message
    settles: tuple[str, ...] = ()
    after_records: str = ""
    """A job: hold the message back until every record of that job so far is stored."""
    trace: str = ""
    """W3C traceparent of the job that this is about."""


class Reply(Struct, frozen=True):
    """Answer a request."""

    key: str
    msg: Message
    after_records: str = ""


class Write(Struct, frozen=True):
    """Append to a job's log; records that fall together are stored as one message, in order."""

    tenant: str
    job: str
    record: LogRecord
    settles: tuple[str, ...] = ()


class Settle(Struct, frozen=True):
    """Acknowledge queued events that need nothing stored (duplicates, news about ended jobs)."""

    keys: tuple[str, ...]
    after_records: tuple[str, ...] = ()
    """Jobs: not before every record of them so far is stored."""


class Return(Struct, frozen=True):
    """Hand queued events back undone: the bus delivers them again in a moment, to whoever takes some."""

    keys: tuple[str, ...]


class Note(Struct, frozen=True):
    """A line for the log of this process: what its owner should look at."""

    text: str


class Wake(Struct, frozen=True):
    """Come back to me later, as Woke(key). A stale wake-up is ignored by its key."""

    after_s: float
    key: str


class Do(Struct, frozen=True):
    """Slow or impure work; its outcome comes back as Outcome. It never raises into the actor."""

    errand: Errand
    trace: str = ""


class Take(Struct, frozen=True):
    """From now on pull tasks of a pool, at most `upto` unsettled at once; 0 stops."""

    pool: str
    upto: int


Command = Send | Reply | Write | Settle | Return | Note | Wake | Do | Take


class Actor(Protocol):
    """`hears` are the plain messages and requests it subscribes to; streams are named by their message type in `replays`
    (rebuilt from at start, then followed) and `works` (taken from a work queue)."""

    role: ClassVar[str]
    hears: ClassVar[tuple[type[Message], ...]]
    replays: ClassVar[tuple[type[Message], ...]]
    works: ClassVar[tuple[type[Message], ...]]

    def on(self, event: Event, now: float) -> Iterable[Command]: ...

    def check(self) -> None:
        """Raises ActorBug when an invariant is broken."""
