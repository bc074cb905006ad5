"""How many cores a process may use, from what Linux says of its control group."""

from __future__ import annotations

import pytest

from murakkab.agents.cores import allowed, cores


@pytest.mark.parametrize(
    ("quota", "here", "n"),
    [
        ("max 100000\n", 8, 8),
        ("400000 100000", 8, 4),
        ("400000 100000", 2, 2),
        ("250000 100000", 8, 2),
        ("50000 100000", 8, 1),
        ("-1\n 100000\n", 8, 8),
        ("", 8, 8),
        ("nonsense here", 8, 8),
        ("100000 0", 8, 8),
    ],
)
def test_a_quota_bounds_what_the_machine_has(quota: str, here: int, n: int) -> None:
    assert allowed(quota, here) == n


def test_there_is_one() -> None:
    assert cores() >= 1
