"""The library as the planner sees it: agents, and the order of their types. Pure; made from any source of agents."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import cached_property

import msgspec

from ..agents.spec import Agent
from .lattice import Lattice


class Library:
    """Agents by name, and which type may stand for which."""

    def __init__(self, agents: Mapping[str, Agent] | Iterable[Agent], types: Lattice) -> None:
        rows = agents.values() if isinstance(agents, Mapping) else agents
        self.agents: dict[str, Agent] = {a.name: a for a in rows}
        self.types = types
        self._producers: dict[str, list[Agent]] = {}

    def producers(self, wanted: str) -> list[Agent]:
        """Agents whose output may stand where `wanted` is asked for, in the library's order."""
        if wanted not in self._producers:
            self._producers[wanted] = [a for a in self.agents.values() if self.types.is_a(a.gives, wanted)]
        return self._producers[wanted]

    @cached_property
    def fingerprint(self) -> str:
        """Changes when anything changes that a plan could depend on."""
        rows = [msgspec.to_builtins(self.agents[name]) for name in sorted(self.agents)]
        order = {name: sorted(self.types.above[name]) for name in sorted(self.types.above)}
        return hashlib.sha256(msgspec.json.encode([rows, order], order="deterministic")).hexdigest()[:16]
