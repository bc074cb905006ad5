"""A sign of life in a file, for what watches processes from outside, such as Kubernetes' probes.

`MURAKKAB_ALIVE` names the file; `murakkab healthy` reads it. It is written by the event loop in which the actor decides, so
a loop that hangs leaves an old file, and a process that was killed too.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

ALIVE = "MURAKKAB_ALIVE"
EVERY_S = 2.0
OLD_S = 30.0
"""An event loop that has not turned for so long hangs: no decision and no garbage collection takes a tenth of it."""

State = Literal["starting", "standing by", "working"]


class Sign(Struct, frozen=True):
    """What the file says. `connected`: to a NATS server, at that moment."""

    state: State
    connected: bool


class Pulse:
    """`state` is set by whoever knows it; `connected` is asked at each beat."""

    def __init__(self, file: Path | None, connected: Callable[[], bool]) -> None:
        self.file, self.connected = file, connected
        self.state: State = "starting"

    async def beat(self) -> None:
        """Until cancelled. Raises OSError when the file cannot be written."""
        while self.file is not None:
            self.write(self.file)
            await asyncio.sleep(EVERY_S)

    def write(self, file: Path) -> None:
        """Whole or not at all: a reader never finds half a file."""
        part = file.with_name(f".{file.name}-{os.getpid()}")
        part.write_bytes(msgspec.json.encode(Sign(self.state, self.connected())))
        part.replace(file)


def file_of(environ: Mapping[str, str]) -> Path | None:
    return Path(environ[ALIVE]) if environ.get(ALIVE) else None


def ill(file: Path, *, ready: bool, now: float | None = None) -> str:
    """Why the process is not alive (or, if `ready`, cannot serve just now), in one line; empty when it is.

    Being cut off from NATS is no reason to be killed, since the link mends itself; it is one to be not ready. A conductor that
    stands by is ready: it serves by being there.
    """
    try:
        age_s = (time.time() if now is None else now) - file.stat().st_mtime
        sign = msgspec.json.decode(file.read_bytes(), type=Sign)
    except OSError as error:
        return f"no sign of life in {file}: {error.strerror}"
    except msgspec.DecodeError as error:
        return f"{file} is no sign of life: {error}"
    if age_s > OLD_S:
        return f"the last sign of life in {file} is {age_s:.0f} s old, the limit is {OLD_S:g} s"
    if ready and sign.state == "starting":
        return "it is still starting"
    if ready and not sign.connected:
        return "it is not connected to a NATS server"
    return ""


def healthy(file: Path | None, ready: bool, environ: Mapping[str, str]) -> int:
    """The exit status of `murakkab healthy`; the reason goes to stderr, where Kubernetes takes it into the pod's events."""
    if (file := file or file_of(environ)) is None:
        print(f"murakkab healthy: name the sign of life with --alive FILE or {ALIVE}", file=sys.stderr)
        return 2
    if reason := ill(file, ready=ready):
        print(f"murakkab: {reason}", file=sys.stderr)
        return 1
    return 0
