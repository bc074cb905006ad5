"""`murakkab explain`: the plan of a job, how far it may be from the best, what lost and why, and what was mended; nothing runs."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec

from ..bus.messages import JobResult
from ..optimizer.goals import goals
from .explain_points import estimate_of, points
from .explain_text import WIDTH, show
from .job import Job, JobFailed
from .patience import Patience
from .run import as_job, print_failure

NARROWEST, WIDEST = 100, 140
"""Columns of the text, whatever the terminal has."""


async def explain(args: argparse.Namespace) -> int:
    """Exit status 1 when there is no such workflow, 2 when the bounds cannot be met."""
    job = as_job(args, explain=True)
    try:
        async with job.start(args.nats) as handle:
            async for _ in Patience(handle.job, sys.stderr).follow(handle.events()):
                pass
            result = (await handle.result()).message
    except JobFailed as failed:
        print_failure(failed.result, args.json)
        return 2 if failed.result.infeasible else 1
    wanted = in_words(job)
    picture = draw(result, wanted, args.trace) if args.trace is not None else ""
    if args.json:
        print(json.dumps(as_json(result, picture)))
    elif result.plan is not None:
        show(result.plan, result.planning_s, sys.stdout, wanted, columns())
        if picture:
            print(f"\npicture  {picture}")
    return 0


def columns() -> int:
    """What the terminal has, within what can be read; without one, a fixed number."""
    return min(WIDEST, max(NARROWEST, shutil.get_terminal_size().columns)) if sys.stdout.isatty() else WIDTH


def in_words(job: Job) -> str:
    """Goals and bounds."""
    asked = job.message("default", ())
    found = goals(asked.constraints)
    said = ", then ".join(f"{g.name} (within {g.tolerance * 100:g} %)" if g.tolerance > 0 else g.name for g in found)
    bounds = (
        ("deadline", asked.deadline_s, "{:g} s"),
        ("budget", asked.budget_usd, "${:g}"),
        ("energy budget", asked.energy_budget_wh, "{:g} Wh"),
        ("quality of every stage at least", asked.quality_floor, "{:g}"),
    )
    return "; ".join([said, *(f"{name} {form.format(value)}" for name, value, form in bounds if value is not None)])


def draw(result: JobResult, wanted: str, file: Path) -> str:
    """Writes the picture; its path."""
    from .frontier import frontier_html

    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(frontier_html(result, wanted), encoding="utf-8")
    return str(file)


def as_json(result: JobResult, picture: str = "") -> dict[str, Any]:
    """The object of `--json`; its fields are a contract. `bound` and `gap` are of the first goal (`goal`), None where nothing was to be chosen."""
    plan = result.plan
    assert plan is not None
    return {
        "job": result.job,
        "workflow": msgspec.to_builtins(plan.workflow),
        "calls": {s.name: s.call for s in plan.workflow.stages},
        "plan": msgspec.to_builtins(plan),
        "estimate": msgspec.to_builtins(estimate_of(plan)),
        "critical": list(plan.critical),
        "goal": plan.goal,
        "bound": plan.bound,
        "gap": plan.gap,
        "search": plan.search,
        "reasons": {c.stage: c.why for c in plan.choices},
        "runners_up": [msgspec.to_builtins(rival) for rival in plan.runners_up],
        "frontier": [
            {"changes": list(p.changes), "estimate": msgspec.to_builtins(p.estimate), "chosen": p.chosen, "best": list(p.best)}
            for p in points(plan)
        ],
        "planning_s": result.planning_s,
        "picture": picture,
    }
