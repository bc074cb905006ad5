"""Which shapes of workflows are legal, and what an author reads about one that is not."""

from __future__ import annotations

import pytest

from murakkab.bus.messages import Edge, Stage, Workflow
from murakkab.planner.axes import BadWorkflow, Shape, shapes


def flow(*stages: Stage, answer: tuple[str, ...] | None = None) -> Workflow:
    return Workflow(stages, (stages[-1].name,) if answer is None else answer)


PARTS = Stage("parts", "A", (Edge("x"),), 1, many=True)
BITS = Stage("bits", "A", (Edge("x", "parts"),), 2, many=True)

LEGAL = [
    pytest.param(flow(Stage("a", "A")), {"a": Shape((), ())}, id="one task"),
    pytest.param(flow(Stage("a", "A", (Edge("x"),), 1)), {"a": Shape(("",), ("",))}, id="one task an input"),
    pytest.param(flow(Stage("a", "A", (Edge("x"),))), {"a": Shape((), ())}, id="all inputs in one task"),
    pytest.param(flow(PARTS), {"parts": Shape(("",), ("", "parts"))}, id="inputs into parts"),
    pytest.param(
        flow(PARTS, BITS), {"parts": Shape(("",), ("", "parts")), "bits": Shape(("", "parts"), ("", "parts", "bits"))}, id="parts into bits"
    ),
    pytest.param(
        flow(PARTS, BITS, Stage("g", "A", (Edge("x", "bits"),), 1)),
        {"parts": Shape(("",), ("", "parts")), "bits": Shape(("", "parts"), ("", "parts", "bits")), "g": Shape(("",), ("",))},
        id="bits gathered two levels up",
    ),
    pytest.param(
        flow(Stage("all", "A"), PARTS, Stage("m", "A", (Edge("x", "parts"), Edge("y", "all"), Edge("z")), 2)),
        {"all": Shape((), ()), "parts": Shape(("",), ("", "parts")), "m": Shape(("", "parts"), ("", "parts"))},
        id="a value for all, an input for its parts",
    ),
    pytest.param(Workflow((), ()), {}, id="nothing"),
]


@pytest.mark.parametrize(("workflow", "expected"), LEGAL)
def test_legal(workflow: Workflow, expected: dict[str, Shape]) -> None:
    assert shapes(workflow) == expected


ILLEGAL = [
    pytest.param(flow(Stage("a", "A"), Stage("a", "A")), "stage 'a' is there twice", id="twins"),
    pytest.param(flow(Stage("a", "A", (Edge("x", "b"),))), "stage 'a' takes 'x' from 'b', which does not exist", id="no such source"),
    pytest.param(
        flow(Stage("a", "A", (Edge("x", "b"),)), Stage("b", "A", (Edge("x", "a"),))),
        "stage 'a' takes 'x' from 'b', which comes later or waits for it (a cycle)",
        id="cycle",
    ),
    pytest.param(
        flow(Stage("a", "A", (Edge("x", "a"),))), "stage 'a' takes 'x' from 'a', which comes later or waits for it (a cycle)", id="itself"
    ),
    pytest.param(
        flow(Stage("a", "A"), Stage("b", "A", (Edge("x", "a"),), 1)),
        "stage 'b' wants indexes of length 1, but nothing that it takes is a collection that deep",
        id="too deep",
    ),
    pytest.param(
        flow(Stage("a", "A", depth=1)),
        "stage 'a' wants indexes of length 1, but nothing that it takes is a collection that deep",
        id="no edges",
    ),
    pytest.param(
        flow(Stage("p", "A", many=True), Stage("q", "A", many=True), Stage("b", "A", (Edge("x", "p"), Edge("y", "q")), 1)),
        "stage 'b' takes 'y' along ('q',), which has nothing to do with its own ('p',)",
        id="unrelated collections",
    ),
    pytest.param(
        flow(Stage("p", "A", many=True), Stage("b", "A", (Edge("x"), Edge("y", "p")), 1)),
        "stage 'b' takes 'y' along ('p',), which has nothing to do with its own ('',)",
        id="inputs and parts",
    ),
    pytest.param(
        flow(Stage("p", "A", many=True), Stage("q", "A"), Stage("b", "A", (Edge("x", "p"), Edge("x", "q")))),
        "stage 'b' takes 'x' twice",
        id="one parameter from two sources",
    ),
    pytest.param(
        flow(Stage("a", "A"), answer=("z",)), "the answer is to come from stage 'z', which does not exist", id="answer from nowhere"
    ),
    pytest.param(flow(Stage("a", "A"), answer=()), "the workflow names no stage for its answer", id="no answer"),
]


@pytest.mark.parametrize(("workflow", "text"), ILLEGAL)
def test_illegal(workflow: Workflow, text: str) -> None:
    with pytest.raises(BadWorkflow) as caught:
        shapes(workflow)
    assert str(caught.value) == text
