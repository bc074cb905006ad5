"""Calls that nobody named but the house adds: what presents parts of an answer as a whole, and what keeps what was made."""

from __future__ import annotations

from ..agents.spec import Agent
from .draft import Draft, Node
from .wire import feed, source_for


def presenter(draft: Draft) -> None:
    """When all of the answer is parts that one presenting agent takes, its output is the answer instead."""
    for agent in draft.library.agents.values():
        if not agent.presents or any(n.agent.name == agent.name for n in draft.nodes.values()):
            continue
        placed = _placed(agent, draft)
        if placed and len(placed) == len(draft.answer):
            node = draft.add(agent)
            node.sources = placed
            feed(node, draft)
            for param, source in _found(node, agent, draft).items():
                node.sources.setdefault(param, source)
            draft.answer = [node.id]
            return


def _placed(agent: Agent, draft: Draft) -> dict[str, str]:
    """The parts of the answer, each at a gathering parameter of its own."""
    placed: dict[str, str] = {}
    for part in draft.answer:
        gives = draft.nodes[part].agent.gives
        fits = [p for p, t in agent.takes.items() if t.many and p not in placed and draft.library.types.is_a(gives, t.type)]
        if fits:
            placed[fits[0]] = part
    return placed


def keepers(draft: Draft) -> None:
    """Agents that keep what a workflow makes (an index of it, say) join when something that they take is made."""
    for agent in draft.library.agents.values():
        if not agent.keeps or any(n.agent.name == agent.name for n in draft.nodes.values()):
            continue
        found = _found(Node("", agent), agent, draft)
        if found and all(t.optional or p in found for p, t in agent.takes.items()):
            draft.add(agent).sources = found


def _found(node: Node, agent: Agent, draft: Draft) -> dict[str, str]:
    """Parameters that calls of the draft can feed."""
    return {p: s for p, t in agent.takes.items() if (s := source_for(node, t, draft))}
