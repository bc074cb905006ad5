"""Proposals without a language model: clauses, the agent that each speaks of, and the data flow that types and order suggest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .clauses import Clause, Role, clauses
from .embed import Embedder, best
from .fitted import WEIGHTS
from .library import Library
from .proposal import Call, Proposal, Request
from .retrieve import FEATURES, Index, index_of
from .words import content


class OfflineProposer:
    """Deterministic; needs no network and, where there are no weights of MiniLM, no weights."""

    name = "offline"

    def __init__(self, embedder: Embedder | None = None) -> None:
        self._embedder = embedder or best()

    def propose(self, request: Request, library: Library, complaint: str = "") -> Proposal:
        """An empty proposal where nothing in the library fits."""
        index = index_of(library, self._embedder)
        texts = clauses(request.description)
        chosen = self._choose(texts, index) if index.agents else []
        for hint in request.tasks:
            for agent in self._choose(clauses(hint), index, must=True):
                if agent not in chosen:
                    chosen.append(agent)
        return Proposal(tuple(_calls([index.agents[a] for a in chosen], library, request.description)))

    def _choose(self, pieces: Sequence[Clause], index: Index, must: bool = False) -> list[int]:
        import numpy as np

        if not pieces:
            return []
        w = WEIGHTS[self._embedder.name]
        evidence = index.features([c.text for c in pieces])
        scores = evidence @ np.array([w[f] for f in FEATURES], np.float32)
        out: list[int] = []
        for clause, row, seen in zip(pieces, scores, evidence, strict=True):
            none = w["none"] + w["none_cos"] * float(seen[:, 0].max())
            none += w["none_have"] * (clause.role is Role.HAVE) + w["none_short"] * (len(content(clause.text)) <= 1)
            at = int(row.argmax())
            if row[at] > none and at not in out:
                out.append(at)
        return out


def _calls(agents: Sequence[Any], library: Library, words: str) -> list[Call]:
    """Each parameter takes the most recent result of its type; a second one only where nobody else took it."""
    calls: list[Call] = []
    taken: set[str] = set()
    gives: dict[str, str] = {}
    for agent in agents:
        name = f"{agent.name}-{len(calls) + 1}"
        inputs: dict[str, str] = {}
        for param, take in agent.takes.items():
            fits = [c.id for c in reversed(calls) if library.types.is_a(gives[c.id], take.type) and c.id not in inputs.values()]
            free = [c for c in fits if c not in taken]
            if fits and (not inputs or free):
                inputs[param] = free[0] if inputs else fits[0]
        taken |= set(inputs.values())
        args = {p: words for p, t in agent.takes.items() if t.literal and p not in inputs}
        calls.append(Call(name, agent.name, inputs, args, tuple(c.id for c in calls)))
        gives[name] = agent.gives
    return calls
