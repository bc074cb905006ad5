"""Proposals without a language model: clauses, the agent that each speaks of, and the data flow that types and order suggest."""

from __future__ import annotations

from typing import Any

from .embed import Embedder, best
from .fitted import WEIGHTS, Weights
from .library import Library
from .offline_flow import Flow, Step
from .offline_read import CONTEXT, DESCRIPTION, NONE_FEATURES, Reading, choose
from .offline_words import unsaid
from .proposal import Proposal, Request
from .retrieve import FEATURES, index_of

LEAST = -1.0
"""A request of which no piece speaks of an agent for certain still means the nearest one if it lacks no more than this."""
HINT_LEAST = -4.0
"""The same for a hint: it is one step by the user's word, so much less will do."""


class OfflineProposer:
    """Deterministic; needs no network and, where there are no weights of MiniLM, no weights."""

    name = "offline"

    def __init__(self, embedder: Embedder | None = None, fitted: Weights | None = None) -> None:
        """`fitted` instead of the constants of `fitted.py`, for fitting them."""
        self._embedder = embedder or best()
        self._fitted = fitted or WEIGHTS[self._embedder.name]

    def propose(self, request: Request, library: Library, complaint: str = "") -> Proposal:
        """An empty proposal where nothing in the library fits. The same request gives the same answer, whatever the complaint."""
        if not library.agents:
            return Proposal(())
        index = index_of(library, self._embedder)
        first, second = vectors(self._fitted["typed" if index.kinds else "untyped"])
        reading = Reading(request, index)
        chosen, lead = choose(reading, first, second)
        _insist(reading, chosen, lead)
        steps: list[Step] = []
        for step in unsaid(reading, chosen, lead):
            if all(s.agent != step.agent for s in steps):
                steps.append(step)
        return Flow(reading, steps, lead).make(request)


def _insist(reading: Reading, chosen: list[int], lead: Any) -> None:
    """Every hint means an agent, and so does the description of a job without hints, unless nothing is near."""
    for source in dict.fromkeys(reading.source):
        rows = [i for i, s in enumerate(reading.source) if s == source]
        if any(chosen[i] >= 0 for i in rows) or (source == DESCRIPTION and any(c >= 0 for c in chosen)):
            continue
        at = max(rows, key=lambda i: float(lead[i].max()))
        if lead[at].max() > (LEAST if source == DESCRIPTION else HINT_LEAST):
            chosen[at] = int(lead[at].argmax())


def vectors(parts: dict[str, dict[str, float]]) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """The fitted weights as vectors: those for pieces alone, and those for pieces with their neighbours."""
    import numpy as np

    def pair(w: dict[str, float], names: tuple[str, ...]) -> tuple[Any, Any]:
        return np.array([w[n] for n in names], np.float32), np.array([w[n] for n in NONE_FEATURES], np.float32)

    return pair(parts["first"], FEATURES), pair(parts["second"], FEATURES + CONTEXT)
