"""A workflow as a tree: the answer at the top, below each stage what it takes from; a stage that many take from stands once. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..bus.messages import Workflow

PREFIX_MAX = 45
"""Columns that the branches may take; of deeper ones only the last are drawn."""


class Row(NamedTuple):
    """One line of the tree. `head` goes before the stage's name, `below` before what is said of it on further lines."""

    stage: str
    head: str
    below: str
    again: bool
    """It stands above already, with all that it takes from."""


def rows(workflow: Workflow) -> list[Row]:
    """Each stage once with `again` false, whatever the workflow is; from its answers, then from what else nobody takes from."""
    takes = taken_from(workflow)
    taken = {source for sources in takes.values() for source in sources}
    answers = [name for name in workflow.answer if name in takes]
    roots = dict.fromkeys([*answers, *(name for name in takes if name not in taken), *takes])
    found: list[Row] = []
    seen: set[str] = set()
    for root in roots:
        if root not in seen:
            _grow(root, takes, seen, found)
    return found


def taken_from(workflow: Workflow) -> dict[str, tuple[str, ...]]:
    """Stage to the stages that it takes from, each once."""
    names = {stage.name for stage in workflow.stages}
    return {s.name: tuple(dict.fromkeys(e.stage for e in s.edges if e.stage in names)) for s in workflow.stages}


def _grow(root: str, takes: Mapping[str, tuple[str, ...]], seen: set[str], found: list[Row]) -> None:
    """Without recursion: a chain may be a thousand stages long."""
    todo = [(root, "", "")]
    while todo:
        name, head, rest = todo.pop()
        again = name in seen
        sources = () if again else takes[name]
        found.append(Row(name, _short(head), _short(rest + ("│ " if sources else "  ")), again))
        seen.add(name)
        for n, source in enumerate(reversed(sources)):
            todo.append((source, rest + ("└─ " if n == 0 else "├─ "), rest + ("   " if n == 0 else "│  ")))


def _short(prefix: str) -> str:
    return prefix if len(prefix) <= PREFIX_MAX else f"… {prefix[-PREFIX_MAX:]}"
