"""What lies between tasks: seconds from a task's end to the start of the one that it made ready, and seconds to move a megabyte.

    python scripts/bench/hops.py [--reps 20] [--json FILE]

nats-server, the four control actors and two workers on this machine. Printed are medians with the 10th and 90th of a hundred, all measured:
    hand over   chains of tasks that do nothing, one at a time: from a task's end to the start of the next, by the workers' clocks. It goes over
                result, conductor, job log, queue and worker.
    next        tasks that wait in the worker's queue, one after another in one slot's place: from one's end to the next one's start.
    store       a file of random bytes from a folder to the artifact store; over its size, a line is fitted.
    fetch       the same from the store to another folder.
The defaults of optimizer/hops.py are such figures.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from murakkab_contestant import Cluster, chain, fan

from murakkab.bus.artifacts import Artifacts
from murakkab.bus.messages import ArtifactRef
from murakkab.bus.values import TaskRecord
from murakkab.client.history import history
from murakkab.optimizer.fit import Sample, fit

CHAIN, FAN = 20, 400
SIZES_MB = (0.02, 0.1, 0.5, 2.0, 8.0)
WAIT_MAX_S = 1.0
"""A gap longer than this is no hand-over: an instance had to load."""


def main() -> None:
    p = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    p.add_argument("--reps", type=int, default=20)
    p.add_argument("--json", type=Path, metavar="FILE")
    args = p.parse_args()
    found = asyncio.run(measure(args.reps))
    for name in ("hand_over_s", "next_s"):
        low, middle, high = spread(found[name])
        print(f"{name:<12} {middle * 1000:8.2f} ms   ({low * 1000:.2f} .. {high * 1000:.2f}, n = {len(found[name])})")
    lines = {}
    for name in ("store", "fetch"):
        made = fit([Sample({"mb": mb}, took_s) for mb, took_s in found[name]])
        lines[name] = {"base_s": made.line.base, "s_per_mb": made.line.per.get("mb", 0.0)}
        low_mb = made.low.per.get("mb", 0.0) * 1000
        high_mb = made.high.per.get("mb", 0.0) * 1000
        print(
            f"{name:<12} {made.line.base * 1000:8.2f} ms + {lines[name]['s_per_mb'] * 1000:.2f} ms a MB ({low_mb:.2f} .. {high_mb:.2f}, n = {made.samples})"
        )
    if args.json:
        args.json.write_text(json.dumps({"lines": lines, **found}, indent=1) + "\n")


async def measure(reps: int) -> dict[str, Any]:
    cluster = Cluster()
    await cluster.open()
    try:
        await cluster.run(chain(CHAIN, 0))  # not counted: what is used for the first time
        hand_over, after = [], []
        for _ in range(reps):
            await cluster.run(chain(CHAIN, 0))
            hand_over += gaps(await records(cluster))
        for _ in range(max(1, reps // 10)):
            await cluster.run(fan(FAN, 2))
            after += waits(await records(cluster))
        assert cluster.session is not None
        moved = await transfers(cluster.session.artifacts, cluster.session.tenant, max(2, reps // 4))
    finally:
        await cluster.close()
    return {"hand_over_s": hand_over, "next_s": after, **moved}


async def records(cluster: Cluster) -> list[TaskRecord]:
    assert cluster.session is not None
    job = history(await cluster.session.log_of(cluster.last_job)).job
    return sorted(job.records, key=lambda r: r.use.start) if job is not None else []


def gaps(tasks: Sequence[TaskRecord]) -> list[float]:
    """Of a chain: from each task's end to the next one's start."""
    found = [b.use.start - a.use.end for a, b in itertools.pairwise(tasks)]
    return [g for g in found if 0 <= g < WAIT_MAX_S]


def waits(tasks: Sequence[TaskRecord]) -> list[float]:
    """Of tasks that outnumber an instance's slots: from the last end before a start to that start, once all slots have been taken."""
    found = []
    for name in {t.instance for t in tasks if t.stage == "mid"}:
        mine = [t.use for t in tasks if t.instance == name and t.stage == "mid"]
        ends = sorted(u.end for u in mine)
        first_end = ends[0]
        for use in mine:
            if use.start > first_end:
                found.append(use.start - max(e for e in ends if e <= use.start))
    return found


async def transfers(store: Artifacts, tenant: str, reps: int) -> dict[str, list[tuple[float, float]]]:
    """(MB, seconds) of each. Every file is new, so nothing is there already."""
    found: dict[str, list[tuple[float, float]]] = {"store": [], "fetch": []}
    with tempfile.TemporaryDirectory(prefix="murakkab-hops-") as folder:
        here, there = Path(folder) / "here", Path(folder) / "there"
        here.mkdir()
        there.mkdir()
        for _ in range(reps):
            for mb in SIZES_MB:
                data = os.urandom(int(mb * 1e6))
                ref = ArtifactRef(hashlib.sha256(data).hexdigest(), len(data), "application/octet-stream")
                (here / ref.sha256).write_bytes(data)
                began = time.perf_counter()
                await store.store(tenant, ref, here / ref.sha256)
                stored = time.perf_counter()
                await store.fetch(tenant, ref, there)
                found["store"].append((mb, stored - began))
                found["fetch"].append((mb, time.perf_counter() - stored))
                (here / ref.sha256).unlink()
                (there / ref.sha256).unlink()
    return found


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    cuts = statistics.quantiles(values, n=10)
    return cuts[0], statistics.median(values), cuts[-1]


if __name__ == "__main__":
    main()
