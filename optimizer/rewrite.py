"""The workflow done in another way: a stage split into chunks, more or fewer attempts. Pure.

Such levers change how many tasks there are, so each is a workflow of its own, which is searched by itself (docs/decisions/0017).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from ..agents.spec import Agent
from ..bus.messages import Edge, Stage, Workflow
from ..planner.axes import BadWorkflow, shapes
from ..planner.calls import calls, defaults

VARIANTS_MAX = 12
PARTS = (2, 4)
DEPTH_MAX = 4
NAME_MAX = 80
"""As `Stage` has them."""
SPLIT, PART = "-split", "-part"
"""What the names of the new stages end with."""


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
        if row is None:
            continue
        for name, values in row.levers.items():
            if name in stage.args or name in stage.given:  # the job's words or its user say how many
                continue
            usual = defaults(row.args).get(name)
            for value in values:
                if value != usual:
                    changed = with_args(workflow, stage.name, {name: value})
                    said = f"{stage.name}: {name}={value}" + (f" instead of {usual}" if usual is not None else "")
                    yield Variant(changed, (said,), _attempts(changed, agents), {stage.name: {name: value}})


def _with_parts(workflow: Workflow, agents: Mapping[str, Agent], idle_cores: int) -> Iterator[Variant]:
    for stage in workflow.stages:
        for parts in PARTS:
            if parts <= idle_cores and not stage.observe:
                try:
                    changed = split_stage(workflow, stage.name, parts, agents)
                except ValueError:
                    break
                yield Variant(
                    changed,
                    (f"{stage.name}: each in {parts} parts",),
                    _attempts(changed, agents),
                    {_named(stage.name, SPLIT): {"parts": parts}},
                )


def with_args(workflow: Workflow, stage: str, args: Mapping[str, Any]) -> Workflow:
    """The same, with arguments of a stage set. Raises ValueError where there is no such stage."""
    if all(s.name != stage for s in workflow.stages):
        raise ValueError(f"there is no stage '{stage}'")
    return replace(
        workflow,
        stages=tuple(replace(s, args={**s.args, **args}, call=_called(s.call, args)) if s.name == stage else s for s in workflow.stages),
    )


def _called(call: str, args: Mapping[str, Any]) -> str:
    """The call as people see it, with numbers set anew. What came from the inputs keeps their names, which are not known here."""
    for name, value in args.items():
        places = list(re.finditer(rf"(?<=[(,\s]){re.escape(name)}=[^\s,()]+", call))
        if places:  # arguments come last
            call = f"{call[: places[-1].start()]}{name}={value}{call[places[-1].end() :]}"
        elif call.endswith(")"):
            call = f"{call[:-1]}{'' if call.endswith('()') else ', '}{name}={value})"
    return call


def split_stage(workflow: Workflow, stage: str, parts: int, agents: Mapping[str, Agent]) -> Workflow:
    """`stage` in chunks: the agent's splitter before it, its joiner after it. The joiner keeps the name, so whoever takes from the stage,
    looks at it or calls it the answer, still does. Raises ValueError where that cannot be."""
    old = next((s for s in workflow.stages if s.name == stage), None)
    row = agents.get(old.agent) if old is not None else None
    if old is None or row is None or len(row.parts) != 2 or any(a not in agents for a in row.parts):
        raise ValueError(f"stage '{stage}' cannot be split")
    if parts < 2:
        raise ValueError(f"stage '{stage}' cannot be split into {parts} parts")
    splitter, joiner = (agents[name] for name in row.parts)
    cut, gather = _only(splitter), _only(joiner)
    edge = next((e for e in old.edges if e.param in row.takes and row.takes[e.param].type == splitter.takes[cut].type), None)
    if edge is None or old.many or row.takes[edge.param].many or old.depth + 1 > DEPTH_MAX:
        raise ValueError(f"stage '{stage}' cannot be split: it takes nothing that {splitter.name} can cut, or lies too deep")
    first, middle = _named(stage, SPLIT), _named(stage, PART)
    if {first, middle} & {s.name for s in workflow.stages} or first == middle:
        raise ValueError(f"stage '{stage}' has been split before")
    new = (
        Stage(first, splitter.name, (Edge(cut, edge.stage, edge.type),), old.depth, many=True, args={"parts": parts}),
        replace(old, name=middle, depth=old.depth + 1, observe=False,
                edges=tuple(replace(e, stage=first, type=splitter.gives) if e is edge else e for e in old.edges)),
        Stage(stage, joiner.name, (Edge(gather, middle, row.gives),), old.depth, observe=old.observe),
    )  # fmt: skip
    stages = tuple(s for one in workflow.stages for s in (new if one.name == stage else (one,)))
    changed = replace(workflow, stages=stages)
    try:
        shapes(changed)
    except BadWorkflow as error:
        raise ValueError(f"stage '{stage}' cannot be split: {error}") from None
    texts = calls(changed, (), {s.agent: defaults(agents[s.agent].args) for s in new})
    mine = {s.name for s in new}
    return replace(changed, stages=tuple(replace(s, call=texts[s.name]) if s.name in mine else s for s in stages))


def _only(row: Agent) -> str:
    """The one input that a splitter or joiner needs."""
    needed = [name for name, take in row.takes.items() if not take.optional]
    if len(needed) != 1:
        raise ValueError(f"{row.name} takes {len(needed)} inputs: it can neither cut nor join")
    return needed[0]


def _named(stage: str, suffix: str) -> str:
    return stage[: NAME_MAX - len(suffix)] + suffix


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
