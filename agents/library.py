"""The library: every agent and every implementation, ours and those of installed packages. Light to import: no model is touched.

Third parties register theirs under the entry-point groups `murakkab.implementations` (a sequence of `Implementation`s)
and `murakkab.agents` (a sequence of `Agent`s): one file, one `pip install`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any

from . import catalog, weights
from .catalog import AGENTS, IMPLEMENTATIONS
from .spec import Agent, Implementation, Take

__all__ = ["AGENTS", "IMPLEMENTATIONS", "Agent", "Implementation", "Take", "agents", "implementations", "missing"]


def _parts() -> tuple[Any, ...]:
    """The modules that hold our own rows, one a domain: each has AGENTS and IMPLEMENTATIONS."""
    return (catalog,)


@cache
def agents() -> dict[str, Agent]:
    """Agent name to agent, ours and those of installed packages."""
    rows = [row for module in _parts() for row in module.AGENTS]
    for point in entry_points(group="murakkab.agents"):
        rows += point.load()
    return {row.name: row for row in rows}


@cache
def implementations() -> dict[tuple[str, str], Implementation]:
    """(agent, implementation name) to implementation, ours and those of installed packages."""
    rows = [row for module in _parts() for row in module.IMPLEMENTATIONS]
    for point in entry_points(group="murakkab.implementations"):
        rows += point.load()
    return {(row.agent, row.name): row for row in rows}


def missing(row: Implementation, environ: Mapping[str, str]) -> str:
    """Why this implementation cannot run in this interpreter, in one line; empty when it can."""
    for module in row.modules:
        if find_spec(module) is None:
            return f"Python module '{module}' is not installed"
    if row.variable and not environ.get(row.variable):
        return f"{row.variable} is not set"
    if row.weights and weights.locate(row.weights, environ) is None:
        return weights.WEIGHTS[row.weights].how
    return ""
