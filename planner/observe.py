"""What comes after an observation: where the result of a stage says to look, and the workflow of looking there. Pure.

A handler for each type of result says where (`Focus`); the job's remaining words (`Workflow.rest`) say what to do there,
and are planned like any other job, once for each place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ..agents.types import Passage, Passages
from ..bus.messages import Edge, Observed, Stage, Workflow, WorkflowExtended
from .compile import CannotPlan, compile, with_calls
from .draft import nearest
from .inputs import given
from .library import Library
from .proposal import Call, Given, Proposal, Request

LEAST_SCORE = 0.2
"""Cosine of MiniLM below which a passage says nothing about what was searched for: unrelated sentences are mostly below it."""
NEAR_S = 2.0
"""Passages of one medium that are closer than this are one section."""
MARGIN_S = 0.5
"""Added to both ends of a section."""
SECTIONS_MAX = 3


class Focus(Struct, frozen=True):
    """One place to look at: a stretch of one input, in seconds."""

    input: Given
    start_s: float
    end_s: float


def places(observed: Observed) -> tuple[list[Focus], str]:
    """Where to look, best first, and one line about it for people. Nowhere: the job ends with what it has."""
    kind = _kind(observed.results)
    handler = _HANDLERS.get(kind)
    if handler is None:
        return [], "the result of the observed stage says nothing about where to look"
    return handler(observed)


def request_for(observed: Observed, focus: Focus) -> Request:
    """The job that remains to be done at one place."""
    return Request(observed.workflow.rest, (), (focus.input,), by_value=True)


def extension(observed: Observed, found: Sequence[Focus], note: str, proposal: Proposal, library: Library) -> WorkflowExtended:
    """The stages that do what `proposal` says at each place. Raises CannotPlan."""
    if not proposal.calls:
        raise CannotPlan(proposal.why or f"no agent can do that; {nearest(observed.workflow.rest, library)}")
    free = Library([a for a in library.agents.values() if not a.keeps], library.types)
    taken = {s.name for s in observed.workflow.stages}
    stages: list[Stage] = []
    answers: list[str] = []
    for focus in found:
        times = {"start_s": focus.start_s, "end_s": focus.end_s}
        calls = (
            Call("section", "SectionCutter", args=times),
            *(replace(c, inputs={p: s for p, s in c.inputs.items() if s}) for c in proposal.calls),
        )
        made = compile(Proposal(calls, proposal.answer, proposal.rest), request_for(observed, focus), free).workflow
        names = {s.name: _free(s.name, taken) for s in made.stages}
        stages += [_placed(s, names, free) for s in made.stages]
        answers += [names[a] for a in made.answer]
    before = observed.workflow
    whole = with_calls(Workflow((*before.stages, *stages), before.answer), library, [i.name for i in observed.inputs])
    return WorkflowExtended(
        job=observed.job,
        stage=observed.stage,
        stages=whole.stages[len(before.stages) :],
        answer=(*before.answer, *answers),
        note=note,
        seen=len(before.stages),
    )


def _placed(stage: Stage, names: Mapping[str, str], library: Library) -> Stage:
    """A stage under its name in the longer workflow, looking closer where its agent can."""
    parts = library.agents[stage.agent].args.get("properties", {})
    closer = {n: p["x-closer"] for n, p in parts.items() if "x-closer" in p}
    edges = tuple(Edge(e.param, names[e.stage], e.type) for e in stage.edges)
    return replace(stage, name=names[stage.name], edges=edges, args={**closer, **stage.args})


def _free(name: str, taken: set[str]) -> str:
    n = 1
    while f"{name}-{n}" in taken:
        n += 1
    taken.add(f"{name}-{n}")
    return f"{name}-{n}"


# --- results of each type ----------------------------------------------------------------------------------------------------------


def _passages(observed: Observed) -> tuple[list[Focus], str]:
    """Stretches around the passages that were found, of the inputs that they are from."""
    inputs = {g.name: g for g in reversed(given(observed.inputs))}
    found = [msgspec.convert(r, Passages, strict=False) for r in observed.results]
    about = found[0].question if found else ""
    good = [p for f in found for p in f.items if p.score >= LEAST_SCORE and p.name in inputs]
    best = max((p.score for p in good), default=0.0)
    sections = _sections([p for p in good if p.score >= best * 0.75])
    if not sections:
        return [], f"nothing about '{about[:80]}' was found, so there is nothing to look at"
    where = ", ".join(f"{p.name} {p.start_s:.1f}–{p.end_s:.1f} s" for p in sections)
    return [Focus(inputs[p.name], round(p.start_s, 2), round(p.end_s, 2)) for p in sections], f"'{about[:80]}' was found in {where}"


def _sections(passages: Sequence[Passage]) -> list[Passage]:
    """Passages with a margin; those that touch are one. At most SECTIONS_MAX, best first."""
    wide = [replace(p, start_s=max(0.0, p.start_s - MARGIN_S), end_s=p.end_s + MARGIN_S) for p in passages]
    merged: list[Passage] = []
    for p in sorted(wide, key=lambda p: (p.name, p.start_s)):
        last = merged[-1] if merged else None
        if last is not None and last.name == p.name and p.start_s <= last.end_s + NEAR_S:
            merged[-1] = replace(last, end_s=max(last.end_s, p.end_s), score=max(last.score, p.score))
        else:
            merged.append(p)
    return sorted(merged, key=lambda p: (-p.score, p.name, p.start_s))[:SECTIONS_MAX]


def _kind(results: Sequence[Any]) -> str:
    """The type that all results look like; empty when there is none or they are too large to travel."""
    for name in _HANDLERS:
        if results and all(isinstance(r, dict) and _FIELDS[name] <= r.keys() for r in results):
            return name
    return ""


_HANDLERS: dict[str, Callable[[Observed], tuple[list[Focus], str]]] = {"Passages": _passages}
_FIELDS: dict[str, set[str]] = {"Passages": {"question", "items"}}
