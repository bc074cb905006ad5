"""`murakkab trace`: what happened to a job, rebuilt from its log; and the picture of it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

from ..actors.jobs import Job, replay
from ..bus.ids import dotted
from ..bus.messages import JobLog
from .locate import reach
from .session import BadRequest, Session


def rebuild(logs: Iterable[JobLog]) -> Job | None:
    """The job as its log tells it."""
    job: Job | None = None
    for log in logs:
        for record in log.records:
            job = replay(job, record)
    return job


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
            job = rebuild(await session.log_of(args.job))
        finally:
            await session.close()
    if job is None:
        raise BadRequest(f"nothing is known of job '{args.job}' here")
    if args.html and job.ended is not None:
        draw(job, args.html)
    if args.json:
        result = msgspec.to_builtins(job.result()) if job.ended is not None else None
        print(json.dumps({"job": job.name, "phase": job.phase, "result": result, "tasks": msgspec.to_builtins(job.records)}))
        return 0
    from .run import print_plan

    print(f"job      {job.name}: {job.submit.description}")
    print(f"phase    {job.phase}{': ' + job.ended.error if job.ended and job.ended.error else ''}")
    print_plan(job.run.plan if job.run else None, sys.stdout)
    print(f"\n{'stage':<12} {'task':<6} {'try':>3} {'start s':>8} {'end s':>8} {'CPU s':>7} {'mWh':>8}  instance")
    for r in sorted(job.records, key=lambda r: r.use.start):
        u = r.use
        print(
            f"{r.stage:<12} {dotted(r.index):<6} {r.attempt:>3} {u.start - job.at:>8.2f} {u.end - job.at:>8.2f} {u.cpu_s:>7.2f} "
            f"{u.energy_wh * 1000:>8.3f}  {r.instance} on {r.host}"
        )
    return 0
