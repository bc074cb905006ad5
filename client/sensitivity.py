"""`murakkab profile --sensitivity JOB`: which stage of a finished job moves its answer most, and most per dollar.

The job's plan runs again here on its own inputs, once as it was and then with one stage changed at a time: by every other implementation
of its agent that runs here, with other arguments, and with its output made worse (`profiling/perturb.py`). What was found is kept for the optimizer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ..actors.jobs import Job, inputs_of, stage_reports
from ..agents import library
from ..agents.types import artifacts_in
from ..bus.artifacts import ArtifactMissing
from ..bus.link import Link
from ..bus.messages import Plan, SensitivityKept, Stage
from ..bus.roles import address, inbox
from ..bus.subjects import subject_of, token
from ..bus.wire import encode
from ..profiling.likeness import extent, likeness
from ..profiling.perturb import other_args, worse
from ..profiling.replay import CannotReplay, Change, Played, Replay
from ..profiling.sensitivity import SAME, Perturbed, Sensitivity, by_agent, summarized
from .amounts import usd
from .history import history
from .locate import reach, running_here
from .session import BadRequest, Session
from .system import home

STORED_S = 15.0


async def sensitivity(args: argparse.Namespace) -> int:
    """Raises BadRequest for a job that is not known, has not ended well, or cannot run here."""
    library.with_mcp(os.environ)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="murakkab-sensitivity-") as name:
        folder = Path(name)
        (folder / "artifacts").mkdir()
        runs = bool(args.nats or os.environ.get("NATS_URL") or running_here(args.data, os.environ))
        async with reach(args.nats, args.data, os.environ) as url:
            job, plan = await _job(url, args.sensitivity, folder)
            found = await _measure(job, plan, folder, quiet=args.json)
            await _keep(url, by_agent(found))
            where = f"the system at {url.rpartition('@')[2]}" if runs else str(args.data or home(os.environ) / "embedded")
    spent_s = time.perf_counter() - started
    if args.json:
        print(json.dumps({"job": job.name, "stages": msgspec.to_builtins(found), "kept": where, "took_s": round(spent_s, 3)}))
    else:
        print("\n".join(lines(found)))
        print(f"\nmeasured in {spent_s:.0f} s; kept in {where}")
    return 0


async def _job(url: str, name: str, folder: Path) -> tuple[Job, Plan]:
    """The job with its last plan; its inputs come into the folder."""
    session = await Session.open(url)
    try:
        job = history(await session.log_of(name)).job
        if job is None:
            raise BadRequest(f"nothing is known of job '{name}' here")
        if job.ended is None or job.ended.status != "done" or job.run is None:
            raise BadRequest(f"job '{name}' is {job.phase}: only a job that is done can be run again to compare with")
        _check(job.run.plan)
        found = [s.given for s in job.run.plan.workflow.stages]  # an index that was there before, say
        for ref in (*(given.media for given in job.submit.inputs), *artifacts_in(found)):
            await session.artifacts.fetch(session.tenant, ref, folder / "artifacts")
    except ArtifactMissing as error:
        raise BadRequest(f"an input of job '{name}' is no longer stored: {error}") from None
    finally:
        await session.close()
    return job, job.run.plan


def _check(plan: Plan) -> None:
    """Raises BadRequest for a plan with an implementation that does not run here."""
    rows, agents = library.implementations(), {s.name: s.agent for s in plan.workflow.stages}
    for choice in plan.choices:
        row = rows.get((agents[choice.stage], choice.implementation))
        why = "it is not installed here" if row is None else library.missing(row, os.environ)
        if why:
            raise BadRequest(f"stage '{choice.stage}' ran on {choice.implementation}, which cannot run here: {why}")


async def _measure(job: Job, plan: Plan, folder: Path, quiet: bool) -> list[Sensitivity]:
    spent = {r.stage: r.cost_usd for r in stage_reports(job)}
    shown = sys.stderr.isatty() and not quiet

    def said(what: str) -> None:
        if shown:
            sys.stderr.write(f"\r\x1b[K{what}")
            sys.stderr.flush()

    replay = Replay(plan, inputs_of(job.submit), library.implementations(), folder, said)
    found = []
    try:
        try:
            whole = await replay.run()
        except CannotReplay as error:
            raise BadRequest(f"job '{job.name}' could not be run again: {error}") from None
        chosen = {c.stage: c.implementation for c in plan.choices}
        for stage in plan.workflow.stages:
            runs = [await _perturbed(replay, whole, change) for change in changes(stage, chosen[stage.name])]
            found.append(summarized(stage.name, stage.agent, chosen[stage.name], spent.get(stage.name, 0.0), runs))
    finally:
        said("")
        await replay.close()
    return found


def changes(stage: Stage, implementation: str) -> list[Change]:
    """The stage by every other implementation that runs here, with other arguments, and with its output made worse."""
    agent = library.agents()[stage.agent]
    others = [
        row.name
        for row in library.implementations().values()
        if row.agent == stage.agent and row.name != implementation and not row.spawns and not library.missing(row, os.environ)
    ]
    return [
        *(Change(stage.name, name) for name in others),
        *(Change(stage.name, args=args) for args in other_args(agent.args, agent.levers, stage.args)),
        Change(stage.name, degrade=worse),
    ]


async def _perturbed(replay: Replay, whole: Played, change: Change) -> Perturbed:
    how = f"by {change.implementation}" if change.implementation else "a third left out"
    if change.args:
        how = ", ".join(f"{name}={value:g}" for name, value in change.args.items())
    try:
        now = await replay.run(change)
    except CannotReplay as error:
        return Perturbed(change.stage, how, 1.0, 1.0, str(error))
    alike = extent if change.args else likeness  # other arguments look at less or more, and elsewhere: what counts is how much
    return Perturbed(change.stage, how, alike(whole.outputs[change.stage], now.outputs[change.stage]), likeness(whole.answer, now.answer))


async def _keep(url: str, found: dict[str, float]) -> None:
    link = await Link.open(address(url, "worker", os.environ), "murakkab-sensitivity", inbox=inbox("worker"))
    refused: list[str] = []
    try:
        for agent, value in found.items():
            kept = SensitivityKept(key=token(agent), agent=agent, sensitivity=value, at=time.time())
            link.store(subject_of(kept), encode(kept), {}, lambda _, error: refused.append(error) if error else None)
        async with asyncio.timeout(STORED_S):
            await link.stored(STORED_S)
    finally:
        await link.close()
    if refused:
        raise OSError(f"the system refused {len(refused)} of {len(found)} sensitivities: {refused[0]}")


def lines(found: Sequence[Sensitivity]) -> list[str]:
    """For people: the stage that moves the answer most per dollar first; then those that nothing perturbed."""
    rows = [f"{'stage':<16} {'by':<30} {'sensitivity':>11} {'cost':>12} {'per dollar':>12}  changed: own output, answer still alike"]
    for one in sorted(found, key=lambda s: (s.value is None, -(s.per_usd or 0.0), s.stage)):
        value = "-" if one.value is None else f"{one.value:.2f}"
        per = "-" if one.per_usd is None else f"{one.per_usd:,.0f}"
        runs = "; ".join(_run(r) for r in one.runs)
        rows.append(f"{one.stage:<16} {one.implementation:<30} {value:>11} {usd(one.usd):>12} {per:>12}  {runs}")
    return rows


def _run(r: Perturbed) -> str:
    if r.error or r.own >= SAME:
        return f"{r.how}: {r.error or 'nothing changed'}"
    return f"{r.how}: {r.own:.2f}, {r.answer:.2f}"
