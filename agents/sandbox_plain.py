"""Plain data between two interpreters that do not trust each other: JSON with tags, and never an object with behaviour.

What comes out of `loads` is made of None, bool, int, float, complex, str, bytes, list, tuple, set, frozenset, dict alone, so that comparing
it runs no code of whoever sent it (an `__eq__` that says yes to all, say). Standard library only: it runs inside the sandbox.
"""

from __future__ import annotations

import json
from typing import Any

SMALL = 1 << 53
"""Integers below this travel as JSON numbers; larger ones as hexadecimal, which has no limit of digits."""


class NotPlain(Exception):
    """A value that is not plain data, or text that is not plain data written down."""


def dumps(value: object) -> str:
    """One line. Raises NotPlain. Elements of sets are sorted by how they are written, so that equal values give equal text."""
    try:
        return json.dumps(_pack(value), separators=(",", ":"))
    except RecursionError:
        raise NotPlain("data nested too deeply") from None
    except UnicodeError:
        raise NotPlain("text with broken characters") from None


def loads(line: str | bytes) -> Any:
    """The value of one line. Raises NotPlain for whatever `dumps` does not write."""
    try:
        return _unpack(json.loads(line))
    except RecursionError:
        raise NotPlain("data nested too deeply") from None
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise NotPlain(f"not plain data: {error}") from None


def _pack(value: object) -> Any:
    """Lists stay lists; everything that JSON has no word for is {tag: …}. Of subclasses only the built-in part travels."""
    match value:
        case None | bool():
            return value
        case int():
            value = int.__index__(value)
            return value if -SMALL < value < SMALL else {"int": hex(value)}
        case float():
            return {"float": float.__repr__(value)}
        case str():
            return str.__str__(value)
        case list():
            return [_pack(x) for x in list.__iter__(value)]
        case tuple():
            return {"tuple": [_pack(x) for x in tuple.__iter__(value)]}
        case dict():
            return {"dict": [[_pack(k), _pack(v)] for k, v in dict.items(value)]}
        case set() | frozenset():
            kind = "set" if isinstance(value, set) else "frozenset"
            return {kind: sorted((_pack(x) for x in value), key=json.dumps)}
        case bytes() | bytearray():
            return {"bytes": bytes(value).hex()}
        case complex():
            return {"complex": [repr(value.real), repr(value.imag)]}
    raise NotPlain(f"a value of type {type(value).__name__}, which is not plain data")


def _unpack(value: Any) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case list():
            return [_unpack(x) for x in value]
        case dict() if len(value) == 1:
            [(tag, inner)] = value.items()
            match tag, inner:
                case "int", str():
                    return int(inner, 16)
                case "float", str():
                    return float(inner)
                case "tuple", list():
                    return tuple(_unpack(x) for x in inner)
                case "dict", list():
                    return {_unpack(k): _unpack(v) for k, v in inner}
                case "set", list():
                    return {_unpack(x) for x in inner}
                case "frozenset", list():
                    return frozenset(_unpack(x) for x in inner)
                case "bytes", str():
                    return bytes.fromhex(inner)
                case "complex", [str(real), str(imag)]:
                    return complex(float(real), float(imag))
    raise NotPlain(f"not plain data: {str(value)[:80]}")
