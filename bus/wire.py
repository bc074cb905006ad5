"""Message <-> bytes: JSON, one tagged union."""

from __future__ import annotations

from typing import cast

import msgspec

from .messages import AnyMessage, Message

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(AnyMessage).decode


class BadMessage(ValueError):
    """Bytes that are no message of ours; the peer's fault. The text says what is wrong and where."""


def encode(msg: Message) -> bytes:
    return _encode(msg)


def decode(data: bytes) -> Message:
    """Raises BadMessage for wrong JSON, an unknown tag, a missing or ill-typed field."""
    try:
        return cast(Message, _decode(data))
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise BadMessage(" ".join(str(error).split())) from None
