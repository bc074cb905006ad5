"""What several attempts are worth: the formulas against throws of dice, and where more attempts help and where they harm."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from murakkab.optimizer.paths import PATHS_MAX, WRONG, any_of, voted

CHANCE = st.floats(0, 1)


def thrown(q: float, k: int, times: int) -> float:
    """How often the right answer wins, over so many votes of k."""
    dice = random.Random(f"{q} {k}")
    won = 0
    for _ in range(times):
        votes = Counter(0 if dice.random() < q else 1 + dice.randrange(WRONG) for _ in range(k))
        most = max(votes.values())
        won += dice.choice([answer for answer, n in votes.items() if n == most]) == 0
    return won / times


@pytest.mark.parametrize("q", [0.1, 0.35, 0.6, 0.9])
@pytest.mark.parametrize("k", [1, 2, 3, 5, 9])
def test_the_vote_is_what_throws_show(q: float, k: int) -> None:
    assert voted(q, k) == pytest.approx(thrown(q, k, 20_000), abs=0.015), "four standard deviations at least"


@pytest.mark.parametrize("q", [0.1, 0.5])
@pytest.mark.parametrize("k", [1, 3, 8])
def test_any_is_what_throws_show(q: float, k: int) -> None:
    dice = random.Random(f"{q} {k}")
    times = 20_000
    seen = sum(any(dice.random() < q for _ in range(k)) for _ in range(times)) / times
    assert any_of(q, k) == pytest.approx(seen, abs=0.015)


@given(CHANCE)
def test_one_attempt_is_worth_itself(q: float) -> None:
    assert voted(q, 1) == pytest.approx(q)
    assert any_of(q, 1) == pytest.approx(q)


@given(CHANCE, st.integers(1, 40))
def test_more_attempts_never_harm_where_a_test_tells(q: float, k: int) -> None:
    assert q - 1e-12 <= any_of(q, k) <= any_of(q, k + 1) + 1e-12 <= 1 + 2e-12


@given(CHANCE, st.integers(1, PATHS_MAX - 1))
def test_votes_help_what_is_likelier_than_any_one_mistake_and_harm_the_rest(q: float, k: int) -> None:
    assert 0 <= voted(q, k) <= 1
    if q > (1 - q) / WRONG:
        assert voted(q, k + 1) >= voted(q, k) - 1e-9
    else:
        assert voted(q, k + 1) <= voted(q, k) + 1e-9


@given(CHANCE, CHANCE, st.integers(1, 12))
def test_a_better_model_has_better_votes(a: float, b: float, k: int) -> None:
    low, high = sorted((a, b))
    assert voted(low, k) <= voted(high, k) + 1e-9


def test_the_certain_and_the_hopeless() -> None:
    for k in (1, 4, 60):
        assert voted(1.0, k) == pytest.approx(1.0)
        assert any_of(1.0, k) == 1.0
        assert (voted(0.0, k), any_of(0.0, k)) == (0.0, 0.0)
