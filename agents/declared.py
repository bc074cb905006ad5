"""Devices that the owner of a host declares: for tests, and for accelerators whose driver we cannot ask.

`MURAKKAB_DEVICES` is JSON, TOML, or the name of a file of either:
`[{"name": "toy-gpu", "memory_mb": 8000, "count": 2}]`, or a table `[[device]]` for each. Nothing is ever measured on them.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from ..bus.messages import Device
from ..bus.subjects import token

DEVICES_MAX = 256


class Declared(Struct, frozen=True, forbid_unknown_fields=True):
    """`count` devices of one make; `memory_mb` of each."""

    name: Annotated[str, Meta(min_length=1, max_length=80, pattern="^[ -~]+$")]
    memory_mb: Annotated[int, Meta(gt=0, le=1 << 30)]
    count: Annotated[int, Meta(ge=1, le=DEVICES_MAX)] = 1


def declared(said: str) -> tuple[Device, ...]:
    """None are in use. Raises ValueError with one line."""
    if not said.strip():
        return ()
    text = said
    if said.endswith((".toml", ".json")):
        try:
            text = Path(said).read_text(encoding="utf-8")
        except (OSError, UnicodeError) as error:
            raise ValueError(f"the file {said} cannot be read: {error.__class__.__name__}") from None
    try:
        rows = msgspec.convert(_table(text), list[Declared])
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    if sum(row.count for row in rows) > DEVICES_MAX:
        raise ValueError(f"it declares more than {DEVICES_MAX} devices")
    found: list[Device] = []
    for row in rows:
        for _ in range(row.count):
            of_name = sum(d.name == row.name for d in found)
            found.append(Device(row.name, "gpu", row.memory_mb, 0, id=f"{token(row.name)}-{of_name}", declared=True))
    return tuple(found)


def _table(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return tomllib.loads(text).get("device")
    except tomllib.TOMLDecodeError:
        raise ValueError('it is neither JSON like [{"name": "toy-gpu", "memory_mb": 8000, "count": 2}] nor TOML with [[device]]') from None
