"""Jobs in words that the library itself knows: agents say by which words they are meant (`Agent.words`), and questions are recognised. Pure.

This comes before similarity (`offline.py`): an alias that an agent's author chose is better evidence than any distance
between sentences. What no alias speaks of is left to the other agents, those without aliases.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from ..agents.spec import Agent
from .draft import Draft
from .evidence import is_question, kinds_asked
from .library import Library
from .proposal import Call, Proposal, Request
from .wire import FROM_WORDS, agent_costs

_WORD = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_THEN = re.compile(r"[\s,;.]+(?:and\s+)?(?:then|after that|afterwards)\b[\s,]*", re.I)
_ABOUT = re.compile(r"\b(?:about|on|where|in which|when|that mentions?|mentioning|with)\s+(.+)$", re.I | re.S)


def familiar(request: Request, library: Library) -> Proposal | None:
    """Calls of the agents whose aliases occur, in the order of the words; None when no alias does and nothing is asked."""
    text = request.description
    costs = agent_costs(Draft(request, library), math.inf if request.inputs else FROM_WORDS)
    agents = library.agents
    first, later = _parts(text)
    seeker = _seeker(first, agents) if later else None
    if seeker is not None and not is_question(text):
        return Proposal((_ask(seeker, _topic(first), observe=True),), rest=later.strip())
    answerer = next((a for a in agents.values() if a.answers and costs[a.name] < math.inf), None)
    if is_question(text) and answerer is not None and not _beyond(text, answerer, agents):
        return _question(text, answerer, agents)
    names = _named(text, agents, costs)
    for hint in request.tasks:
        names += [n for n in _cheapest_of(_best(hint, agents), costs) if n not in names]
    return Proposal(tuple(Call(agents[n].noun or n, n) for n in names)) if names else None


def hints_unknown(request: Request, library: Library) -> list[str]:
    """Hints that no alias speaks of."""
    return [hint for hint in request.tasks if not _best(hint, library.agents)]


# --- questions and searches -----------------------------------------------------------------------------------------------------


def _question(text: str, answerer: Agent, agents: Mapping[str, Agent]) -> Proposal:
    """The answer, and whichever side of the medium alone is asked for; without one, everything that can be known is."""
    sides: list[Agent] = []
    if kinds_asked(text) == {"transcript"}:
        sides = [a for a in agents.values() if a.gives == "Transcript" and _score(text, a)]
    calls = [Call(a.noun or a.name, a.name) for a in sides[:1]]
    return Proposal((*calls, Call(answerer.noun or answerer.name, answerer.name)), answer=(answerer.noun or answerer.name,))


def _beyond(text: str, answerer: Agent, agents: Mapping[str, Agent]) -> bool:
    """Whether a question is meant for another kind of agent: one that takes words, and whose own words occur twice."""
    return any(any(t.literal for t in a.takes.values()) and _score(text, a) >= 2 for a in agents.values() if a is not answerer)


def _ask(agent: Agent, words: str, observe: bool) -> Call:
    required = agent.args.get("required", ())
    return Call(agent.noun or agent.name, agent.name, args=dict.fromkeys(required, words), observe=observe)


def _parts(text: str) -> tuple[str, str]:
    """What is said before the first "then", and after it."""
    found = _THEN.search(text)
    return (text[: found.start()], text[found.end() :]) if found else (text, "")


def _seeker(text: str, agents: Mapping[str, Agent]) -> Agent | None:
    """The agent whose result says where to look further, if the words speak of one."""
    best = [a for a in agents.values() if a.seeks and _score(text, a)]
    return max(best, key=lambda a: _score(text, a), default=None)


def _topic(text: str) -> str:
    found = _ABOUT.search(text)
    return " ".join((found.group(1) if found else text).split()).strip(" .,;:!?\"'") or text


# --- aliases ----------------------------------------------------------------------------------------------------------------------


def _named(text: str, agents: Mapping[str, Agent], costs: Mapping[str, float]) -> list[str]:
    """Agents whose aliases occur, by where the first one does; of several that share an alias, the one that is nearest to the inputs."""
    low = text.lower()
    owners: dict[str, list[str]] = {}
    for agent in agents.values():
        for word in agent.words:
            owners.setdefault(word, []).append(agent.name)
    place: dict[str, int] = {}
    for word, names in owners.items():
        found = re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", low)
        if found:
            for name in _cheapest_of(names, costs):
                place[name] = min(place.get(name, found.start()), found.start())
    return sorted(place, key=lambda name: (place[name], list(agents).index(name)))


def _cheapest_of(names: Sequence[str], costs: Mapping[str, float]) -> list[str]:
    least = min((costs[n] for n in names), default=0.0)
    return [n for n in names if costs[n] == least]


def _best(hint: str, agents: Mapping[str, Agent]) -> list[str]:
    """The agents that a hint speaks of most."""
    scores = {a.name: _score(hint, a) for a in agents.values()}
    best = max(scores.values(), default=0.0)
    return [name for name, score in scores.items() if score == best] if best >= 1 else []


def _score(text: str, agent: Agent) -> float:
    """Aliases that occur; a phrase of several words counts double."""
    low = text.lower()
    words = set(_WORD.findall(low))
    return sum(2.0 if (" " in w or "-" in w) and w in low else 1.0 if w in words else 0.0 for w in agent.words)
