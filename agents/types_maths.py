"""The values of the maths workflow: a problem, the paths to its answer, and what they agree on.

Numbers travel as text in one plain form (`maths_numbers.plain`), so that nothing is rounded; "" means that none was given.
"""

from __future__ import annotations

from msgspec import Struct


class MathProblem(Struct, frozen=True):
    question: str
    name: str = ""
    """Where it came from, for people."""
    known: str = ""
    """The right answer where the problem came with one. Only the vote is compared with it; no model ever sees it."""


class ReasoningPath(Struct, frozen=True):
    """One of several attempts at the same problem. The first has the number 0 and takes the likeliest words; the others draw them."""

    problem: MathProblem
    number: int
    of: int


class ReasonedAnswer(Struct, frozen=True):
    """What one path came to."""

    path: ReasoningPath
    reasoning: str
    answer: str


class Vote(Struct, frozen=True):
    """One answer, and the numbers of the paths that gave it, in order."""

    answer: str
    paths: tuple[int, ...]


class VotedAnswer(Struct, frozen=True):
    """What most paths say. `answer` and `reasoning` are empty when none of them gave a number."""

    question: str
    name: str
    answer: str
    confidence: float
    """The share of all paths that gave this answer, 0..1. Not a probability of being right."""
    paths: int
    answered: int
    """How many paths gave a number at all."""
    votes: tuple[Vote, ...]
    """Most first."""
    reasoning: str
    """Of the first path that gave the answer."""
    known: str = ""
    correct: bool | None = None
    """Whether `answer` is the known one; None where none is known."""


MATHS_TYPES = (ReasoningPath, ReasonedAnswer, VotedAnswer)
