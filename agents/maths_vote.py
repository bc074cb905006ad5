"""What most reasoning paths agree on (self-consistency: Wang et al. 2022, "Self-Consistency Improves Chain of Thought Reasoning"). Exact."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from .interface import BadInput, Call
from .maths_numbers import as_number, plain
from .types_maths import ReasonedAnswer, Vote, VotedAnswer


class MajorityVoter:
    def load(self) -> None:
        pass

    def run(self, call: Call) -> VotedAnswer:
        return voted(call.take("answers", list[ReasonedAnswer]))


def voted(answers: Sequence[ReasonedAnswer]) -> VotedAnswer:
    """The answer with the most votes; of several, the one whose first path has the lowest number. The order given does not matter."""
    if not answers:
        raise BadInput("there are no answers to vote on; one path at least has to give one")
    problem = answers[0].path.problem
    if other := next((a for a in answers if a.path.problem != problem), None):
        raise BadInput(
            f"answers to different problems cannot be voted on: {problem.question[:40]!r} and {other.path.problem.question[:40]!r}"
        )
    votes = tally((a.path.number, a.answer) for a in answers)
    paths = max(len(answers), *(a.path.of for a in answers))
    known = as_number(problem.known)
    best = votes[0] if votes else Vote("", ())
    return VotedAnswer(
        problem.question,
        problem.name,
        best.answer,
        len(best.paths) / paths,
        paths,
        sum(len(v.paths) for v in votes),
        votes,
        next((a.reasoning for a in answers if best.paths and a.path.number == best.paths[0]), ""),
        problem.known,
        None if known is None else as_number(best.answer) == known,
    )


def tally(answers: Iterable[tuple[int, str]]) -> tuple[Vote, ...]:
    """(path, answer)s to votes, best first. Equal are answers that are the same number, however written; no number, no vote."""
    paths: dict[Fraction, list[int]] = {}
    for number, answer in answers:
        if (value := as_number(answer)) is not None:
            paths.setdefault(value, []).append(number)
    votes = [Vote(plain(value), tuple(sorted(given))) for value, given in paths.items()]
    return tuple(sorted(votes, key=lambda v: (-len(v.paths), v.paths[0])))
