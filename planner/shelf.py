"""What there is to plan with and to choose from: the built-in library and what hosts have offered, as one. Pure.

What stands first stays: our own rows, then those of the hosts, in the order in which they were first heard of. What a host
says anew replaces what it said before; a host that has gone is still known, for it may come back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from ..agents.check import agent_problem, implementation_problem
from ..agents.spec import Agent, Implementation
from ..bus.messages import HostHeartbeat, LibraryOffered
from .lattice import BadLattice, Lattice
from .library import Library

R = TypeVar("R", Agent, Implementation)
Key = tuple[str, str]
"""(agent, implementation)"""


class Shelf:
    """`agents` and `types` may be left out by whoever does not plan, `implementations` by whoever does not choose."""

    def __init__(
        self,
        agents: Mapping[str, Agent] | Iterable[Agent] = (),
        implementations: Mapping[Key, Implementation] | None = None,
        types: Lattice | None = None,
    ) -> None:
        own = agents.values() if isinstance(agents, Mapping) else agents
        self._own = Library(own, types or Lattice({}))
        self._plans = types is not None
        self._own_implementations = dict(implementations or {})
        self._said: dict[str, LibraryOffered] = {}
        self.library = self._own
        """Never changed, only replaced: whoever holds one may go on with it."""
        self.implementations: Mapping[Key, Implementation] = self._own_implementations
        self.problems: tuple[str, ...] = ()
        """Rows of hosts that were left out, and why; a line each, for people."""
        self._other: set[tuple[str, str]] = set()
        """(host, agent): the host means something else by this name than the one that stays."""

    def offered(self, msg: LibraryOffered) -> bool:
        """Takes in what a host brings; True when the library or the implementations have changed."""
        before = self._said.get(msg.host)
        if msg == before or (before is None and msg == LibraryOffered(host=msg.host)):
            return False
        self._said[msg.host] = msg
        old, old_rows, old_other = self.library, self.implementations, self._other
        self._merge()
        if self.library.fingerprint == old.fingerprint:
            self.library = old
            return self.implementations != old_rows or self._other != old_other
        return True

    def usable(self, beat: HostHeartbeat) -> HostHeartbeat:
        """The heartbeat without offers of what the host understands differently: its tasks would fail there."""
        if not any(host == beat.host for host, _ in self._other):
            return beat
        offers = tuple(o for o in beat.offers if (beat.host, o.agent) not in self._other)
        return msgspec.structs.replace(beat, offers=offers)

    def _merge(self) -> None:
        agents, rows, types = dict(self._own.agents), dict(self._own_implementations), self._own.types
        problems: list[str] = []
        self._other = set()
        for host, msg in self._said.items():
            mine: list[str] = []
            types, wrong = _with_types(types, msg.types, mine)
            for agent in _rows(msg.agents, Agent, mine):
                known = agents.get(agent.name)
                if known is not None:
                    if _interface(known) != _interface(agent):
                        self._other.add((host, agent.name))
                        mine.append(f"another agent {agent.name} than the one that is known, which stays")
                elif spoiled := sorted(wrong & {agent.gives, *(t.type for t in agent.takes.values())}):
                    mine.append(f"agent {agent.name}: it speaks of type {spoiled[0]}")
                elif why := agent_problem(agent, types.above if self._plans else None):
                    mine.append(f"agent {agent.name}: {why}")
                else:
                    agents[agent.name] = agent
            for row in _rows(msg.implementations, Implementation, mine):
                key = (row.agent, row.name)
                if why := implementation_problem(row):
                    mine.append(f"implementation {row.name} of {row.agent}: {why}")
                elif rows.setdefault(key, row) != row:
                    mine.append(f"another row of {row.name} for {row.agent} than the one that is known, which stays")
            problems += [f"host {host}: {line}" for line in mine]
        self.library = Library(agents, types)
        self.implementations, self.problems = rows, tuple(problems)


def _rows(raw: Iterable[dict[str, Any]], kind: type[R], problems: list[str]) -> Iterator[R]:
    for row in raw:
        try:
            yield msgspec.convert(row, kind)
        except msgspec.ValidationError as error:
            problems.append(f"a row that is no {kind.__name__}: {error}")


def _interface(agent: Agent) -> tuple[object, ...]:
    """What a task relies on; the words for people may differ."""
    takes = {p: (t.type, t.many, t.optional) for p, t in agent.takes.items()}
    return takes, agent.gives, agent.many, dict(agent.args)


def _with_types(types: Lattice, more: Mapping[str, tuple[str, ...]], problems: list[str]) -> tuple[Lattice, set[str]]:
    """The order with what a host says of types, and the types of which it says something else, which are left out."""
    wrong: set[str] = set()
    for name, above in more.items():
        known = types.above.get(name)
        if known is not None:
            if set(known) != set(above):
                wrong.add(name)
                problems.append(f"type {name} stands below {_names(above)} there, and below {_names(known)} here, which stays")
            continue
        try:
            types = types.with_types({name: above})
        except BadLattice as error:
            wrong.add(name)
            problems.append(f"{error}: it is left out")
    return types, wrong


def _names(types: Iterable[str]) -> str:
    return ", ".join(sorted(types)) or "nothing"
