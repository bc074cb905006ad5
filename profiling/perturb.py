"""Making a stage's output worse, the same way every time. Pure.

Of every three elements of lists the second is left out, and of every three words of texts. Lists of one object that are equally long go together: their
elements belong to each other (pictures and their times). Lists of numbers alone (a box, a vector) and what names something (a file) stay.
"""

from __future__ import annotations

from typing import Any

EVERY, PLACE = 3, 2


def worse(value: Any) -> Any:
    """`value` with a third of what it says left out; equal to it if there is nothing to leave out."""
    match value:
        case str():
            words = value.split()
            return " ".join(_kept(words)) if len(words) >= PLACE else value
        case dict() if "sha256" not in value:
            lengths = {len(part) for part in value.values() if _thins(part)}
            return {
                name: _thinned(part) if isinstance(part, list) and len(part) in lengths else worse(part) for name, part in value.items()
            }
        case list() if _thins(value):
            return _thinned(value)
        case list():
            return [worse(part) for part in value]
    return value


def _thins(value: Any) -> bool:
    return isinstance(value, list) and len(value) >= PLACE and any(isinstance(part, dict | str) for part in value)


def _thinned(value: list[Any]) -> list[Any]:
    return [worse(part) for part in _kept(value)]


def _kept(value: list[Any]) -> list[Any]:
    return [part for n, part in enumerate(value, 1) if n % EVERY != PLACE]
