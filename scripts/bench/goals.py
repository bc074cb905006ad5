"""The real video job under each of the four goals: what was planned, what it was expected to take, and what it took.

    python scripts/bench/goals.py [VIDEO ...] [--reps 3] [--noise DB] [--json FILE] [--spot-python PATH]

One nats-server, the control actors, and two workers on this machine, each pinned to one core: an ordinary one, and one whose market is declared as spot
(MURAKKAB_MARKET=spot): the same kind of core at a lower price, so that money and energy are not the same thing. With `--spot-python` (the
interpreter of scripts/heavy-env) the spot host has openai-whisper and not faster-whisper: cheap cores with a heavier model on them. Profiles are those that the optimizer finds: run
`murakkab profile` before, or those that are shipped are carried over as estimates.

`--noise DB` has the job run on copies of the videos with white noise in their sound, so many decibels under it: on clean speech the small model hears as well
as the large one. Each goal's job runs once to load its models and to teach the optimizer how much work these videos are, then `--reps` times, goals taking turns. What each figure is:
    time_s      from submission to the end of the job, by the conductor's clock. Measured.
    cpu_s       busy CPU-seconds of the tasks. Measured.
    energy_wh   cpu_s x watts per busy core, tasks only. Modelled.
    cost_usd    the price of those core-seconds on the class that ran them. Modelled.
    quality     the transcripts' 1 - word error rate against samples/truth.json, over all runs of the goal. Measured; only for the samples.
    estimate    what the plan said before the run, of time and of the tasks' energy; `error` is estimate / measured - 1.
    others      cores that were busy with anything but this benchmark, on average over the run. Measured; a plan knows nothing of them, so with
                much over 0.1 the estimates of time are of another machine than the one that ran.
Printed are medians; a goal is best at its own axis if no other goal's median is lower by more than the tolerance (5 %), or for quality higher.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from noisy import noisy
from quality import edits, words

from murakkab.bus.messages import JobResult
from murakkab.client.job import Job
from murakkab.client.system import System

GOALS = ("MIN_COST", "MIN_LATENCY", "MIN_ENERGY", "MAX_QUALITY")
AXIS = {"MIN_COST": "cost_usd", "MIN_LATENCY": "time_s", "MIN_ENERGY": "energy_wh", "MAX_QUALITY": "quality"}
DESCRIPTION = "List objects shown/mentioned in the videos"
ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "samples"
TOLERANCE = 0.05
FASTER = ("faster-whisper/tiny.en/int8", "faster-whisper/base/int8")
LIMIT_S = 600.0

Figures = dict[str, Any]


def main() -> None:
    p = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    p.add_argument("videos", nargs="*", type=Path, metavar="VIDEO")
    p.add_argument("--reps", type=int, default=3)
    p.add_argument("--noise", type=float, metavar="DB")
    p.add_argument("--json", type=Path, metavar="FILE")
    p.add_argument("--spot-python", type=Path, metavar="PATH")
    args = p.parse_args()
    videos = [v.resolve() for v in args.videos] or sorted(SAMPLES.glob("*.mp4"))
    with tempfile.TemporaryDirectory(prefix="murakkab-noisy-") as copies:
        if args.noise is not None:
            for n, video in enumerate(videos):
                videos[n] = Path(copies) / video.name
                noisy(video, videos[n], args.noise)
        runs = asyncio.run(measure(videos, args.reps, args.spot_python))
    table = {goal: summary(found) for goal, found in runs.items()}
    show(table)
    if args.json:
        args.json.write_text(
            json.dumps({"videos": [v.name for v in videos], "noise_db": args.noise, "goals": table, "runs": runs}, indent=1) + "\n"
        )
    sys.exit(0)


async def measure(videos: Sequence[Path], reps: int, spot_python: Path | None) -> dict[str, list[Figures]]:
    runs: dict[str, list[Figures]] = {goal: [] for goal in GOALS}
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="murakkab-goals-") as folder:
        system = System(Path(folder), processes=("conductor", "planner", "optimizer", "clustermgr"))
        async with system as url:
            os.environ.update({k: v for k, v in system.env.items() if k.startswith("MURAKKAB_CRED")})
            heavier = ["--python", str(spot_python), *(part for name in FASTER for part in ("--without", name))] if spot_python else []
            workers = [
                await worker(url, system.env, Path(folder), "ordinary", "on-demand", cores[0], []),
                await worker(url, system.env, Path(folder), "spot", "spot", cores[-1], heavier),
            ]
            await asyncio.sleep(8.0)  # both have been heard
            try:
                for goal in GOALS:
                    await once(url, goal, videos)
                for _ in range(reps):
                    for goal in GOALS:
                        runs[goal].append(await once(url, goal, videos))
            finally:
                for process in workers:
                    process.terminate()
                    await process.wait()
    return runs


async def worker(
    url: str, env: dict[str, str], data: Path, host: str, market: str, core: int, extra: Sequence[str]
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        "taskset", "-c", str(core), sys.executable, "-m", "murakkab.client.cli", "worker", "--nats", url, "--host", host, "--data", str(data / host), *extra,
        env={**env, "MURAKKAB_MARKET": market},
    )  # fmt: skip


async def once(url: str, goal: str, videos: Sequence[Path]) -> Figures:
    before, began = others_cpu_s(), time.perf_counter()
    async with asyncio.timeout(LIMIT_S):
        result = await Job(DESCRIPTION, inputs=list(videos), constraints=goal).run(url)
    others = max(0.0, others_cpu_s() - before) / (time.perf_counter() - began)
    return {**figures(result.message, result.answer), "others": others}


def others_cpu_s() -> float:
    """Busy CPU-seconds of this machine since its start, without those of this process and all that it has started."""
    whole = psutil.cpu_times()
    me = psutil.Process()
    ours = sum(_cpu_s(p) for p in (me, *me.children(recursive=True)))
    return float(whole.user + whole.nice + whole.system) - ours


def _cpu_s(process: psutil.Process) -> float:
    try:
        t = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(t.user + t.system + t.children_user + t.children_system)


def figures(m: JobResult, answer: Any) -> Figures:
    assert m.plan is not None
    tasks_wh = sum(c.energy_wh * c.tasks for c in m.plan.choices)
    return {
        "time_s": m.time_s,
        "cpu_s": sum(s.cpu_s for s in m.stages),
        "energy_wh": m.energy_wh.value,
        "cost_usd": m.cost_usd.value,
        "quality": said_right(answer),
        "estimate": {"time_s": m.plan.time_s, "energy_wh": tasks_wh, "cost_usd": sum(c.cost_usd * c.tasks for c in m.plan.choices)},
        "plan": {c.stage: f"{c.implementation} on {c.hardware}" + (f" x {c.width}" if c.width > 1 else "") for c in m.plan.choices},
        "stages": {s.stage: {"cpu_s": s.cpu_s, "busy_s": s.busy_s, "tasks": s.tasks, "units": s.units} for s in m.stages},
        "expected": {c.stage: {"tasks": c.tasks, "units": c.units, "time_s": c.time_s, "warm": c.warm} for c in m.plan.choices},
    }


def said_right(answer: Any) -> float | None:
    """1 - word error rate of all transcripts; None for other videos than the samples."""
    truth = json.loads((SAMPLES / "truth.json").read_text())
    wrong = total = 0
    for one in answer:
        known = truth.get(one.get("video") or one.get("name", ""))
        if known is None:
            return None
        wanted = [w for scene in known["scenes"] for said in scene["said"] for w in words(said["text"])]
        heard = (
            [w for segment in one["transcript"] for w in words(segment["text"])]
            if isinstance(one["transcript"], list)
            else words(one["transcript"])
        )
        wrong, total = wrong + edits(wanted, heard), total + len(wanted)
    return 1 - wrong / total if total else None


def summary(found: Sequence[Figures]) -> Figures:
    def median(name: str) -> float:
        return statistics.median(f[name] for f in found if f[name] is not None) if any(f[name] is not None for f in found) else float("nan")

    row = {name: median(name) for name in ("time_s", "cpu_s", "energy_wh", "cost_usd", "quality", "others")}
    error = {n: statistics.median(f["estimate"][n] / f[n] - 1 for f in found) for n in ("time_s", "energy_wh", "cost_usd")}
    return {**row, "error": error, "plan": found[-1]["plan"]}


def show(table: dict[str, Figures]) -> None:
    print(
        f"{'goal':<13} {'time s':>7} {'CPU s':>7} {'mWh':>8} {'$':>10} {'quality':>8}   estimate: {'time':>7} {'energy':>7} {'cost':>7} {'others':>7}  best at its goal"
    )
    for goal, row in table.items():
        axis = AXIS[goal]
        sign = -1 if axis == "quality" else 1
        best = all(sign * row[axis] <= sign * other[axis] + TOLERANCE * abs(other[axis]) for other in table.values())
        error = row["error"]
        print(
            f"{goal:<13} {row['time_s']:>7.2f} {row['cpu_s']:>7.2f} {row['energy_wh'] * 1000:>8.2f} {row['cost_usd']:>10.7f} {row['quality']:>8.4f}"
            f"   {'':>9} {error['time_s']:>+7.0%} {error['energy_wh']:>+7.0%} {error['cost_usd']:>+7.0%} {row['others']:>7.2f}  {'yes' if best else 'no'}"
        )
    print()
    for goal, row in table.items():
        print(f"{goal}: " + "; ".join(f"{stage} = {what}" for stage, what in row["plan"].items()))


if __name__ == "__main__":
    main()
