"""Other arguments for a stage, and making its output worse, the same way every time. Pure.

Arguments: what looks closer (`x-closer` in its schema) looks from as far away again, so frames every 1 s become frames every 4 s; what the
optimizer may set (`levers`: how many paths) gets its other values.

Output: of every three elements of lists the second is left out, and of every three words of texts. Lists of one object that are equally long go together: their
elements belong to each other (pictures and their times). Lists of numbers alone (a box, a vector) and what names something (a file) stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

EVERY, PLACE = 3, 2


def other_args(schema: Mapping[str, Any], levers: Mapping[str, Sequence[int]], args: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One argument each, with another value than `args` or the schema's default gives it. `schema` is JSON Schema of an object."""
    found: list[dict[str, Any]] = []
    for name, part in schema.get("properties", {}).items():
        usual = part.get("default")
        now = args.get(name, usual)
        if "x-closer" in part and _number(usual) and _number(now) and _number(part["x-closer"]) and part["x-closer"]:
            far = now * usual / part["x-closer"]
            far = min(part.get("maximum", far), far)
            far = max(part.get("minimum", far), far)
            if far != now:
                found.append({name: round(far) if part.get("type") == "integer" else far})
        found += [{name: value} for value in levers.get(name, ()) if value != now]
    return found


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


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
