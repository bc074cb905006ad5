"""Likeness of outputs, making them worse, and what follows for a stage's sensitivity."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from murakkab.actors.core import Heard, Replayed
from murakkab.actors.optimizer import Optimizer
from murakkab.agents import library
from murakkab.bus.messages import SensitivityKept
from murakkab.client.sensitivity import lines
from murakkab.optimizer.prices import Prices
from murakkab.profiling.likeness import extent, facts, likeness, new
from murakkab.profiling.perturb import other_args, worse
from murakkab.profiling.sensitivity import MOST, Perturbed, by_agent, sensitivity, summarized

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.floats(-1e3, 1e3) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(JSON, JSON)
def test_likeness_is_one_of_the_same_and_the_same_both_ways(a: Any, b: Any) -> None:
    assert likeness(a, a) == 1.0
    assert 0.0 <= likeness(a, b) == likeness(b, a) <= 1.0


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        pytest.param({"label": "cat"}, {"label": "dog"}, 0.0, id="another word"),
        pytest.param({"label": "cat"}, {"name": "cat"}, 0.0, id="the same word of something else"),
        pytest.param(["a b", "c"], ["c", "b a"], 1.0, id="places in lists do not count"),
        pytest.param({"at_s": 9.51}, {"at_s": 9.52}, 1.0, id="numbers to a tenth"),
        pytest.param(["cat", "dog", "cup"], ["cat", "dog"], 0.8, id="F1"),
        pytest.param({"sha256": "x", "size": 1}, {"sha256": "x", "size": 2}, 1.0, id="of bytes their hash"),
        pytest.param([], [], 1.0, id="nothing and nothing"),
        pytest.param([], ["a"], 0.0, id="nothing and something"),
    ],
)
def test_likeness(one: Any, other: Any, alike: float) -> None:
    assert likeness(one, other) == pytest.approx(alike)


@given(JSON, JSON)
def test_what_is_alike_is_at_least_as_alike_in_extent(a: Any, b: Any) -> None:
    assert likeness(a, b) <= extent(a, b) + 1e-12
    assert extent(a, b) <= 1.0


def test_a_quarter_of_the_pictures_is_a_quarter_wherever_they_are() -> None:
    few, many = {"times_s": [2.0]}, {"times_s": [0.5, 1.5, 2.5, 3.5]}
    assert extent(few, many) == pytest.approx(0.4), "F1 of one among four"
    assert likeness(few, many) == 0.0


SCENE = {"number": 1, "name": "a.mp4"}


@pytest.mark.parametrize(
    ("output", "inputs", "left"),
    [
        pytest.param({"text": "hi", "scene": SCENE}, {"audio": {"scene": SCENE}}, {"text": "hi"}, id="what is handed on"),
        pytest.param(
            {"text": "hi", "scene": SCENE}, {"audio": {"scene": {**SCENE, "number": 2}}}, {"text": "hi", "scene": SCENE}, id="changed"
        ),
        pytest.param(
            [SCENE, {"number": 2}], [SCENE, {"number": 2}, {"number": 3}], [SCENE, {"number": 2}], id="a choice among what was given"
        ),
        pytest.param({"best": SCENE}, [SCENE], {"best": SCENE}, id="nothing else would be left"),
    ],
)
def test_what_a_stage_itself_says(output: Any, inputs: Any, left: Any) -> None:
    assert new(output, inputs) == left


@given(JSON, JSON)
def test_of_an_output_with_facts_some_are_left(output: Any, inputs: Any) -> None:
    assert bool(list(facts(new(output, inputs)))) == bool(list(facts(output)))
    assert new(output, []) == output


def closer(**more: Any) -> dict[str, Any]:
    return {
        "properties": {"every_s": {"type": "number", "default": 1.0, "x-closer": 0.25, **more}, "width": {"type": "integer", "default": 3}}
    }


@pytest.mark.parametrize(
    ("schema", "levers", "args", "tried"),
    [
        pytest.param(closer(), {}, {}, [{"every_s": 4.0}], id="from as far away again"),
        pytest.param(closer(), {}, {"every_s": 0.25}, [{"every_s": 1.0}], id="a close look becomes the usual one"),
        pytest.param(closer(maximum=2.0), {}, {}, [{"every_s": 2.0}], id="no farther than may be"),
        pytest.param(closer(maximum=1.0), {}, {}, [], id="as far as may be already"),
        pytest.param(closer(), {}, {"every_s": "often"}, [], id="no number"),
        pytest.param(
            {"properties": {"paths": {"type": "integer"}}}, {"paths": (1, 3, 5)}, {"paths": 3}, [{"paths": 1}, {"paths": 5}], id="levers"
        ),
        pytest.param({}, {}, {}, [], id="no arguments"),
    ],
)
def test_other_arguments(schema: Any, levers: Any, args: Any, tried: Any) -> None:
    assert other_args(schema, levers, args) == tried


def test_the_stages_of_our_own_library_that_can_look_from_farther_do() -> None:
    agent = library.agents()["FrameExtractor"]
    assert other_args(agent.args, agent.levers, {}) == [{"every_s": 4.0}]


@given(JSON)
def test_worse_leaves_out_and_adds_nothing(value: Any) -> None:
    first = worse(value)
    assert first == worse(value), "the same way every time"
    assert type(first) is type(value)


@pytest.mark.parametrize(
    ("value", "after"),
    [
        pytest.param("one two three four", "one three four", id="words"),
        pytest.param("one", "one", id="a single word stays"),
        pytest.param([{"a": 1}, {"a": 2}, {"a": 3}], [{"a": 1}, {"a": 3}], id="elements"),
        pytest.param([0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.4], id="a box stays a box"),
        pytest.param(
            {"images": [{"sha256": "a"}, {"sha256": "b"}, {"sha256": "c"}], "at_s": [1.0, 2.0, 3.0], "box": [1, 2, 3, 4]},
            {"images": [{"sha256": "a"}, {"sha256": "c"}], "at_s": [1.0, 3.0], "box": [1, 2, 3, 4]},
            id="what belongs together goes together",
        ),
        pytest.param({"sha256": "a b c d"}, {"sha256": "a b c d"}, id="a file is no text"),
    ],
)
def test_worse(value: Any, after: Any) -> None:
    assert worse(value) == after


def run(own: float, answer: float, error: str = "") -> Perturbed:
    return Perturbed("s", "by x", own, answer, error)


@pytest.mark.parametrize(
    ("runs", "value"),
    [
        pytest.param([run(0.5, 0.5)], 1.0, id="the answer suffers as much"),
        pytest.param([run(0.5, 0.25)], 2.0, id="twice as much"),
        pytest.param([run(0.5, 1.0)], 0.0, id="not at all"),
        pytest.param([run(1.0, 1.0)], None, id="nothing was changed"),
        pytest.param([run(0.5, 0.5, "it crashed")], None, id="a run that failed says nothing"),
        pytest.param([], None, id="none"),
        pytest.param([run(0.5, 0.5), run(0.25, 1.0)], 1 / 3, id="larger changes weigh more"),
        pytest.param([run(0.99, 0.0)], MOST, id="a break is no slope"),
    ],
)
def test_sensitivity(runs: list[Perturbed], value: float | None) -> None:
    assert sensitivity(runs) == (None if value is None else pytest.approx(value))


@given(st.lists(st.builds(run, st.floats(0, 1), st.floats(0, 1)), max_size=6))
def test_a_sensitivity_is_never_out_of_its_range(runs: list[Perturbed]) -> None:
    value = sensitivity(runs)
    assert value is None or 0.0 <= value <= MOST


def test_the_table_has_first_what_moves_most_per_dollar() -> None:
    found = [
        summarized("dear", "A", "a", 1e-3, [run(0.5, 0.5)]),
        summarized("cheap", "B", "b", 1e-6, [run(0.5, 0.7)]),
        summarized("alone", "C", "c", 1e-6, []),
    ]
    assert [line.split()[0] for line in lines(found)[1:]] == ["cheap", "dear", "alone"]
    assert by_agent([*found, summarized("again", "A", "a", 0.0, [run(0.5, 0.25)])]) == {"A": 2.0, "B": pytest.approx(0.5146, abs=1e-3)}


def test_the_optimizer_takes_it_up_live_and_at_its_start() -> None:
    said = SensitivityKept(key="Summarizer", agent="Summarizer", sensitivity=0.25)
    for event in (Heard(said), Replayed(said)):
        optimizer = Optimizer(library.agents(), library.implementations(), Prices({}))
        before = optimizer.epoch
        assert list(optimizer.on(event, 1.0)) == []
        assert optimizer.workloads.get("Summarizer", {}).sensitivity == 0.25
        assert optimizer.epoch > before, "plans that were cached are made anew"
    broken = SensitivityKept(key="Summarizer", agent="Summarizer", sensitivity=float("nan"))
    optimizer.on(Heard(broken), 1.0)
    assert optimizer.workloads.get("Summarizer", {}).sensitivity == 0.25
