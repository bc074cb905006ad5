"""Tasks of a running job against the plain meaning of a workflow: `meaning` below computes everything at once, in order."""

from __future__ import annotations

import zlib
from itertools import product
from typing import Any

import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from murakkab.actors.core import ActorBug
from murakkab.actors.run import DagRun, Task
from murakkab.bus.messages import Choice, Edge, Index, Plan, Stage, Workflow
from murakkab.planner.axes import shapes


def plan_of(workflow: Workflow) -> Plan:
    return Plan(workflow, tuple(Choice(s.name, "i", "cpu", 1.0, 0.0, 0.0, 1.0) for s in workflow.stages))


def size_of(seed: int, name: str, index: Index) -> int:
    """How many elements a task with `many` gives: 0..3, settled by the seed."""
    return zlib.crc32(repr((seed, name, index)).encode()) % 4


def output_of(stage: Stage, index: Index, inputs: dict[str, Any], seed: int) -> Any:
    """An output that holds all its inputs, so that a wrong one shows at the end."""
    one = (stage.name, index, tuple(sorted(inputs.items(), key=lambda i: i[0])))
    return [(*one, j) for j in range(size_of(seed, stage.name, index))] if stage.many else one


def meaning(workflow: Workflow, inputs: tuple[Any, ...], seed: int) -> dict[Task, dict[str, Any]]:
    """Every task and what it is given, by the definition of axes, stage by stage."""
    shape = shapes(workflow)
    out: dict[str, dict[Index, Any]] = {}
    given_to: dict[Task, dict[str, Any]] = {}

    def grow(prefixes: list[Index], axis: str) -> list[Index]:
        return [(*p, j) for p in prefixes for j in range(len(inputs) if not axis else len(out[axis][p]))]

    def elements(source: str) -> dict[Index, Any]:
        """The source's values by its output axes."""
        if not source:
            return {(i,): v for i, v in enumerate(inputs)}
        stage = next(s for s in workflow.stages if s.name == source)
        if not stage.many:
            return out[source]
        return {(*i, j): v for i, values in out[source].items() for j, v in enumerate(values)}

    for stage in workflow.stages:
        indexes: list[Index] = [()]
        for axis in shape[stage.name].axes:
            indexes = grow(indexes, axis)
        out[stage.name] = {}
        for index in indexes:
            takes = {}
            for edge in stage.edges:
                values = elements(edge.stage)
                width = len(shape[edge.stage].out) if edge.stage else 1
                if width <= len(index):
                    takes[edge.param] = values[index[:width]]
                else:
                    takes[edge.param] = [values[i] for i in sorted(values) if i[: len(index)] == index]
            given_to[(stage.name, index)] = takes
            out[stage.name][index] = output_of(stage, index, takes, seed)
    return given_to


@st.composite
def workflows(draw: st.DrawFn) -> Workflow:
    """Legal workflows of 1..7 stages: chains, maps, broadcasts and gathers over any earlier stages, depth at most 4."""
    stages: list[Stage] = []
    outs: dict[str, tuple[str, ...]] = {"": ("",)}
    for n in range(draw(st.integers(1, 7))):
        name = f"s{n}"
        sources = draw(st.lists(st.sampled_from(sorted(outs)), max_size=3, unique=True))
        longest = max((outs[s] for s in sources), key=len, default=())
        depth = draw(st.integers(0, min(4, len(longest))))
        axes = longest[:depth]
        fit = [s for s in sources if outs[s][:depth] == axes[: len(outs[s])]]
        many = draw(st.booleans())
        stages.append(Stage(name, "A", tuple(Edge(f"p{k}", s) for k, s in enumerate(fit)), depth, many))
        outs[name] = (*axes, name) if many else axes
    answer = draw(st.sampled_from([s.name for s in stages]))
    return Workflow(tuple(stages), (answer,))


@given(workflows(), st.integers(0, 3), st.integers(0, 1_000), st.randoms(use_true_random=False))
def test_any_workflow_in_any_order(workflow: Workflow, width: int, seed: int, dice: Any) -> None:
    inputs = tuple(f"input {i}" for i in range(width))
    expected = meaning(workflow, inputs, seed)
    note(f"{len(expected)} tasks")
    run = DagRun(plan_of(workflow), inputs)
    stage = {s.name: s for s in workflow.stages}
    open_tasks = run.start()
    ready = set(open_tasks)
    assert len(ready) == len(open_tasks)
    done = 0
    while open_tasks:
        assert not run.finished
        name, index = open_tasks.pop(dice.randrange(len(open_tasks)))
        takes = run.inputs_of(name, index)
        assert takes == expected[(name, index)]
        new = run.done(name, index, output_of(stage[name], index, takes, seed))
        assert ready.isdisjoint(new), "a task was ready twice"
        assert len(set(new)) == len(new)
        ready.update(new)
        open_tasks += new
        done += 1
        run.check()
    assert ready == set(expected)
    assert done == len(expected)
    assert run.finished
    for name in stage:
        assert run.width(name) == sum(task[0] == name for task in expected)


@given(workflows(), st.integers(0, 3), st.integers(0, 1_000), st.randoms(use_true_random=False))
def test_a_workflow_that_grows_while_it_runs_does_the_same_as_one_that_was_whole(
    workflow: Workflow, width: int, seed: int, dice: Any
) -> None:
    inputs = tuple(f"input {i}" for i in range(width))
    expected = meaning(workflow, inputs, seed)
    stage = {s.name: s for s in workflow.stages}

    def part(n: int) -> Plan:
        stages = workflow.stages[:n]
        return plan_of(Workflow(stages, workflow.answer if n == len(workflow.stages) else (stages[0].name,)))

    known = dice.randint(1, len(workflow.stages))
    run = DagRun(part(known), inputs)
    open_tasks = run.start()
    ready = set(open_tasks)
    while open_tasks or known < len(workflow.stages):
        if known < len(workflow.stages) and (not open_tasks or dice.random() < 0.3):
            known = dice.randint(known + 1, len(workflow.stages))
            new = run.extend(part(known))
        else:
            name, index = open_tasks.pop(dice.randrange(len(open_tasks)))
            takes = run.inputs_of(name, index)
            assert takes == expected[(name, index)]
            new = run.done(name, index, output_of(stage[name], index, takes, seed))
        assert ready.isdisjoint(new), "a task was ready twice"
        ready.update(new)
        open_tasks += new
        run.check()
    assert ready == set(expected)
    assert run.finished


FAN = Workflow(
    (
        Stage("split", "A", (Edge("video"),), 1, many=True),
        Stage("cut", "A", (Edge("scene", "split"),), 2, many=True),
        Stage("scene", "A", (Edge("cuts", "cut"),), 2),
        Stage("film", "A", (Edge("scenes", "scene"),), 1),
        Stage("all", "A", (Edge("films", "film"), Edge("every_cut", "cut"))),
    ),
    ("all",),
)


def test_nested_gathers_are_in_index_order() -> None:
    run = DagRun(plan_of(FAN), ("v0", "v1"))
    assert run.start() == [("split", (0,)), ("split", (1,))]
    assert run.done("split", (1,), ["b0"]) == [("cut", (1, 0))]
    assert run.done("cut", (1, 0), ["z", "y"]) == [("scene", (1, 0))]
    assert run.done("split", (0,), ["a0", "a1"]) == [("cut", (0, 0)), ("cut", (0, 1))]
    assert run.done("cut", (0, 1), ["q"]) == [("scene", (0, 1))]
    assert run.done("cut", (0, 0), []) == [("scene", (0, 0))]
    assert run.inputs_of("scene", (0, 0)) == {"cuts": []}
    assert run.done("scene", (0, 1), "late scene") == []
    assert run.done("scene", (1, 0), "only scene") == [("film", (1,))]
    assert run.done("scene", (0, 0), "early scene") == [("film", (0,))]
    assert run.inputs_of("film", (0,)) == {"scenes": ["early scene", "late scene"]}
    assert run.done("film", (1,), "f1") == []
    assert run.done("film", (0,), "f0") == [("all", ())]
    assert run.inputs_of("all", ()) == {"films": ["f0", "f1"], "every_cut": ["q", "z", "y"]}
    assert run.done("all", (), "end") == []
    assert run.finished
    assert run.answer() == ["end"]


@pytest.mark.parametrize("width", [1, 2])
def test_a_collection_of_nothing_completes_what_gathers_it(width: int) -> None:
    run = DagRun(plan_of(FAN), ("v",) * width)
    ready = run.start()
    for index in range(width):
        ready = run.done("split", (index,), [])
    assert ready == [("film", (width - 1,))]
    assert run.inputs_of("film", (0,)) == {"scenes": []}
    for index in range(width):
        ready = run.done("film", (index,), "f")
    assert ready == [("all", ())]
    assert run.inputs_of("all", ()) == {"films": ["f"] * width, "every_cut": []}


def test_no_inputs_at_all() -> None:
    run = DagRun(plan_of(FAN), ())
    assert run.start() == [("all", ())]
    assert run.inputs_of("all", ()) == {"films": [], "every_cut": []}
    run.done("all", (), "end")
    assert run.finished
    assert [run.width(s.name) for s in FAN.stages] == [0, 0, 0, 0, 1]


def test_a_workflow_without_tasks_is_finished_at_once() -> None:
    run = DagRun(plan_of(Workflow((Stage("a", "A", (Edge("x"),), 1),), ("a",))), ())
    assert run.start() == []
    assert run.finished
    assert run.answer() == []


def test_widths_are_known_as_soon_as_they_can_be() -> None:
    run = DagRun(plan_of(FAN), ("v0", "v1"))
    run.start()
    assert [run.width(n) for n in ("split", "cut", "film")] == [2, None, 2]
    run.done("split", (0,), ["a"])
    assert run.width("cut") is None
    run.done("split", (1,), ["b", "c"])
    assert run.width("cut") == 3


def test_given_values_and_broadcasts() -> None:
    flow = Workflow(
        (
            Stage("one", "A", given={"k": 7}),
            Stage("each", "A", (Edge("v"), Edge("shared", "one")), 1, given={"l": 1}),
        ),
        ("each",),
    )
    run = DagRun(plan_of(flow), ("v0", "v1"))
    assert run.start() == [("one", ())]
    assert run.inputs_of("one", ()) == {"k": 7}
    assert run.done("one", (), "S") == [("each", (0,)), ("each", (1,))]
    assert run.inputs_of("each", (1,)) == {"v": "v1", "shared": "S", "l": 1}


@pytest.mark.parametrize("task", [("split", (0,)), ("split", (5,)), ("film", (0,))])
def test_done_twice_or_never_ready_is_our_bug(task: Task) -> None:
    run = DagRun(plan_of(FAN), ("v0",))
    run.start()
    run.done("split", (0,), ["a"])
    with pytest.raises(ActorBug, match=r"is done twice or was never ready"):
        run.done(*task, [])


def test_small_grids_of_sizes() -> None:
    """Two films with 0..2 parts each, exhaustively."""
    for sizes in product(range(3), repeat=2):
        run = DagRun(plan_of(FAN), ("v0", "v1"))
        run.start()
        open_tasks: list[Task] = []
        for i, n in enumerate(sizes):
            open_tasks += run.done("split", (i,), list(range(n)))
        while open_tasks:
            name, index = open_tasks.pop(0)
            open_tasks += run.done(name, index, ["x"] if name == "cut" else "x")
        assert run.finished, sizes
        assert run.inputs_of("all", ())["every_cut"] == ["x"] * sum(sizes)


def test_three_levels_of_collections_inputs_lines_paths() -> None:
    """As voting over paths does: each input has lines, each line has paths; votes by line, then one answer for each input."""
    workflow = Workflow(
        (
            Stage("lines", "A", (Edge("file"),), 1, many=True),
            Stage("paths", "A", (Edge("line", "lines"),), 2, many=True),
            Stage("think", "A", (Edge("path", "paths"),), 3),
            Stage("vote", "A", (Edge("all", "think"), Edge("line", "lines")), 2),
            Stage("score", "A", (Edge("votes", "vote"),), 1),
            Stage("all", "A", (Edge("thoughts", "think"), Edge("scores", "score"))),
        ),
        ("score", "all"),
    )
    run = DagRun(plan_of(workflow), ("f", "g"))
    assert run.start() == [("lines", (0,)), ("lines", (1,))]
    assert run.done("lines", (0,), ["f0", "f1"]) == [("paths", (0, 0)), ("paths", (0, 1))]
    assert run.done("lines", (1,), []) == [("score", (1,))], "no lines: nothing to wait for"
    assert run.done("paths", (0, 0), ["a", "b", "c"]) == [("think", (0, 0, n)) for n in range(3)]
    assert run.done("paths", (0, 1), []) == [("vote", (0, 1))]
    assert run.width("think") == 3
    for n in (2, 0):
        assert run.done("think", (0, 0, n), f"t{n}") == []
    assert run.done("think", (0, 0, 1), "t1") == [("vote", (0, 0))]
    assert run.inputs_of("think", (0, 0, 2)) == {"path": "c"}
    assert run.inputs_of("vote", (0, 0)) == {"all": ["t0", "t1", "t2"], "line": "f0"}
    assert run.inputs_of("vote", (0, 1)) == {"all": [], "line": "f1"}
    assert run.done("vote", (0, 1), "v1") == []
    assert run.done("vote", (0, 0), "v0") == [("score", (0,))]
    assert run.inputs_of("score", (0,)) == {"votes": ["v0", "v1"]}
    assert run.inputs_of("score", (1,)) == {"votes": []}
    run.done("score", (1,), "s1")
    assert run.done("score", (0,), "s0") == [("all", ())]
    assert run.inputs_of("all", ()) == {"thoughts": ["t0", "t1", "t2"], "scores": ["s0", "s1"]}
    run.done("all", (), "end")
    assert run.finished
    assert run.answer() == ["s0", "s1", "end"]
    run.check()
