"""Puts the candidates of one task in order: by tests passed, then by how many others agree, then the shorter one first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from .interface import BadInput, Call
from .types_code import Outcome, RankedCode, TestedCode


class CodeRanker:
    def load(self) -> None:
        pass

    def run(self, call: Call) -> RankedCode:
        tested = call.take("tested", list[TestedCode])
        if not tested:
            raise BadInput("there is no candidate to rank")
        task = tested[0].task
        if any(t.task != task for t in tested):
            raise BadInput("candidates of several tasks cannot be ranked against each other")
        return RankedCode(task, ranked([t.outcome for t in tested]))


def ranked(outcomes: Sequence[Outcome]) -> tuple[Outcome, ...]:
    """Best first. Agreement counts candidates with the same behaviour; where all are judged alike it is a vote."""
    alike = Counter(o.behaviour for o in outcomes)
    return tuple(sorted(outcomes, key=lambda o: (not o.good, -o.passed, -alike[o.behaviour], len(o.code), o.number)))
