"""What installed packages bring, found by entry points. Whatever is wrong with one of them is noted, and the rest goes on.

Three groups: `murakkab.plugins` names a module, and importing it notes rows (`plugin.py`); `murakkab.agents` and
`murakkab.implementations` name sequences of rows. What stands first stays: our own rows, then packages by name.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from msgspec import Struct

from . import plugin
from .check import agent_problem, implementation_problem
from .plugin import Declared
from .spec import Agent, Implementation
from .weights import WEIGHTS

PLUGINS, AGENTS, IMPLEMENTATIONS = "murakkab.plugins", "murakkab.agents", "murakkab.implementations"
OURS = "murakkab"


class Installed:
    """All rows and types of this interpreter. `packages` says where each row that is not ours came from, by its key in
    `agents` or `implementations`; `problems` are lines for people."""

    def __init__(self, agents: Iterable[Agent], implementations: Iterable[Implementation], types: Mapping[str, type[Struct]]) -> None:
        self.agents = {row.name: row for row in agents}
        self.implementations = {(row.agent, row.name): row for row in implementations}
        self.types = dict(types)
        self.packages: dict[str | tuple[str, str], str] = {}
        self.type_packages: dict[str, str] = {}
        """Types that are not ours, and where they came from."""
        self.problems: list[str] = []

    def find(self) -> None:
        """Loads the entry points of every installed package."""
        found: list[tuple[str, Declared]] = []
        for group in (PLUGINS, AGENTS, IMPLEMENTATIONS):
            for point in sorted(entry_points(group=group), key=lambda p: (_package(p), p.name)):
                found += [(_package(point), new) for new in self._load(point, {id(new) for _, new in found})]
        self.add(found)

    def add(self, found: Iterable[tuple[str, Declared]]) -> None:
        """Types first, then agents, then implementations: a package may build on another."""
        rows = list(found)
        for package, new in rows:
            for cls in new.classes:
                self._add_type(package, cls)
        for package, new in rows:
            if isinstance(new.row, Agent):
                self._add_agent(package, new.row, new.classes)
        for package, new in rows:
            if isinstance(new.row, Implementation):
                self._add_implementation(package, new.row)

    def _load(self, point: EntryPoint, taken: set[int]) -> list[Declared]:
        before = len(plugin.declared())
        try:
            with contextlib.redirect_stdout(sys.stderr):  # what a module prints must not get into ours
                value = point.load()
            if point.group == PLUGINS:
                return self._noted(point, before, taken)
            wanted = Agent if point.group == AGENTS else Implementation
            rows = list(value)
            if strange := next((row for row in rows if not isinstance(row, wanted)), None):
                raise TypeError(f"it holds a {type(strange).__name__}, no {wanted.__name__}")
            return [Declared(point.module, row) for row in rows]
        except (Exception, SystemExit) as error:
            plugin.withdraw(before)
            self._tell(_package(point), f"{point.name} = {point.value} cannot be imported: {type(error).__name__}: {error}")
        return []

    def _noted(self, point: EntryPoint, before: int, taken: set[int]) -> list[Declared]:
        """What the import has noted, and what the module had noted if it had been imported already."""
        inside = f"{point.module}."
        noted = [
            new
            for n, new in enumerate(plugin.declared())
            if (n >= before or new.module == point.module or new.module.startswith(inside)) and id(new) not in taken
        ]
        if not noted:
            self._tell(_package(point), f"{point.name} = {point.value} declares no agent and no implementation")
        return noted

    def _add_type(self, package: str, cls: type[Struct]) -> None:
        known = self.types.get(cls.__name__)
        if known is None:
            self.types[cls.__name__], self.type_packages[cls.__name__] = cls, package
        elif known is not cls:
            other = f"{known.__module__}:{known.__name__}"
            self._tell(package, f"its type {cls.__name__} ({cls.__module__}) has the name of another, {other}, which stays")

    def _add_agent(self, package: str, row: Agent, classes: Iterable[type[Struct]]) -> None:
        other = next((cls.__name__ for cls in classes if self.types[cls.__name__] is not cls), "")
        if other:
            self._tell(package, f"agent {row.name} is left out: its type {other} is not the one of this name that stays")
        elif row.name in self.agents:
            self._tell(package, f"agent {row.name} is left out: {self.packages.get(row.name, OURS)} has one of this name")
        elif why := agent_problem(row, self.types):
            self._tell(package, f"agent {row.name} is left out: {why}")
        else:
            self.agents[row.name], self.packages[row.name] = row, package

    def _add_implementation(self, package: str, row: Implementation) -> None:
        key = (row.agent, row.name)
        if row.agent not in self.agents:
            self._tell(package, f"implementation {row.name} is left out: there is no agent '{row.agent}'")
        elif key in self.implementations:
            self._tell(
                package, f"implementation {row.name} of {row.agent} is left out: {self.packages.get(key, OURS)} has one of this name"
            )
        elif why := implementation_problem(row, WEIGHTS):
            self._tell(package, f"implementation {row.name} of {row.agent} is left out: {why}")
        else:
            self.implementations[key], self.packages[key] = row, package

    def _tell(self, package: str, what: Any) -> None:
        line = " ".join(f"{package}: {what}".split())[:500]
        if line not in self.problems:
            self.problems.append(line)


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else "unknown package"
