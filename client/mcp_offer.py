"""What Murakkab offers to MCP clients: its tools `run_job`, `explain_job` and `list_agents`. Needs the package `mcp`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import Field

from ..agents import library as lib
from ..bus.link import Link, Unreachable
from ..bus.messages import JobProgress, LibraryOffered
from ..bus.roles import BadAddress, address, inbox
from ..bus.server import NoServer
from ..bus.subjects import wildcard
from ..bus.wire import decode
from ..planner.shelf import Shelf
from . import explain, run
from .job import Job, JobFailed, JobHandle
from .session import BadRequest, check_input

if TYPE_CHECKING:
    from .mcp_server import Base

T = TypeVar("T")
INSTRUCTIONS = (
    "Murakkab runs jobs that are described in words on files of this machine: it picks agents, models and hardware by itself. "
    "Call list_agents to see what it can do, explain_job to see a plan without running it, run_job to have the answer."
)
Description = Annotated[str, Field(description="what is wanted, in words")]
Inputs = Annotated[list[str], Field(description="paths of files on the machine of this server, absolute or beginning with ~")]
Tasks = Annotated[list[str], Field(description="hints, one step in words each; may be left out")]
Goals = Annotated[
    list[str],
    Field(
        description="MIN_COST, MIN_LATENCY, MIN_ENERGY or MAX_QUALITY; the first matters most; plans within 5 % of the best count as equal, "
        "or within a tolerance as in MIN_COST:10%; MIN_COST when left out"
    ),
]
Deadline = Annotated[float | None, Field(description="seconds after which the job fails")]
Budget = Annotated[float | None, Field(description="most US dollars that the plan may be estimated at")]
EnergyBudget = Annotated[float | None, Field(description="most watt-hours that the plan may be estimated at")]
Floor = Annotated[float | None, Field(description="least quality of every stage, 0 to 1")]


def offer(base: Base) -> MCPServer[Any]:
    """The server; what it is asked runs on `base`."""
    server: MCPServer[Any] = MCPServer("murakkab", instructions=INSTRUCTIONS, log_level="WARNING")

    @server.tool(annotations=ToolAnnotations(destructive_hint=False))
    async def run_job(
        description: Description,
        ctx: Context[Any, Any],
        inputs: Inputs = [],  # noqa: B006 - never changed
        tasks: Tasks = [],  # noqa: B006
        constraints: Goals = [],  # noqa: B006
        deadline_s: Deadline = None,
        budget_usd: Budget = None,
        quality_floor: Floor = None,
        energy_budget_wh: EnergyBudget = None,
    ) -> dict[str, Any]:
        """Run a job and give its answer, with time in seconds, cost in US dollars and energy in watt-hours, and how each was obtained."""
        job = _job(description, inputs, tasks, constraints, deadline_s, budget_usd, quality_floor, energy_budget_wh)
        return await _aside(base, _run(base, job, ctx))

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    async def explain_job(
        description: Description,
        inputs: Inputs = [],  # noqa: B006
        tasks: Tasks = [],  # noqa: B006
        constraints: Goals = [],  # noqa: B006
        deadline_s: Deadline = None,
        budget_usd: Budget = None,
        quality_floor: Floor = None,
        energy_budget_wh: EnergyBudget = None,
    ) -> dict[str, Any]:
        """The plan of a job: its stages as concrete calls, the implementation chosen for each, and estimates. Nothing runs."""
        job = _job(description, inputs, tasks, constraints, deadline_s, budget_usd, quality_floor, energy_budget_wh, only_plan=True)
        return await _aside(base, _explain(base, job))

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    async def list_agents() -> list[dict[str, Any]]:
        """The agents that jobs can be made of: what each does, takes and gives, and which implementations can run it."""
        return await _aside(base, _agents(base.running))

    return server


def _job(
    description: str,
    inputs: list[str],
    tasks: list[str],
    goals: list[str],
    deadline_s: float | None,
    budget_usd: float | None,
    quality_floor: float | None,
    energy_budget_wh: float | None,
    only_plan: bool = False,
) -> Job:
    """As the command line makes it. Raises ToolError for what can be refused at once."""
    said = argparse.Namespace(
        description=description,
        inputs=[Path(os.path.expanduser(path)) for path in inputs],
        task=tasks,
        constraint=goals,
        deadline=deadline_s,
        quality_floor=quality_floor,
        budget=budget_usd,
        energy_budget=energy_budget_wh,
    )
    try:
        for path in said.inputs:
            check_input(path)
        return run.as_job(said, explain=only_plan)
    except BadRequest as error:
        raise ToolError(_line(error)) from None


async def _aside(base: Base, work: Coroutine[Any, Any, T]) -> T:
    """In a task of its own: a client that goes away or cancels ends it by one cancellation, after which it may still tidy up."""
    task = asyncio.create_task(work)
    base.jobs.add(task)
    task.add_done_callback(base.jobs.discard)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.cancel()
        raise
    except JobFailed as failed:
        raise ToolError(f"job {failed.result.job} {failed.result.status}: {_line(failed)}") from None
    except (BadRequest, BadAddress, Unreachable, NoServer, TimeoutError, OSError) as error:
        raise ToolError(_line(error)) from None


async def _run(base: Base, job: Job, ctx: Context[Any, Any]) -> dict[str, Any]:
    async with job.start(await base.url()) as handle:
        try:
            told = -1.0
            async for news in handle.events():
                told = await _tell(news, ctx, told)
            made = run.as_json(await handle.result())
        except asyncio.CancelledError:
            await _cancel(handle)
            raise
    return {key: made[key] for key in ("job", "status", "answer", "time_s", "planning_s", "energy_wh", "cost_usd", "note", "plan")}


async def _tell(news: JobProgress, ctx: Context[Any, Any], told: float) -> float:
    """Progress in tasks. It only ever rises, as the protocol wants it; how many there will be may become known later."""
    done = float(sum(stage.done for stage in news.stages))
    if done > told:
        known = all(stage.total is not None for stage in news.stages) and news.stages
        total = max(done, float(sum(stage.total or 0 for stage in news.stages))) if known else None
        words = ", ".join(f"{s.stage} {s.done}/{'?' if s.total is None else s.total}" for s in news.stages)
        await ctx.report_progress(done, total, f"{news.phase}: {words}"[:500] if words else news.phase)
    return max(done, told)


async def _cancel(handle: JobHandle) -> None:
    try:
        await asyncio.wait_for(handle.cancel(), 3.0)
    except (BadRequest, TimeoutError, ConnectionError):  # it has ended, or the system has
        return


async def _explain(base: Base, job: Job) -> dict[str, Any]:
    return explain.as_json((await job.run(await base.url())).message)


async def _agents(url: str) -> list[dict[str, Any]]:
    """Ours, those of installed packages, and what the hosts of the system bring, if it runs already."""
    shelf = Shelf(lib.agents(), lib.implementations(), lib.lattice())
    if url:
        link = await Link.open(address(url, "observer", os.environ), "murakkab-mcp", inbox=inbox("observer"))
        try:
            async for msg in link.replay(LibraryOffered.stream, wildcard(LibraryOffered), newest_only=True):
                said = decode(msg.data)
                if isinstance(said, LibraryOffered):
                    shelf.offered(said)
        except LookupError:  # it is just being started: nobody has told anything yet
            pass
        finally:
            await link.close()
    rows = shelf.implementations.values()
    return [
        {
            "agent": agent.name,
            "description": agent.description or agent.summary,
            "takes": {p: f"{'list of ' if t.many else ''}{t.type}{', optional' if t.optional else ''}" for p, t in agent.takes.items()},
            "gives": f"{'list of ' if agent.many else ''}{agent.gives}",
            "arguments": json.loads(json.dumps(agent.args.get("properties", {}), default=str)),
            "implementations": [row.name for row in rows if row.agent == agent.name],
            "missing": {r.name: why for r in rows if r.agent == agent.name and (why := lib.missing(r, os.environ))},
        }
        for agent in shelf.library.agents.values()
    ]


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
