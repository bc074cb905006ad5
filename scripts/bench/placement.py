"""How much of a real cluster's accelerators can be given away: our placement against best fit, dot product and random.

    python scripts/bench/placement.py [--traces DIR] [--json FILE] [--seeds 5] [--pods openb_pod_list_default.csv,...]

DIR is laid out as ../shared/data/traces (default $MURAKKAB_SHARED/data/traces). All placing is simulated: nodes and pods are those of Alibaba's
GPU cluster trace of 2023 (Weng et al., USENIX ATC 2023): 1,523 nodes, 6,212 GPUs, 8,152 pods a list. Pods are drawn from a list with
replacement, and come one by one, none goes; each is placed as it comes or not at all, until those that came asked for 1.3 times all GPUs. GPUs count as
one class (these lists ask for no model); the trace knows no GPU memory, so compute shares alone fill a GPU.

    allocated    GPU compute given away, of all, when arrivals had asked for 1.0 and 1.3 times all GPUs
    fragments    of all GPUs, what is free in the end and too little, or too lonely, for the next pod: expected over the whole list
    first no     what arrivals had asked for when the first pod with a GPU found no place
    a second     asks decided per second of wall time on one core, refused ones included (measured)

    ours         clustermgr/placement.py; the mix is the whole list's
    best-fit, dot-product (smallest and greatest), random    scripts/bench/placement_rules.py

Second part, locality: requests for base models as in Alibaba's trace of an image service (alibaba-gentd26, lora_request_trace: the popularity is
real) ask for an instance each on 64 nodes of 4 devices; every node has a tenth of the models in its cache at the start. What is not there costs
the median base-model load of that trace. With the price of locality and without.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from placement_rules import BestFit, DotProduct, RandomFit

from murakkab.clustermgr.fragmentation import Fragmentation
from murakkab.clustermgr.free import Free
from murakkab.clustermgr.placement import LOCALITY, Accelerator, Ask, Descent, Mix, Node, Outcome, Placed, Placer

SHARED = Path(os.environ.get("MURAKKAB_SHARED") or Path(__file__).resolve().parents[3] / "shared")
STOP = 1.3


class Placing(Protocol):
    free: list[Free]

    def place(self, ask: Ask) -> Outcome: ...


def nodes_in(folder: Path) -> list[Node]:
    found = []
    for row in rows(folder / "alibaba-gpu-2023" / "openb_node_list_all_node.csv"):
        cores, memory = int(row["cpu_milli"]) / 1000, float(row["memory_mib"])
        found.append(Node(row["sn"], cores, cores, memory, memory, tuple(Accelerator("gpu", 0.0, 0.0) for _ in range(int(row["gpu"])))))
    return found


def pods_in(file: Path) -> list[Ask]:
    found = []
    for row in rows(file):
        n, share = int(row["num_gpu"]), int(row["gpu_milli"]) / 1000
        on: dict[str, Any] = {"device": "gpu", "devices": n, "share": share} if n else {}
        found.append(Ask("pod", int(row["cpu_milli"]) / 1000, float(row["memory_mib"]), **on))
    return found


def rows(file: Path) -> Iterator[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as text:
        yield from csv.DictReader(text)


def arrivals(pods: list[Ask], gpus: float, seed: int) -> list[Ask]:
    dice, came, asked = random.Random(seed), [], 0.0
    while asked < STOP * gpus:
        came.append(dice.choice(pods))
        asked += came[-1].share * came[-1].count
    return came


def run(placing: Placing, came: list[Ask], gpus: float, mix: Mix) -> dict[str, float]:
    asked = given = at_one = 0.0
    first, placed, took_s = 0.0, 0, 0.0
    for ask in came:
        start = time.perf_counter()
        outcome = placing.place(ask)
        took_s += time.perf_counter() - start
        want = ask.share * ask.count
        asked += want
        if isinstance(outcome, Placed):
            given, placed = given + want, placed + 1
        elif want and not first:
            first = asked / gpus
        if asked <= gpus:
            at_one = given / gpus
    gauge = Fragmentation(mix)
    fragments = sum(gauge.of(f) for f in placing.free) / gpus
    free = sum(sum(f.share) for f in placing.free) / gpus
    if abs(free + given / gpus - 1) > 1e-6:
        raise AssertionError(f"what is free ({free}) and what is given away ({given / gpus}) are not all")
    return {
        "allocated_at_1.0": at_one,
        "allocated_at_1.3": given / gpus,
        "fragments": fragments,
        "first_no": first or asked / gpus,
        "asks": len(came),
        "placed": placed,
        "asks_per_s": len(came) / took_s,
    }


def packing(folder: Path, lists: list[str], seeds: int) -> list[dict[str, Any]]:
    nodes = nodes_in(folder)
    gpus = float(sum(len(n.devices) for n in nodes))
    found: list[dict[str, Any]] = []
    for name in lists:
        pods = pods_in(folder / "alibaba-gpu-2023" / name)
        mix, whole = Mix.of(pods), Mix.of(pods, cover=1.0)
        for seed in range(seeds):
            came = arrivals(pods, gpus, seed)
            placings: dict[str, Placing] = {
                "ours": Placer(nodes, Descent(mix)),
                "best-fit": Placer(nodes, BestFit(nodes)),
                "dot-product": Placer(nodes, DotProduct(nodes)),
                "dot-product greatest": Placer(nodes, DotProduct(nodes, greatest=True)),
                "random": RandomFit(nodes, seed),
            }
            for rule, placing in placings.items():
                found.append({"pods": name, "seed": seed, "rule": rule, **run(placing, came, gpus, whole)})
                print_row(found[-1])
    return found


def print_row(row: dict[str, Any]) -> None:
    print(
        f"{row['pods'].removeprefix('openb_pod_list_').removesuffix('.csv'):10} seed {row['seed']!s:3}  {row['rule']:21} allocated {100 * row['allocated_at_1.0']:5.1f} % {100 * row['allocated_at_1.3']:5.1f} %"
        f"  fragments {100 * row['fragments']:5.2f} %  first no at {row['first_no']:.3f}  {row['asks_per_s']:8.0f} asks/s",
        flush=True,
    )


# --- locality ---------------------------------------------------------------------------------------------------------------------------


def locality(folder: Path, seeds: int) -> list[dict[str, Any]]:
    asked = [r["checkpoint_model_version_id"] for r in rows(folder / "alibaba-gentd26" / "lora_request_trace_first_half.csv")]
    asked = [m for m in asked if m]
    models = sorted(set(asked))
    load_s = statistics.median(
        float(r["value"]) / 1000 for r in rows(folder / "alibaba-gentd26" / "basemodel_update_latency_anon_first_half.csv")
    )
    found = []
    for seed in range(seeds):
        dice = random.Random(seed)
        cached = [frozenset(dice.sample(models, max(1, len(models) // 10))) for _ in range(64)]
        nodes = [
            Node(f"n{n:02}", 64, 64, 512_000, 512_000, tuple(Accelerator("gpu", 80_000, 80_000) for _ in range(4)), artifacts=cached[n])
            for n in range(64)
        ]
        sizes = {m: dice.choice((0.2, 0.25, 0.5, 1.0)) for m in models}
        kinds = {m: Ask(m, 4, 16_000, "gpu", 80_000 * s, s, wants=frozenset((m,))) for m, s in sizes.items()}
        came = [kinds[m] for m in dice.sample(asked, 800)]
        for price in (LOCALITY, 0.0):
            placer = Placer(nodes, Descent(Mix.of([kinds[m] for m in asked])), locality=price)
            done = [o for a in came if isinstance(o := placer.place(a), Placed)]
            fetched = sum(o.why["missing_artifacts"] for o in done)
            share = sum(o.ask.share for o in done) / 256
            found.append(
                {
                    "seed": seed,
                    "price": price,
                    "placed": len(done),
                    "fetched": fetched,
                    "load_s": fetched * load_s,
                    "one_load_s": load_s,
                    "share": share,
                }
            )
            print(
                f"locality {price:g}, seed {seed}: {len(done)} of {len(came)} placed, {100 * share:.1f} % allocated; {fetched:.0f} fetched,"
                f" {fetched * load_s:.0f} s of loading",
                flush=True,
            )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Placement on Alibaba's nodes and pods, simulated.")
    parser.add_argument("--traces", type=Path, default=SHARED / "data" / "traces")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--pods", default="openb_pod_list_default.csv,openb_pod_list_gpushare40.csv")
    args = parser.parse_args()
    if not (args.traces / "alibaba-gpu-2023").is_dir():
        print(f"no folder alibaba-gpu-2023 in {args.traces}: say --traces or set MURAKKAB_SHARED", file=sys.stderr)
        return 2
    packed = packing(args.traces, args.pods.split(","), args.seeds)
    for name in args.pods.split(","):
        for rule in dict.fromkeys(r["rule"] for r in packed):
            mine = [r for r in packed if (r["pods"], r["rule"]) == (name, rule)]
            print_row(
                {**mine[0], **{k: statistics.mean(r[k] for r in mine) for k in mine[0] if k not in ("pods", "rule", "seed")}, "seed": "all"}
            )
    found = {"how": "simulated; asks_per_s measured", "packing": packed}
    if (args.traces / "alibaba-gentd26").is_dir():
        found["locality"] = locality(args.traces, args.seeds)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
