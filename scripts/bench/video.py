"""The same video job twice: as a program that calls the models one after another, and with Murakkab.

    python scripts/bench/video.py [VIDEO ...] [--json FILE] [--reps 3] [--description WORDS]

*by hand* is Listing 1 of the paper, the usual way to write it: for each video, for each scene, extract, transcribe, detect, summarize; then embed
and list. It uses the very components that Murakkab's plan chose, in one process, each model loaded at its first use, with the number of
threads that the library declares for it (1). It has no server, no queue, no log: a crash loses all. *by hand again* is a second pass in that process.
*cold* is `Job(...)` in a fresh process with an embedded system in an empty data folder, so nats-server and five actors are started for it.
*warm* is the same job again in that system. Job ids differ, and Murakkab caches no results today, so every task is done again; the
models are loaded already.

What each figure includes:
    wall_s      by hand; cold: from starting the Python process to the answer in hand there (interpreter start, imports, model loading, hashing
                and copying the inputs in; not the end of the process). by hand again; warm: the second pass alone, models loaded.
                `stop_s` is what stopping the embedded system takes after that; it is in none of the others.
    cpu_s       user and system CPU-seconds over the same span of the process and all its descendants, nats-server, actors and model processes
                included; from /proc, also of descendants that have ended. Measured.
    energy_wh   cpu_s x watts per busy core (optimizer/prices.py, $MURAKKAB_WATTS_PER_CORE). Modelled; idle power of the host is not counted.
    own_wh      what Murakkab's own result says: busy CPU of the model processes while they ran tasks, so neither loading nor the actors.
    stages      by hand: seconds in each agent, loading apart. Murakkab: CPU-seconds in each stage, loading apart.
    others      cores that everything else on the machine kept busy meanwhile (/proc/stat). On two cores, read wall times only where it is small.
The answers must be equal in everything; numbers may differ by 1 part in a million. If they differ, the difference is printed and the exit
status is 1. Repetitions alternate; printed is the median.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import hashlib
import inspect
import json
import math
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import psutil

from murakkab.agents import library
from murakkab.agents.interface import Call, Files
from murakkab.agents.types import TYPES
from murakkab.bus.messages import ArtifactRef, HostHeartbeat, MakePlan, Offer, Plan
from murakkab.client.job import Job, system
from murakkab.optimizer.fleet import Fleet, view
from murakkab.optimizer.make import Infeasible, NoOffer, World, make_plan
from murakkab.optimizer.prices import Prices
from murakkab.optimizer.profiles import Profiles
from murakkab.optimizer.workloads import Workloads
from murakkab.planner.compile import compile as compile_
from murakkab.planner.lattice import of_classes
from murakkab.planner.library import Library
from murakkab.planner.proposal import Given, Request
from murakkab.planner.proposers import Offline

DESCRIPTION = "List objects shown/mentioned in the videos"
SAMPLES = Path(__file__).resolve().parents[2] / "samples"
CHILD_LIMIT_S = 900.0

Figures = dict[str, Any]


def main() -> None:
    p = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    p.add_argument("videos", nargs="*", type=Path, metavar="VIDEO")
    p.add_argument("--description", default=DESCRIPTION)
    p.add_argument("--json", type=Path, metavar="FILE")
    p.add_argument("--reps", type=int, default=3)
    p.add_argument("--child", choices=("by-hand", "murakkab"), help=argparse.SUPPRESS)
    args = p.parse_args()
    videos = [v.resolve() for v in args.videos] or sorted(SAMPLES.glob("*.mp4"))
    if args.child == "by-hand":
        print(json.dumps(by_hand(args.description, videos)))
    elif args.child == "murakkab":
        print(json.dumps(asyncio.run(with_murakkab(args.description, videos))))
    else:
        sys.exit(compare(args, videos))


# --- by hand ----------------------------------------------------------------------------------------------------------------------


class Components:
    """The models of a plan, each loaded at its first use and then called directly."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.files = Files(folder)
        self.stage = {s.agent: s for s in plan.workflow.stages}
        self.row = {
            s.agent: library.implementations()[(s.agent, c.implementation)] for s, c in zip(plan.workflow.stages, plan.choices, strict=True)
        }
        self.models: dict[str, Any] = {}
        self.load_s = 0.0
        self.spent_s: dict[str, float] = {}

    def __call__(self, agent: str, **inputs: Any) -> Any:
        """What one task of the agent's stage gives, as it would travel."""
        row = self.row[agent]
        start = time.perf_counter()
        if agent not in self.models:
            module, _, name = row.entry.partition(":")
            model = self.models[agent] = getattr(import_module(module), name)(**row.options)
            model.load()
            self.load_s += time.perf_counter() - start
            start = time.perf_counter()
        model, call = self.models[agent], Call(inputs, self.stage[agent].args, self.files)
        result = asyncio.run(model.run_async(call)) if inspect.iscoroutinefunction(getattr(model, "run_async", None)) else model.run(call)
        self.spent_s[agent] = self.spent_s.get(agent, 0.0) + time.perf_counter() - start
        return [msgspec.to_builtins(x) for x in result] if isinstance(result, Sequence) else msgspec.to_builtins(result)

    def take_in(self, video: Path) -> dict[str, Any]:
        """A file as the `Video` value that agents take; its bytes lie in the folder under their hash."""
        digest = hashlib.sha256(video.read_bytes()).hexdigest()
        shutil.copyfile(video, self.files.folder / digest)
        return {"media": msgspec.to_builtins(ArtifactRef(digest, video.stat().st_size, "video/mp4")), "name": video.name}


def by_hand(description: str, videos: Sequence[Path]) -> Figures:
    """Listing 1: everything in order, one thing at a time."""
    plan = plan_here(description, len(videos))
    with tempfile.TemporaryDirectory(prefix="murakkab-by-hand-") as folder:
        run = Components(plan, Path(folder))
        answer = [one_by_hand(run, video) for video in videos]
        first: Figures = {"answer": answer, "cpu_s": tree_cpu_s(), "load_s": run.load_s, "stages_s": run.spent_s}
        first |= {"answered_at": time.time(), "implementations": {a: r.name for a, r in run.row.items()}}
        run.spent_s, start = {}, time.perf_counter()
        answer = [one_by_hand(run, video) for video in videos]
        again = {"answer": answer, "wall_s": time.perf_counter() - start, "cpu_s": tree_cpu_s() - first["cpu_s"], "stages_s": run.spent_s}
        return {**first, "again": again}


def one_by_hand(run: Components, video: Path) -> Any:
    medium = run.take_in(video)
    transcripts, detections, summaries = [], [], []
    for scene in run("SceneSplitter", video=medium):
        frames = run("FrameExtractor", scene=scene)
        sound = run("AudioExtractor", scene=scene)
        transcript = run("SpeechToText", audio=sound)
        seen = run("ObjectDetector", frames=frames)
        summary = run("Summarizer", transcript=transcript, detections=seen)
        transcripts.append(transcript)
        detections.append(seen)
        summaries.append(summary)
    run("VectorIndexer", transcripts=transcripts, detections=detections, summaries=summaries)
    return run("ObjectLister", transcripts=transcripts, detections=detections, summaries=summaries)


def plan_here(description: str, inputs: int) -> Plan:
    """What the optimizer chooses with this host alone and nothing warm. Exits when it cannot be done here."""
    rows = library.implementations()
    offers = tuple(Offer(r.agent, r.name, r.hardware) for r in rows.values() if not library.missing(r, os.environ))
    fleet = Fleet((view(HostHeartbeat(host="here", at=time.time(), offers=offers, cores=os.cpu_count() or 1), {}),))
    agents = library.agents()
    world = World(agents, rows, fleet, Profiles(rows), Workloads(agents), Prices(os.environ))
    request = Request(description, (), tuple(Given(f"video {n}", "Video") for n in range(inputs)))
    known = Library(agents, of_classes(TYPES.values()))
    workflow = compile_(Offline().propose(request, known), request, known).workflow
    # one instance of each and no fan-out: a program that calls its models one after another has no use for more
    try:
        return make_plan(world, MakePlan(job="by-hand", workflow=workflow, inputs=inputs, constraints=("MIN_COST",), again=True))
    except (NoOffer, Infeasible) as error:
        sys.exit(f"no plan for this host: {error}")


# --- with Murakkab ------------------------------------------------------------------------------------------------------------------


async def with_murakkab(description: str, videos: Sequence[Path]) -> Figures:
    """Cold, then warm in the same system, then its end."""
    job = Job(description=description, inputs=[str(v) for v in videos])
    async with system() as url:
        cold = await job.run(url)
        answered_at, cold_cpu_s = time.time(), tree_cpu_s()
        start = time.perf_counter()
        warm = await job.run(url)
        warm_s, warm_cpu_s = time.perf_counter() - start, tree_cpu_s() - cold_cpu_s
        roles = cpu_by_kind()
        stopping = time.perf_counter()
    return {
        "answered_at": answered_at,
        "cpu_s": cold_cpu_s,
        "cold": told(cold),
        "warm": {**told(warm), "wall_s": warm_s, "cpu_s": warm_cpu_s},
        "roles_cpu_s": roles,
        "stop_s": time.perf_counter() - stopping,
    }


def told(result: Any) -> Figures:
    plan = result.message.plan
    return {
        "answer": result.answer,
        "job_s": result.time_s,
        "planning_s": result.planning_s,
        "own_wh": result.energy_wh,
        "stages_cpu_s": {s.agent: round(s.cpu_s, 4) for s in result.message.stages},
        "span_s": {s.agent: [round(s.start_s, 2), round(s.end_s, 2)] for s in result.message.stages},
        "tasks": sum(s.tasks for s in result.message.stages),
        "implementations": {s.agent: c.implementation for s, c in zip(plan.workflow.stages, plan.choices, strict=True)},
    }


def tree_cpu_s() -> float:
    """CPU-seconds of this process and its descendants, those included that have ended and been waited for."""
    me = psutil.Process()
    total = 0.0
    for process in [me, *me.children(recursive=True)]:
        try:
            t = process.cpu_times()
        except psutil.Error:
            continue
        total += t.user + t.system + t.children_user + t.children_system
    return total


def cpu_by_kind() -> dict[str, float]:
    """Of the living descendants: nats-server, each actor, each model process; so cold and warm together."""
    found: dict[str, float] = {}
    me = psutil.Process()
    for process in [me, *me.children(recursive=True)]:
        line = process.cmdline()
        name = "client" if process == me else line[3] if "murakkab.client.cli" in line else Path(line[0]).name
        kind = "models" if "murakkab.agents.instance" in line else name
        t = process.cpu_times()
        found[kind] = round(found.get(kind, 0.0) + t.user + t.system, 2)
    return found


# --- both, side by side ---------------------------------------------------------------------------------------------------------------


def compare(args: argparse.Namespace, videos: Sequence[Path]) -> int:
    if not videos:
        sys.exit("no videos: name some")
    runs: list[dict[str, Figures]] = []
    wrong: list[str] = []
    for rep in range(args.reps):
        hand = child("by-hand", args.description, videos)
        ours = child("murakkab", args.description, videos)
        wrong += [f"repetition {rep + 1}, by hand again: {d}" for d in differences(hand["answer"], hand["again"]["answer"])]
        for kind in ("cold", "warm"):
            wrong += [f"repetition {rep + 1}, {kind}: {d}" for d in differences(hand["answer"], ours[kind]["answer"])]
            if hand["implementations"] != ours[kind]["implementations"]:
                wrong.append(f"repetition {rep + 1}, {kind}: by hand {hand['implementations']}, planned {ours[kind]['implementations']}")
        cold = {
            **ours["cold"],
            "wall_s": ours["wall_s"],
            "cpu_s": ours["cpu_s"],
            "stop_s": ours["stop_s"],
            "roles_cpu_s": ours["roles_cpu_s"],
            "others": ours["others"],
        }
        runs.append({"by hand": hand, "cold": cold, "by hand again": hand["again"], "warm": ours["warm"]})
        print(
            f"repetition {rep + 1}: wall s "
            + ", ".join(f"{k} {v['wall_s']:.2f}" for k, v in runs[-1].items())
            + "; CPU s "
            + ", ".join(f"{k} {v['cpu_s']:.2f}" for k, v in runs[-1].items())
            + f"; others kept {hand['others']:.2f} and {ours['others']:.2f} cores busy",
            file=sys.stderr,
            flush=True,
        )
    watts = Prices(os.environ).of("cpu").watts_per_core
    figures = summary(runs, watts)
    print_table(figures, runs)
    for line in wrong:
        print(f"DIFFERENT ANSWER: {line}", file=sys.stderr)
    if not wrong:
        print(f"\nanswers: equal in all {args.reps} repetitions, by hand, cold and warm")
    if args.json:
        report = {
            "what": "video",
            "how": {"wall_s": "measured", "cpu_s": "measured", "energy_wh": "modelled"},
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "cores": os.cpu_count(),
            "videos": [v.name for v in videos],
            "watts_per_core": watts,
            "answers_equal": not wrong,
            "medians": figures,
            "runs": [{k: {n: x for n, x in v.items() if n not in ("answer", "again")} for k, v in run.items()} for run in runs],
        }
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if wrong else 0


def child(kind: str, description: str, videos: Sequence[Path]) -> Figures:
    """One measured process. `wall_s` runs from before it is started until it says that it has the answer."""
    with tempfile.TemporaryDirectory(prefix="murakkab-video-") as folder:
        env = {k: v for k, v in os.environ.items() if k not in ("NATS_URL", "MURAKKAB_CREDENTIALS")}
        env |= {"MURAKKAB_HOME": folder, "TOKENIZERS_PARALLELISM": "false"}
        if kind == "by-hand":
            env["OMP_NUM_THREADS"] = "1"  # as the worker sets for each instance
        start, busy_before_s = time.time(), busy_s()
        ours = resource.getrusage(resource.RUSAGE_CHILDREN)
        before_s = ours.ru_utime + ours.ru_stime
        argv = [sys.executable, str(Path(__file__).resolve()), "--child", kind, "--description", description, *map(str, videos)]
        done = subprocess.run(argv, env=env, stdout=subprocess.PIPE, check=False, timeout=CHILD_LIMIT_S)
        if done.returncode:
            sys.exit(f"{kind}: exit status {done.returncode}")
        found: Figures = json.loads(done.stdout.splitlines()[-1])
        ours = resource.getrusage(resource.RUSAGE_CHILDREN)
    others = busy_s() - busy_before_s - (ours.ru_utime + ours.ru_stime - before_s)
    return {**found, "wall_s": found["answered_at"] - start, "others": round(max(0.0, others) / (time.time() - start), 2)}


def busy_s() -> float:
    """CPU-seconds of all cores since the machine started, user and system."""
    t = psutil.cpu_times()
    return float(t.user + t.nice + t.system)


def differences(a: Any, b: Any, where: str = "answer") -> list[str]:
    """Where two answers differ by more than float rounding."""
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return [d for k in a for d in differences(a[k], b[k], f"{where}.{k}")]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [d for i, (x, y) in enumerate(zip(a, b, strict=True)) for d in differences(x, y, f"{where}[{i}]")]
    if isinstance(a, float | int) and isinstance(b, float | int) and math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-6):
        return []
    return [] if a == b else [f"{where}: {str(a)[:200]} against {str(b)[:200]}"]


BESIDE = {"cold": "by hand", "warm": "by hand again"}


def summary(runs: list[dict[str, Figures]], watts: float) -> dict[str, dict[str, float]]:
    """Medians, and the medians of the ratios to doing it by hand within a repetition."""

    def median(kind: str, figure: str) -> float:
        return round(float(statistics.median(r[kind][figure] for r in runs)), 6)

    found: dict[str, dict[str, float]] = {}
    for kind in runs[0]:
        mine = found[kind] = {f: median(kind, f) for f in ("wall_s", "cpu_s")}
        mine["energy_wh"] = round(mine["cpu_s"] * watts / 3600, 6)
        if hand := BESIDE.get(kind):
            mine |= {f"{f} / {hand}": round(statistics.median(r[kind][f] / r[hand][f] for r in runs), 3) for f in ("wall_s", "cpu_s")}
        more = {"by hand": ("load_s",), "cold": ("stop_s", "own_wh", "planning_s", "job_s"), "warm": ("own_wh", "planning_s", "job_s")}
        mine |= {f: median(kind, f) for f in more.get(kind, ())}
    return found


def print_table(figures: dict[str, dict[str, float]], runs: list[dict[str, Figures]]) -> None:
    print("| | wall s | CPU s | energy mWh (modelled) | wall / by hand | CPU / by hand |\n|---|---|---|---|---|---|")
    for kind, f in figures.items():
        ratios = [f"{f[f'{k} / {BESIDE[kind]}']:.2f}" if kind in BESIDE else "1" for k in ("wall_s", "cpu_s")]
        print(f"| {kind} | {f['wall_s']:.2f} | {f['cpu_s']:.2f} | {f['energy_wh'] * 1000:.1f} | {' | '.join(ratios)} |")
    last = runs[-1]
    print(f"\nby hand: loading {last['by hand']['load_s']:.2f} s; seconds in " + _each(last["by hand"]["stages_s"]))
    print("by hand again: seconds in " + _each(last["by hand again"]["stages_s"]))
    for kind in ("cold", "warm"):
        run = last[kind]
        print(
            f"{kind}: {run['tasks']} tasks; job {run['job_s']:.2f} s, planning {run['planning_s']:.3f} s; CPU s in {_each(run['stages_cpu_s'])}"
        )
        print("  from, to s: " + ", ".join(f"{a} {s[0]:.2f}-{s[1]:.2f}" for a, s in run["span_s"].items()))
    print(f"CPU s by process, cold and warm together: {_each(last['cold']['roles_cpu_s'])}; stopping takes {last['cold']['stop_s']:.2f} s")


def _each(parts: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in parts.items())


if __name__ == "__main__":
    main()
