"""What a server says of its tools, made fit for a library and for prompts. Nobody vouches for it: it is data, of bounded size.

Schemas come out flat: references within the document are written out, and what only the server needs to check is left out.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

SUMMARY_MAX, DESCRIPTION_MAX, ABOUT_MAX = 200, 2_000, 300
"""Characters of a tool's first line, of its whole description, and of one parameter's."""
PROPERTIES_MAX, SCHEMA_MAX, DEPTH_MAX, PARTS_MAX = 64, 16_000, 12, 5_000
NAME_MAX = 60
_PLAIN = re.compile(r"[^A-Za-z0-9_.-]+")
_KEPT = frozenset(
    [
        "type", "enum", "const", "default", "description", "anyOf", "oneOf", "allOf", "items", "properties", "required",
        "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "minItems", "maxItems",
        "additionalProperties",
    ]
)  # fmt: skip
"""Not `pattern`: a regular expression can be made to run for hours, and the server will check it anyway."""


class BadTool(ValueError):
    """A tool cannot become an agent: why, in one line."""


def clean(text: object, most: int) -> str:
    """One line of printable text, of at most `most` characters. What cannot be seen goes: control characters, direction marks, tags."""
    if not isinstance(text, str):
        return ""
    seen = "".join(" " if c.isspace() else c for c in text[: most * 4] if c.isspace() or not unicodedata.category(c).startswith("C"))
    made = " ".join(seen.split())
    return made if len(made) <= most else made[: most - 1].rstrip() + "…"


def agent_name(server: str, tool: str) -> str:
    """`server.tool`, in letters that names of agents have; what is cut off or changed is told apart by a hash."""
    plain = _PLAIN.sub("_", tool).strip("_.-")
    if plain != tool or len(plain) > NAME_MAX:
        plain = f"{plain[: NAME_MAX - 7] or 'tool'}-{hashlib.sha256(tool.encode()).hexdigest()[:6]}"
    return f"{server}.{plain}"


def flat_schema(schema: object) -> dict[str, Any]:
    """The JSON Schema of a tool's arguments, without references and free text of any length. Raises BadTool."""
    if not isinstance(schema, dict):
        raise BadTool("its input schema is no object")
    made = _Flat(schema).walk(schema, 0, ())
    properties, required = made.get("properties", {}), made.get("required", [])
    if made.get("type", "object") != "object" or not isinstance(properties, dict):
        raise BadTool("its input schema is not of an object")
    if len(properties) > PROPERTIES_MAX:
        raise BadTool(f"it has {len(properties)} parameters; at most {PROPERTIES_MAX}")
    if bad := next((p for p in properties if not p or len(p) > NAME_MAX or not p.isprintable()), None):
        raise BadTool(f"a parameter is named '{clean(bad, 30)}'; a name is at most {NAME_MAX} printable characters")
    if not isinstance(required, list) or not all(isinstance(r, str) and r in properties for r in required):
        raise BadTool("its input schema requires what is not among its properties")
    result = {"type": "object", "properties": properties, "required": required}
    size = len(json.dumps(result))
    if size > SCHEMA_MAX:
        raise BadTool(f"its input schema has {size} bytes; at most {SCHEMA_MAX}")
    return result


class _Flat:
    """Walks one schema. `seen` are the references on the way; one that leads to itself accepts all, and the server checks."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root, self.parts = root, 0

    def walk(self, schema: Any, depth: int, seen: tuple[str, ...]) -> Any:
        self.parts += 1
        if depth > DEPTH_MAX or self.parts > PARTS_MAX:
            raise BadTool("its input schema is too deep or too large")
        if isinstance(schema, bool):
            return {} if schema else {"not": {}}
        if not isinstance(schema, dict):
            raise BadTool("its input schema holds what is no schema")
        if any(key in schema for key in ("$dynamicRef", "$recursiveRef")):
            raise BadTool("its input schema has dynamic references")
        made: dict[str, Any] = {}
        if (ref := schema.get("$ref")) is not None:
            if not isinstance(ref, str) or not (ref == "#" or ref.startswith("#/")):
                raise BadTool(f"its input schema refers to '{clean(ref, 60)}' elsewhere, which is never fetched")
            made = {} if ref in seen else self.walk(self._at(ref), depth + 1, (*seen, ref))
        return made | {key: self._part(key, value, depth, seen) for key, value in schema.items() if key in _KEPT}

    def _part(self, key: str, value: Any, depth: int, seen: tuple[str, ...]) -> Any:
        match key, value:
            case "description", _:
                return clean(value, ABOUT_MAX)
            case "properties", dict():
                return {str(k): self.walk(v, depth + 1, seen) for k, v in value.items()}
            case (("anyOf" | "oneOf" | "allOf"), list()):
                return [self.walk(v, depth + 1, seen) for v in value]
            case "items", _:
                return self.walk(value, depth + 1, seen)
            case "additionalProperties", dict():
                return self.walk(value, depth + 1, seen)
        return value

    def _at(self, ref: str) -> Any:
        at: Any = self.root
        for part in ref[2:].split("/") if ref != "#" else ():
            part = part.replace("~1", "/").replace("~0", "~")
            at = at[part] if isinstance(at, dict) and part in at else None
        if at is None:
            raise BadTool(f"its input schema refers to '{clean(ref, 60)}', which is not there")
        return at
