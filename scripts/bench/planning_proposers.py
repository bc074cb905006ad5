"""Who proposes in planning.py, and what becomes of a proposal: compiled as in a real job, timed, checked.

offline    the embedded default, `planner/offline.py`
llm        `planner/llm.py`, where MURAKKAB_PLANNER_URL or MURAKKAB_LLM_URL names a server
retrieval  baseline: the k tools whose descriptions are most like the request (MiniLM), k being the gold graph's own number, given
           away; in that order, each taking from the one before it
names      baseline without weights: tools all of whose name's words are in the request, in the order of the words, likewise chained
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

from planning_score import Graph
from planning_sets import Row, Tools

from murakkab.agents.minilm import MiniLM
from murakkab.bus.messages import Workflow
from murakkab.planner.compile import CannotPlan, compile
from murakkab.planner.library import Library
from murakkab.planner.proposal import Call, Proposal, Request

Propose = Callable[[Request, Library, Graph, str], Proposal]
"""The request, the library, the gold graph (empty where there is none), and what was wrong with the last answer."""
GIVEN_AWAY = ("retrieval", "wiring")
"""Those that look at the gold graph."""


class Planned(NamedTuple):
    """What became of one request."""

    said: Graph = Graph()
    """Of the workflow; empty when there is none."""
    proposed: Graph = Graph()
    """Of the proposal as it came."""
    workflow: Workflow | None = None
    repairs: tuple[str, ...] = ()
    refused: str = ""
    crashed: str = ""
    """Another exception than a refusal: a bug."""
    ms: float = 0.0
    cpu_ms: float = 0.0
    """Of this process: what a plan costs where others use the processor too."""
    rounds: int = 1


def proposers(environ: Mapping[str, str] = os.environ) -> dict[str, Propose]:
    """By name. The offline one first; the language model only where one is configured."""
    from murakkab.planner.offline import OfflineProposer

    found: dict[str, Propose] = {"offline": _of(OfflineProposer()), "retrieval": _retrieval, "names": _names, "wiring": _wiring}
    if environ.get("MURAKKAB_PLANNER_URL") or environ.get("MURAKKAB_LLM_URL"):
        from murakkab.planner import llm

        model = llm.from_environ(environ)
        if model is not None:
            found["llm"] = _of(model)
    return found


def _of(proposer: Any) -> Propose:
    return lambda request, library, _, complaint: proposer.propose(request, library, complaint)


def plan(propose: Propose, row: Row, rounds: int = 1) -> Planned:
    """At most `rounds` proposals; after the first, the proposer is told why the last could not be compiled."""
    request, gold = Request(row.request), row.gold or Graph()
    complaint, proposed, started = "", Graph(), (time.perf_counter(), time.process_time())
    for n in range(1, rounds + 1):
        try:
            proposal = propose(request, row.tools.library, gold, complaint)
            proposed = graph_of_proposal(proposal)
            made = compile(proposal, request, row.tools.library)
        except (CannotPlan, RuntimeError) as error:
            complaint = str(error)
            continue
        except Exception as error:  # what must never happen is counted, not hidden
            return Planned(proposed=proposed, crashed=f"{type(error).__name__}: {error}"[:300], **_ms(started), rounds=n)
        return Planned(graph_of(made.workflow), proposed, made.workflow, made.repairs, **_ms(started), rounds=n)
    return Planned(proposed=proposed, refused=complaint, **_ms(started), rounds=rounds)


def _ms(started: tuple[float, float]) -> dict[str, Any]:
    return {"ms": (time.perf_counter() - started[0]) * 1_000, "cpu_ms": (time.process_time() - started[1]) * 1_000}


def graph_of(workflow: Workflow) -> Graph:
    of = {s.name: s.agent for s in workflow.stages}
    links = [(of[e.stage], s.agent) for s in workflow.stages for e in s.edges if e.stage]
    return Graph(tuple(of.values()), tuple(dict.fromkeys(links)))


def graph_of_proposal(proposal: Proposal) -> Graph:
    of = {c.id: c.agent for c in proposal.calls}
    links = [(of[source], c.agent) for c in proposal.calls for source in c.inputs.values() if source in of]
    return Graph(tuple(c.agent for c in proposal.calls), tuple(dict.fromkeys(links)))


def faults(workflow: Workflow, tools: Tools) -> list[str]:
    """What is wrong with a plan by the set's own description of its tools; the planner's code has no part in it."""
    import networkx as nx

    graph: Any = nx.DiGraph()
    graph.add_nodes_from(s.name for s in workflow.stages)
    graph.add_edges_from((e.stage, s.name) for s in workflow.stages for e in s.edges if e.stage)
    of = {s.name: s.agent for s in workflow.stages}
    found = [f"unknown tool {s.agent}" for s in workflow.stages if s.agent not in tools.takes]
    if len(of) != len(workflow.stages) or set(graph) != set(of):
        found.append("stages of the same name, or an edge from no stage")
    if not nx.is_directed_acyclic_graph(graph):
        found.append("a cycle")
    if not workflow.stages or not workflow.answer or not set(workflow.answer) <= set(of):
        found.append("no stages, or no answer among them")
    for stage in workflow.stages:
        wanted = list(tools.takes.get(stage.agent, ()))
        for edge in stage.edges:
            have = tools.gives.get(of.get(edge.stage, ""), "")
            if have in wanted:
                wanted.remove(have)  # each parameter has one source
            elif edge.stage:
                found.append(f"{stage.agent} takes {', '.join(tools.takes.get(stage.agent, ()))}; {of.get(edge.stage)} gives {have}")
        fed = [e.param for e in stage.edges] + list(stage.given)
        needed = [p for p, t in tools.library.agents[stage.agent].takes.items() if not t.optional] if stage.agent in tools.takes else []
        if len(set(fed)) != len(fed) or not set(needed) <= set(fed):
            found.append(f"{stage.agent} has parameters with no source or with two")
    return found


def strange_links(said: Graph, tools: Tools) -> list[tuple[str, str]]:
    """Links that the set's graph of allowed links does not have; it has none from a tool to itself, for one."""
    return [link for link in said.links if link not in tools.links] if tools.links else []


# --- baselines -------------------------------------------------------------------------------------------------------------------


def chain(names: list[str], request: Request, library: Library) -> Proposal:
    """Each takes from the one before it: by a parameter of the fitting type, else by none; the words give all other parameters."""
    calls: list[Call] = []
    for i, name in enumerate(names):
        takes = library.agents[name].takes
        before = library.agents[names[i - 1]].gives if i else ""
        param = next((p for p, t in takes.items() if i and library.types.is_a(before, t.type)), "")
        args = {p: request.description for p, t in takes.items() if t.literal and p != param}
        calls.append(Call(f"c{i}", name, {param: f"c{i - 1}"} if param else {}, args))
    return Proposal(tuple(calls))


def _wiring(request: Request, library: Library, gold: Graph, complaint: str) -> Proposal:
    names = [n for n in dict.fromkeys(gold.nodes) if n in library.agents]
    return Proposal(tuple(Call(f"c{i}", name, after=tuple(f"c{j}" for j in range(i))) for i, name in enumerate(names)))


def _retrieval(request: Request, library: Library, gold: Graph, complaint: str) -> Proposal:
    scores = tool_vectors(library) @ embed((request.description,))[0]
    names = list(library.agents)
    return chain([names[i] for i in sorted(range(len(names)), key=lambda i: -scores[i])[: len(set(gold.nodes)) or 1]], request, library)


def _names(request: Request, library: Library, gold: Graph, complaint: str) -> Proposal:
    said = words(request.description)
    found: dict[str, int] = {}
    for name in library.agents:
        mine = words(name)
        if mine and set(mine) <= set(said):
            found[name] = max(said.index(w) for w in mine)
    return chain(sorted(found, key=lambda name: found[name]), request, library)


def words(text: str) -> list[str]:
    """Lower case, names taken apart, at most five letters of each, without the commonest words."""
    found = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", text)
    return [w.lower()[:5] for w in found if w.lower() not in ("a", "an", "and", "by", "for", "from", "of", "or", "the", "to", "with")]


# --- sentences -------------------------------------------------------------------------------------------------------------------


def sentence(name: str, library: Library) -> str:
    """A tool as a sentence: its name's words and its description."""
    said = " ".join(re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)).lower()
    return name if library.agents[name].summary == name else f"{said}: {library.agents[name].summary}"[:600]


_VECTORS: dict[str, Any] = {}


def tool_vectors(library: Library) -> Any:
    if library.fingerprint not in _VECTORS:
        _VECTORS.clear()
        _VECTORS[library.fingerprint] = embed(tuple(sentence(name, library) for name in library.agents))
    return _VECTORS[library.fingerprint]


def embed(texts: tuple[str, ...]) -> Any:
    """Unit vectors (n, 384). Raises RuntimeError without the weights."""
    return _model().embed(texts)


@cache
def _model() -> MiniLM:
    model = MiniLM()
    model.load()
    return model
