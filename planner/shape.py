"""Last pass: how deep each stage maps over collections, its name and its place in the order. The result can run (`axes.shapes`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..agents.spec import Agent
from ..bus.messages import Edge, Stage, Workflow
from .axes import Axes, BadWorkflow, shapes
from .draft import CannotPlan, Draft, Node
from .proposal import FROM_INPUTS

DEPTH_MAX = 4
"""Inputs, collections in them, collections in these, and so on: as deep as `Stage.depth` may be."""


def shape(draft: Draft, kind: str, rest: str = "") -> Workflow:
    """Raises CannotPlan when collections do not fit together."""
    stages: list[Stage] = []
    out: dict[str, Axes] = {}
    for node in draft.in_order():
        node = _single_inputs(node, draft)
        stage = Stage(
            node.id,
            node.agent.name,
            tuple(Edge(p, s, _type(node, p, draft)) for p, s in node.sources.items()),
            _depth(node, out),
            node.agent.many,
            _flags(node, draft),
            node.given,
            node.observe,
        )
        stages.append(stage)
        try:
            out[node.id] = shapes(Workflow(tuple(stages), (node.id,)))[node.id].out
        except BadWorkflow as error:
            raise CannotPlan(str(error)) from None
    return Workflow(tuple(stages), tuple(draft.answer), kind, rest)


def _type(node: Node, param: str, draft: Draft) -> str:
    """Of what flows into a parameter: what its source gives, or what of the inputs fits it."""
    source, wanted = node.sources[param], node.agent.takes[param].type
    if source != FROM_INPUTS:
        return draft.nodes[source].agent.gives
    return next((t for t in draft.input_types() if draft.library.types.is_a(t, wanted)), wanted)


def _depth(node: Node, out: dict[str, Axes]) -> int:
    """The length of a stage's indexes: one value of each source a task, except where a parameter gathers."""
    each: list[int] = [0]
    gathers: list[int] = []
    for param, source in node.sources.items():
        axes = ("",) if source == FROM_INPUTS else out[source]
        if node.agent.takes[param].many:
            gathers.append(max(0, len(axes) - 1))
        else:
            each.append(len(axes))
    depth = max([max(each), min(gathers)]) if gathers else max(each)
    if depth > DEPTH_MAX:
        raise CannotPlan(f"stage '{node.id}' would map over collections {depth} deep: at most {DEPTH_MAX} are possible")
    return depth


def _single_inputs(node: Node, draft: Draft) -> Node:
    """Inputs of several kinds in one job: a call that wants one kind gets the only input of it, by value."""
    types = draft.library.types
    for param, source in list(node.sources.items()):
        if source != FROM_INPUTS:
            continue
        take = node.agent.takes[param]
        fitting = [g for g in draft.request.inputs if types.is_a(g.type, take.type)]
        if len(fitting) == len(draft.request.inputs) and not draft.request.by_value:
            continue
        if len(fitting) > 1 and not take.many:
            raise CannotPlan(
                f"{node.agent.name} takes one {take.type}, and of the {len(draft.request.inputs)} inputs {len(fitting)} are such: "
                "give inputs of different kinds in jobs of their own, or only one of each kind"
            )
        del node.sources[param]
        node.given[param] = [g.value for g in fitting] if take.many else fitting[0].value
    return node


def _flags(node: Node, draft: Draft) -> dict[str, Any]:
    """Arguments, and flags that tell a stage of the rest of the workflow: what will be wanted of it (`x-true-when-taken`), and whether
    what it gets has been cut (`x-true-when-partial`)."""
    args = dict(node.args)
    for name, part in node.agent.args.get("properties", {}).items():
        wanted = part.get("x-true-when-taken")
        if wanted and name not in args:
            args[name] = any(_takes_from(n, draft, node.id) and wanted in _types(n.agent) for n in draft.nodes.values())
        if part.get("x-true-when-partial") and any(_is_partial(n) and draft.reaches(node.id, n.id) for n in draft.nodes.values()):
            args[name] = True
    return args


def _is_partial(node: Node) -> bool:
    """Whether its arguments cut something off what it is given (`x-partial`)."""
    parts = node.agent.args.get("properties", {})
    return any(parts[n].get("x-partial") and v != parts[n].get("default") for n, v in node.args.items() if n in parts)


def _types(agent: Agent) -> Sequence[str]:
    return [t.type for t in agent.takes.values()]


def _takes_from(node: Node, draft: Draft, source: str) -> bool:
    return node.id != source and draft.reaches(node.id, source)
