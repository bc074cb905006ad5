"""What a tenant notices of another one that submits ten thousand jobs at once.

    python scripts/bench/flood.py [--flood 10000] [--jobs 60] [--tasks 4] [--ms 250] [--rounds 2] [--json FILE]

One nats-server, the control actors and one worker with 32 slots for Sleep, on this machine; nothing is released (MURAKKAB_SCALING=always-on), so that only
the sharing of slots differs. Tenant ann runs one job after the other, `--jobs` of them: a Spread, `--tasks`
Sleep tasks of `--ms`, one that gathers. First alone; then tenant bob's process submits `--flood` jobs of the same shape all at once, and ann's
next jobs begin at the same moment. Bob's Sleep tasks are of 0.5 to 1.5 times that length, each job's of its own: as those of real jobs, they do
not all end at the same moment. After that bob's jobs are left to go on, or not: each round is a system of its own. Both have the same
weight and no quota; nothing in the system knows beforehand who floods.

What each figure is, all measured:
    p50_s, p95_s     of ann's jobs, from her submission to her hearing the result, by her own clock
    ratio_p50, _p95  flooded over alone, of the same round
    accepted_s       from bob's first submission to the last of his that was accepted or refused; longest_s the longest that one of them took
    bob_done         bob's jobs that ended while ann's were measured; bob_slots the part of all slots' time that his Sleep tasks took by then
    cpu_s            CPU-seconds of each actor while ann's jobs were measured; load, of all of them over the machine's cores
    conductor_mb     the largest resident memory of the conductor
Without the harness of a second machine all of it shares this machine's cores: `load` near 1 says that the machine itself, not its slots, was full.
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
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

import psutil

from murakkab.bus.link import Link
from murakkab.bus.messages import Edge, HostHeartbeat, JobResult, Stage, SubmitJob, TenantsState, Workflow
from murakkab.bus.roles import ROLES
from murakkab.bus.server import NatsServer
from murakkab.bus.subjects import wildcard
from murakkab.bus.wire import decode
from murakkab.client.session import BadRequest, Session
from murakkab.client.system import System

CONF = "max_payload: 1MB\nmax_pending: 128MB\njetstream {}\n"
"""No users: two tenants of one server here, without their passwords."""
ANN, BOB = "ann", "bob"
WARM_LIMIT_S = 90.0
LIMIT_S = 600.0
SLOTS = 32
"""Of the one instance that runs everybody's Sleep tasks."""


def main() -> None:
    p = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    p.add_argument("--flood", type=int, default=10_000)
    p.add_argument("--jobs", type=int, default=60)
    p.add_argument("--tasks", type=int, default=4)
    p.add_argument("--ms", type=float, default=250.0)
    p.add_argument("--rounds", type=int, default=2)
    p.add_argument("--json", type=Path, metavar="FILE")
    p.add_argument("--submit-to", default="", help=argparse.SUPPRESS)
    args = p.parse_args()
    if args.submit_to:
        asyncio.run(flood(args))
        return
    rounds = []
    for n in range(args.rounds):
        rounds.append(asyncio.run(one_round(args)))
        print(f"round {n + 1}: {json.dumps(rounds[-1])}", file=sys.stderr, flush=True)
    print(table(rounds))
    if args.json:
        asked = {k: v for k, v in vars(args).items() if k not in ("json", "submit_to")}
        args.json.write_text(
            json.dumps({"what": "flood", "how": "measured", "asked": asked, "machine": machine(), "rounds": rounds}, indent=1) + "\n"
        )


def machine() -> dict[str, Any]:
    return {"cores": os.cpu_count(), "python": sys.version.split()[0], "load_1min": os.getloadavg()[0]}


def job_of(tenant: str, name: str, tasks: int, ms: float) -> SubmitJob:
    stages = (
        Stage("spread", "Spread", many=True, args={"n": tasks}),
        Stage("work", "Sleep", (Edge("after", "spread"),), 1, args={"ms": ms}),
        Stage("gather", "Sleep", (Edge("after", "work"),)),
    )
    return SubmitJob(tenant=tenant, description="", job=name, workflow=Workflow(stages, ("gather",), "fan"))


# --- bob ------------------------------------------------------------------------------------------------------------------------------


async def flood(args: argparse.Namespace) -> None:
    """Submits everything at once; prints how that went, and ends."""
    session = await Session.open(args.submit_to, tenant=BOB)
    took: list[float] = []
    refused: list[str] = []
    dice = Random(1)

    async def one(n: int) -> None:
        start = time.monotonic()
        try:
            await session.submit(job_of(BOB, f"bob-{n}", args.tasks, round(args.ms * dice.uniform(0.5, 1.5), 1)), patience_s=120)
        except BadRequest as error:
            refused.append(str(error))
        took.append(time.monotonic() - start)

    print("now", flush=True)
    start = time.monotonic()
    await asyncio.gather(*(one(n) for n in range(args.flood)))
    print(
        json.dumps(
            {
                "accepted": len(took) - len(refused),
                "refused": len(refused),
                "why": refused[0] if refused else "",
                "accepted_s": round(time.monotonic() - start, 2),
                "longest_s": round(max(took), 2),
            }
        ),
        flush=True,
    )
    await session.close()


# --- the system, and ann ----------------------------------------------------------------------------------------------------------------


async def one_round(args: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="murakkab-flood-") as folder:
        (Path(folder) / "nats.conf").write_text(CONF)
        os.environ["MURAKKAB_HOME"] = folder
        os.environ["MURAKKAB_TENANTS"] = f"{ANN},{BOB}"
        os.environ["MURAKKAB_SCALING"] = "always-on"
        server = NatsServer(Path(folder) / "nats", dict.fromkeys(ROLES, ""), conf=Path(folder) / "nats.conf")
        url = await asyncio.get_running_loop().run_in_executor(None, server.start)
        system = System(Path(folder) / "system", url=url)
        assert server.process is not None
        try:
            async with system:
                return await measured(args, system, url, server.process.pid)
        finally:
            server.stop()


async def measured(args: argparse.Namespace, system: System, url: str, server_pid: int) -> dict[str, Any]:
    session = await Session.open(url, tenant=ANN)
    observer = await Link.open(url, "flood-bench")
    seen = Seen()
    await observer.subscribe(wildcard(HostHeartbeat), seen.on)
    await observer.subscribe(wildcard(TenantsState), seen.on)
    await observer.subscribe(wildcard(JobResult, tenant=BOB), seen.on)
    try:
        await warm(args, session, seen)
        alone = await anns(args, session, "alone")
        argv = [__file__, "--submit-to", url, "--flood", str(args.flood), "--tasks", str(args.tasks), "--ms", str(args.ms)]
        bob = await asyncio.create_subprocess_exec(sys.executable, *argv, stdout=asyncio.subprocess.PIPE)
        assert bob.stdout is not None
        await bob.stdout.readline()
        before, start = cpu_of(system, server_pid), time.monotonic()
        flooded = await anns(args, session, "flooded")
        lasted, after = time.monotonic() - start, cpu_of(system, server_pid)
        done, state = seen.bob_done, seen.tenants.get(BOB)
        told, _ = await asyncio.wait_for(bob.communicate(), LIMIT_S)
        used = {role: round(after[role] - before.get(role, 0.0), 2) for role in after}
        a50, a95, f50, f95 = quantile(alone, 0.5), quantile(alone, 0.95), quantile(flooded, 0.5), quantile(flooded, 0.95)
        return {
            "alone": {"p50_s": a50, "p95_s": a95, "max_s": max(alone), "n": len(alone)},
            "flooded_first_5s": [t for at, t in zip(accumulate([0.0, *flooded]), flooded, strict=False) if at < 5],
            "flooded": {"p50_s": f50, "p95_s": f95, "max_s": max(flooded), "n": len(flooded)},
            "ratio_p50": round(f50 / a50, 3),
            "ratio_p95": round(f95 / a95, 3),
            "bob": json.loads(told or b"{}"),
            "bob_done": done,
            "bob_waiting": state.waiting if state else None,
            "bob_slots": round(done * args.tasks * args.ms / 1000 / (lasted * SLOTS), 3),
            "measured_s": round(lasted, 1),
            "cpu_s": used,
            "load": round(sum(used.values()) / lasted / (os.cpu_count() or 1), 2),
            "conductor_mb": round(psutil.Process(system.pids["conductor"]).memory_info().rss / 1e6),
        }
    finally:
        with suppress(Exception):
            bob.kill()
        await session.close()
        await observer.close()


class Seen:
    """What an observer hears."""

    def __init__(self) -> None:
        self.warm: dict[str, set[str]] = {}
        self.tenants: dict[str, Any] = {}
        self.bob_done = 0

    async def on(self, msg: Any) -> None:
        match decode(msg.data):
            case HostHeartbeat() as beat:
                self.warm[beat.host] = {i.agent for i in beat.instances if i.state == "warm"}
            case TenantsState(tenants=tenants):
                self.tenants = {t.tenant: t for t in tenants}
            case JobResult():
                self.bob_done += 1


async def warm(args: argparse.Namespace, session: Session, seen: Seen) -> None:
    end = time.monotonic() + WARM_LIMIT_S
    n = 0
    while not any("Sleep" in agents for agents in seen.warm.values()) or n < 5:
        if time.monotonic() > end:
            raise TimeoutError(f"no warm instances after {WARM_LIMIT_S:g} s")
        n += 1
        await run(session, job_of(ANN, f"warm-{n}", 200 if n < 5 else args.tasks, args.ms))


async def anns(args: argparse.Namespace, session: Session, name: str) -> list[float]:
    """Seconds of each job."""
    return [round(await run(session, job_of(ANN, f"{name}-{n}", args.tasks, args.ms)), 4) for n in range(args.jobs)]


async def run(session: Session, job: SubmitJob) -> float:
    start = time.monotonic()
    await session.submit(job)
    async for news in session.follow(job.job):
        if isinstance(news, JobResult):
            if news.status != "done":
                raise RuntimeError(f"job {job.job} {news.status}: {news.error}")
            return time.monotonic() - start
    raise RuntimeError(f"job {job.job}: no result")


def cpu_of(system: System, server_pid: int) -> dict[str, float]:
    """CPU-seconds by actor, with its children."""
    found = {}
    for role, pid in {**system.pids, "nats": server_pid, "ann": os.getpid()}.items():
        total = 0.0
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            for one in (process, *(process.children(recursive=True) if role.startswith("worker") else ())):
                with suppress(psutil.Error):
                    total += sum(one.cpu_times()[:2])
        found[role] = total
    return found


def quantile(values: list[float], q: float) -> float:
    """The nearest rank."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(q * len(ranked)))]


def table(rounds: list[dict[str, Any]]) -> str:
    rows = [
        "| round | ann alone p50, p95 s | flooded p50, p95 s | ratio p50 | ratio p95 | bob's jobs done | load |",
        "|---|---|---|---|---|---|---|",
    ]
    for n, r in enumerate(rounds, 1):
        a, f = r["alone"], r["flooded"]
        rows.append(
            f"| {n} | {a['p50_s']:.3f}, {a['p95_s']:.3f} | {f['p50_s']:.3f}, {f['p95_s']:.3f} "
            f"| {r['ratio_p50']:.2f} | {r['ratio_p95']:.2f} | {r['bob_done']} | {r['load']:.2f} |"
        )
    median = statistics.median(r["ratio_p95"] for r in rounds)
    return "\n".join([*rows, f"median ratio of p95: {median:.2f}"])


if __name__ == "__main__":
    main()
