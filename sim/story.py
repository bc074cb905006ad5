"""The causal story of a run, one line an event: when, who, what came in, what went out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec

from ..actors.core import Command, Do, Event, Heard, Note, Outcome, Replayed, Reply, Resumed, Return, Send, Settle, Take, Wake, Woke, Write
from ..bus.ids import dotted
from ..bus.messages import (
    Counted,
    JobLog,
    Retried,
    TaskDone,
    TaskReady,
    TaskResults,
)
from .clock import Clock


class Story:
    """Costs nothing unless `told` is given, which gets every line; `digest` is of all lines."""

    clock: Clock

    def __init__(self, told: Callable[[str], None] | None = None) -> None:
        self.told = told
        self._hash = hashlib.sha256()

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def note(self, who: str, what: str) -> None:
        if self.told is not None:
            line = f"{self.clock.now:12.6f} {who:<12} {what}"
            self._hash.update(line.encode() + b"\n")
            self.told(line)

    def event(self, who: str, event: Event, commands: list[Command]) -> None:
        if self.told is not None:
            done = ", ".join(_command(c) for c in commands)
            self.note(who, _event(event) + (f"  ->  {done}" if done else ""))


def _event(event: Event) -> str:
    match event:
        case Heard(msg=msg, deliveries=n):
            return f"hears {_short(msg)}" + (f" (delivery {n})" if n > 1 else "")
        case Woke(key=key):
            return f"wakes for {key}"
        case Replayed(msg=msg):
            return f"replays {_short(msg)}"
        case Resumed():
            return "resumes"
        case Outcome(errand=errand, value=value, error=error):
            return f"outcome of {type(errand).__name__}: {error or _short(value)}"


def _command(command: Command) -> str:
    match command:
        case Send(msg=msg, settles=settles):
            return f"Send {_short(msg)}" + (f" settling {len(settles)}" if settles else "")
        case Reply(msg=msg):
            return f"Reply {_short(msg)}"
        case Write(job=job, record=record, settles=settles):
            return f"Write {job} {_short(record)}" + (f" settling {len(settles)}" if settles else "")
        case Note(text=text):
            return f"Note {text}"
        case Return(keys=keys):
            return f"Return {len(keys)}"
        case Settle(keys=keys):
            return f"Settle {len(keys)}"
        case Wake(after_s=after_s, key=key):
            return f"Wake {key} in {after_s:g} s"
        case Do(errand=errand):
            return f"Do {_short(errand)}"
        case Take(pool=pool, upto=upto):
            return f"Take {upto} of {pool}"


def _short(value: Any) -> str:
    """A message or a record in a few words."""
    match value:
        case TaskReady():
            return f"TaskReady {value.job}/{value.stage}/{dotted(value.index)}/{value.attempt}"
        case TaskResults(results=results):
            return f"TaskResults[{', '.join(_short(r) for r in results)}]"
        case TaskDone():
            return f"done {value.job}/{value.stage}/{dotted(value.index)}/{value.attempt}"
        case JobLog(job=job, records=records):
            return f"JobLog {job} [{', '.join(_short(r) for r in records)}]"
        case Counted(done=done):
            return f"Counted {done.stage}/{dotted(done.index)}/{done.attempt}"
        case Retried():
            return f"Retried {value.stage}/{dotted(value.index)} as {value.attempt}: {value.error}"
        case msgspec.Struct():
            parts = [
                f"{n}={getattr(value, n)}"
                for n in ("job", "host", "version", "status", "error", "phase", "id", "instance")
                if isinstance(getattr(value, n, None), str | int)
            ]
            return " ".join([type(value).__name__, *parts])
    return str(value)[:80]
