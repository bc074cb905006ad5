"""What is refused before anybody plans it: goals and bounds."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from murakkab.bus.messages import SubmitJob
from murakkab.planner.request import GOALS, refusal

JOB = SubmitJob(tenant="t", description="Do it")


@pytest.mark.parametrize(
    ("goals", "text"),
    [
        (("MIN_EFFORT",), "unknown constraint 'MIN_EFFORT': it is one of MIN_COST, MIN_LATENCY, MIN_ENERGY, MAX_QUALITY"),
        (("min_cost",), "unknown constraint 'min_cost'"),
        (("",), "unknown constraint ''"),
        (("MIN_COST", "MIN_LATENCY", "MIN_COST:0.2"), "constraint MIN_COST is there twice"),
        (("MIN_COST:",), "constraint 'MIN_COST:': the tolerance is a number from 0 to 10, or per cent"),
        (("MIN_COST:much",), "constraint 'MIN_COST:much': the tolerance"),
        (("MIN_COST:nan",), "constraint 'MIN_COST:nan': the tolerance"),
        (("MIN_COST:-0.1",), "constraint 'MIN_COST:-0.1': the tolerance"),
        (("MIN_COST:inf%",), "constraint 'MIN_COST:inf%': the tolerance"),
        (("MIN_COST:10%%",), "constraint 'MIN_COST:10%%': the tolerance"),
        ((), "no constraint: name at least one of MIN_COST"),
    ],
)
def test_goals_that_are_none(goals: tuple[str, ...], text: str) -> None:
    assert refusal(replace(JOB, constraints=goals)).startswith(text)


@pytest.mark.parametrize("goals", [("MIN_COST:10%", "MAX_QUALITY:0"), ("MIN_ENERGY:0.02", "MIN_LATENCY", "MIN_COST"), GOALS])
def test_goals_with_tolerance(goals: tuple[str, ...]) -> None:
    assert refusal(replace(JOB, constraints=goals)) == ""


@pytest.mark.parametrize("name", ["deadline_s", "budget_usd", "energy_budget_wh"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, -math.inf])
def test_bounds_that_are_none(name: str, value: float) -> None:
    assert refusal(replace(JOB, **{name: value})) == f"{name}={value:g} is not a positive number"


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf])
def test_a_quality_floor_outside_of_what_quality_is(value: float) -> None:
    assert refusal(replace(JOB, quality_floor=value)) == f"quality_floor={value:g} is not between 0 and 1"


def test_bounds_that_can_be() -> None:
    assert refusal(replace(JOB, deadline_s=0.5, budget_usd=1e-6, energy_budget_wh=3.0, quality_floor=1.0)) == ""


@given(st.lists(st.text(max_size=30), max_size=5))
def test_any_goals_are_answered_in_one_line(goals: list[str]) -> None:
    said = refusal(replace(JOB, constraints=tuple(goals)))
    assert said == "" or len(said) < 300
