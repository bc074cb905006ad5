"""A request as the offline proposer reads it: pieces of text with evidence for every agent, and for none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from .clauses import Clause, Role, clauses, kind_of, with_parts
from .proposal import Request
from .retrieve import Index
from .words import content

NONE_FEATURES = ("none", "none_have", "none_short", "none_cos", "none_part")
"""Evidence that a piece speaks of no agent: always 1; it says what there is; it has hardly a word; the best cosine; it is a part."""
CONTEXT = ("prev", "stated", "next", "lost")
"""Evidence that depends on the agents of the other pieces: what comes before gives what this one takes, the request itself
states it, what comes after takes what this one gives, and nothing at all gives it."""
DESCRIPTION = -1
FAR = 3.0
"""How much lead an agent loses that has nothing to do with the job's inputs."""
_WORD = re.compile(r"[^\s,;:()\[\]\"“”…]+")


class Reading:
    """`pieces` (n), `source` (n) is the hint that each comes from, or DESCRIPTION.

    `evidence` is float32 (n, agents, FEATURES), `none` float32 (n, NONE_FEATURES). `stated`: the types of things that the
    request says it has, each with the clause that names it first.
    """

    def __init__(self, request: Request, index: Index) -> None:
        import numpy as np

        self.index = index
        self.pieces: list[Clause] = []
        self.source: list[int] = []
        whole: list[Clause] = []
        for source, text in [*enumerate(request.tasks), (DESCRIPTION, request.description)]:
            found = clauses(text)
            whole += found
            pieces = [p for p in with_parts(found) if not p.part or content(p.text)]
            self.pieces += pieces
            self.source += [source] * len(pieces)
        self.evidence = index.features([p.text for p in self.pieces])
        cos = self.evidence[:, :, 0].max(axis=1) if index.agents else np.zeros(len(self.pieces))
        rows = [(1.0, p.role is Role.HAVE, len(content(p.text)) <= 1, c, p.part) for p, c in zip(self.pieces, cos, strict=True)]
        self.none = np.array(rows, np.float32).reshape(-1, len(NONE_FEATURES))
        self.stated = _stated(whole, index)
        for given in request.inputs:
            self.stated.setdefault(given.type, -1)
        self.far = self._far([given.type for given in request.inputs])

    def _far(self, inputs: Sequence[str]) -> Any:
        """float32 (agents): FAR for agents that nothing of the job's inputs can reach, where there are inputs and types; else 0."""
        import numpy as np

        index = self.index
        if not index.kinds or not inputs or not index.agents:
            return np.zeros(len(index.agents), np.float32)
        near = index.takes_any(inputs) > 0
        near |= index.upstream[near].any(axis=0)
        return np.where(near, 0.0, FAR).astype(np.float32) if near.any() else np.zeros(len(index.agents), np.float32)


def _stated(whole: Sequence[Clause], index: Index) -> dict[str, int]:
    """Named where the request tells what there is, or by a file's name or an address anywhere."""
    found: dict[str, int] = {}
    for at, clause in enumerate(whole):
        for word in _WORD.findall(clause.text):
            word = word.strip("'\".,")
            if clause.role is Role.HAVE or kind_of(word) or word == "URL":
                for kind in index.kinds_of(word.lower()):
                    found.setdefault(kind, at)
    return found


def context(reading: Reading, chosen: Sequence[int]) -> Any:
    """float32 (pieces, agents, CONTEXT), given the agent of every piece (-1: none)."""
    import numpy as np

    index = reading.index
    out = np.zeros((len(reading.pieces), len(index.agents), len(CONTEXT)), np.float32)
    if not index.kinds:
        return out
    stated = index.takes_any(reading.stated)
    possible = index.takes_any([k for k in reading.stated if not index.wordy(k)], hard=True)
    last = -1
    for at, row in enumerate(out):
        if last >= 0:
            row[:, 0] = index.flows[last]
        else:
            row[:, 1] = stated
        after = next((c for c in chosen[at + 1 :] if c >= 0), -1)
        if after >= 0:
            row[:, 2] = index.flows[:, after]
        row[:, 3] = index.needy * (1 - possible)
        if chosen[at] >= 0:
            last = chosen[at]
            if not index.wordy(index.agents[last].gives):
                possible = np.maximum(possible, index.flows[last])
    return out


def choose(reading: Reading, first: tuple[Any, Any], second: tuple[Any, Any]) -> tuple[list[int], Any]:
    """The agent of each piece (-1: none) and by how much each agent beats none, float (pieces, agents).

    `first` weighs the pieces alone; `second` weighs them with what the first choice says of their neighbours; each is a
    pair of vectors, for agents and for none.
    """
    import numpy as np

    lead = reading.evidence @ first[0] - (reading.none @ first[1])[:, None] - reading.far
    chosen = best_of(lead)
    for _ in range(2):
        full = np.concatenate([reading.evidence, context(reading, chosen)], axis=2)
        lead = full @ second[0] - (reading.none @ second[1])[:, None] - reading.far
        chosen = best_of(lead)
    return chosen, lead


def best_of(lead: Any) -> list[int]:
    return [int(row.argmax()) if row.size and row.max() > 0 else -1 for row in lead]
