"""The proposers of a planner: the offline one, which is always there, and a language model where one is configured."""

from __future__ import annotations

from collections.abc import Mapping

from .draft import nearest
from .embed import Embedder, best
from .familiar import familiar, hints_unknown
from .library import Library
from .llm import from_environ
from .offline import OfflineProposer
from .proposal import Call, Proposal, Proposer, Request
from .retrieve import rank


class Offline:
    """Aliases first, then similarity for what no alias speaks of. Needs no network and no language model."""

    name = "offline"

    def __init__(self, embedder: Embedder | None = None) -> None:
        self.embedder = embedder or best()
        self.similar = OfflineProposer(self.embedder)

    def propose(self, request: Request, library: Library, complaint: str = "") -> Proposal:
        known = familiar(request, library)
        others = Library([a for a in library.agents.values() if not a.words], library.types)
        if known is None:
            return self.similar.propose(request, library)
        strange = hints_unknown(request, library)
        if not others.agents:
            return Proposal((), why=_unknown(strange[0], library)) if strange else known
        more = self.similar.propose(Request(request.description, tuple(strange), request.inputs), others)
        if strange and not more.calls:
            return Proposal((), why=_unknown(strange[0], library))
        taken = {c.id for c in known.calls}
        renamed = {c.id: f"{c.id}-x" if c.id in taken else c.id for c in more.calls}
        calls = tuple(
            Call(
                renamed[c.id],
                c.agent,
                {p: renamed.get(s, s) for p, s in c.inputs.items()},
                c.args,
                tuple(renamed.get(a, a) for a in c.after),
            )
            for c in more.calls
        )
        answer = (*known.answer, *(c.id for c in calls)) if known.answer else ()
        return Proposal((*known.calls, *calls), answer, known.rest)

    def rank(self, text: str, library: Library) -> list[str]:
        """Agent names, those first whose words and descriptions are most like the text."""
        return [name for name, _ in rank(text, library, self.embedder)]

    def warm(self, library: Library) -> None:
        """Loads what is needed, by planning something; nothing is needed where every agent has aliases."""
        if all(a.words for a in library.agents.values()):
            return
        self.similar.propose(Request("List what is there"), library)


def _unknown(hint: str, library: Library) -> str:
    line = " ".join(hint.split())
    return f"no agent can do the step '{line if len(line) <= 80 else line[:77] + '...'}'; {nearest(hint, library)}"


def proposers(environ: Mapping[str, str]) -> dict[str, Proposer]:
    """Best first."""
    offline = Offline(best(environ))
    model = from_environ(environ, offline.rank)
    return {**({model.name: model} if model is not None else {}), offline.name: offline}
