"""What it costs to get a task to a worker and its result back, beside the least that NATS and Python can do it for.

    python scripts/bench/dispatch.py [--harness DIR] [--json FILE] [--reps 3] [--workloads W1,W2,...] [--durability]

The workloads (tasks do nothing, or sleep for 10 ms where a label ends in `s`, and in W5; two workers with 32 slots each):
    W1  one task at a time             p50, p99: submission to result, milliseconds
    W2  10,000 independent tasks       tasks a second
    W3  200 chains of 20 at once       tasks a second
    W4  fan of 1,000, ten times        tasks a second, median fan
    W5  100 videos of 27 tasks at once times the ideal: makespan / max(critical path, work / 64 slots)
How each becomes jobs stands in `murakkab_contestant.py`. `CPU us` is user and system time of submitter, broker, actors and instances over tasks.

DIR is the benchmark harness in which the peers of docs/benchmarks.md were measured (default $MURAKKAB_SHARED/bench, else ../shared/bench). It
runs the floors in the same repetition: `raw_full` is plain nats-py with tasks and results in file-backed streams and nothing around it;
`raw_full_fast` the same with coalesced writes. They do no planning and keep no log, and their submitter drives the DAG. All run with this
Python, this nats-py and this nats-server. Without the harness, W1 and W2 are measured alone.

Every figure is measured. Figures of one repetition stand beside each other; ratios are taken within a repetition, then their median.
--durability: kill -9 of a worker, and of nats-server, while 40 tasks of 500 ms run; how many results arrive, how often a task counted.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import importlib
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from murakkab.bus.server import find_binary

HERE = Path(__file__).resolve().parent
FLOORS = ("raw_full", "raw_full_fast")
LABELS = "W1,W2,W3,W4,W2s,W3s,W4s,W5"
Run = dict[str, dict[str, dict[str, Any]]]
"""Contestant to label to figures, of one repetition."""

COLUMNS = (
    ("W1", "p50_ms", "W1 p50 ms"),
    ("W1", "p99_ms", "W1 p99 ms"),
    ("W2", "tasks_s", "W2 tasks/s"),
    ("W2", "cpu_us_task", "W2 CPU us"),
    ("W3", "tasks_s", "W3 tasks/s"),
    ("W3", "cpu_us_task", "W3 CPU us"),
    ("W4", "tasks_s", "W4 tasks/s"),
    ("W2s", "x_ideal", "W2s x ideal"),
    ("W3s", "x_ideal", "W3s x ideal"),
    ("W4s", "x_ideal", "W4s x ideal"),
    ("W5", "x_ideal", "W5 x ideal"),
    ("W5", "cpu_us_task", "W5 CPU us"),
)


def main() -> None:
    args = arguments()
    harness = find_harness(args.harness)
    started = time.time()
    if harness is None:
        print("no harness: W1 and W2 of Murakkab alone; name it with --harness", file=sys.stderr)
        runs: list[Run] = [{"murakkab": asyncio.run(alone())} for _ in range(args.reps)]
        durability: dict[str, Any] = {}
    else:
        with tempfile.TemporaryDirectory(prefix="murakkab-bench-") as folder:
            enter(harness, Path(folder))
            runs = [side_by_side(rep, args.workloads.split(",")) for rep in range(args.reps)]
            durability = kills() if args.durability else {}
    print(table(runs))
    print(shares(runs))
    for kind, found in durability.items():
        print(f"kill -9 of the {kind}: {found['ok']} of {found['n']} results, {found['dup']} counted twice, after {found['s']} s; {found}")
    if args.json:
        report = {"what": "dispatch", "how": "measured", "machine": machine(), "seconds": round(time.time() - started, 1)}
        args.json.write_text(json.dumps({**report, "medians": medians(runs), "durability": durability, "runs": runs}, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    p.add_argument("--harness", type=Path, metavar="DIR")
    p.add_argument("--json", type=Path, metavar="FILE")
    p.add_argument("--reps", type=int, default=3)
    p.add_argument("--workloads", default=LABELS)
    p.add_argument("--durability", action="store_true")
    return p.parse_args()


def machine() -> dict[str, Any]:
    cpu = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "cpu": cpu[0] if cpu else platform.processor(),
        "python": platform.python_version(),
        "load_1min": os.getloadavg()[0],
    }


# --- without the harness ------------------------------------------------------------------------------------------------------------


async def alone(ones: int = 200, many: int = 10_000) -> dict[str, dict[str, Any]]:
    ours = importlib.import_module("murakkab_contestant")  # beside this file
    cluster = ours.Cluster()
    await cluster.open()
    try:
        took_ms = []
        for _ in range(ones):
            start = time.perf_counter()
            await cluster.run(ours.one(0))
            took_ms.append((time.perf_counter() - start) * 1000)
        before, start = cluster.cpu_by_role(), time.perf_counter()
        await cluster.run(ours.mapped(many, 0))
        took_s, after = time.perf_counter() - start, cluster.cpu_by_role()
        used = {role: round(after[role] - before[role], 3) for role in after}
        took_ms.sort()
        w2 = {"n": many, "s": took_s, "tasks_s": many / took_s, "cpu_us_task": sum(used.values()) / many * 1e6, "cpu_by_role_s": used}
        w2["by_host"] = await cluster.tasks_by_host(cluster.last_job)
        return {"W1": {"p50_ms": took_ms[ones // 2], "p99_ms": took_ms[int(0.99 * ones)], "n": ones}, "W2": w2}
    finally:
        await cluster.close()


# --- with the harness -----------------------------------------------------------------------------------------------------------------


def find_harness(named: Path | None) -> Path | None:
    shared = Path(os.environ.get("MURAKKAB_SHARED") or HERE.parents[1].parent / "shared")
    folder = (named or shared / "bench").resolve()
    if (folder / "driver.py").is_file():
        return folder
    if named:
        sys.exit(f"{named}: no benchmark harness (no driver.py)")
    return None


def enter(harness: Path, folder: Path) -> None:
    """Makes the harness see this Python as the environment of every contestant, and this folder as its own."""
    venvs = folder / "venvs"
    venvs.mkdir()
    for name in ("nats", "murakkab"):
        (venvs / name).symlink_to(sys.prefix)
    os.environ |= {
        "BENCH_VENVS": str(venvs),
        "BENCH_STATE": str(folder),
        "BENCH_NATS_SERVER": find_binary(os.environ),
        "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    sys.path.insert(0, str(harness))
    importlib.import_module("run").REGISTRY["murakkab"] = ["murakkab_contestant", "murakkab"]


def side_by_side(rep: int, labels: list[str]) -> Run:
    """One repetition; who goes first changes from one to the next."""
    names = ["murakkab", *FLOORS]
    turn = importlib.import_module("run").turn
    found: Run = {}
    for name in names[rep % len(names) :] + names[: rep % len(names)]:
        found[name] = turn(name, labels, rep)
        said = {label: cell for label, key, _ in COLUMNS if (cell := found[name].get(label, {}).get(key))}
        print(f"repetition {rep + 1}: {name} {json.dumps({k: round(v, 2) for k, v in said.items()})}", file=sys.stderr, flush=True)
    return found


def kills() -> dict[str, Any]:
    case = importlib.import_module("durability").case
    found = {}
    for kind in ("worker", "broker"):
        out = case("murakkab", kind, {"MURAKKAB_LEASE_S": "5"}, 60)
        # starts are counted by the harness from a file that only its own task bodies write
        found[kind] = {k: v for k, v in out.items() if not k.startswith("started")}
    return found


# --- tables -------------------------------------------------------------------------------------------------------------------------------


def medians(runs: list[Run]) -> dict[str, dict[str, float]]:
    """Contestant to "label key" to median, and under "label key / floor" the median of the ratios within a repetition."""
    found: dict[str, dict[str, float]] = {}
    for name in runs[0]:
        mine = found[name] = {}
        for label, key, _ in COLUMNS:
            values = [v for r in runs if (v := _value(r, name, label, key))]
            if not values:
                continue
            mine[f"{label} {key}"] = round(statistics.median(values), 3)
            for floor in FLOORS:
                ratios = [a / b for r in runs if (a := _value(r, name, label, key)) and (b := _value(r, floor, label, key))]
                if ratios and name != floor:
                    mine[f"{label} {key} / {floor}"] = round(statistics.median(ratios), 3)
    return found


def _value(run: Run, name: str, label: str, key: str) -> float | None:
    value = run.get(name, {}).get(label, {}).get(key)
    return float(value) if value else None


def table(runs: list[Run]) -> str:
    """Medians, in brackets the ratio to `raw_full`."""
    found = medians(runs)
    columns = [c for c in COLUMNS if any(f"{c[0]} {c[1]}" in mine for mine in found.values())]
    rows = ["| | " + " | ".join(title for *_, title in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, mine in found.items():
        cells = []
        for label, key, _ in columns:
            value, ratio = mine.get(f"{label} {key}"), mine.get(f"{label} {key} / raw_full")
            text = "–" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
            cells.append(text + (f" ({ratio:.2f})" if ratio else ""))
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def shares(runs: list[Run]) -> str:
    """Where the CPU time of W2 went and on which host its tasks ran, each repetition."""
    lines = []
    for run in runs:
        w2 = run.get("murakkab", {}).get("W2", {})
        if "cpu_by_role_s" in w2:
            each = ", ".join(f"{role} {s / w2['n'] * 1e6:.0f}" for role, s in w2["cpu_by_role_s"].items())
            lines.append(f"W2 CPU us a task: {each}; tasks by host: {w2.get('by_host')}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
