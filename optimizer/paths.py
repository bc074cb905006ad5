"""What several attempts at one answer are worth. Pure.

`any_of`: some attempt is right, and a test tells which: 1 - (1 - q)^k, pass@k of independent attempts (Chen et al. 2021, "Evaluating Large
Language Models Trained on Code", section 2.1). `voted`: the right answer has the most votes (self-consistency: Wang et al., ICLR 2023). With r of k
attempts right, binomial in q, the k - r wrong ones fall on `WRONG` answers, each equally likely: assumed, since wrong answers scatter. Ties go
to one of the tied at random. So votes help where the right answer is likelier than any one wrong one, q > (1 - q) / `WRONG`, and harm below it.

Both take attempts to be independent, which those of one model are not quite: they are upper estimates, and a measured curve
(`Profile.paths`) goes before them.
"""

from __future__ import annotations

from functools import cache
from math import comb

WRONG = 4
"""Kinds of wrong answers."""
PATHS_MAX = 25
"""More votes than this are counted as this many: the sum grows, and the gain does not."""


def any_of(q: float, k: int) -> float:
    """The chance that at least one of k attempts is right, each with chance q."""
    return 1.0 - (1.0 - q) ** max(1, k)


def voted(q: float, k: int) -> float:
    """The chance that the right answer wins the vote over k attempts, each right with chance q."""
    k = min(max(1, k), PATHS_MAX)
    total = 0.0
    for right in range(1, k + 1):
        ahead = comb(k, right) * q**right * (1 - q) ** (k - right)
        total += ahead * _leads(right, k - right)
    return min(1.0, total)


def _leads(right: int, wrong: int) -> float:
    """The chance that `right` votes win when `wrong` ones fall on `WRONG` answers at random."""
    return sum(share / (1 + ties) for (most, ties), share in _falls(wrong, WRONG, right).items() if most)


@cache
def _falls(votes: int, answers: int, right: int) -> dict[tuple[bool, int], float]:
    """(nobody is over `right`, how many have just as many) to its chance."""
    if answers == 0:
        return {(True, 0): 1.0} if votes == 0 else {}
    found: dict[tuple[bool, int], float] = {}
    for n in range(votes + 1):
        share = comb(votes, n) * (1 / answers) ** n * (1 - 1 / answers) ** (votes - n)
        if share == 0.0:
            continue
        for (most, ties), rest in _falls(votes - n, answers - 1, right).items():
            key = (most and n <= right, ties + (n == right))
            found[key] = found.get(key, 0.0) + share * rest
    return found
