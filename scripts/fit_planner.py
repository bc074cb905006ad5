"""Fits the constants of the offline proposer (`planner/fitted.py`) on development data, and says how they do on rows left out.

    python scripts/fit_planner.py [--data DIR] [--out FILE] [--check]

DIR (default $MURAKKAB_SHARED/data/planning, else ../shared/data/planning) holds `taskbench/{multimedia,huggingface}` and
`gnn4taskplan-{ultratool,tmdb}`. `--check` only prints the cross-validated figures; without it FILE (default planner/fitted.py) is written.

Data
    typed libraries     the gold rows of TaskBench multimedia and huggingface, and the rows of `fit_planner_labels.jsonl`: 130 further
                        requests of the same two sets (from `user_requests.jsonl`), drawn at random, whose tools were labelled by reading
                        the request and the tools' descriptions only. They are not the authors' gold, and some are doubtful.
    untyped libraries   every sixth row of UltraTool and all rows of TMDB.

Model. A piece of a request speaks of one agent or of none: P = softmax of linear scores over the evidence of `retrieve.py` and
`offline_read.py`. Which piece speaks of which gold agent is not known, so what is maximised is, per request, the sum over pieces of
log P(a gold agent or none), plus COVER times the sum over gold agents of log P(some piece speaks of it), less an L2 penalty; by
Adam (Kingma & Ba 2015, arXiv:1412.6980) from a fixed start, so that a run repeats. First the weights of pieces alone, then, with
the agents that these choose as neighbours, the weights with context. Last the threshold against "none": the shift of a coarse grid
with the best node F1 on the same rows. The weight of `alias` has no data here (public tools have no aliases) and is set by hand.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small matrices: more threads only wait for one another

import numpy as np

from murakkab.agents.spec import Agent, Take
from murakkab.planner.embed import Embedder, Hashed, Kept, Sentences
from murakkab.planner.lattice import TOP, Lattice
from murakkab.planner.library import Library
from murakkab.planner.offline import OfflineProposer
from murakkab.planner.offline_read import CONTEXT, NONE_FEATURES, Reading, best_of, context
from murakkab.planner.proposal import Request
from murakkab.planner.retrieve import FEATURES, index_of

STEPS, RATE, L2, L2_NONE, COVER = 300, 0.1, 1.0, 0.1, 2.0
START = {"cos": 5.0, "name_share": 2.0, "doc_sum": 2.0}
START_NONE = (5.0, 2.0, 1.0, 0.0, 1.0)
ALIAS = 3.0
CANDIDATES = 45
SHIFTS = (-1.0, -0.5, 0.0, 0.5)
POSITIVE = 7
"""The first features are likenesses: more of them never speaks against an agent."""
Pair = tuple[Any, Any]


class Row(NamedTuple):
    text: str
    library: Library
    nodes: tuple[str, ...]
    links: tuple[tuple[str, str], ...]
    part: str


class Read(NamedTuple):
    """`agents` (CANDIDATES or fewer, with all of `gold`) are those that the fit looks at; `at` says where `gold` is among them."""

    reading: Reading
    gold: list[int]
    agents: list[int]
    at: list[int]


# --- data ----------------------------------------------------------------------------------------------------------------------


def library(tools: list[dict[str, Any]]) -> Library:
    agents = []
    for tool in tools:
        takes: dict[str, Take] = {}
        for kind in (k.lower() for k in tool.get("input-type", ())):
            takes[kind if kind not in takes else f"{kind}{len(takes) + 1}"] = Take(kind, literal=True)
        typed = "input-type" in tool
        gives = (tool["output-type"] or ["none"])[0].lower() if typed else TOP
        agents.append(Agent(tool["id"], tool["desc"], takes if typed else {"input": Take(TOP, literal=True)}, gives))
    return Library(agents, Lattice({}))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def graph(folder: Path, name: str, part: str) -> list[Row]:
    tools = library(json.loads((folder / "tool_desc.json").read_text())["nodes"])
    return [
        Row(
            r["user_request"],
            tools,
            tuple(n["task"] for n in r["task_nodes"]),
            tuple((e["source"], e["target"]) for e in r["task_links"]),
            part,
        )
        for r in lines(folder / name)
    ]


def labelled(data: Path) -> list[Row]:
    rows = lines(Path(__file__).with_name("fit_planner_labels.jsonl"))
    out = []
    for name in ("multimedia", "huggingface"):
        folder = data / "taskbench" / name
        tools = library(json.loads((folder / "tool_desc.json").read_text())["nodes"])
        texts = {r["id"]: r["user_request"] for r in lines(folder / "user_requests.jsonl")}
        out += [
            Row(texts[r["id"]], tools, tuple(r["nodes"]), tuple((a, b) for a, b in r["links"]), r["part"])
            for r in rows
            if r["set"] == name and r["id"] in texts
        ]
    return out


def read(rows: Iterable[Row], embedder: Embedder) -> list[Read]:
    out = []
    for row in rows:
        index = index_of(row.library, embedder)
        at = {a.name: i for i, a in enumerate(index.agents)}
        reading = Reading(Request(row.text), index)
        gold = [at[n] for n in dict.fromkeys(row.nodes) if n in at]
        likely = np.argsort(-(reading.evidence[:, :, 0] + reading.evidence[:, :, 5]).max(axis=0, initial=0), kind="stable")[:CANDIDATES]
        agents = sorted({*gold, *likely.tolist()})
        out.append(Read(reading, gold, agents, [agents.index(g) for g in gold]))
    return out


# --- the fit -------------------------------------------------------------------------------------------------------------------


def fit(data: Sequence[Read], extra: Sequence[Any] | None, start: Pair) -> Pair:
    """Weights of agents' evidence (with context where `extra` has it) and of none."""
    n = len(FEATURES) + (len(CONTEXT) if extra is not None else 0)
    weights = np.zeros(n + len(NONE_FEATURES))
    weights[: len(start[0])], weights[n:] = start
    rows = [r.reading.evidence[:, r.agents].astype(float) for r in data]
    if extra is not None:
        rows = [np.concatenate([x, e[:, r.agents]], axis=2) for r, x, e in zip(data, rows, extra, strict=True)]
    mean, square = np.zeros_like(weights), np.zeros_like(weights)
    for step in range(STEPS):
        slope = -np.concatenate([L2 * weights[:n], L2_NONE * weights[n:]])
        for r, x in zip(data, rows, strict=True):
            if len(x):
                by_score = _slope(x @ weights[:n], r.reading.none @ weights[n:], r.at)
                slope[:n] += np.tensordot(by_score[:, :-1], x, ([0, 1], [0, 1]))
                slope[n:] += by_score[:, -1] @ r.reading.none
        mean, square = 0.9 * mean + 0.1 * slope, 0.99 * square + 0.01 * slope**2
        weights += RATE * (1 - step / STEPS) * mean / (np.sqrt(square) + 1e-8)
        weights[:POSITIVE] = np.maximum(weights[:POSITIVE], 0)
    return weights[:n].astype(np.float32), weights[n:].astype(np.float32)


def _slope(scores: Any, none: Any, gold: list[int]) -> Any:
    """How the objective of one request changes with its scores, (pieces, agents + 1)."""
    z = np.concatenate([scores, none[:, None]], axis=1)
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    allowed = np.zeros(p.shape[1])
    allowed[[*gold, -1]] = 1
    out = p * allowed / (p * allowed).sum(axis=1, keepdims=True).clip(1e-12) - p
    for g in gold:
        said = p[:, g].clip(1e-9, 1 - 1e-9)
        nobody = np.prod(1 - said)
        share = COVER * nobody / (1 - said) / (1 - nobody) * said
        out -= share[:, None] * p
        out[:, g] += share
    return out


def train(data: Sequence[Read]) -> dict[str, dict[str, float]]:
    first = fit(data, None, (np.array([START.get(f, 0.0) for f in FEATURES]), np.array(START_NONE)))
    chosen = [best_of(_lead(r, r.reading.evidence, first)) for r in data]
    second = (np.concatenate([first[0], np.zeros(len(CONTEXT), np.float32)]), first[1].copy())
    leads = [_lead(r, r.reading.evidence, first) for r in data]
    for _ in range(2 if any(r.reading.index.kinds for r in data) else 0):  # without types there is no context
        extra = [context(r.reading, c) for r, c in zip(data, chosen, strict=True)]
        second = fit(data, extra, second)
        leads = [_lead(r, np.concatenate([r.reading.evidence, e], axis=2), second) for r, e in zip(data, extra, strict=True)]
        chosen = [best_of(lead) for lead in leads]
    shift = max(
        SHIFTS, key=lambda s: f1([(set(r.gold), {c for c in best_of(lead - s) if c >= 0}) for r, lead in zip(data, leads, strict=True)])
    )
    second[1][0] += shift
    return {"first": _named(first, FEATURES), "second": _named(second, FEATURES + CONTEXT)}


def _lead(row: Read, evidence: Any, weights: Pair) -> Any:
    return evidence @ weights[0] - (row.reading.none @ weights[1])[:, None]


def _named(weights: Pair, names: tuple[str, ...]) -> dict[str, float]:
    row = {k: round(float(v), 2) for k, v in zip((*names, *NONE_FEATURES), (*weights[0], *weights[1]), strict=True)}
    return {**row, "alias": ALIAS}


# --- figures -------------------------------------------------------------------------------------------------------------------


def f1(pairs: Iterable[tuple[set[Any], set[Any]]]) -> float:
    """Micro F1 in per cent over (gold, said)."""
    hit = said = gold = 0
    for g, s in pairs:
        hit, said, gold = hit + len(g & s), said + len(s), gold + len(g)
    return 200 * hit / max(1, said + gold)


def planned(
    rows: Sequence[Row], embedder: Embedder, fitted: dict[str, dict[str, float]], kind: str
) -> list[tuple[Row, set[str], set[tuple[str, str]]]]:
    proposer = OfflineProposer(embedder, {kind: fitted})
    out = []
    for row in rows:
        calls = proposer.propose(Request(row.text), row.library).calls
        name = {c.id: c.agent for c in calls}
        out.append((row, {c.agent for c in calls}, {(name[s], c.agent) for c in calls for s in c.inputs.values() if s}))
    return out


def show(title: str, got: list[tuple[Row, set[str], set[tuple[str, str]]]]) -> None:
    """Node and edge F1 with 95% intervals: 2.5 and 97.5 per cent of 1,000 draws of rows with replacement."""
    rng = np.random.default_rng(0)
    nodes, links = [(set(r.nodes), n) for r, n, _ in got], [(set(r.links), e) for r, _, e in got]
    draws = [rng.integers(len(got), size=len(got)) for _ in range(1000)]
    figures = []
    for pairs in (nodes, links):
        low, high = np.percentile([f1([pairs[i] for i in d]) for d in draws], [2.5, 97.5])
        figures.append(f"{f1(pairs):5.1f} [{low:.1f}, {high:.1f}]")
    print(f"{title:44s} {len(got):4d} rows  node F1 {figures[0]:20s} edge F1 {figures[1]}", flush=True)


def crossed(rows: Sequence[Row], embedder: Embedder, kind: str, title: str) -> None:
    """Each part is planned with weights that were fitted on the other parts."""
    got = []
    for part in dict.fromkeys(r.part for r in rows):
        weights = train(read([r for r in rows if r.part != part], embedder))
        mine = planned([r for r in rows if r.part == part], embedder, weights, kind)
        show(f"{title}, {part} left out", mine)
        got += mine
    show(f"{title}, all parts, each left out", got)


def main() -> None:
    here = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("MURAKKAB_SHARED", here.parent / "shared")) / "data/planning")
    parser.add_argument("--out", type=Path, default=here / "planner/fitted.py")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    typed = [r for n in ("multimedia", "huggingface") for r in graph(args.data / "taskbench" / n, "gold_sample.jsonl", "gold")]
    typed += labelled(args.data)
    ultra = graph(args.data / "gnn4taskplan-ultratool", "data.jsonl", "ultratool")[::6]
    untyped = [r._replace(part=f"fold {i % 2}") for i, r in enumerate(ultra + graph(args.data / "gnn4taskplan-tmdb", "data.jsonl", ""))]
    print(f"{len(typed)} rows with types (gold {sum(r.part == 'gold' for r in typed)}), {len(untyped)} rows without")
    made: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for embedder in (Kept(Sentences()), Kept(Hashed())):
        for kind, rows in (("typed", typed), ("untyped", untyped)):
            crossed(rows, embedder, kind, f"{embedder.name}, {kind}")
            if not args.check:
                made.setdefault(embedder.name, {})[kind] = train(read(rows, embedder))
    if made:
        head = '"""Constants that `scripts/fit_planner.py` fitted on development data; made by it, not by hand."""\n\nfrom __future__ import annotations\n\n'
        args.out.write_text(
            f"{head}Weights = dict[str, dict[str, dict[str, float]]]\n\nWEIGHTS: dict[str, Weights] = {json.dumps(made, indent=4)}\n"
        )


if __name__ == "__main__":
    main()
