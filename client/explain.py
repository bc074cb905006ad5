"""`murakkab explain`: the plan of a job, why it was chosen, and what was mended on the way; nothing runs."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any, TextIO

import msgspec

from ..bus.messages import JobResult, Plan
from .job import JobFailed
from .run import as_job, print_failure


async def explain(args: argparse.Namespace) -> int:
    """Exit status 1 when there is no such workflow, 2 when the bounds cannot be met."""
    job = as_job(args, explain=True)
    try:
        result = (await job.run(args.nats)).message
    except JobFailed as failed:
        print_failure(failed.result, args.json)
        return 2 if failed.result.infeasible else 1
    if args.json:
        print(json.dumps(as_json(result)))
    elif result.plan is not None:
        show(result.plan, result.planning_s, sys.stdout)
    return 0


def as_json(result: JobResult) -> dict[str, Any]:
    """The object of `--json`; its fields are a contract. `bound` and `gap` are None: this search knows no bound yet."""
    plan = result.plan
    assert plan is not None
    return {
        "job": result.job,
        "workflow": msgspec.to_builtins(plan.workflow),
        "calls": {s.name: s.call for s in plan.workflow.stages},
        "plan": msgspec.to_builtins(plan),
        "bound": None,
        "gap": None,
        "runners_up": [{"stage": c.stage, "why": c.why} for c in plan.choices],
        "frontier": [],
        "planning_s": result.planning_s,
    }


def show(plan: Plan, planning_s: float, out: TextIO) -> None:
    flow = plan.workflow
    chosen = {c.stage: c for c in plan.choices}
    by = f", proposed by the {flow.proposer} planner" if flow.proposer else ""
    print(f"workflow {flow.kind or 'as given'}: {len(flow.stages)} stages{by}, planned in {planning_s:.3f} s\n", file=out)
    for stage in flow.stages:
        choice = chosen[stage.name]
        marks = [
            m
            for m, on in (("the answer", stage.name in flow.answer), ("observed", stage.observe), ("gives a collection", stage.many))
            if on
        ]
        print(f"{stage.name} = {stage.call or stage.agent}{f'    # {chr(44).join(marks)}' if marks else ''}", file=out)
        print(
            f"    {choice.implementation} on {choice.hardware}{', warm' if choice.warm else ''}: {choice.time_s:.3g} s, "
            f"${choice.cost_usd:.2g}, {choice.energy_wh * 1000:.3g} mWh a task, quality {choice.quality:g}",
            file=out,
        )
        print(f"    {choice.why}", file=out)
    if flow.rest:
        print(f"\nthen     {flow.rest}   (planned when what is observed is known)", file=out)
    if flow.repairs:
        print("\nmended", file=out)
        for line in flow.repairs:
            print(f"  {line}", file=out)
    print(
        f"\nestimate {plan.time_s:.3g} s, ${plan.cost_usd:.3g}, {plan.energy_wh * 1000:.3g} mWh for one task of each stage (modelled)",
        file=out,
    )
