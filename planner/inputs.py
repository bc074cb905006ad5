"""Which type of the library an input of a job is, from its media type (RFC 6838). Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..bus.messages import Input
from .proposal import Given

_TEXT = ("application/json", "application/x-ndjson", "application/jsonl", "application/x-yaml", "application/xml", "application/toml")


def type_of(media_type: str) -> str:
    """`Document` for text of any kind; `Video` for all else, since media agents look into a file and refuse what is none."""
    plain = media_type.partition(";")[0].strip().lower()
    return "Document" if plain.startswith("text/") or plain in _TEXT else "Video"


def given(inputs: Sequence[Input]) -> tuple[Given, ...]:
    """The inputs as a planner sees them."""
    return tuple(Given(i.name, type_of(i.media.media_type), msgspec.to_builtins(i)) for i in inputs)
