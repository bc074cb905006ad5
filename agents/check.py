"""Whether a row that somebody brought can stand in a library: an agent or an implementation of an installed package or of another host."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable

import msgspec

from .spec import Agent, Implementation

NAME_MAX = 100
RULES = ("vote", "any")
"""How the quality of several attempts follows from that of one (`optimizer/paths.py`)."""
KINDS = ("cpu", "gpu")
_ENTRY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def agent_problem(row: Agent, types: Container[str] | None = None) -> str:
    """What is wrong with an agent, in one line; empty when nothing is. `types` are those that are declared somewhere; None: any."""
    try:
        row = msgspec.json.decode(msgspec.json.encode(row), type=Agent)
    except (TypeError, ValueError) as error:  # also ValidationError
        return f"its row is none: {error}"
    if bad := _name_problem(row.name):
        return bad
    if types is not None:
        unknown = [f"takes '{p}' as {t.type}" for p, t in row.takes.items() if t.type not in types]
        unknown += [] if row.gives in types else [f"gives {row.gives}"]
        if unknown:
            return f"it {unknown[0]}, a type that nobody has declared"
    if any(not p for p in row.takes):
        return "a parameter has no name"
    return _args_problem(row) or _levers_problem(row)


def _args_problem(row: Agent) -> str:
    if not row.args:
        return ""
    properties = row.args.get("properties", {})
    if row.args.get("type") != "object" or not isinstance(properties, dict) or not all(isinstance(p, dict) for p in properties.values()):
        return "its arguments are not the JSON Schema of an object with properties"
    if both := sorted(set(properties) & {p for p, t in row.takes.items() if not t.literal}):
        return f"'{both[0]}' is both an argument and an input"
    required = row.args.get("required", [])
    if not isinstance(required, list) or not set(map(str, required)) <= set(properties):
        return "its arguments require what is not among their properties"
    return ""


def _levers_problem(row: Agent) -> str:
    if len(row.parts) not in (0, 2) or not all(row.parts):
        return "its parts are not the names of two agents: one that cuts, one that joins"
    for name, values in row.levers.items():
        if name not in row.args.get("properties", {}):
            return f"its lever '{name}' is none of its arguments"
        if not values or min(values) < 1:
            return f"its lever '{name}' has no values, or values below 1"
    if strange := sorted(set(row.lever_quality.values()) - set(RULES)):
        return f"quality follows by '{strange[0]}'; it is one of {', '.join(RULES)}"
    return ""


def implementation_problem(row: Implementation, weights: Iterable[str] | None = None) -> str:
    """The same of an implementation. `weights` are the keys that can be found here; None where nothing will be loaded."""
    try:
        row = msgspec.json.decode(msgspec.json.encode(row), type=Implementation)
    except (TypeError, ValueError) as error:
        return f"its row is none: {error}"
    if bad := _name_problem(row.name):
        return bad
    if not _ENTRY.fullmatch(row.entry):
        return f"its entry '{row.entry}' is not module:Class"
    if not 0 <= row.quality <= 1:
        return f"its quality {row.quality:g} is not between 0 and 1"
    if not 0 <= row.compute_share <= 1:
        return f"its compute_share {row.compute_share:g} is not between 0 and 1"
    for field in ("slots", "threads"):
        if getattr(row, field) < 1:
            return f"its {field} are {getattr(row, field)}; at least 1"
    for field in ("memory_mb", "work_s", "load_s"):
        if getattr(row, field) < 0:
            return f"its {field} is negative"
    if empty := next((name for name, values in row.only_args.items() if not values), ""):
        return f"its only_args give no value for '{empty}'"
    if row.timeout_s <= 0:
        return "its timeout_s is not positive"
    if not row.hardware:
        return "it names no hardware"
    if strange := sorted(set(row.runs_on) - set(KINDS)):
        return f"it runs on '{strange[0]}'; that is one of {', '.join(KINDS)}"
    if weights is not None and row.weights and row.weights not in weights:
        return f"there are no weights '{row.weights}'; there are {', '.join(weights)}"
    return ""


def _name_problem(name: str) -> str:
    if not name or name != name.strip() or len(name) > NAME_MAX or not name.isprintable():
        return f"'{name[:NAME_MAX]}' is no name: 1 to {NAME_MAX} printable characters"
    return ""
