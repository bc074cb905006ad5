"""A proposal while it is being made into a workflow: calls whose agents are known, and where each parameter comes from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from ..agents.spec import Agent
from .library import Library
from .proposal import FROM_INPUTS, Request


class CannotPlan(Exception):
    """No workflow of the library's agents does this: what is missing, where, and what is nearest. One line."""

    def __init__(self, text: str) -> None:
        super().__init__(" ".join(text.split()))


@dataclass(slots=True)
class Node:
    """One call. `sources`: parameter to a node's id or FROM_INPUTS; `given`: parameter to a value that is known now."""

    id: str
    agent: Agent
    sources: dict[str, str] = field(default_factory=dict)
    given: dict[str, Any] = field(default_factory=dict)
    args: dict[str, Any] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    observe: bool = False

    def fed(self, param: str) -> bool:
        return param in self.sources or param in self.given


class Draft:
    """The calls so far, in the order in which they were named, and what was mended on the way."""

    def __init__(self, request: Request, library: Library) -> None:
        self.request, self.library = request, library
        self.nodes: dict[str, Node] = {}
        self.answer: list[str] = []
        self.repairs: list[str] = []

    def add(self, agent: Agent, before: str = "") -> Node:
        """A new call of an agent; it stands before the node that it is made for."""
        name = self.free_id(agent.noun or agent.name)
        node = Node(name, agent)
        if before in self.nodes:
            rows = list(self.nodes.items())
            rows.insert([k for k, _ in rows].index(before), (name, node))
            self.nodes = dict(rows)
        else:
            self.nodes[name] = node
        return node

    def free_id(self, wanted: str) -> str:
        name, n = wanted, 2
        while name in self.nodes:
            name, n = f"{wanted}-{n}", n + 1
        return name

    def input_types(self) -> list[str]:
        return list(dict.fromkeys(given.type for given in self.request.inputs))

    def inputs_fit(self, wanted: str) -> bool:
        return any(self.library.types.is_a(t, wanted) for t in self.input_types())

    def reaches(self, start: str, goal: str) -> bool:
        """Whether `goal` is `start` or one of the calls that it takes from, however far back."""
        seen, todo = set(), [start]
        while todo:
            name = todo.pop()
            if name == goal:
                return True
            if name not in seen and name in self.nodes:
                seen.add(name)
                todo += [s for s in self.nodes[name].sources.values() if s != FROM_INPUTS]
        return False

    def sinks(self) -> list[str]:
        """Calls whose output nobody takes, in order."""
        taken = {s for node in self.nodes.values() for s in node.sources.values()}
        return [name for name in self.nodes if name not in taken]

    def in_order(self) -> Iterator[Node]:
        """Sources first; else as named. Raises CannotPlan for a cycle."""
        done: set[str] = set()
        left = dict(self.nodes)
        while left:
            free = [n for n in left.values() if all(s == FROM_INPUTS or s in done for s in n.sources.values())]
            if not free:
                raise CannotPlan(f"the calls wait for each other in a circle: {self._circle(left)}")
            done.add(free[0].id)
            del left[free[0].id]
            yield free[0]

    def _circle(self, left: dict[str, Node]) -> str:
        path = [next(iter(left))]
        while True:
            before = next(s for s in left[path[-1]].sources.values() if s in left)
            if before in path:
                return " takes from ".join([*path[path.index(before) :], before])
            path.append(before)


def nearest(text: str, library: Library, n: int = 3) -> str:
    """The agents whose words look most alike, for an error message; all of a small library when none does."""
    words = {w for w in _words(text) if len(w) > 3}
    alike: dict[str, int] = {}
    for agent in library.agents.values():
        mine = {*_words(agent.name), *_words(agent.summary), *(w for p in agent.words for w in _words(p))}
        close = sum(1 for w in words if get_close_matches(w, mine, n=1, cutoff=0.75))
        if close:
            alike[agent.name] = close
    best = sorted(alike, key=lambda name: -alike[name])[:n]
    if best:
        return "nearest: " + "; ".join(f"{name} ({library.agents[name].summary.rstrip('.')})" for name in best)
    names = list(library.agents)
    if not names:
        return "the library is empty"
    return "the library has " + ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def _words(text: str) -> list[str]:
    """Lower-case words; CamelCase and snake_case are taken apart."""
    spaced = "".join(f" {c}" if c.isupper() and i and text[i - 1].islower() else c if c.isalnum() else " " for i, c in enumerate(text))
    return spaced.lower().split()[:2000]
