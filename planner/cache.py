"""Proposals of jobs that were planned before: the same words for inputs of the same kinds need no proposer. Pure.

What is kept is the proposal, not the workflow: it is compiled anew against the library of the day. A proposal counts only
for the library that it was made for; when an agent is added or changed, the proposer is asked again.
"""

from __future__ import annotations

from collections import OrderedDict

from .proposal import Proposal, Request

SIZE = 500
"""Proposals that are remembered; some kB each."""

Key = tuple[str, tuple[str, ...], tuple[str, ...], tuple[str, ...], str]


def key_of(request: Request, fingerprint: str) -> Key:
    """What a proposal depends on: the words, with the inputs' own names left out, their types, what is known, the library."""
    names = sorted({g.name for g in request.inputs if len(g.name) > 2}, key=len, reverse=True)

    def plain(text: str) -> str:
        for name in names:
            text = text.replace(name, "\x00")
        return " ".join(text.split())

    kinds = tuple(dict.fromkeys(g.type for g in request.inputs))
    return plain(request.description), tuple(plain(t) for t in request.tasks), kinds, tuple(sorted(request.known)), fingerprint


class PlanCache:
    """Least recently used proposals go first."""

    def __init__(self, size: int = SIZE) -> None:
        self.size = size
        self._kept: OrderedDict[Key, tuple[Proposal, str]] = OrderedDict()

    def find(self, key: Key) -> tuple[Proposal, str] | None:
        """The proposal and who made it."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def keep(self, key: Key, proposal: Proposal, by: str) -> None:
        self._kept[key] = (proposal, by)
        self._kept.move_to_end(key)
        while len(self._kept) > self.size:
            self._kept.popitem(last=False)

    def __len__(self) -> int:
        return len(self._kept)
