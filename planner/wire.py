"""Second pass: every parameter gets a source of a fitting type; what no call gives is produced by calls that are inserted.

Backward search: an open parameter is fed, in this order, by a call that the words put before it, by another call of the
proposal, by a value that is known, by the job's inputs, and else by the cheapest new call whose own parameters can all be
fed in the same way. The cost of a new call is 1, and that of whatever it needs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from ..agents.spec import Agent, Take
from .draft import CannotPlan, Draft, Node, nearest
from .proposal import FROM_INPUTS
from .resolve import literal

INEXACT = 0.5
"""Calls that a type counts for which only may stand for the one that is asked for."""
FROM_WORDS = 2.0
"""Calls that a value from the job's words counts for: possible, but nothing was said that asks for it."""
NODES_MAX = 500


def wire(draft: Draft) -> None:
    """Raises CannotPlan when a parameter can be fed by nothing."""
    for node in list(draft.nodes.values()):
        _check_explicit(node, draft)
    _merge_twins(draft)
    for node in list(draft.nodes.values()):
        feed(node, draft)


def feed(node: Node, draft: Draft, path: tuple[str, ...] = ()) -> None:
    """Sources for all parameters of a call that must have one, and for the others that some call can feed.

    `path` names the agents that are being fed by this call in turn; none of them is inserted again for it.
    """
    if len(draft.nodes) > NODES_MAX:
        raise CannotPlan(f"the workflow would have more than {NODES_MAX} calls")
    path = (*path, node.agent.name)
    for param, take in node.agent.takes.items():
        if node.fed(param):
            continue
        source = source_for(node, take, draft)
        if source:
            node.sources[param] = source
        elif not take.optional:
            _require(node, param, take, draft, path)
    if node.agent.takes and not node.sources and not node.given:
        _unstarve(node, draft, path)
    for param, take in node.agent.takes.items():
        if take.eager and not node.fed(param):
            _offer(node, param, take, draft)


# --- where a value may come from ------------------------------------------------------------------------------------------------


def _check_explicit(node: Node, draft: Draft) -> None:
    """Sources that were named: of a fitting type, reached through converters, or put aside."""
    types = draft.library.types
    for param, source in list(node.sources.items()):
        take = node.agent.takes[param]
        if source == FROM_INPUTS:
            if not draft.inputs_fit(take.type):
                del node.sources[param]
                if not (take.literal or take.optional):
                    draft.repairs.append(f"{node.id}: the inputs are no {take.type}; '{param}' is fed otherwise")
            continue
        gives = draft.nodes[source].agent.gives
        if types.is_a(gives, take.type):
            continue
        way = _conversion(gives, take.type, draft)
        del node.sources[param]
        if way is None:
            draft.repairs.append(f"{node.id}: '{param}' is a {take.type}, and {source} gives a {gives}")
            continue
        last = source
        for agent, into in way:
            step = draft.add(agent, before=node.id)
            step.sources[into] = last
            last = step.id
        node.sources[param] = last
        draft.repairs.append(f"{node.id}: {' and '.join(a.name for a, _ in way)} put in between, since {source} gives a {gives}")


def _merge_twins(draft: Draft) -> None:
    """Calls of one agent with the same sources and arguments are one."""
    seen: dict[str, str] = {}
    for name, node in list(draft.nodes.items()):
        key = repr(
            (
                node.agent.name,
                sorted(node.sources.items()),
                sorted(node.given.items(), key=str),
                sorted(node.args.items(), key=str),
                node.observe,
            )
        )
        first = seen.setdefault(key, name)
        if first == name or (node.agent.takes and not node.sources and not node.given and node.after != draft.nodes[first].after):
            continue
        del draft.nodes[name]
        for other in draft.nodes.values():
            other.sources = {p: first if s == name else s for p, s in other.sources.items()}
            other.after = tuple(first if a == name else a for a in other.after if a != name or other.id != first)
        draft.answer = list(dict.fromkeys(first if a == name else a for a in draft.answer))
        draft.repairs.append(f"{name} is the same call as {first}")


def source_for(node: Node, take: Take, draft: Draft) -> str:
    """A call of the draft that can feed a parameter: those that the words put before it first, the most recent first."""
    if take.literal and not draft.request.inputs:  # the words may give it: only what they put right before counts
        order: Iterable[str] = reversed(node.after)
    else:
        names = list(draft.nodes)
        at = names.index(node.id) if node.id in draft.nodes else len(names)
        order = [*reversed(node.after), *reversed(names[:at]), *names[at + 1 :]]
    used = set(node.sources.values())
    for name in order:
        source = draft.nodes.get(name)
        if source is None or name in used or (source.agent.keeps and not draft.library.types.is_a(source.agent.gives, take.type)):
            continue
        if draft.library.types.is_a(source.agent.gives, take.type) and not (node.id and draft.reaches(name, node.id)):
            return name
    return ""


def _require(node: Node, param: str, take: Take, draft: Draft, path: tuple[str, ...]) -> None:
    known = next((t for t in draft.request.known if draft.library.types.is_a(t, take.type)), "")
    if known:
        node.given[param] = draft.request.known[known]
    elif draft.inputs_fit(take.type):
        node.sources[param] = FROM_INPUTS
    elif take.literal and not draft.request.inputs:  # the words give it as it is, rather than through another agent
        node.given[param] = literal(draft.request.description, take.type)
    elif (agent := _cheapest(take.type, draft, path, node)) is not None:
        step = draft.add(agent, before=node.id)
        node.sources[param] = step.id
        draft.repairs.append(f"{agent.name} put in, since {node.agent.name} takes a {take.type}")
        feed(step, draft, path)
    elif take.literal:
        node.given[param] = literal(draft.request.description, take.type)
    else:
        raise CannotPlan(f"{node.agent.name} needs '{param}' of type {take.type}, and {_why_nothing(take.type, draft)}")


def _unstarve(node: Node, draft: Draft, path: tuple[str, ...]) -> None:
    """A call that may do without each of its parameters, but not without all: whatever can be produced is."""
    tried = [(p, t) for p, t in node.agent.takes.items() if not t.eager]
    for param, take in tried:
        if node.fed(param):
            continue
        if draft.inputs_fit(take.type):
            node.sources[param] = FROM_INPUTS
        elif source := source_for(node, take, draft):
            node.sources[param] = source
        elif (agent := _cheapest(take.type, draft, path, node)) is not None:
            step = draft.add(agent, before=node.id)
            node.sources[param] = step.id
            draft.repairs.append(f"{agent.name} put in, since {node.agent.name} can take a {take.type}")
            feed(step, draft, path)
    if not node.sources and not node.given and tried and not all(t.literal for _, t in tried):
        raise CannotPlan(f"{node.agent.name} has nothing to work on: {_why_nothing(tried[0][1].type, draft)}")


def _offer(node: Node, param: str, take: Take, draft: Draft) -> None:
    """Produces an eager parameter when a single new call can be fed from what is there."""
    for agent in draft.library.producers(take.type):
        if agent.only_asked:
            continue
        step = Node("", agent)
        found = {p: s for p, t in agent.takes.items() if (s := source_for(step, t, draft)) and not draft.reaches(s, node.id)}
        if found and all(t.optional or p in found for p, t in agent.takes.items()):
            joined = draft.add(agent, before=node.id)
            joined.sources = found
            node.sources[param] = joined.id
            return


# --- the search -----------------------------------------------------------------------------------------------------------------


def _cheapest(wanted: str, draft: Draft, path: tuple[str, ...], node: Node) -> Agent | None:
    """The agent that gives a type to `node` with the fewest new calls; None when none can be fed. Agents on the path are being fed already."""
    costs = agent_costs(draft, math.inf if draft.request.inputs else FROM_WORDS, node)
    options = [a for a in draft.library.producers(wanted) if not a.only_asked and a.name not in path and costs[a.name] < math.inf]
    return min(options, key=lambda a: costs[a.name] + (0.0 if a.gives == wanted else INEXACT), default=None)


def agent_costs(draft: Draft, from_words: float = FROM_WORDS, node: Node | None = None) -> dict[str, float]:
    """Agent name to the number of calls that it takes to have its output, itself counted; infinite when it cannot be fed.

    `from_words` is what a value from the job's words counts for. Nothing can be fed from what waits for `node`.

    The least fixed point of cost(agent) = 1 + sum over its parameters of the least cost of what gives them: a shortest
    derivation in an and/or graph (Knuth 1977, "A generalization of Dijkstra's algorithm"), here by relaxation.
    """
    agents = [a for a in draft.library.agents.values() if _callable(a)]
    costs = dict.fromkeys(draft.library.agents, math.inf)
    types = {t.type for a in agents for t in a.takes.values()}
    there = {t for t in types if _there(t, draft, node)}
    while True:
        least = {
            t: min(
                (costs[a.name] + (0.0 if a.gives == t else INEXACT) for a in draft.library.producers(t) if not a.only_asked),
                default=math.inf,
            )
            for t in types
        }
        changed = False
        for agent in agents:
            cost = _cost(agent, there, least, from_words)
            if cost < costs[agent.name]:
                costs[agent.name], changed = cost, True
        if not changed:
            return costs


def _cost(agent: Agent, there: set[str], least: Mapping[str, float], from_words: float) -> float:
    total, fed = 1.0, not agent.takes
    for take in agent.takes.values():
        if take.type in there:
            fed = True
        elif not take.optional:
            total += min(least[take.type], from_words if take.literal else math.inf)
            fed = True
    return total if fed else total + min(least[t.type] for t in agent.takes.values())


def _callable(agent: Agent) -> bool:
    """Whether it needs no argument that only words could give."""
    parts = agent.args.get("properties", {})
    return all("default" in parts.get(name, {}) or parts.get(name, {}).get("type") == "string" for name in agent.args.get("required", ()))


def _there(wanted: str, draft: Draft, node: Node | None) -> bool:
    types = draft.library.types
    return (
        draft.inputs_fit(wanted)
        or any(types.is_a(t, wanted) for t in draft.request.known)
        or any(types.is_a(n.agent.gives, wanted) and not (node and draft.reaches(n.id, node.id)) for n in draft.nodes.values())
    )


def _conversion(have: str, wanted: str, draft: Draft) -> list[tuple[Agent, str]] | None:
    """Shortest way from one type to another through agents that need nothing else, at most three; None when there is none."""
    types = draft.library.types
    ways: list[tuple[str, list[tuple[Agent, str]]]] = [(have, [])]
    seen = {have}
    for _ in range(3):
        longer = []
        for at, way in ways:
            for agent in draft.library.agents.values():
                needs = [p for p, t in agent.takes.items() if not t.optional]
                if (
                    agent.only_asked
                    or len(needs) != 1
                    or agent.gives in seen
                    or agent.args.get("required")
                    or not types.is_a(at, agent.takes[needs[0]].type)
                ):
                    continue
                if agent.takes[needs[0]].type == "Value":
                    continue
                step = [*way, (agent, needs[0])]
                if types.is_a(agent.gives, wanted):
                    return step
                seen.add(agent.gives)
                longer.append((agent.gives, step))
        ways = longer
    return None


def _why_nothing(wanted: str, draft: Draft) -> str:
    makers = draft.library.producers(wanted)
    kinds = ", ".join(draft.input_types())
    have = f"the inputs are of type {kinds}" if kinds else "the job has no inputs"
    if not makers:
        return f"no agent gives that and {have}; {nearest(wanted, draft.library)}"
    return f"{' or '.join(a.name for a in makers[:3])}, which would give it, cannot be fed from here: {have}"
