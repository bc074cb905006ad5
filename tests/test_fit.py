"""Robust lines: a planted one is found again among outliers, nothing is ever negative, and nonsense is refused."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from murakkab.bus.values import Line
from murakkab.optimizer.fit import BadMeasurement, Fit, Sample, fit

SIZES = (2.0, 5.0, 10.0, 20.0)


def planted(line: Line, sizes: list[dict[str, float]], dice: Random, noise: float, wrong: int) -> list[Sample]:
    """Measurements of a line with relative noise; `wrong` of them took 3 to 20 times as long."""
    samples = [Sample(units, line.at(1, units) * dice.uniform(1 - noise, 1 + noise)) for units in sizes]
    for n in dice.sample(range(len(samples)), wrong):
        samples[n] = Sample(samples[n].units, samples[n].value * dice.uniform(3, 20))
    return samples


@given(st.floats(0.01, 2), st.floats(0.001, 1), st.integers(0, 4), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_a_planted_line_is_found_among_outliers(base: float, rate: float, wrong: int, dice: Random) -> None:
    line = Line(base, {"audio_s": rate})
    found = fit(planted(line, [{"audio_s": x} for x in SIZES for _ in range(5)], dice, 0.03, wrong))
    for x in SIZES:
        assert found.line.at(1, {"audio_s": x}) == pytest.approx(line.at(1, {"audio_s": x}), rel=0.06)
    assert found.spread < 0.06
    assert len(found.outliers) >= wrong


@given(st.floats(0.0, 1), st.floats(0.0005, 0.01), st.floats(0.005, 0.1), st.integers(0, 5), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_two_units_are_told_apart(base: float, read: float, written: float, wrong: int, dice: Random) -> None:
    line = Line(base, {"tokens_in": read, "tokens_out": written})
    sizes = [{"tokens_in": float(i), "tokens_out": float(o)} for i in (40, 120, 300) for o in (5, 20, 60) for _ in range(3)]
    found = fit(planted(line, sizes, dice, 0.02, wrong))
    for units in sizes:
        assert found.line.at(1, units) == pytest.approx(line.at(1, units), rel=0.1)


@given(
    st.lists(
        st.tuples(st.dictionaries(st.sampled_from(["a", "b", "c"]), st.floats(0, 1e6), max_size=3), st.floats(0, 1e6)),
        min_size=1,
        max_size=12,
    )
)
@settings(max_examples=150, deadline=None)
@example([({}, 1.0), ({"a": 5e-324}, 0.0)])
@example([({}, 1e-170)])
def test_nothing_is_ever_negative_and_the_interval_holds_the_line(pairs: list[tuple[dict[str, float], float]]) -> None:
    found = fit([Sample(*pair) for pair in pairs])
    for line in (found.line, found.low, found.high):
        assert line.base >= 0
        assert all(rate >= 0 and math.isfinite(rate) for rate in line.per.values())
    assert found.low.base <= found.line.base <= found.high.base
    for unit, rate in found.line.per.items():
        assert found.low.per.get(unit, 0.0) <= rate <= found.high.per[unit]
    assert found == fit([Sample(*pair) for pair in pairs])


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        (Sample({"a": 1.0}, math.nan), "value is nan"),
        (Sample({"a": 1.0}, -0.1), "value is -0.1"),
        (Sample({"a": math.inf}, 1.0), "a is inf"),
        (Sample({"a": -2.0}, 1.0), "a is -2.0"),
    ],
)
def test_what_is_no_measurement_is_refused(sample: Sample, words: str) -> None:
    with pytest.raises(BadMeasurement, match=f"measurement 2: {words}: it must be a finite number, zero or more"):
        fit([Sample({"a": 1.0}, 1.0), sample])


def test_small_cases() -> None:
    assert fit([]) == Fit()
    one = fit([Sample({"a": 3.0}, 6.0)])
    assert (one.line, one.certain) == (Line(6.0), False)
    assert fit([Sample({}, 0.0)] * 5).line == Line(0.0)
    assert fit([Sample({"a": x}, 2 * x) for x in (1.0, 2.0, 4.0)]).line.per["a"] == pytest.approx(2.0)


def test_a_unit_that_never_changes_is_in_the_base() -> None:
    found = fit([Sample({"items": 1.0, "a": x}, 1 + x) for x in (1.0, 2.0, 5.0, 9.0)])
    assert set(found.line.per) == {"a"}
    assert found.line.base == pytest.approx(1.0)


def test_noise_widens_the_interval() -> None:
    sizes = [{"a": x} for x in SIZES for _ in range(6)]
    line = Line(1.0, {"a": 0.5})
    calm, loud = (fit(planted(line, sizes, Random(3), noise, 0)) for noise in (0.01, 0.1))
    assert calm.certain
    assert calm.high.per["a"] - calm.low.per["a"] < loud.high.per["a"] - loud.low.per["a"]
    assert loud.low.per["a"] < 0.5 < loud.high.per["a"]
