"""How good plans are: node F1 and edge F1 of every proposer on public sets with gold graphs, beside published figures; and whether
every plan of requests without gold is sound, and what it costs.

    python scripts/bench/planning.py [--data DIR] [--json FILE] [--proposer NAME]... [--only SET]... [--limit N] [--check]

`DIR` (default $MURAKKAB_SHARED/data/planning, else ../shared/data/planning) is laid out as `planning_sets.py` says, which also says how each
set's tools become a library. `planning_score.py` says what the figures mean and where their definitions come from, `planning_proposers.py`
who proposes. Every proposal goes through the compiler as in a real job; "raw" is the proposal before that.

All figures are measured, on the rows of DIR. Milliseconds are wall (and processor) time of proposing and compiling one request, with the library indexed
beforehand, except for worfbench, where every row brings a library of its own; numpy has one thread unless OPENBLAS_NUM_THREADS is set. `--limit N` takes N rows of each set, the shapes in proportion,
by a fixed seed; a language model gets at most 50 a set unless --limit says another number. `--check` exits 1 when the offline
proposer is below 75 node F1 or 45 edge F1 on taskbench (multimedia and huggingface together). Any exception that is no refusal, and any
unsound plan, exits 1 in any case.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy: on a busy machine its threads wait for each other, 30 times as long

import planning_published
from planning_proposers import GIVEN_AWAY, Planned, Propose, embed, faults, plan, proposers, sentence, strange_links
from planning_score import (
    SEED,
    Counts,
    chain_f1,
    counts,
    exact,
    interval,
    macro,
    match,
    matched_counts,
    mean,
    pooled,
    row_f1,
)
from planning_sets import Row, Set, load

NODE_LEAST, EDGE_LEAST = 75.0, 45.0
LLM_ROWS = 50
FITTED_ON = ("multimedia", "huggingface", "taskbench", "ultratool", "tmdb")
"""Sets from whose development half `scripts/fit_planner.py` takes rows."""
Memory = dict[tuple[str, str, str], Planned]
"""Proposer, library and request to what became of it: taskbench has the rows of its two parts."""
HEAD = (
    f"{'set':<22} {'shape':<8} {'proposer':<10} {'n':>5}  {'node F1':>7} {'95 %':<13} {'edge F1':>7} {'95 %':<13} {'macro':>5} "
    f"{'rows n/e':>10} {'exact':>9} {'raw n/e':>10}"
)


def main() -> int:
    root = Path(os.environ.get("MURAKKAB_SHARED", Path(__file__).resolve().parents[3] / "shared"))
    parser = argparse.ArgumentParser(description="node F1 and edge F1 of plans on public sets, beside published figures")
    parser.add_argument("--data", type=Path, default=root / "data" / "planning", help="folder with the sets (default %(default)s)")
    parser.add_argument("--json", type=Path, help="write everything here too")
    parser.add_argument("--proposer", action="append", default=[], help="only this proposer; may be given more than once")
    parser.add_argument("--only", action="append", default=[], help="only sets whose name begins so; may be given more than once")
    parser.add_argument("--limit", type=int, default=0, help="rows of each set (default: all; 50 for a language model)")
    parser.add_argument("--check", action="store_true", help="exit 1 below 75 node F1 or 45 edge F1 of the offline proposer on taskbench")
    options = parser.parse_args()
    if (options.data / "planning").is_dir():  # the folder above was meant
        options.data /= "planning"
    known = proposers()
    for name in options.proposer:
        if name not in known:
            hint = "; set MURAKKAB_LLM_URL for llm" if name == "llm" else ""
            parser.error(f"--proposer {name}: there are {', '.join(known)}{hint}")
    if options.limit < 0:
        parser.error(f"--limit {options.limit}: a number of rows, or 0 for all")
    chosen = {n: p for n, p in known.items() if not options.proposer or n in options.proposer}
    report: dict[str, Any] = {"how": "measured", "seed": SEED, "data": options.data.name, "limit": options.limit, "sets": {}}
    memory: Memory = {}
    for part in load(options.data):
        if not options.only or any(part.name.startswith(o) for o in options.only):
            report["sets"][part.name] = measure(part, chosen, options.limit, memory)
            if options.json:  # after every set: a long run that is cut short leaves what it has
                options.json.write_text(json.dumps(report, indent=1))
    if not report["sets"]:
        parser.error(f"--data {options.data}: none of taskbench, gnn4taskplan-ultratool, gnn4taskplan-tmdb, nestful, worfbench is there")
    return conclude(report, options.check)


def measure(part: Set, chosen: dict[str, Propose], limit: int, memory: Memory) -> dict[str, Any]:
    """All proposers on one set, with its table."""
    gold = any(row.gold for row in part.rows)
    libraries = {row.tools.library.fingerprint for row in part.rows}
    out: dict[str, Any] = {
        "rows": len(part.rows),
        "left_out": part.left_out,
        "library": next(iter(libraries)) if len(libraries) == 1 else f"{len(libraries)} libraries",
        "published": planning_published.line(part.name),
        "offline_fitted_on": part.name in FITTED_ON,
        "proposers": {},
    }
    print(f"\n{HEAD}" if gold else f"\n{part.name}: {len(part.rows)} requests without gold")
    for name, propose in chosen.items():
        if name in GIVEN_AWAY and (not gold or (name == "wiring" and any(r.sentences for r in part.rows))):
            continue
        rows = sample(part.rows, limit or (LLM_ROWS if name == "llm" else 0))
        planned = [remembered(name, propose, row, memory, index=len(libraries) < 10) for row in rows]
        result = {"how": "measured", "n": len(rows), **costs(rows, planned)}
        if gold:
            result |= {"overall": scores(rows, planned)}
            kinds = [k for k in ("single", "chain", "dag") if any(r.kind == k for r in rows)]
            by_kind = {k: [(r, p) for r, p in zip(rows, planned, strict=True) if r.kind == k] for k in kinds}
            result |= {"by_type": {k: scores([r for r, _ in v], [p for _, p in v]) for k, v in by_kind.items()}}
            show(part.name, name, result)
        show_costs(name, result)
        out["proposers"][name] = result
    if part.name in planning_published.PUBLISHED or gold:
        print(textwrap.fill(out["published"], 138, initial_indent="  ", subsequent_indent="    "))
    if part.name in FITTED_ON:
        print("  offline: its constants were fitted on rows of this set's development half, so there these figures flatter it")
    if part.left_out:
        print(f"  {part.left_out} rows left out: they cannot be scored")
    return out


def remembered(name: str, propose: Propose, row: Row, memory: Memory, index: bool) -> Planned:
    """The plan of a row, made once. With `index`, the first row of a library finds it indexed already."""
    library = row.tools.library.fingerprint
    if index and (name, library, "") not in memory:
        memory[name, library, ""] = plan(propose, Row("", "Say what there is", "", row.tools))
    if (name, library, row.request) not in memory:
        memory[name, library, row.request] = plan(propose, row, rounds=2 if name == "llm" else 1)
    return memory[name, library, row.request]


def sample(rows: Sequence[Row], limit: int, seed: int = SEED) -> list[Row]:
    """`limit` rows (0: all), every shape with its share, in the set's order."""
    if not limit or limit >= len(rows):
        return list(rows)
    shuffled = list(range(len(rows)))
    random.Random(seed).shuffle(shuffled)
    places: dict[str, list[int]] = {}
    for i in shuffled:
        places.setdefault(rows[i].kind, []).append(i)
    # The j-th row of a shape with m rows stands at (j + 1/2) / m of the way: the first `limit` by that are in proportion.
    order = sorted(((j + 0.5) / len(of), kind, i) for kind, of in places.items() for j, i in enumerate(of))
    return [rows[i] for i in sorted(i for _, _, i in order[:limit])]


# --- figures -----------------------------------------------------------------------------------------------------------------------


def scores(rows: Sequence[Row], planned: Sequence[Planned]) -> dict[str, Any]:
    """Of rows with gold; percent."""
    pairs = [(r, p) for r, p in zip(rows, planned, strict=True) if r.gold]
    if any(r.sentences for r, _ in pairs):
        of_rows, extra = _by_sentences(pairs)
    else:
        of_rows = [counts(r.gold, p.said, r.tools.takes) for r, p in pairs if r.gold]
        extra = _by_names(pairs)
    (node, edge), (node_bounds, edge_bounds) = pooled(of_rows), interval(of_rows)
    return {"n": len(pairs), "node_f1": _figure(node, node_bounds), "edge_f1": _figure(edge, edge_bounds), **extra}


def _by_names(pairs: Sequence[tuple[Row, Planned]]) -> dict[str, Any]:
    known = [(r, r.gold, p) for r, p in pairs if r.gold]
    node_raw, edge_raw = pooled([counts(g, p.proposed, r.tools.takes) for r, g, p in known])
    libraries = {r.tools.library.fingerprint: r.tools.library for r, _, _ in known}
    tools = {(f, t) for f, library in libraries.items() for t in library.agents}
    each = [({(f, t) for t in g.nodes}, {(f, t) for t in p.said.nodes}) for r, g, p in known for f in (r.tools.library.fingerprint,)]
    return {
        "node_f1_macro": _percent(macro(each, tools)) if len(libraries) < 10 else None,
        "node_f1_rows": _percent(mean(row_f1(g.nodes, p.said.nodes) for _, g, p in known)),
        "edge_f1_rows": _percent(mean(row_f1(g.links, p.said.links) for _, g, p in known if g.links)),
        "exact": sum(exact(g, p.said) for _, g, p in known),
        "raw_node_f1": _percent(node_raw),
        "raw_edge_f1": _percent(edge_raw),
    }


def _by_sentences(pairs: Sequence[tuple[Row, Planned]]) -> tuple[list[Counts], dict[str, Any]]:
    """WorFBench's way: what was said is matched to the gold sentences."""
    out: list[Counts] = []
    chains: list[float] = []
    right = 0
    for row, planned in pairs:
        names = list(dict.fromkeys(planned.said.nodes))
        texts = tuple(sentence(name, row.tools.library) for name in names)
        vectors = embed(texts + row.sentences)
        found = match(vectors[: len(names)], vectors[len(names) :])
        assert row.gold is not None
        links = [(int(a), int(b)) for a, b in row.gold.links]
        said = [(names.index(a), names.index(b)) for a, b in planned.said.links]
        out.append(matched_counts(said, links, (len(names), len(row.sentences)), found))
        chains.append(chain_f1(len(names), len(row.sentences), links, found))
        one = out[-1]
        right += one.node_right == one.node_said == one.node_gold and one.link_right == one.link_said == one.link_gold
    return out, {"f1_chain": _percent(mean(chains)), "exact": right}


def costs(rows: Sequence[Row], planned: Sequence[Planned]) -> dict[str, Any]:
    """Milliseconds, repairs, refusals, and what is unsound."""
    ms, cpu_ms = sorted(p.ms for p in planned), sorted(p.cpu_ms for p in planned)
    bad = [(r.id, faults(p.workflow, r.tools)) for r, p in zip(rows, planned, strict=True) if p.workflow]
    unsound = [{"id": i, "faults": f} for i, f in bad if f]
    refusals = [{"id": r.id, "why": p.refused} for r, p in zip(rows, planned, strict=True) if p.refused]
    crashes = [{"id": r.id, "why": p.crashed} for r, p in zip(rows, planned, strict=True) if p.crashed]
    strange = [{"id": r.id, "link": link} for r, p in zip(rows, planned, strict=True) for link in strange_links(p.said, r.tools)]
    slow = max(zip(planned, rows, strict=True), key=lambda pair: pair[0].ms)
    return {
        "ms": {
            "median": ms[len(ms) // 2],
            "p95": ms[min(len(ms) - 1, int(0.95 * len(ms)))],
            "max": ms[-1],
            "slowest": slow[1].id,
            "cpu_median": cpu_ms[len(ms) // 2],
        },
        "repaired": _percent(mean(bool(p.repairs) for p in planned)),
        "refused": _percent(mean(bool(p.refused) for p in planned)),
        "asked_again": _percent(mean(p.rounds > 1 for p in planned)),
        "stages": mean(len(p.said.nodes) for p in planned if p.workflow),
        "links": sum(len(p.said.links) for p in planned),
        "links_outside_graph": len(strange),
        "unsound": len(unsound),
        "crashed": len(crashes),
        "examples": {
            "unsound": unsound[:20],
            "crashed": crashes[:20],
            "links_outside_graph": strange[:20],
            "refused": refusals[:20],
            "repaired": [{"id": r.id, "repairs": p.repairs} for r, p in zip(rows, planned, strict=True) if p.repairs][:20],
        },
    }


def _figure(value: float | None, bounds: tuple[float, float] | None) -> dict[str, float | None]:
    low, high = bounds or (None, None)
    return {"value": _percent(value), "low": _percent(low), "high": _percent(high)}


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


# --- tables ------------------------------------------------------------------------------------------------------------------------


def show(part: str, proposer: str, result: dict[str, Any]) -> None:
    for kind, s in [("overall", result["overall"]), *(result["by_type"].items() if len(result["by_type"]) > 1 else ())]:
        if "f1_chain" in s:
            rest = f"f1_chain {_short(s['f1_chain'])}"
        else:
            rest = f"{_short(s['node_f1_macro']):>5} {_two(s['node_f1_rows'], s['edge_f1_rows']):>10}"
        rest += f" {s['exact']:>4}/{s['n']:<4}" + (f" {_two(s['raw_node_f1'], s['raw_edge_f1']):>10}" if "raw_node_f1" in s else "")
        label = part if kind == "overall" else ""
        print(f"{label:<22} {kind:<8} {proposer:<10} {s['n']:>5}  {_wide(s['node_f1'])} {_wide(s['edge_f1'])} {rest}")


def show_costs(proposer: str, result: dict[str, Any]) -> None:
    ms = result["ms"]
    print(
        f"  {proposer:<9} ms {ms['median']:.1f} (p95 {ms['p95']:.0f}, max {ms['max']:.0f}, processor {ms['cpu_median']:.1f})  "
        f"repaired {result['repaired']:.1f} %  refused {result['refused']:.1f} %  unsound {result['unsound']}  crashed {result['crashed']}  "
        f"odd links {result['links_outside_graph']}/{result['links']}"
    )


def _wide(f: dict[str, float | None]) -> str:
    if f["value"] is None:
        return f"{'-':>7} {'':<13}"
    return f"{f['value']:>7.1f} {'' if f['low'] is None else '[' + _short(f['low']) + ', ' + _short(f['high']) + ']':<13}"


def _two(one: float | None, other: float | None) -> str:
    return f"{_short(one)}/{_short(other)}"


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def conclude(report: dict[str, Any], check: bool) -> int:
    """The exit status, and a line for each reason that it is not 0."""
    reasons: list[str] = []
    for part, measured in report["sets"].items():
        for name, result in measured["proposers"].items():
            reasons += [
                f"{part}, {name}: {result[what]} {what}: {first(result['examples'][what])}"
                for what in ("unsound", "crashed")
                if result[what]
            ]
    if check:
        best = report["sets"].get("taskbench", {}).get("proposers", {}).get("offline", {}).get("overall")
        if best is None:
            reasons.append("--check: the offline proposer was not measured on taskbench (both gold samples must be there)")
        else:
            node, edge = best["node_f1"]["value"], best["edge_f1"]["value"] or 0.0
            print(f"\noffline on taskbench: node F1 {node:.1f} (at least {NODE_LEAST:g}), edge F1 {edge:.1f} (at least {EDGE_LEAST:g})")
            if node < NODE_LEAST or edge < EDGE_LEAST:
                reasons.append("--check: below the bounds")
    for reason in reasons:
        print(reason)
    return 1 if reasons else 0


def first(examples: Iterable[dict[str, Any]]) -> str:
    return next((json.dumps(e)[:300] for e in examples), "")


if __name__ == "__main__":
    raise SystemExit(main())
