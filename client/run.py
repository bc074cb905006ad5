"""`murakkab run`: submits, shows the plan and the progress, prints the answer and what it cost, draws the picture."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, TextIO

import msgspec

from ..bus.messages import JobProgress, JobResult, Plan
from .answers import print_answer
from .compared import as_json as compared
from .compared import compare
from .compared_text import print_changes, print_stages, print_whole
from .history import History, history
from .job import Job, JobFailed, JobHandle, Result
from .patience import Patience
from .session import BadRequest
from .trace import draw, rebuild

NOTHING = History(None, None, ())


def as_job(args: argparse.Namespace, explain: bool = False) -> Job:
    """The job that a command line speaks of. Raises BadRequest for what needs no server to be refused."""
    job = Job(
        description=args.description,
        inputs=args.inputs,
        tasks=args.task,
        constraints=args.constraint or ["MIN_COST"],
        deadline_s=args.deadline,
        quality_floor=args.quality_floor,
        budget_usd=args.budget,
        energy_budget_wh=args.energy_budget,
        explain=explain,
    )
    _check_early(job)
    return job


async def run(args: argparse.Namespace) -> int:
    job = as_job(args)
    bars = Bars(sys.stderr) if sys.stderr.isatty() else None
    try:
        async with job.start(args.nats) as handle:
            return await _follow(handle, args, bars)
    except JobFailed as failed:
        print_failure(failed.result, args.json)
        return 2 if failed.result.infeasible else 1


def _check_early(job: Job) -> None:
    """What needs no server to be refused is refused before one is started. Raises BadRequest."""
    from ..bus.messages import ArtifactRef, Input
    from ..planner.request import refusal

    stand_in = ArtifactRef("0" * 64, 1, "application/octet-stream")
    problem = refusal(job.message("default", tuple(Input(str(p)[:500], stand_in) for p in job.inputs)))
    if problem:
        raise BadRequest(problem)


async def _follow(handle: JobHandle, args: argparse.Namespace, bars: Bars | None) -> int:
    planned = False
    events = handle.events() if bars else Patience(handle.job, sys.stderr).follow(handle.events())
    try:
        async for news in events:
            if bars is None:
                continue
            if not planned and not args.json and news.phase == "running":  # somebody is looking on
                planned = await _print_plan_of(handle)
            bars.show(news)
    finally:
        if bars:
            bars.clear()
    try:
        result = await handle.result()
    except JobFailed as failed:
        print_failure(failed.result, args.json)
        return 2 if failed.result.infeasible else 1
    picture = args.trace or _default_picture(handle.job, args.data)
    past = history(await handle.session.log_of(handle.job))
    if past.job is not None:
        draw(past.job, picture)
    if args.json:
        print(json.dumps(as_json(result, str(picture), past)))
    else:
        if not planned:
            print_plan(result.message.plan, sys.stdout)
        print_answer(result.answer, sys.stdout)
        if result.message.note:
            print(f"\nnote     {result.message.note}")
        print_cost(result, past, sys.stdout)
        print(f"picture  {picture}")
    return 0


async def _print_plan_of(handle: JobHandle) -> bool:
    """The plan while its job runs, as the job's log has it; whether it is there yet."""
    job = rebuild(await handle.session.log_of(handle.job))
    if job is None or job.run is None:
        return False
    print_plan(job.run.plan, sys.stdout)
    sys.stdout.flush()
    return True


def _default_picture(job: str, data: Path | None) -> Path:
    import os

    from .system import home

    return (data or home(os.environ)) / "traces" / f"{job}.html"


def as_json(result: Result, picture: str = "", past: History = NOTHING) -> dict[str, Any]:
    """The object of `--json`; its fields are a contract. `estimate` has what was expected beside what came true, None without a plan."""
    m = result.message
    return {
        "job": m.job,
        "status": m.status,
        "answer": result.answer,
        "plan": msgspec.to_builtins(m.plan),
        "stages": msgspec.to_builtins(m.stages),
        "time_s": m.time_s,
        "planning_s": m.planning_s,
        "energy_wh": msgspec.to_builtins(m.energy_wh),
        "cost_usd": msgspec.to_builtins(m.cost_usd),
        "picture": picture,
        "note": m.note,
        "estimate": compared(compare(m, past.first)),
        "changes": msgspec.to_builtins(past.changes),
    }


def print_failure(result: JobResult, as_object: bool) -> None:
    if as_object:
        print(json.dumps({"job": result.job, "status": result.status, "error": result.error, "answer": []}))
    print(f"murakkab: job {result.job} {result.status}: {result.error}", file=sys.stderr)


def print_plan(plan: Plan | None, out: TextIO) -> None:
    if plan is None:
        return
    flow = plan.workflow
    print(
        f"plan     {flow.kind}: {len(flow.stages)} stages{f', proposed by the {flow.proposer} planner' if flow.proposer else ''}", file=out
    )
    chosen = {c.stage: c for c in plan.choices}
    for stage in flow.stages:
        choice = chosen[stage.name]
        print(f"  {stage.name:<12} {choice.implementation + ' on ' + choice.hardware:<36} {stage.call or stage.agent}", file=out)


def print_cost(result: Result, past: History, out: TextIO) -> None:
    m = result.message
    made = compare(m, past.first)
    print_stages(made.stages if made is not None else (), out)
    print(f"\ntime     {m.time_s:.2f} s (planning {m.planning_s:.3f} s)", file=out)
    print(f"energy   {m.energy_wh.value * 1000:.2f} mWh ({m.energy_wh.how})", file=out)
    print(f"cost     ${m.cost_usd.value:.6f} ({m.cost_usd.how})", file=out)
    print_whole(made, out)
    print_changes(past.changes, out)


class Bars:
    """Live progress on a terminal: one line a stage, redrawn in place."""

    def __init__(self, out: TextIO) -> None:
        self.out, self.lines = out, 0

    def show(self, news: JobProgress) -> None:
        rows = [f"{news.phase}{': ' + news.note if news.note else ''}"]
        for s in news.stages:
            total = s.total
            share = s.done / total if total else 0.0
            bar = "█" * int(share * 20) + "░" * (20 - int(share * 20))
            rows.append(f"  {s.stage:<12} {bar} {s.done}/{'?' if total is None else total}  {s.implementation}")
        self.clear()
        self.out.write("\n".join(rows) + "\n")
        self.out.flush()
        self.lines = len(rows)

    def clear(self) -> None:
        if self.lines:
            self.out.write(f"\x1b[{self.lines}F\x1b[J")
            self.out.flush()
            self.lines = 0
