"""What a host brings to a system beyond what is built in, as the message that says it.

`python -m murakkab.agents.offered` prints what an interpreter has; a worker asks so the others that it was told of (`--python`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from ..bus.messages import LibraryOffered
from . import library
from .spec import Implementation

BYTES_MAX = 900_000
"""NATS takes no message over 1 MB."""


class Interpreter(Struct, frozen=True):
    """What one Python interpreter has: what it can run, as (agent, implementation), and what it brings."""

    can: tuple[tuple[str, str], ...]
    brings: LibraryOffered


def this_interpreter(host: str, environ: Mapping[str, str]) -> Interpreter:
    can = tuple(key for key, row in library.implementations().items() if not library.missing(row, environ))
    return Interpreter(can, brought(host))


def brought(host: str) -> LibraryOffered:
    """All rows of installed packages, and the order of the types that they add."""
    found = library.installed()
    agents = tuple(msgspec.to_builtins(row) for name, row in found.agents.items() if name in found.packages)
    rows = tuple(msgspec.to_builtins(row) for key, row in found.implementations.items() if key in found.packages)
    packages = {key if isinstance(key, str) else "/".join(key): package for key, package in found.packages.items()}
    return LibraryOffered(
        host=host,
        agents=agents,
        implementations=rows,
        types={name: above for name, above in library.lattice().above.items() if name in found.type_packages},
        packages=packages,
        problems=tuple(found.problems),
    )


def together(first: LibraryOffered, more: LibraryOffered) -> LibraryOffered:
    """What two interpreters of one host bring; of rows with one name the first stays."""
    return LibraryOffered(
        host=first.host,
        agents=_first(("name",), first.agents, more.agents),
        implementations=_first(("agent", "name"), first.implementations, more.implementations),
        types={**more.types, **first.types},
        packages={**more.packages, **first.packages},
        problems=tuple(dict.fromkeys((*first.problems, *more.problems))),
    )


def _first(by: tuple[str, ...], *rows: tuple[dict[str, object], ...]) -> tuple[dict[str, object], ...]:
    kept: dict[tuple[object, ...], dict[str, object]] = {}
    for row in (r for part in rows for r in part):
        kept.setdefault(tuple(row[f] for f in by), row)
    return tuple(kept.values())


def fitting(msg: LibraryOffered) -> LibraryOffered:
    """The message, shortened until a server takes it: words for people go first, then the last rows, with a problem that says so."""
    if len(msgspec.json.encode(msg)) <= BYTES_MAX:
        return msg
    agents, rows, types = tuple({**row, "description": ""} for row in msg.agents), msg.implementations, msg.types
    left = "descriptions are left out"
    while True:
        problem = f"what this host brings does not fit into a message of {BYTES_MAX} bytes: {left}"
        short = msgspec.structs.replace(msg, agents=agents, implementations=rows, types=types, packages={}, problems=(problem,))
        if len(msgspec.json.encode(short)) <= BYTES_MAX:
            return short
        agents, rows = agents[: len(agents) * 3 // 4], rows[: len(rows) * 3 // 4]
        spoken = {a["gives"] for a in agents} | {t["type"] for a in agents for t in a["takes"].values()}
        kept = _upwards(spoken, types)
        types = {name: above for name, above in types.items() if name in kept}
        left = f"only {len(agents)} agents and {len(rows)} implementations are told"


def _upwards(names: set[str], above: Mapping[str, tuple[str, ...]]) -> set[str]:
    """The types and all that stand above them."""
    found: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += above.get(name, ())
    return found


def rows_of(msg: LibraryOffered) -> dict[tuple[str, str], Implementation]:
    """The implementations of a message that another interpreter of this host has made."""
    rows = [msgspec.convert(row, Implementation) for row in msg.implementations]
    return {(row.agent, row.name): row for row in rows}


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(this_interpreter("here", os.environ)) + b"\n")
