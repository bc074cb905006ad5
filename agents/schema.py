"""JSON Schema of an agent's arguments, from a msgspec class whose field defaults and `Meta` say all there is to say."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct


def args_schema(cls: type[Struct]) -> dict[str, Any]:
    """The schema of one flat object: `properties` with types, bounds, defaults and descriptions, and what is `required`."""
    made = msgspec.json.schema(cls)
    body: dict[str, Any] = made["$defs"][cls.__name__] if "$ref" in made else made
    return {
        "type": "object",
        "properties": body.get("properties", {}),
        "required": body.get("required", []),
        "additionalProperties": False,
    }
