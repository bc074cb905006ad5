"""Node F1 and edge F1 of plans against gold graphs. Pure.

As TaskBench defines them (arXiv 2311.18760; microsoft/JARVIS, taskbench/evaluate.py): a plan is the set of its tools' names and
the set of its links, pairs of names; so a tool that is called twice counts once.
    n-F1  "node_micro_f1_no_matching": tools of all rows pooled, 2 * right / (said + gold); names that the library does not have
          count neither as said nor as gold. This is what the paper's tables call n-F1 (their show_mertics.py picks it).
    e-F1  "link_binary_f1": links of all rows pooled in the same way, names unchecked.
    macro "node_macro_f1_no_matching": F1 of each tool over all rows, then the mean over all tools of the library (0 for a
          tool that is nowhere).
There, rows whose prediction could not be read are left out; here every row counts, a refused one as an empty plan.
    rows  as GNN4TaskPlan reports (arXiv 2405.19119; WxxShirley/GNN4TaskPlan, evaluate.py): the mean of the rows' F1, doubled
          tools counting as said; for links, over rows that have gold links.
    exact rows whose tools (with their number) and links are those of the gold graph.
Intervals are 95 % percentile bootstraps over rows (Efron 1979) with a fixed seed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Sequence
from typing import Any, NamedTuple

ROUNDS = 2_000
SEED = 20_231_130
Pair = tuple[str, str]


class Graph(NamedTuple):
    """Names of tools, one a call, in order; links from a name to a name."""

    nodes: tuple[str, ...] = ()
    links: tuple[Pair, ...] = ()


class Counts(NamedTuple):
    """Of one row: right, said and gold, for nodes and for links."""

    node_right: int
    node_said: int
    node_gold: int
    link_right: int
    link_said: int
    link_gold: int


def counts(gold: Graph, said: Graph, known: Collection[str]) -> Counts:
    """What TaskBench counts in one row; `known` are the library's names."""
    g, s = set(gold.nodes) & set(known), set(said.nodes) & set(known)
    gl, sl = set(gold.links), set(said.links)
    return Counts(len(g & s), len(s), len(g), len(gl & sl), len(sl), len(gl))


def f1(right: float, said: float, gold: float) -> float | None:
    """2 * right / (said + gold); None when there was nothing to find and nothing was said."""
    return 2 * right / (said + gold) if said + gold else None


def pooled(rows: Sequence[Counts]) -> tuple[float | None, float | None]:
    """Node F1 and edge F1 over all rows."""
    c = [sum(column) for column in zip(*rows, strict=True)] or [0] * 6
    return f1(*c[:3]), f1(*c[3:])


def macro(rows: Iterable[tuple[Collection[Hashable], Collection[Hashable]]], tools: Collection[Hashable]) -> float | None:
    """Mean over `tools` of a tool's F1; a row is its gold and its said tools."""
    right, said, gold = Counter[Hashable](), Counter[Hashable](), Counter[Hashable]()
    for g, s in rows:
        right.update(set(g) & set(s))
        said.update(set(s))
        gold.update(set(g))
    return sum(f1(right[t], said[t], gold[t]) or 0.0 for t in tools) / len(tools) if tools else None


def row_f1(gold: Sequence[Hashable], said: Sequence[Hashable]) -> float:
    """GNN4TaskPlan's F1 of one row; 0 when either is empty."""
    right = len(set(gold) & set(said))
    return 2 * right / (len(said) + len(gold)) if right else 0.0


def mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return sum(known) / len(known) if known else None


def exact(gold: Graph, said: Graph) -> bool:
    return Counter(gold.nodes) == Counter(said.nodes) and set(gold.links) == set(said.links)


def interval(
    rows: Sequence[Counts], seed: int = SEED, rounds: int = ROUNDS
) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
    """95 % intervals of `pooled`: rows drawn with replacement, as many as there are. None where F1 is None."""
    import numpy as np

    if not rows:
        return None, None
    table = np.array(rows, np.float64)
    draws = np.random.default_rng(seed).multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=rounds) @ table

    def bounds(part: Any) -> tuple[float, float] | None:
        total = part[:, 1] + part[:, 2]
        values = 2 * part[total > 0, 0] / total[total > 0]
        return (float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975))) if len(values) else None

    return bounds(draws[:, :3]), bounds(draws[:, 3:])


def shape_of(graph: Graph) -> str:
    """single, chain or dag, for sets that do not say it. A chain has one link from each call to the next."""
    if len(graph.nodes) <= 1:
        return "single"
    links = set(graph.links)
    chain = len(links) == len(graph.nodes) - 1 and all(pair in links for pair in zip(graph.nodes, graph.nodes[1:], strict=False))
    return "chain" if chain else "dag"


# --- nodes that are sentences: WorFBench --------------------------------------------------------------------------------------


MATCH_MIN = 0.6
"""Least cosine of two nodes' sentences that are one (WorFBench, evaluator/graph_evaluator.py, match_threshold)."""
ORDERS_MAX, ORDERED_MAX = 20, 10
"""Orders of a gold graph that are tried, and nodes (with START and END) from which on only the one that is written; as there."""


def match(said: Any, gold: Any) -> dict[int, int]:
    """Said to gold nodes, by their unit vectors (n, d): the heaviest matching of pairs whose cosine is above MATCH_MIN."""
    import networkx as nx

    graph = nx.Graph()
    if len(said) and len(gold):
        graph.add_weighted_edges_from((i, ~j, float(c)) for i, row in enumerate(said @ gold.T) for j, c in enumerate(row) if c > MATCH_MIN)
    return {max(pair): ~min(pair) for pair in nx.max_weight_matching(graph)}  # ~j is negative: gold


def matched_counts(
    said: Sequence[tuple[int, int]], gold: Sequence[tuple[int, int]], nodes: tuple[int, int], found: dict[int, int]
) -> Counts:
    """Counts of a row whose nodes are sentences: links between indexes, `nodes` how many were said and are gold."""
    mapped = {(found.get(a, -1), found.get(b, -1)) for a, b in said}
    return Counts(len(found), nodes[0], nodes[1], len(mapped & set(gold)), len(set(said)), len(set(gold)))


def chain_f1(said: int, gold: int, links: Sequence[tuple[int, int]], found: dict[int, int]) -> float:
    """WorFBench's f1_chain (arXiv 2410.07869): longest increasing run of matched nodes, for the best order of the gold graph.

    Unlike the published program, which counts one node as right in any case, nothing matched is 0.
    """
    from itertools import islice

    import networkx as nx

    graph: Any = nx.DiGraph()
    graph.add_nodes_from(range(gold))
    graph.add_edges_from(links)
    orders: Iterable[Sequence[int]] = [range(gold)]
    if gold + 2 < ORDERED_MAX and nx.is_directed_acyclic_graph(graph):
        orders = islice(nx.all_topological_sorts(graph), ORDERS_MAX)
    best = 0
    for order in orders:
        place = {node: i for i, node in enumerate(order)}
        best = max(best, _rising([place[found[i]] for i in range(said) if i in found]))
    return f1(best, said, gold) or 0.0


def _rising(values: Sequence[int]) -> int:
    """Length of the longest strictly rising subsequence."""
    longest: list[int] = []
    for i, value in enumerate(values):
        longest.append(1 + max((longest[j] for j in range(i) if values[j] < value), default=0))
    return max(longest, default=0)
