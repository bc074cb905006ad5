"""What an agent author writes: a `Model` class behind one agent interface, and nothing of the bus.

A model lives in a process of its own (an *instance*, see `instance.py`). It is loaded once, asked many times, and may be
killed at any moment; so it keeps no state that matters. Heavy libraries are imported inside `load`, never at import.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Protocol, TypeVar, get_origin

import msgspec
from msgspec import Struct

from ..bus.messages import ArtifactRef

T = TypeVar("T")


class BadInput(Exception):
    """The input cannot be used, now or ever: what, where, and what would be right, in one line. Never retried."""


class Files:
    """The artifacts that an instance may read and write: a folder of files named by their SHA-256."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, ref: ArtifactRef) -> Path:
        """The local file of an artifact. Only hashes become file names, so no tenant can name a path."""
        return self.folder / ref.sha256

    def scratch(self, suffix: str = "") -> Path:
        """A new file name to write an artifact to, in the same file system."""
        return self.folder / f".{os.getpid()}-{os.urandom(6).hex()}{suffix}"

    def keep(self, path: Path, media_type: str) -> ArtifactRef:
        """Takes a finished file over as an artifact; the file is moved, never read into memory at once."""
        digest = hashlib.sha256()
        with path.open("rb") as f:
            while block := f.read(1 << 20):
                digest.update(block)
        ref = ArtifactRef(sha256=digest.hexdigest(), size=path.stat().st_size, media_type=media_type)
        shutil.move(path, self.folder / ref.sha256)
        return ref


class Call:
    """One task as a model sees it: typed inputs, arguments, files. `units` is the work that it turned out to be."""

    def __init__(self, inputs: Mapping[str, Any], args: Mapping[str, Any], files: Files) -> None:
        self.inputs, self.args, self.files = inputs, args, files
        self.units: dict[str, float] = {}

    def take(self, name: str, kind: type[T]) -> T:
        """The input `name` as a value of its type; `list[X]` for a gathered one."""
        if name not in self.inputs:
            raise BadInput(f"input '{name}' is missing")
        value = self.inputs[name]
        if get_origin(kind) is list and not isinstance(value, list):
            value = [value]  # what gathers may also be fed by a stage that runs once
        return msgspec.convert(value, kind, strict=False)

    def maybe(self, name: str, kind: type[T]) -> T | None:
        return self.take(name, kind) if self.inputs.get(name) is not None else None

    def arg(self, name: str, default: T) -> T:
        return msgspec.convert(self.args[name], type(default), strict=False) if name in self.args else default

    def count(self, unit: str, amount: float) -> None:
        """Says how much work the task is: `video_s`, `audio_s`, `frames`, `images`, `texts`, `tokens_in`, `tokens_out`, `items`.

        Adds up over calls. Times and costs are learned per unit, so a unit is what they grow with. Never fails: what is no
        finite amount above 0 is not counted, for no task shall be lost to its bookkeeping.
        """
        try:
            more = float(amount)
        except (TypeError, ValueError, OverflowError):
            return
        if math.isfinite(more) and more > 0:
            self.units[unit] = round(self.units.get(unit, 0.0) + more, 6)


CALL: ContextVar[Call | None] = ContextVar("CALL", default=None)
"""The task that the current asyncio task works on, for what lies too deep to be handed its `Call` (engines count tokens)."""


class Model(Protocol):
    """An implementation at run time. `options` of its `Implementation` become keyword arguments of the constructor."""

    def load(self) -> None:
        """Everything slow, once: imports, weights, warm-up."""

    def run(self, call: Call) -> Struct | Sequence[Struct]:
        """One task. A sequence for agents that give a collection. `BadInput` for what no retry can mend."""


class AsyncModel(Protocol):
    """As `Model`, for implementations that mostly wait (servers, APIs): all slots run in one event loop."""

    def load(self) -> None: ...

    async def run_async(self, call: Call) -> Struct | Sequence[Struct]: ...
