"""The public sets of planning.py: each one's tools as a library, and its rows with their gold graphs.

A folder has the sets as `shared/data/planning` has them; what is not there is left out. Which half of a set's rows lies there does not matter.

Tools become agents in one way for all sets: the name is the tool's, also with spaces and brackets in it; the summary is its description; every
parameter may be a literal. TaskBench multimedia and huggingface have types, in lower case; a tool without an output type gives "none", and
parameters are named after their types. All other sets have only names of parameters, or none ("input" stands in then): their type is Value.

Gold graphs
    taskbench, gnn4taskplan-*  as they are. TMDB says no shape: single, chain and dag are found from the links.
    nestful    calls in order without the closing var_result; a link for every argument that names another call's result ($var1.x$).
    worfbench  every row brings its own tools, and its nodes are sentences. wikihow: the nodes are actions of the row's list, word for word, so
               the actions are the tools and the scores are exact; rows with another node are left out and counted. toolbench, toolalpaca, lumos:
               nodes are free text and name no tool; a planned call counts as the sentence "name: description" of its tool, and is matched to gold
               sentences as WorFBench does, by cosine above 0.6 (here of all-MiniLM-L6-v2, there all-mpnet-base-v2). A planner that picks
               tools and writes no sentences cannot score high on lumos, whose tools are as general as QA(context, query).
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from planning_score import Graph, shape_of

from murakkab.agents.spec import Agent, Take
from murakkab.planner.lattice import TOP, Lattice
from murakkab.planner.library import Library


class Tools(NamedTuple):
    """A library, and what the set itself says of its tools, for checks that do not go through the planner."""

    library: Library
    takes: dict[str, tuple[str, ...]]
    gives: dict[str, str]
    links: frozenset[tuple[str, str]] = frozenset()
    """The set's graph of allowed links; empty where it has none."""


class Row(NamedTuple):
    """One request. `gold` is None where nobody has written it; `sentences` are the gold nodes where they are free text, and then the
    nodes of `gold` are their indexes."""

    id: str
    request: str
    kind: str
    tools: Tools
    gold: Graph | None = None
    sentences: tuple[str, ...] = ()


class Set(NamedTuple):
    name: str
    rows: tuple[Row, ...]
    left_out: int = 0
    """Rows that cannot be scored."""


def load(folder: Path) -> Iterator[Set]:
    """All sets of a folder, one after the other; those with gold first."""
    gold: list[Row] = []
    requests: list[Set] = []
    for part in ("multimedia", "huggingface", "dailylifeapis"):
        if not (folder / "taskbench" / part / "tool_desc.json").is_file():
            continue
        tools = _taskbench_tools(folder / "taskbench" / part)
        if (folder / "taskbench" / part / "gold_sample.jsonl").is_file():
            rows = tuple(_graph_row(r, tools) for r in _lines(folder / "taskbench" / part / "gold_sample.jsonl"))
            gold += rows
            yield Set(part, rows)
        if (folder / "taskbench" / part / "user_requests.jsonl").is_file():
            wanted = _lines(folder / "taskbench" / part / "user_requests.jsonl")
            requests.append(Set(f"requests-{part}", tuple(Row(str(r["id"]), r["user_request"], "", tools) for r in wanted)))
    if gold:
        yield Set("taskbench", tuple(gold))
    for part in ("ultratool", "tmdb"):
        if (place := folder / f"gnn4taskplan-{part}").is_dir():
            tools = _tools(_json(place / "tool_desc.json")["nodes"], _json(place / "graph_desc.json")["links"], lambda _: ())
            yield Set(part, tuple(_graph_row(r, tools) for r in _lines(place / "data.jsonl")))
    for part in ("executable", "non-executable-glaive", "non-executable-sgd"):
        if (folder / "nestful" / f"{part}-data.jsonl").is_file():
            tools = _nestful_tools(folder / "nestful" / f"{part}-spec.json")
            data = enumerate(_lines(folder / "nestful" / f"{part}-data.jsonl"))
            yield Set(f"nestful-{part.split('-')[-1]}", tuple(_nestful_row(f"{part}-{i}", r, tools) for i, r in data))
    for part in ("wikihow", "toolbench", "toolalpaca", "lumos"):
        if (folder / "worfbench" / f"{part}.jsonl").is_file():
            found = [_worfbench_row(r, part) for r in _lines(folder / "worfbench" / f"{part}.jsonl")]
            yield Set(f"worfbench-{part}", tuple(r for r in found if r), found.count(None))
    yield from requests


# --- tools -----------------------------------------------------------------------------------------------------------------------


def agent(name: str, about: str, takes: Mapping[str, Take], gives: str = TOP) -> Agent:
    return Agent(name, " ".join(about.split()) or name, dict(takes), gives)


def _tools(
    nodes: Iterable[Mapping[str, Any]], links: Iterable[Mapping[str, str]], params: Callable[[Mapping[str, Any]], Sequence[str]]
) -> Tools:
    """Tools without types: `params` names the parameters of one; without any, there is one that takes anything."""
    rows = {n["id"]: agent(n["id"], n["desc"], {p: Take(TOP, literal=True) for p in params(n) or ("input",)}) for n in nodes}
    return Tools(
        Library(rows, Lattice({})),
        {name: (TOP,) * len(a.takes) for name, a in rows.items()},
        dict.fromkeys(rows, TOP),
        frozenset((link["source"], link["target"]) for link in links),
    )


def _taskbench_tools(place: Path) -> Tools:
    nodes, links = _json(place / "tool_desc.json")["nodes"], _json(place / "graph_desc.json")["links"]
    if not all("input-type" in n for n in nodes):
        return _tools(nodes, links, lambda n: [p["name"] for p in n["parameters"]])
    rows = {}
    for n in nodes:
        takes: dict[str, Take] = {}
        for kind in (t.lower() for t in n["input-type"]):
            takes[kind if kind not in takes else f"{kind}_2"] = Take(kind, literal=True)
        rows[n["id"]] = agent(n["id"], n["desc"], takes, n["output-type"][0].lower() if n["output-type"] else "none")
    return Tools(
        Library(rows, Lattice({})),
        {n["id"]: tuple(t.lower() for t in n["input-type"]) for n in nodes},
        {n["id"]: (n["output-type"] or ["none"])[0].lower() for n in nodes},
        frozenset((link["source"], link["target"]) for link in links),
    )


def _nestful_tools(path: Path) -> Tools:
    rows: dict[str, Agent] = {}
    for spec in _json(path):
        params = {
            k: v for field in ("query_parameters", "path_parameters", "parameters", "arguments") for k, v in spec.get(field, {}).items()
        }
        takes = {k: Take(TOP, optional=not _required(v), literal=True) for k, v in params.items()}
        rows.setdefault(spec["name"], agent(spec["name"], spec["description"], takes))  # of doubled names the first
    return Tools(Library(rows, Lattice({})), {n: (TOP,) * len(a.takes) for n, a in rows.items()}, dict.fromkeys(rows, TOP))


def _required(parameter: Any) -> bool:
    return isinstance(parameter, Mapping) and bool(parameter.get("required", True))


# --- rows ------------------------------------------------------------------------------------------------------------------------


def _graph_row(row: Mapping[str, Any], tools: Tools) -> Row:
    gold = Graph(tuple(n["task"] for n in row["task_nodes"]), tuple((e["source"], e["target"]) for e in row["task_links"]))
    return Row(str(row["id"]), row["user_request"], row.get("type") or shape_of(gold), tools, gold)


_REFERENCE = re.compile(r"\$(\w+?)(?:\.[^$]*)?\$")


def _nestful_row(name: str, row: Mapping[str, Any], tools: Tools) -> Row:
    calls = [c for c in row["output"] if c["name"] != "var_result"]
    of_label = {c["label"]: c["name"] for c in calls if "label" in c}
    links = [(of_label[r], c["name"]) for c in calls for r in _REFERENCE.findall(json.dumps(c["arguments"])) if r in of_label]
    gold = Graph(tuple(c["name"] for c in calls), tuple(dict.fromkeys(links)))
    return Row(name, row["input"], shape_of(gold), tools, gold)


_LIST = re.compile(r"\n(?:The (?:action|api) list you can (?:take|use):|api_list:)\s*")
_NODE = re.compile(r"^\s*(\d+)\s*[:.]\s*(.+?)\s*$", re.M)
_EDGE = re.compile(r"\(\s*(\d+)\s*,\s*(\d+)\s*\)")
_WRAPPED = re.compile(r'The description of this function is: "(.*)"', re.S)
"""What ToolBench puts around a description."""


def _worfbench_row(row: Mapping[str, Any], part: str) -> Row | None:
    """None where a node of wikihow is no action of the list, or the row's list of tools cannot be read."""
    _, user, answer = (turn["content"] for turn in row["conversations"])
    task, _, listed = (_LIST.sub("\0", user, count=1) + "\0").partition("\0")
    tools = _worfbench_tools(listed.strip("\0 \n"))
    nodes = dict(_NODE.findall(answer))
    number = {n: i for i, n in enumerate(nodes)}
    links = tuple(dict.fromkeys((number[a], number[b]) for a, b in _EDGE.findall(answer) if a in number and b in number))
    if tools is None or not nodes:
        return None
    request = " ".join(task.removeprefix("Task:").split())
    if part != "wikihow":
        gold = Graph(tuple(str(i) for i in range(len(nodes))), tuple((str(a), str(b)) for a, b in links))
        return Row(str(row["id"]), request, shape_of(gold), tools, gold, tuple(nodes.values()))
    names = [" ".join(text.split()) for text in nodes.values()]
    gold = Graph(tuple(names), tuple((names[a], names[b]) for a, b in links))
    if not set(names) <= set(tools.library.agents):
        return None
    return Row(str(row["id"]), request, shape_of(gold), tools, gold)


def _worfbench_tools(listed: str) -> Tools | None:
    try:
        said = ast.literal_eval(listed)
    except (SyntaxError, ValueError):
        return None
    if isinstance(said, Mapping):  # lumos: "QA(context, query)" to a description
        calls = [(name.partition("("), about) for name, about in said.items()]
        nodes = [
            {"id": name, "desc": about, "params": [p.strip() for p in rest.rstrip(")").split(",") if p.strip()]}
            for (name, _, rest), about in calls
        ]
    elif all(isinstance(s, str) for s in said):  # wikihow: actions
        nodes = [{"id": text, "desc": text, "params": []} for text in dict.fromkeys(" ".join(s.split()) for s in said) if text]
    else:
        nodes = [{"id": s["name"], "desc": _description(s), "params": _names(s.get("parameters"))} for s in said if s["name"] != "Finish"]
    return _tools(nodes, (), lambda n: n["params"]) if nodes else None


def _description(said: Mapping[str, Any]) -> str:
    found = _WRAPPED.search(said.get("description", ""))
    return found.group(1) if found else str(said.get("description", ""))


def _names(parameters: Any) -> list[str]:
    """Names of parameters from a JSON Schema or from a plain object."""
    inside = parameters.get("properties", parameters) if isinstance(parameters, Mapping) else {}
    return list(inside)


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
