"""Which tasks a stage has: index spaces of a workflow, from its edges alone. Pure.

An *axis* is what an index counts along: "" is the job's inputs, a stage's name is the elements that each of its tasks
gives (a stage with `many`). A stage's tasks are indexed by its axes; its output by those, and one more if it gives many.
Along an edge, with O the source's output axes and A the stage's own: O a prefix of A is the same element, or a value
shared by all below it; A a proper prefix of O gathers a list; anything else is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..bus.messages import Stage, Workflow

Axes = tuple[str, ...]


class BadWorkflow(ValueError):
    """The workflow cannot run: which stage, and why."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The index space of a stage, and of what it gives."""

    axes: Axes
    out: Axes


def shapes(workflow: Workflow) -> dict[str, Shape]:
    """Stage name to shape. Raises BadWorkflow for unknown sources, cycles, twins, impossible depths, unrelated axes."""
    found: dict[str, Shape] = {}
    for stage in workflow.stages:
        if stage.name in found:
            raise BadWorkflow(f"stage '{stage.name}' is there twice")
        for edge in stage.edges:
            if sum(e.param == edge.param for e in stage.edges) > 1 or edge.param in stage.given:
                raise BadWorkflow(f"stage '{stage.name}' takes '{edge.param}' twice")
            if edge.stage and edge.stage not in found:
                later = any(s.name == edge.stage for s in workflow.stages)
                raise BadWorkflow(
                    f"stage '{stage.name}' takes '{edge.param}' from '{edge.stage}', which "
                    + ("comes later or waits for it (a cycle)" if later else "does not exist")
                )
        found[stage.name] = _shape(stage, found)
    for name in workflow.answer:
        if name not in found:
            raise BadWorkflow(f"the answer is to come from stage '{name}', which does not exist")
    if workflow.stages and not workflow.answer:
        raise BadWorkflow("the workflow names no stage for its answer")
    return found


def _shape(stage: Stage, before: Mapping[str, Shape]) -> Shape:
    sources = [before[e.stage].out if e.stage else ("",) for e in stage.edges]
    longest: Axes = max(sources, key=len, default=())
    if stage.depth > len(longest):
        raise BadWorkflow(
            f"stage '{stage.name}' wants indexes of length {stage.depth}, but nothing that it takes is a collection that deep"
        )
    axes = longest[: stage.depth]
    for edge, source in zip(stage.edges, sources, strict=True):
        if source[: len(axes)] != axes[: len(source)]:
            raise BadWorkflow(f"stage '{stage.name}' takes '{edge.param}' along {source}, which has nothing to do with its own {axes}")
    return Shape(axes, (*axes, stage.name) if stage.many else axes)
