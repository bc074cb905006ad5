"""A stream of real video jobs with bursts, under three ways of scaling: what jobs waited for cold models, and what holding warm ones took.

    python scripts/bench/prescale.py [VIDEO] [--bursts 6] [--jobs 3] [--every 75] [--policies ...] [--json FILE]

For each policy anew: one nats-server, the five actors, one worker on this machine (MURAKKAB_SCALING names the policy); one job to make files
that are made once (weights that are converted); then the stream: `--bursts` bursts of `--jobs` jobs one second apart, `--every` seconds from
one burst to the next. The first bursts count too, when nothing is known yet of the stream. Policies:
    always-on         never lets an instance go (from the job before the stream on it has all that the jobs need)
    reactive:30,300   looks at queues every 30 s, lets go after 300 s: the defaults of KEDA
    reactive:1,10     the same, every second and after 10 s
    look-ahead        ours
What each figure is:
    cold_s            seconds in which some stage of a job had a task ready and its pool no warm instance, added over the jobs; stages of one job that
                      wait at the same time count once. From progress messages and heartbeats. Measured.
    instance_s        instances loading or warm, integrated over time from the first submission to `--every` s after the last burst. Measured.
    p50_s, p95_s      from submission to the end of a job, by the conductor's clock. Measured.
    cpu_s             CPU-seconds of all processes (actors, server, instances) over the stream. Measured.
    energy_wh         those times the watts of a busy core (MURAKKAB_WATTS_PER_CORE, else the catalogue's). Modelled.
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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from murakkab.bus.link import Link
from murakkab.bus.messages import HostHeartbeat, JobProgress
from murakkab.bus.roles import address, inbox
from murakkab.bus.subjects import wildcard
from murakkab.bus.wire import decode
from murakkab.client.job import Job
from murakkab.client.system import System
from murakkab.clustermgr.policy import policy
from murakkab.optimizer.prices import Prices

POLICIES = ("always-on", "reactive:30,300", "reactive:1,10", "look-ahead")
DESCRIPTION = "List objects shown/mentioned in the videos"
VIDEO = Path(__file__).resolve().parents[2] / "samples" / "switchboard.mp4"
GAP_S = 1.0
LIMIT_S = 600.0
SETTLE_S = 3.0

Pool = tuple[str, str, str]
Figures = dict[str, Any]


@dataclass
class Seen:
    """What an observer heard: pool to when it had a warm instance, instances integrated over time, and what waited for it."""

    since: float = 0.0
    hosts: dict[str, tuple[float, HostHeartbeat]] = field(default_factory=dict)
    instance_s: float = 0.0
    waiting: dict[tuple[str, Pool], float] = field(default_factory=dict)
    """(job, pool) that has a task ready and no warm instance, to since when."""
    jobs: dict[str, JobProgress] = field(default_factory=dict)
    cold: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def beat(self, beat: HostHeartbeat, now: float) -> None:
        self.until(now)
        self.hosts[beat.host] = (now, beat)
        self._wait(now)

    def progress(self, msg: JobProgress, now: float) -> None:
        self.jobs[msg.job] = msg
        self._wait(now)

    def until(self, now: float) -> None:
        """Takes the time since the last word into account."""
        for host, (at, beat) in self.hosts.items():
            n = sum(i.state in ("loading", "warm", "draining") for i in beat.instances)
            self.instance_s += n * max(0.0, now - max(at, self.since)) if self.since else 0.0
            self.hosts[host] = (now, beat)

    def _wait(self, now: float) -> None:
        warm = {(i.agent, i.implementation, i.hardware) for _, b in self.hosts.values() for i in b.instances if i.state == "warm"}
        wanted = {
            (msg.job, (s.agent, s.implementation, s.hardware))
            for msg in self.jobs.values()
            if msg.phase == "running"
            for s in msg.stages
            if s.released and (s.total is None or s.done < s.total)
        }
        cold = {(job, pool) for job, pool in wanted if pool not in warm}
        for key in [k for k in self.waiting if k not in cold]:
            self.cold.setdefault(key[0], []).append((self.waiting.pop(key), now))
        for key in cold:
            self.waiting.setdefault(key, now)

    def cold_s(self, job: str) -> float:
        """The union of the spans in which one of its stages waited."""
        total, end = 0.0, 0.0
        for a, b in sorted(self.cold.get(job, ())):
            total += max(0.0, b - max(a, end))
            end = max(end, b)
        return total


def main() -> None:
    p = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    p.add_argument("video", nargs="?", type=Path, default=VIDEO)
    p.add_argument("--bursts", type=int, default=6)
    p.add_argument("--jobs", type=int, default=3)
    p.add_argument("--every", type=float, default=75.0, metavar="S")
    p.add_argument("--policies", nargs="+", default=list(POLICIES))
    p.add_argument("--json", type=Path, metavar="FILE")
    args = p.parse_args()
    for name in args.policies:
        policy(name)  # a wrong one is told now
    found = {name: asyncio.run(measure(name, args.video.resolve(), args.bursts, args.jobs, args.every)) for name in args.policies}
    show(found)
    if args.json:
        stream = {"video": args.video.name, "bursts": args.bursts, "jobs": args.jobs, "every_s": args.every}
        args.json.write_text(json.dumps({"how": "measured", "stream": stream, "policies": found}, indent=1) + "\n")
    sys.exit(0)


async def measure(name: str, video: Path, bursts: int, jobs: int, every_s: float) -> Figures:
    with tempfile.TemporaryDirectory(prefix="murakkab-prescale-") as folder:
        system = System(Path(folder))
        system.env["MURAKKAB_SCALING"] = name
        async with system as url:
            os.environ.update({k: v for k, v in system.env.items() if k.startswith("MURAKKAB_CRED")})
            seen = Seen()
            link = await Link.open(address(url, "observer", os.environ), "prescale", inbox=inbox("observer"))
            try:
                await _listen(link, seen)
                await run(url, video)
                await asyncio.sleep(SETTLE_S)
                before_s, seen.since = cpu_s(system), time.time()
                seen.cold.clear()
                results = await stream(url, video, bursts, jobs, every_s)
                seen.until(time.time())
                used_s = cpu_s(system) - before_s
            finally:
                await link.close()
    times = sorted(r["time_s"] for r in results)
    watts = Prices(os.environ).of("cpu").watts_per_core
    cold = [seen.cold_s(r["job"]) for r in results]
    by_burst = [sum(cold[n * jobs : (n + 1) * jobs]) for n in range(bursts)]
    return {
        "cold_s": sum(cold),
        "cold_by_burst_s": by_burst,
        "instance_s": seen.instance_s,
        "p50_s": statistics.median(times),
        "p95_s": times[min(len(times) - 1, int(0.95 * len(times)))],
        "cpu_s": used_s,
        "energy_wh": used_s * watts / 3600,
        "jobs": len(results),
    }


async def _listen(link: Link, seen: Seen) -> None:
    async def heard(msg: Any) -> None:
        it = decode(msg.data)
        if isinstance(it, HostHeartbeat):
            seen.beat(it, time.time())
        elif isinstance(it, JobProgress):
            seen.progress(it, time.time())

    await link.subscribe(wildcard(HostHeartbeat), heard)
    await link.subscribe(wildcard(JobProgress), heard)


async def stream(url: str, video: Path, bursts: int, jobs: int, every_s: float) -> list[Figures]:
    """All jobs, at their times; the results in that order."""
    start = asyncio.get_running_loop().time()

    async def at(n: int) -> Figures:
        burst, place = divmod(n, jobs)
        await asyncio.sleep(max(0.0, start + burst * every_s + place * GAP_S - asyncio.get_running_loop().time()))
        return await run(url, video)

    results = await asyncio.gather(*(at(n) for n in range(bursts * jobs)))
    await asyncio.sleep(max(0.0, start + bursts * every_s - asyncio.get_running_loop().time()))
    return results


async def run(url: str, video: Path) -> Figures:
    async with asyncio.timeout(LIMIT_S):
        result = await Job(DESCRIPTION, inputs=[video]).run(url)
    return {"job": result.job, "time_s": result.time_s + result.planning_s}


def cpu_s(system: System) -> float:
    """Of every process of the system so far, with those that have ended: their parents counted them."""
    total = 0.0
    pids = [
        *system.pids.values(),
        *([system.server.process.pid] if system.server is not None and system.server.process is not None else []),
    ]
    for pid in pids:
        try:
            process = psutil.Process(pid)
            for one in (process, *process.children(recursive=True)):
                times = one.cpu_times()
                total += times.user + times.system + (times.children_user + times.children_system if one.pid == pid else 0.0)
        except psutil.Error:
            continue
    return total


def show(found: dict[str, Figures]) -> None:
    print(
        f"{'policy':<16} {'cold_s':>8} {'instance_s':>11} {'of always-on':>13} {'p50_s':>7} {'p95_s':>7} {'cpu_s':>7} {'energy_wh':>10}  cold_s by burst"
    )
    always = found.get("always-on", {}).get("instance_s")
    for name, f in found.items():
        share = f"{f['instance_s'] / always:.0%}" if always else "-"
        bursts = " ".join(f"{s:.1f}" for s in f["cold_by_burst_s"])
        print(
            f"{name:<16} {f['cold_s']:>8.1f} {f['instance_s']:>11.0f} {share:>13} {f['p50_s']:>7.2f} {f['p95_s']:>7.2f} "
            f"{f['cpu_s']:>7.1f} {f['energy_wh']:>10.3f}  {bursts}"
        )
    ours = found.get("look-ahead")
    for name, f in found.items():
        if ours and name.startswith("reactive") and f["cold_s"] > 0:
            print(f"look-ahead waits {1 - ours['cold_s'] / f['cold_s']:.0%} less for cold models than {name}")


if __name__ == "__main__":
    main()
