"""Several agents in one clause: the words that the chosen agent leaves unexplained may name others ("list what is shown and said")."""

from __future__ import annotations

from typing import Any

from .clauses import ANSWER
from .offline_flow import Step
from .offline_read import Reading
from .words import stemmed, tokens


def unsaid(reading: Reading, chosen: list[int], lead: Any) -> list[Step]:
    """The chosen agents as steps, and with each the agents whose `words` stand in its clause and are no words of its own:
    before it, if it can use their results, at least by way of others; after it, if they can use its result and the clause
    begins with their word ("describe each scene"). A question is searched whole.
    """
    index = reading.index
    out: list[Step] = []
    for at, agent in enumerate(chosen):
        if agent < 0:
            continue
        after: list[Step] = []
        if not reading.pieces[at].part:
            row, text = index.agents[agent], _text(reading, at)
            own = {stemmed(t) for t in tokens(" ".join((row.name, *row.words)))}
            start = next((stemmed(t) for t in tokens(text)), "")
            for other, words in sorted(index.aliases(text).items()):
                new = [w for w in words if not own.issuperset(w)]
                step = Step(other, at, float(lead[at, other]))
                if new and index.upstream[other, agent]:
                    out.append(step)
                elif any(w[0] == start for w in new) and index.upstream[agent, other]:
                    after.append(step)
        out += [Step(agent, at, float(lead[at, agent])), *after]
    return out


def _text(reading: Reading, at: int) -> str:
    piece = reading.pieces[at]
    if piece.text != ANSWER:
        return piece.text
    same = (
        p.text
        for p, source in zip(reading.pieces, reading.source, strict=True)
        if not p.part and (p.sentence, source) == (piece.sentence, reading.source[at])
    )
    return " ".join(same)
