"""First pass: every call's agent, ids and arguments as the library knows them. What is written slightly wrong is mended."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from ..agents.spec import Agent
from .arguments import BadArgument, fit
from .draft import CannotPlan, Draft, Node, nearest
from .library import Library
from .proposal import FROM_INPUTS, Call, Proposal, Request

CALLS_MAX = 200
"""A proposal with more calls is refused: no job in words needs them, and a looping model would not stop by itself."""
_PLAIN = re.compile(r"[^a-z0-9]+")
_ID = re.compile(r"[^A-Za-z0-9_-]+")


def resolve(proposal: Proposal, request: Request, library: Library) -> Draft:
    """Raises CannotPlan for calls of agents that nothing in the library resembles, and for nonsense without end."""
    if len(proposal.calls) > CALLS_MAX:
        raise CannotPlan(f"{len(proposal.calls)} calls were proposed: at most {CALLS_MAX} make sense for one job")
    draft = Draft(request, library)
    ids: dict[str, str] = {}
    for call in proposal.calls:
        agent = _agent(call.agent, library, draft)
        name = draft.free_id(clean_id(call.id or agent.noun or agent.name))
        ids.setdefault(call.id, name)  # of twins, the first is meant by others
        draft.nodes[name] = Node(name, agent, observe=call.observe)
    for call, node in zip(proposal.calls, list(draft.nodes.values()), strict=True):
        node.after = tuple(ids[a] for a in call.after if a in ids and ids[a] != node.id)
        _sources(call, node, ids, draft)
        _args(call, node, draft)
    for name in proposal.answer:
        if name in ids and ids[name] not in draft.answer:
            draft.answer.append(ids[name])
        elif name not in ids:
            draft.repairs.append(f"the answer was to come from '{name[:40]}', which is not a call")
    return draft


def clean_id(text: str) -> str:
    """As an id may be: letters, digits, '-' and '_', at most 60 characters."""
    return _ID.sub("-", text).strip("-")[:60].strip("-") or "stage"


def _agent(said: str, library: Library, draft: Draft) -> Agent:
    if said in library.agents:
        return library.agents[said]
    plain = {_PLAIN.sub("", name.lower()): name for name in library.agents}
    key = _PLAIN.sub("", said.lower())
    found = plain.get(key) or next(iter(plain[k] for k in get_close_matches(key, plain, n=1, cutoff=0.88)), "")
    if not found:
        raise CannotPlan(f"there is no agent '{said[:60]}'; {nearest(said, library)}")
    draft.repairs.append(f"'{said[:60]}' is read as {found}")
    return library.agents[found]


def _sources(call: Call, node: Node, ids: Mapping[str, str], draft: Draft) -> None:
    params = node.agent.takes
    for said, source in call.inputs.items():
        param = said if said in params else _only_fit(said, params)
        if not param:
            draft.repairs.append(f"{node.id}: {node.agent.name} takes no '{said[:40]}'")
        elif source == FROM_INPUTS or source in ids:
            if source != FROM_INPUTS and ids[source] == node.id:
                draft.repairs.append(f"{node.id}: cannot take '{param}' from itself")
            else:
                node.sources[param] = ids.get(source, FROM_INPUTS) if source != FROM_INPUTS else FROM_INPUTS
        else:
            draft.repairs.append(f"{node.id}: '{param}' was to come from '{source[:40]}', which is not a call")


def _only_fit(said: str, params: Mapping[str, Any]) -> str:
    """The one parameter that is meant: the closest name, or the only one there is."""
    close = get_close_matches(said, params, n=1, cutoff=0.6)
    return close[0] if close else next(iter(params)) if len(params) == 1 else ""


def _args(call: Call, node: Node, draft: Draft) -> None:
    known = node.agent.args.get("properties", {})
    for name, value in call.args.items():
        take = node.agent.takes.get(name)
        if take is not None and take.literal and name not in node.sources:
            node.given[name] = literal(value, take.type)
        elif name not in known:
            draft.repairs.append(f"{node.id}: {node.agent.name} has no argument '{name[:40]}'")
        else:
            try:
                node.args[name] = fit(value, known[name])
            except BadArgument as error:
                draft.repairs.append(f"{node.id}: {name} {error}; its default is used")


def literal(value: Any, kind: str) -> Any:
    """A value from the words as it travels: a text with where it came from, anything else as it is."""
    return {"text": value, "name": "the job's words"} if isinstance(value, str) and kind != "Value" else value
