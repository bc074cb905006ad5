"""How good plans are, and how long they take to find: our search against greedy, CP-SAT and plain MILP at equal time.

    python scripts/bench/search.py [--dags DIR] [--json FILE] [--sizes 10,30,100,300,1000,3000] [--seeds 3]

The task: twelve choices a stage, least cost under a deadline. Two kinds of graphs:
    layered    random: layers of 1 to 2·√n stages, each stage after 1 to 3 of the layer before. A stage's times are its size (log-uniform, 1 to 20) times
               e^u, u uniform in ±1.5; its cost falls with time to a power of 0.6 to 1.2 a choice, with noise of ±25 %. Up to 40 stages three times the seeds.
    workflow   the real graphs of WfCommons (DIR laid out as ../shared/data/dags/wfcommons; default $MURAKKAB_SHARED/data/dags/wfcommons; left out when it is not
               there), choices made from each task's measured run time in the same way; run times of 0 count as 0.05 s.
The deadline lies 0.3 of the way (and for half of the seeds 0.2) from the quickest plan's makespan to the cheapest plan's.

    greedy     the quickest plan, then moves of one stage that save most for the slack they use (optimizer/search_improve.py, without the linear programme)
    ours       optimizer/search.py; beyond 200 stages it uses two threads
    cpsat      OR-Tools CP-SAT, 2 workers, times and costs rounded to 1e-4 of their range (left out when ortools is not installed: the extra `bench`)
    milp       the same mixed-integer programme by HiGHS alone, without our start

Every method has the time that ours has: 0.05 s at 10 stages, 0.5 at 30, 1 to 400, 2 to 1,200, 4 beyond. All figures are measured:
    s          wall time of the call, building of the model included: median (worst)
    gap        cost / the best lower bound that any method proved on that graph - 1: median (worst), of the graphs where it found a plan
    own gap    the same to the bound that the method itself proved; what `murakkab explain` says
    proved     graphs whose plan the method proved to be the best (own gap at most 1e-6)
    bound      how far the method's own bound is below the best bound of any: median
All of it takes about five minutes. Load of other processes makes every method worse; the load average is printed and kept.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import multiprocessing
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace

from murakkab.optimizer.goals import Goal
from murakkab.optimizer.problem import NoSolution, Option, Problem, simple, values
from murakkab.optimizer.search import search
from murakkab.optimizer.search_improve import descend
from murakkab.optimizer.search_model import Model
from murakkab.optimizer.search_table import Table

CHOICES = 12
SHARED = Path(os.environ.get("MURAKKAB_SHARED") or Path(__file__).resolve().parents[3] / "shared")


class Run(NamedTuple):
    """What a method gave: seconds, cost (None when it found no plan), and its own lower bound."""

    took_s: float
    cost: float | None
    bound: float


def limit_s(stages: int) -> float:
    return next((s for n, s in ((12, 0.05), (40, 0.5), (400, 1.0), (1200, 2.0)) if stages <= n), 4.0)


# --- problems -----------------------------------------------------------------------------------------------------------------------


def choices(size: float, dice: random.Random) -> list[Option]:
    times = [size * math.exp(dice.uniform(-1.5, 1.5)) for _ in range(CHOICES)]
    return [Option((t,), 10 * size / t ** dice.uniform(0.6, 1.2) * dice.uniform(0.8, 1.25)) for t in times]


def with_deadline(stages: Sequence[Sequence[Option]], after: Sequence[Sequence[int]], share: float) -> Problem:
    problem = simple(stages, after, (Goal("cost", 0.0),))
    quick = values(problem, [min(range(CHOICES), key=lambda p: o[p].time[0]) for o in stages]).time
    cheap = values(problem, [min(range(CHOICES), key=lambda p: o[p].cost) for o in stages]).time
    return replace(problem, bounds={"time": quick + share * (cheap - quick)})


def layered(n: int, seed: int) -> Problem:
    dice = random.Random(seed)
    after: list[list[int]] = []
    before: list[int] = []
    while len(after) < n:
        layer = list(range(len(after), min(n, len(after) + dice.randint(1, max(2, 2 * math.isqrt(n))))))
        after += [sorted(dice.sample(before, min(len(before), dice.randint(1, 3)))) for _ in layer]
        before = layer
    sizes = [math.exp(dice.uniform(0, math.log(20))) for _ in range(n)]
    return with_deadline([choices(s, dice) for s in sizes], after, 0.3 if seed % 2 else 0.2)


def workflow(file: Path) -> Problem:
    tasks = json.loads(file.read_text())["tasks"]
    place = {t["id"]: n for n, t in enumerate(tasks)}
    dice = random.Random(len(tasks))
    after = [sorted(place[p] for p in t["parents"]) for t in tasks]
    return with_deadline([choices(max(t["runtime_s"], 0.05), dice) for t in tasks], after, 0.3)


# --- methods ------------------------------------------------------------------------------------------------------------------------


def ours(problem: Problem, limit: float) -> Run:
    start = time.perf_counter()
    try:
        found = search(problem, limit)
    except NoSolution:
        return Run(time.perf_counter() - start, None, 0.0)
    return Run(time.perf_counter() - start, found.values.cost, found.bound)


def greedy(problem: Problem, limit: float) -> Run:
    start = time.perf_counter()
    table = Table(problem)
    picks = [min(range(len(o)), key=lambda p: o[p].time[0]) for o in table.options]
    best = descend(table, "cost", dict(problem.bounds), picks, start + limit)
    return Run(time.perf_counter() - start, table.value(best, "cost"), sum(min(x.cost for x in o) for o in table.options))


def milp(problem: Problem, limit: float) -> Run:
    start = time.perf_counter()
    table = Table(problem)
    every = [list(range(len(o))) for o in table.options]
    cheapest = sum(min(x.cost for x in o) for o in table.options)
    scale = {"time": problem.bounds["time"], "cost": cheapest, "energy": 1.0, "loss": 1.0}
    answer = Model(table, "cost", dict(problem.bounds), every, scale).solve(limit - (time.perf_counter() - start), True)  # type: ignore[arg-type]
    took = time.perf_counter() - start
    if answer.x is None:
        return Run(took, None, max(answer.bound, cheapest))
    picks = [max(range(len(x)), key=lambda k: x[k]) for x in answer.x]
    feasible = table.within(picks, dict(problem.bounds))
    return Run(took, table.value(picks, "cost") if feasible else None, max(answer.bound, cheapest))


def cpsat(problem: Problem, limit: float) -> Run:
    from ortools.sat.python import cp_model

    start = time.perf_counter()
    table = Table(problem)
    deadline = problem.bounds["time"]
    unit, coin = deadline * 1e-4, sum(max(x.cost for x in o) for o in table.options) * 1e-6
    model = cp_model.CpModel()
    ends = [model.new_int_var(0, 10_000, "") for _ in range(table.events)]
    picks: list[list[Any]] = []
    for options in table.options:
        picks.append([model.new_bool_var("") for _ in options])
        model.add_exactly_one(picks[-1])
    for source, target, stage, part in table.arcs:
        lasts: Any = 0
        if stage >= 0:  # rounded up, so that what keeps the rounded deadline keeps the real one
            lasts = sum(b * math.ceil(o.time[part] / unit) for b, o in zip(picks[stage], table.options[stage], strict=True))
        model.add(ends[target] >= ends[source] + lasts)
    model.minimize(
        sum(b * round(o.cost / coin) for bs, os_ in zip(picks, table.options, strict=True) for b, o in zip(bs, os_, strict=True))
    )
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 2
    solver.parameters.max_time_in_seconds = max(0.01, limit - (time.perf_counter() - start))
    state = solver.solve(model)
    took = time.perf_counter() - start
    if state not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return Run(took, None, 0.0)
    chosen = [next(k for k, b in enumerate(bs) if solver.value(b)) for bs in picks]
    # its bound is of the rounded problem, which is a little tighter than the real one: it proves nothing for the others
    return Run(took, table.value(chosen, "cost"), 0.0)


def methods() -> dict[str, Callable[[Problem, float], Run]]:
    found: dict[str, Callable[[Problem, float], Run]] = {"greedy": greedy, "ours": ours, "milp": milp}
    if find_spec("ortools") is None:
        print("cpsat: left out, ortools is not installed (pip install 'murakkab[bench]')")
    else:
        # in a process of its own: ortools brings another HiGHS, and the two do not load into one
        other = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        other.submit(cpsat, layered(5, 0), 1.0).result()  # its library loads at its first use
        found["cpsat"] = lambda problem, limit: other.submit(cpsat, problem, limit).result()
    return found


# --- the bench ----------------------------------------------------------------------------------------------------------------------


def main() -> None:
    p = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    p.add_argument("--dags", type=Path, default=SHARED / "data" / "dags" / "wfcommons", metavar="DIR", help="default: %(default)s")
    p.add_argument("--json", type=Path, metavar="FILE")
    p.add_argument("--sizes", default="10,30,100,300,1000,3000", help="stages of the random graphs; empty for none (default: %(default)s)")
    p.add_argument("--seeds", type=int, default=3, help="random graphs a size (default: 3; three times as many up to 40 stages)")
    args = p.parse_args()
    try:
        sizes = [int(s) for s in args.sizes.split(",") if s]
    except ValueError:
        p.error(f"--sizes {args.sizes}: whole numbers with commas between them, as in 10,30,100")
    if any(n < 2 for n in sizes) or args.seeds < 1:
        p.error("--sizes and --seeds: at least 2 stages, and at least 1 graph a size")
    began, load = time.perf_counter(), os.getloadavg()
    ways = methods()
    search(layered(10, 0), 1.0)  # the solver's library loads at its first use
    rows: list[dict[str, Any]] = []
    print(f"load average {load[0]:.1f} on {os.cpu_count()} cores")
    print(f"{'':<30} {'method':<7} {'s':>15} {'gap':>17} {'own gap':>17} {'proved':>8} {'bound':>8} {'no plan':>8}")
    for n in sizes:
        found = [one(f"layered {n}", layered(n, seed), ways, seed) for seed in range(args.seeds * (3 if n <= 40 else 1))]
        show(f"layered {n:,}", found)
        rows += found
    index = args.dags / "index.csv"
    if not index.exists():
        print(f"real workflows: left out, there is no {index}")
    else:
        with index.open(encoding="utf-8") as file:
            names = sorted((int(r["tasks"]), r["name"]) for r in csv.DictReader(file))
        found = [one(f"{name} ({tasks})", workflow(args.dags / f"{name}.json"), ways, 0) for tasks, name in names]
        for label, least, most in (("to 40", 0, 40), ("to 400", 40, 400), ("to 1,200", 400, 1200), ("beyond", 1200, 10**9)):
            show(f"workflows {label}", [r for r in found if least < r["stages"] <= most])
        rows += found
    print(f"{time.perf_counter() - began:.0f} s in all, load average now {os.getloadavg()[0]:.1f}")
    if args.json:
        about = {"how": "measured", "cores": os.cpu_count(), "load_before": load[0], "load_after": os.getloadavg()[0]}
        args.json.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")
    sys.exit(0)


def one(graph: str, problem: Problem, ways: dict[str, Callable[[Problem, float], Run]], seed: int) -> dict[str, Any]:
    limit = limit_s(len(problem.stages))
    cpu_s: dict[str, float] = {}
    runs: dict[str, Run] = {}
    for name, run in ways.items():
        before = time.process_time()
        runs[name] = run(problem, limit)
        cpu_s[name] = time.process_time() - before
    bound = max(r.bound for r in runs.values())
    return {
        "graph": graph,
        "seed": seed,
        "stages": len(problem.stages),
        "limit_s": limit,
        "bound": bound,
        "methods": {
            name: {
                "s": r.took_s,
                "cpu_s": None if name == "cpsat" else cpu_s[name],  # that one runs in another process
                "cost": r.cost,
                "bound": r.bound or None,
                "gap": None if r.cost is None else r.cost / bound - 1,
                "own_gap": None if r.cost is None or r.bound <= 0 else r.cost / r.bound - 1,
            }
            for name, r in runs.items()
        },
    }


def show(label: str, rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        return
    title = f"{label}: {len(rows)}, {rows[0]['limit_s']:g} s"
    for name in rows[0]["methods"]:
        mine = [r["methods"][name] for r in rows]
        own = [m["own_gap"] for m in mine if m["own_gap"] is not None]
        below = [1 - m["bound"] / r["bound"] for m, r in zip(mine, rows, strict=True) if m["bound"]]
        cells = [
            f"{statistics.median(m['s'] for m in mine):.3f} ({max(m['s'] for m in mine):.3f})",
            spread([m["gap"] for m in mine if m["gap"] is not None]),
            spread(own),
            f"{sum(g <= 1e-6 for g in own)}" if below else "-",
            f"-{max(statistics.median(below), 0.0):.2%}" if below else "-",
            f"{sum(m['cost'] is None for m in mine) or ''}",
        ]
        print(f"{title:<30} {name:<7} " + " ".join(f"{c:>{w}}" for c, w in zip(cells, (15, 17, 17, 8, 8, 8), strict=True)), flush=True)
        title = ""


def spread(gaps: Sequence[float]) -> str:
    return f"{statistics.median(gaps):.2%} ({max(gaps):.1%})" if gaps else "-"


if __name__ == "__main__":
    main()
