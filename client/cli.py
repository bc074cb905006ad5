"""The command line: `murakkab run …` and its sisters. Exit status: 0 done, 1 the job failed, 2 wrong usage or infeasible.

Only parsing and exit codes live here; each command's work is in a file of its own, imported when it is asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

ACTORS = ("planner", "optimizer", "conductor", "clustermgr", "worker")
TENANTS = "TOML or JSON with each tenant's weight and quotas (default: $MURAKKAB_TENANTS_FILE)"
HEALTHY = "Whether the actor that was started with MURAKKAB_ALIVE=FILE is alive: exit status 0, or 1 and the reason."


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="murakkab", description="Say what you want; Murakkab picks agents, models and hardware, and runs it.")
    sub = p.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        q = sub.add_parser(name, help=text, description=text)
        q.add_argument("--nats", default="", metavar="URL", help="a running NATS server (default: $NATS_URL, else an embedded one)")
        q.add_argument(
            "--data", type=Path, default=None, metavar="DIR", help="data folder (default: under $MURAKKAB_HOME or ~/.cache/murakkab)"
        )
        return q

    q = add("run", "Run a job: a description in words and its inputs.")
    _job_arguments(q)
    q.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    q.add_argument("--trace", type=Path, metavar="FILE.html", help="where the picture of the run goes")
    q = add("explain", "The plan of a job, the runners-up and the estimates; runs nothing.")
    _job_arguments(q)
    q.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    q.add_argument("--trace", type=Path, metavar="FILE.html", help="also draw the frontier and the timeline that is expected")

    q = add("up", "Run a whole system here until Ctrl-C: NATS if none is given, the control actors, a worker.")
    q.add_argument(
        "--python", action="append", default=[], metavar="PATH", help="another interpreter whose implementations the worker offers too"
    )
    q.add_argument("--no-worker", action="store_true", help="control actors only")
    q.add_argument(
        "--listen", default="", metavar="ADDRESS[:PORT]", help="let workers and clients of other hosts in (default: this host alone)"
    )
    q.add_argument("--tenants", default="", metavar="FILE", help=TENANTS)
    for role in ACTORS:
        q = add(role, f"Run the {role} actor alone, for a real deployment.")
        if role == "conductor":
            q.add_argument("--tenants", default="", metavar="FILE", help=TENANTS)
        if role == "worker":
            q.add_argument("--host", default="", help="this host's name (default: its hostname)")
            q.add_argument(
                "--without",
                action="append",
                default=[],
                metavar="IMPLEMENTATION",
                help="one that this host does not offer; may be repeated",
            )
            q.add_argument(
                "--python", action="append", default=[], metavar="PATH", help="another interpreter whose implementations are offered too"
            )
    q = add("library", "Agents and implementations, with the types they take and give.")
    q.add_argument("--json", action="store_true")
    q = add("status", "Hosts, warm instances and running jobs.")
    q.add_argument("--json", action="store_true")
    q = add("trace", "What happened to a job: stages, tasks, times, energy.")
    q.add_argument("job", metavar="JOB")
    q.add_argument("--json", action="store_true")
    q.add_argument("--html", type=Path, metavar="FILE.html", help="also write the picture")
    add("mcp", "Serve MCP over standard input and output: other programs' models can run jobs here.")
    q = add("cancel", "Stop a running job.")
    q.add_argument("job", metavar="JOB")
    q = add("profile", "Measure what implementations take on this machine, and how good they are; the optimizer plans with it.")
    q.add_argument(
        "implementations", nargs="*", metavar="IMPLEMENTATION", help="its name, or an agent's for all of its; default: all that run here"
    )
    q.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    q.add_argument("--export", type=Path, metavar="FILE", help="also write the profiles to this file")
    q.add_argument(
        "--import", type=Path, metavar="FILE", dest="import_", help="keep the profiles of this file; nothing else is measured unless named"
    )
    q.add_argument(
        "--limit", type=float, default=45.0, metavar="S", help="about how long one implementation may take (default: %(default)g s)"
    )
    q.add_argument(
        "--sensitivity",
        default="",
        metavar="JOB",
        help="instead: run a finished job again with one stage changed at a time, and see what moves its answer",
    )
    q.add_argument("--reps", type=int, default=5, metavar="N", help="how often each task is done at most (default: %(default)s)")
    q.add_argument(
        "--python", action="append", default=[], metavar="PATH", help="another interpreter whose implementations are measured too"
    )
    q.add_argument(
        "--hardware",
        default="",
        metavar="CLASS",
        help="the hardware class to file it under (default: cpu, or the GPU that was used); cpu also hides GPUs",
    )
    q = sub.add_parser("healthy", help="Whether an actor on this machine is alive; for probes.", description=HEALTHY)
    q.add_argument("--alive", type=Path, default=None, metavar="FILE", help="its sign of life (default: $MURAKKAB_ALIVE)")
    q.add_argument("--ready", action="store_true", help="also whether it has started and is connected")
    q = add("doctor", "What this machine has, what is missing, and how to get it.")
    q.add_argument("--json", action="store_true")
    return p


def _job_arguments(q: argparse.ArgumentParser) -> None:
    q.add_argument("description", metavar="DESCRIPTION")
    q.add_argument("inputs", nargs="*", type=Path, metavar="INPUT")
    q.add_argument("--task", action="append", default=[], metavar="T", help="a hint, one step in words; may be repeated")
    q.add_argument(
        "--constraint",
        action="append",
        default=[],
        metavar="C",
        help="MIN_COST, MIN_LATENCY, MIN_ENERGY or MAX_QUALITY; the first matters most; may be repeated. Plans within 5 %% of the best "
        "count as equal and the next decides, after the last one the cost; MIN_COST:10%% says another tolerance",
    )
    q.add_argument("--quality-floor", type=float, metavar="Q", help="least quality of every stage, 0..1")
    q.add_argument("--deadline", type=float, metavar="S", help="seconds after which the job fails")
    q.add_argument("--budget", type=float, metavar="USD", help="most dollars that the plan may be estimated at")
    q.add_argument("--energy-budget", type=float, metavar="WH", help="most watt-hours that the plan may be estimated at")


def main(argv: list[str] | None = None) -> None:
    args = parser().parse_args(argv)
    if args.command == "healthy":  # asked every few seconds: without an event loop, and without what the other commands need
        from ..actors.pulse import healthy

        sys.exit(healthy(args.alive, args.ready, os.environ))
    if args.command not in ACTORS:
        logging.basicConfig(level=os.environ.get("MURAKKAB_LOG", "ERROR"), format="murakkab: %(message)s")
    try:
        code = asyncio.run(_dispatch(args))
    except KeyboardInterrupt:
        code = 130
    except asyncio.CancelledError:
        code = 143
    except BrokenPipeError:
        code = 1
    except Exception as error:
        code = _complain(error)
    sys.exit(code)


async def _dispatch(args: argparse.Namespace) -> int:
    me = asyncio.current_task()
    assert me is not None
    # as Ctrl-C does: whatever was started is stopped in good order; `up` and the actors put a handler of their own here
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, me.cancel)
    match args.command:
        case "run":
            from .run import run

            return await run(args)
        case "explain":
            from .explain import explain

            return await explain(args)
        case "up":
            from .up import up

            return await up(args)
        case "library":
            from .library import library

            return await library(args)
        case "profile":
            from .profile import profile

            return await profile(args)
        case "doctor":
            from .inspect import doctor

            return doctor(args.json, args.nats)
        case "status":
            from .status import status

            return await status(args)
        case "trace":
            from .trace import trace

            return await trace(args)
        case "mcp":
            from .mcp_server import serve

            return await serve(args)
        case "cancel":
            from .status import cancel

            return await cancel(args)
    return await _actor(args)


async def _actor(args: argparse.Namespace) -> int:
    from ..actors.main import run_actor
    from .system import home

    url = args.nats or os.environ.get("NATS_URL", "")
    if not url:
        print(f"murakkab {args.command}: name the NATS server with --nats URL or NATS_URL", file=sys.stderr)
        return 2
    data = args.data or home(os.environ) / args.command
    await run_actor(
        args.command,
        url,
        data=data,
        host=getattr(args, "host", ""),
        pythons=tuple(getattr(args, "python", ())),
        without=tuple(getattr(args, "without", ())),
        environ={**os.environ, **({"MURAKKAB_TENANTS_FILE": args.tenants} if getattr(args, "tenants", "") else {})},
    )
    return 0


def _complain(error: Exception) -> int:
    """One line for what a user can mend; a traceback only for a bug of ours, and only when asked for."""
    if os.environ.get("MURAKKAB_DEBUG"):
        raise error
    from ..agents.machine import BadSetting
    from ..bus.link import Unreachable
    from ..bus.roles import BadAddress
    from ..bus.server import NoServer
    from .session import BadRequest

    text = " ".join(str(error).split()) or type(error).__name__
    usage = isinstance(error, BadRequest | BadAddress | BadSetting)
    known = usage or isinstance(error, Unreachable | NoServer | TimeoutError | OSError)
    print(
        f"murakkab: {text}" if known else f"murakkab: {type(error).__name__}: {text} (a bug; MURAKKAB_DEBUG=1 shows where)", file=sys.stderr
    )
    return 2 if usage else 1


if __name__ == "__main__":
    main()
