"""From a proposal to a verified workflow: resolve names, wire types, insert what is missing, drop what is useless, find the shape. Pure.

Whatever was proposed, the result is a workflow that can run, or CannotPlan with one line that says what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from ..bus.messages import Workflow
from .arguments import BadArgument, fit, from_words, problem
from .axes import BadWorkflow, shapes
from .calls import calls, defaults
from .draft import CannotPlan, Draft, Node, nearest
from .house import keepers, presenter
from .library import Library
from .proposal import FROM_INPUTS, Proposal, Request
from .resolve import resolve
from .shape import shape
from .wire import wire

__all__ = ["CannotPlan", "Compiled", "compile", "verify"]


class Compiled(Struct, frozen=True):
    """A workflow that can run, and what was mended in the proposal, one line each."""

    workflow: Workflow
    repairs: tuple[str, ...] = ()


def compile(proposal: Proposal, request: Request, library: Library) -> Compiled:
    """Raises CannotPlan."""
    if not proposal.calls:
        text = " ".join((request.description, *request.tasks))
        raise CannotPlan(proposal.why or f"no agent can do '{_short(request.description)}'; {nearest(text, library)}")
    draft = resolve(proposal, request, library)
    wire(draft)
    list(draft.in_order())  # refuses cycles before anything is dropped
    _answers(draft)
    _prune(draft)
    presenter(draft)
    keepers(draft)
    _arguments(draft)
    workflow = with_calls(shape(draft, _kind(draft), proposal.rest), library, [g.name for g in request.inputs])
    return Compiled(workflow, tuple(dict.fromkeys(draft.repairs)))


def verify(workflow: Workflow, library: Library) -> None:
    """A workflow that somebody has given: known agents, parameters, types, arguments. Raises CannotPlan."""
    try:
        shapes(workflow)
    except BadWorkflow as error:
        raise CannotPlan(str(error)) from None
    gives: dict[str, str] = {}
    for stage in workflow.stages:
        agent = library.agents.get(stage.agent)
        if agent is None:
            raise CannotPlan(f"stage '{stage.name}': there is no agent '{stage.agent}'; there are {', '.join(library.agents)}")
        gives[stage.name] = agent.gives
        for edge in stage.edges:
            take = agent.takes.get(edge.param)
            if take is None:
                raise CannotPlan(
                    f"stage '{stage.name}': {agent.name} takes no '{edge.param}'; it takes {', '.join(agent.takes) or 'nothing'}"
                )
            if edge.stage and not library.types.is_a(gives[edge.stage], take.type):
                raise CannotPlan(f"stage '{stage.name}': '{edge.param}' is a {take.type}, and '{edge.stage}' gives a {gives[edge.stage]}")
        for param, take in agent.takes.items():
            if not take.optional and param not in stage.given and all(e.param != param for e in stage.edges):
                raise CannotPlan(f"stage '{stage.name}': {agent.name} needs '{param}' of type {take.type}")
        if stage.many != agent.many:
            raise CannotPlan(
                f"stage '{stage.name}': {agent.name} gives {'a list' if agent.many else 'one value'} a task; set many to {agent.many}".lower()
            )


def with_calls(workflow: Workflow, library: Library, inputs: Sequence[str]) -> Workflow:
    """The workflow with the text of each stage's concrete call. `inputs` are what the user called them."""
    texts = calls(workflow, inputs, {a.name: defaults(a.args) for a in library.agents.values()})
    return replace(workflow, stages=tuple(replace(s, call=texts[s.name]) for s in workflow.stages))


# --- what the answer is, and what is not needed for it -----------------------------------------------------------------------


def _answers(draft: Draft) -> None:
    draft.answer = [name for name in draft.answer if name in draft.nodes]
    if draft.answer:
        return
    sinks = draft.sinks()
    draft.answer = [name for name in sinks if not draft.nodes[name].agent.keeps] or sinks


def _prune(draft: Draft) -> None:
    roots = [*draft.answer, *(n.id for n in draft.nodes.values() if n.agent.keeps or n.observe)]
    for name in list(draft.nodes):
        if not any(draft.reaches(root, name) for root in roots):
            draft.repairs.append(f"{name} is dropped: nothing takes what it gives")
            del draft.nodes[name]


# --- arguments ---------------------------------------------------------------------------------------------------------------------


def _arguments(draft: Draft) -> None:
    """Arguments that the words give, and those that must be there."""
    text = ". ".join((draft.request.description, *draft.request.tasks))
    for node in draft.nodes.values():
        node.args = {**from_words(text, node.agent.args), **node.args}
        for name in node.agent.args.get("required", ()):
            if name not in node.args:
                node.args[name] = _required(node, name, draft)


def _required(node: Node, name: str, draft: Draft) -> Any:
    """Text that must be there is the job's own words; nothing else can be guessed."""
    part: Mapping[str, Any] = node.agent.args["properties"].get(name, {})
    try:
        if part.get("type") == "string" and "enum" not in part:
            return fit(draft.request.description, part)
    except BadArgument:
        pass
    if "default" in part and not problem(part["default"], part):
        return part["default"]
    about = part.get("description", "")
    raise CannotPlan(f"{node.agent.name} needs the argument '{name}'{f' ({about})' if about else ''}: say it in the job's words")


def _kind(draft: Draft) -> str:
    """A short name of the shape: what comes in and what comes out."""
    given = "+".join(
        sorted({t for n in draft.nodes.values() for p, s in n.sources.items() if s == FROM_INPUTS for t in (n.agent.takes[p].type,)})
    )
    made = "+".join(dict.fromkeys(draft.nodes[a].agent.gives for a in draft.answer))
    return f"{given or 'words'} to {made}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 80 else line[:77] + "..."
