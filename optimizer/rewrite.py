"""The workflow done in another way: a stage split into chunks, more or fewer attempts. Pure.

Such levers change how many tasks there are, so each is a workflow of its own, which is searched by itself (docs/decisions/0017).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from ..agents.spec import Agent
from ..bus.messages import Edge, Stage, Workflow
from ..planner.axes import BadWorkflow, shapes
from ..planner.calls import defaults

VARIANTS_MAX = 12
PARTS = (2, 4)
DEPTH_MAX = 4


class Variant(Struct, frozen=True):
    """A workflow, in what it differs, and whose quality follows from how many attempts: stage to (rule, attempts)."""

    workflow: Workflow
    changes: tuple[str, ...] = ()
    quality: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    args: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Stage to the arguments that were set here."""


def as_it_is(workflow: Workflow, agents: Mapping[str, Agent]) -> Variant:
    """Nothing changed; for workflows that run already."""
    return Variant(workflow, quality=_attempts(workflow, agents))


def variants(workflow: Workflow, agents: Mapping[str, Agent], idle_cores: int, tunable: bool) -> tuple[Variant, ...]:
    """The workflow as it is first. `tunable`: levers that trade quality may move."""
    found = [as_it_is(workflow, agents)]
    if tunable:
        found += _with_levers(workflow, agents)
    found += _with_parts(workflow, agents, idle_cores)
    return tuple(found[:VARIANTS_MAX])


def _with_levers(workflow: Workflow, agents: Mapping[str, Agent]) -> Iterator[Variant]:
    for stage in workflow.stages:
        row = agents.get(stage.agent)
        for name, values in row.levers.items() if row is not None else ():
            usual = defaults(row.args).get(name) if row is not None else None
            if stage.args.get(name, usual) != usual:  # the job's words or its user say how many
                continue
            for value in values:
                if value != usual:
                    changed = with_args(workflow, stage.name, {name: value})
                    yield Variant(
                        changed,
                        (f"{stage.name}: {name}={value} instead of {usual}",),
                        _attempts(changed, agents),
                        {stage.name: {name: value}},
                    )


def _with_parts(workflow: Workflow, agents: Mapping[str, Agent], idle_cores: int) -> Iterator[Variant]:
    for stage in workflow.stages:
        row = agents.get(stage.agent)
        if row is None or not row.parts or stage.observe or any(a not in agents for a in row.parts):
            continue
        for parts in PARTS:
            if parts <= idle_cores:
                try:
                    changed = split_stage(workflow, stage.name, parts, agents)
                except ValueError:
                    continue
                yield Variant(
                    changed,
                    (f"{stage.name}: each in {parts} parts",),
                    _attempts(changed, agents),
                    {f"{stage.name}-parts": {"parts": parts}},
                )


def with_args(workflow: Workflow, stage: str, args: Mapping[str, Any]) -> Workflow:
    """The same, with arguments of a stage set."""
    return replace(
        workflow,
        stages=tuple(replace(s, args={**s.args, **args}, call=_called(s, args)) if s.name == stage else s for s in workflow.stages),
    )


def _called(stage: Stage, args: Mapping[str, Any]) -> str:
    """The call as people see it, with the new arguments at its end, in place of what it said of them."""
    call = stage.call
    for name, value in args.items():
        said = f"{name}={stage.args[name]}" if name in stage.args else ""
        if said and said in call:
            call = call.replace(said, f"{name}={value}")
        elif call.endswith(")"):
            call = f"{call[:-1]}{'' if call.endswith('()') else ', '}{name}={value})"
    return call


def split_stage(workflow: Workflow, stage: str, parts: int, agents: Mapping[str, Agent]) -> Workflow:
    """`stage` in chunks: the agent's splitter before it, its joiner after it. The joiner keeps the name, so whoever takes from the stage, or calls it
    the answer, still does. Raises ValueError where that cannot be."""
    old = next((s for s in workflow.stages if s.name == stage), None)
    row = agents.get(old.agent) if old is not None else None
    if old is None or row is None or not row.parts:
        raise ValueError(f"stage '{stage}' cannot be split")
    splitter, joiner = row.parts
    given, whole = agents[splitter], agents[joiner]
    cut, gather = next(iter(given.takes)), next(iter(whole.takes))
    edge = next((e for e in old.edges if e.param in row.takes and row.takes[e.param].type == given.takes[cut].type), None)
    if edge is None or old.many or old.depth + 1 > DEPTH_MAX:
        raise ValueError(f"stage '{stage}' cannot be split: it takes nothing that {splitter} can cut, or lies too deep")
    names = {s.name for s in workflow.stages}
    first, middle = f"{stage}-parts", f"{stage}-part"
    if first in names or middle in names:
        raise ValueError(f"stage '{stage}' has been split before")
    new = (
        Stage(first, splitter, (Edge(cut, edge.stage, edge.type),), old.depth, many=True, args={"parts": parts},
              call=f"{splitter}({cut}={edge.stage or 'inputs'}, parts={parts})"),
        replace(old, name=middle, depth=old.depth + 1, call=old.call,
                edges=tuple(replace(e, stage=first, type=given.gives) if e is edge else e for e in old.edges)),
        Stage(stage, joiner, (Edge(gather, middle, row.gives),), old.depth, call=f"{joiner}({gather}={middle})"),
    )  # fmt: skip
    stages = tuple(s for one in workflow.stages for s in (new if one.name == stage else (one,)))
    changed = replace(workflow, stages=stages)
    try:
        shapes(changed)
    except BadWorkflow as error:
        raise ValueError(f"stage '{stage}' cannot be split: {error}") from None
    return changed


def _attempts(workflow: Workflow, agents: Mapping[str, Agent]) -> dict[str, tuple[str, int]]:
    """The stages whose agent is tried several times for one answer, with the rule and the number of attempts."""
    found: dict[str, tuple[str, int]] = {}
    shape = shapes(workflow)
    for spread in workflow.stages:
        row = agents.get(spread.agent)
        if row is None or not row.levers:
            continue
        name = next(iter(row.levers))
        k = spread.args.get(name, defaults(row.args).get(name))
        for stage in workflow.stages:
            rule = row.lever_quality.get(stage.agent)
            if rule and isinstance(k, int) and spread.name in shape[stage.name].axes:
                found[stage.name] = (rule, k)
    return found
