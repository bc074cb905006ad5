"""`murakkab trace`: what happened to a job, rebuilt from its log; and the picture of it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

import msgspec

from ..actors.jobs import Job, stage_reports
from ..bus.ids import dotted
from ..bus.messages import JobLog
from .compared import StagePair, compare, compare_stages
from .compared import as_json as compared
from .compared_text import print_changes, print_stages, print_whole
from .history import History, history
from .locate import reach
from .session import BadRequest, Session


def rebuild(logs: Iterable[JobLog]) -> Job | None:
    """The job as its log tells it."""
    return history(logs).job


def draw(job: Job, file: Path) -> None:
    """Writes the self-contained HTML picture."""
    if job.ended is None:
        return
    from .gantt import gantt_html

    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(gantt_html(job.result(), job.records, job.at), encoding="utf-8")


async def trace(args: argparse.Namespace) -> int:
    async with reach(args.nats, args.data, os.environ) as url:
        session = await Session.open(url)
        try:
            past = history(await session.log_of(args.job))
        finally:
            await session.close()
    job = past.job
    if job is None:
        raise BadRequest(f"nothing is known of job '{args.job}' here")
    if args.html and job.ended is not None:
        draw(job, args.html)
    if args.json:
        print(json.dumps(as_json(job, past)))
        return 0
    show(job, past, sys.stdout)
    return 0


def as_json(job: Job, past: History) -> dict[str, Any]:
    """The object of `--json`; of a job that runs `estimate` has the stages that are done, and nothing of the whole."""
    result = job.result() if job.ended is not None else None
    made = compare(result, past.first) if result is not None else None
    return {
        "job": job.name,
        "phase": job.phase,
        "result": msgspec.to_builtins(result),
        "tasks": msgspec.to_builtins(job.records),
        "estimate": compared(made) if made is not None else {"stages": msgspec.to_builtins(finished(job))},
        "changes": msgspec.to_builtins(past.changes),
    }


def finished(job: Job) -> tuple[StagePair, ...]:
    """The stages that are done, estimated beside actual."""
    if job.run is None:
        return ()
    complete = {name for name, run in job.run.stages.items() if run.complete}
    return compare_stages(job.run.plan.choices, stage_reports(job), complete)


def show(job: Job, past: History, out: TextIO) -> None:
    from .run import print_plan

    print(f"job      {job.name}: {job.submit.description}", file=out)
    print(f"phase    {job.phase}{': ' + job.ended.error if job.ended and job.ended.error else ''}", file=out)
    print_plan(job.run.plan if job.run else None, out)
    print_changes(past.changes, out)
    print_stages(finished(job), out)
    if job.ended is not None and (made := compare(job.result(), past.first)) is not None:
        print(file=out)
        print_whole(made, out)
    if job.records:
        print(f"\n{'stage':<12} {'task':<6} {'try':>3} {'start s':>8} {'end s':>8} {'CPU s':>7} {'mWh':>8}  instance", file=out)
    for r in sorted(job.records, key=lambda r: r.use.start):
        u = r.use
        print(
            f"{r.stage:<12} {dotted(r.index):<6} {r.attempt:>3} {u.start - job.at:>8.2f} {u.end - job.at:>8.2f} {u.cpu_s:>7.2f} "
            f"{u.energy_wh * 1000:>8.3f}  {r.instance} on {r.host}",
            file=out,
        )
