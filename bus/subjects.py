"""The only place that builds a subject: template + fields -> subject, template -> wildcard."""

from __future__ import annotations

import hashlib
import re
from functools import cache

from .messages import Message

_FIELD = re.compile(r"\{(\w+)\}")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,200}")


class BadSubject(ValueError):
    """A field cannot be a token of a subject: only letters, digits, '-' and '_' may."""


@cache
def _parts(template: str) -> tuple[tuple[str, bool], ...]:
    return tuple((p[1:-1], True) if p.startswith("{") else (p, False) for p in template.split("."))


def subject_of(msg: Message) -> str:
    """The subject that a message is published on. Raises BadSubject for a field that is no token."""
    tokens = []
    for part, is_field in _parts(msg.subject):
        if is_field:
            value = getattr(msg, part)
            if not _TOKEN.fullmatch(value):
                raise BadSubject(f"{type(msg).__name__}.{part} is {value!r}: only letters, digits, '-' and '_' can be in a subject")
            part = value
        tokens.append(part)
    return ".".join(tokens)


def wildcard(kind: type[Message], **fixed: str) -> str:
    """The subscription that hears every message of a kind, with some fields fixed."""
    return _FIELD.sub(lambda m: fixed.get(m[1], "*"), kind.subject)


def token(text: str) -> str:
    """Any text as one token: what may not stand in a subject becomes '_'."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", text)[:200]


@cache
def pool(agent: str, implementation: str, hardware: str) -> str:
    """The name of a pool: all instances of one implementation of one agent on one hardware class share a work queue."""
    name = token(f"{agent}-{implementation}-{hardware}")
    if len(name) <= 80:
        return name
    return f"{name[:67]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"  # an Id has at most 80 characters
