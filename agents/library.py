"""The library: every agent and every implementation, ours and those of installed packages. Light to import: no model is touched.

Third parties bring theirs with one module under the entry-point group `murakkab.plugins` (see `plugin.py` and docs/plugins.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from typing import Any

from msgspec import Struct

from ..planner.lattice import Lattice, of_classes
from . import catalog, catalog_code, catalog_maths, catalog_text, weights
from .catalog import AGENTS, IMPLEMENTATIONS
from .installed import OURS, Installed
from .mcp_config import VARIABLE
from .mcp_rows import add_to
from .spec import Agent, Implementation, Take
from .types import TYPES

__all__ = [
    "AGENTS",
    "IMPLEMENTATIONS",
    "Agent",
    "Implementation",
    "Take",
    "agents",
    "implementations",
    "installed",
    "lattice",
    "missing",
    "package_of",
    "problems",
    "types",
    "with_mcp",
]


def _parts() -> tuple[Any, ...]:
    """The modules that hold our own rows, one a domain: each has AGENTS and IMPLEMENTATIONS."""
    return (catalog, catalog_text, catalog_maths, catalog_code)


@cache
def installed() -> Installed:
    """Our rows and those of installed packages, looked up once: a package that is installed later is found at the next start."""
    parts = _parts()
    found = Installed([row for m in parts for row in m.AGENTS], [row for m in parts for row in m.IMPLEMENTATIONS], TYPES)
    found.find()
    return found


def agents() -> dict[str, Agent]:
    """Agent name to agent, ours and those of installed packages."""
    return installed().agents


def implementations() -> dict[tuple[str, str], Implementation]:
    """(agent, implementation name) to implementation, ours and those of installed packages."""
    return installed().implementations


def types() -> dict[str, type[Struct]]:
    """Type name to class, ours and those of installed packages."""
    return installed().types


@cache
def lattice() -> Lattice:
    """The order of `types`."""
    return of_classes(types().values())


def with_mcp(environ: Mapping[str, str]) -> None:
    """Asks the MCP servers of this environment for their tools, which takes seconds: for workers, and for who shows all there is."""
    if environ.get(VARIABLE):
        add_to(installed(), environ)
        lattice.cache_clear()


def package_of(key: str | tuple[str, str]) -> str:
    """The package of an agent (by name) or implementation (by agent and name); empty when there is none of this name here."""
    found = installed()
    known = key in (found.agents if isinstance(key, str) else found.implementations)
    return found.packages.get(key, OURS if known else "")


def problems() -> tuple[str, ...]:
    """What is wrong with installed packages, a line each; what they say of it is left out."""
    return tuple(installed().problems)


def missing(row: Implementation, environ: Mapping[str, str]) -> str:
    """Why this implementation cannot run in this interpreter, in one line; empty when it can."""
    for module in row.modules:
        if not _there(module):
            return f"Python module '{module}' is not installed"
    if row.variable and not environ.get(row.variable):
        return f"{row.variable} is not set"
    if row.weights and weights.locate(row.weights, environ) is None:
        return weights.WEIGHTS[row.weights].how
    return ""


def _there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # a part of a package that is not there
        return False
