"""How long one decision of the cluster manager takes, with thousands of devices and jobs.

    python scripts/bench/decide.py [--devices 10000] [--each 8] [--jobs 1000] [--decisions 30] [--json FILE]

The fleet is made up: hosts of `each` accelerators and 128 cores; one in four on the spot market, in groups. The library is made up too: 24 agents
with three implementations each, one of them on cores. Jobs have six stages, each agent drawn anew, and are at any point of their run. The actor is the
real one and decides by the real policy; nothing else runs: no bus, no worker.

    filling    those that give an empty fleet its first instances, a bounded number each (clustermgr/scaling.py, STARTS_MAX)
    steady     the later ones, each after news of one job: a stage of it has ended
    new job    each after the plan of a new job
    lost host  each after a host has fallen silent, with its instances to be placed elsewhere; with what is told of it to people (the outlook)
    heartbeat  of one host, as it comes in between: what follows from it for later decisions is worked out at once

All figures are measured: wall milliseconds of one call of the actor, median (worst).
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import statistics
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec.structs import replace

from murakkab.actors.clustermgr import HOST_SILENT_S, ClusterManager
from murakkab.actors.core import Command, Event, Heard, Resumed, Send, Woke
from murakkab.agents.library import Implementation
from murakkab.bus.messages import (
    Choice,
    DesiredInstances,
    Device,
    Edge,
    HostHeartbeat,
    Instance,
    JobProgress,
    Offer,
    Plan,
    PlanMade,
    Stage,
    StageState,
    Workflow,
)

AGENTS, STAGES = 24, 6
CLASSES = (("NVIDIA A100-SXM4-80GB", "a100-80gb", 81_920), ("NVIDIA H100 80GB HBM3", "h100-80gb", 81_559))


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--devices", type=int, default=10_000)
    p.add_argument("--each", type=int, default=8, help="accelerators of a host")
    p.add_argument("--jobs", type=int, default=1_000)
    p.add_argument("--decisions", type=int, default=30)
    p.add_argument("--json", type=Path)
    args = p.parse_args()
    began = os.getloadavg()[0]
    fleet = Fleet(max(1, args.devices // args.each), args.each, args.jobs)
    took = fleet.measure(args.decisions)
    print(f"{args.devices} devices on {len(fleet.beats)} hosts, {args.jobs} jobs, {fleet.instances} instances; load average {began:.1f}\n")
    print(f"{'decision':<12} {'ms':>16}  n")
    for name, times in took.items():
        print(f"{name:<12} {statistics.median(times):>7.2f} ({max(times):.1f})  {len(times)}")
    if args.json:
        each = took.pop("heartbeat")
        beats = {"median": statistics.median(each), "worst": max(each), "n": len(each)}
        asked = {k: v for k, v in vars(args).items() if k != "json"}
        made = {"how": "measured; fleet and jobs are made up", "load_average": began, **asked, "ms": took, "heartbeat_ms": beats}
        args.json.write_text(json.dumps(made, indent=1) + "\n")


class Fleet:
    def __init__(self, hosts: int, each: int, jobs: int) -> None:
        self.dice = random.Random(0)
        self.rows = [self._row(a, how) for a in range(AGENTS) for how in ("cores", "small", "large")]
        self.actor = ClusterManager({(r.agent, r.name): r for r in self.rows})
        self.now = 1_000.0
        self.turn = self.instances = 0
        self.beat_ms: list[float] = []
        self.encode, self.decode = msgspec.json.Encoder().encode, msgspec.json.Decoder(HostHeartbeat).decode
        self.beats = [self._host(n, each) for n in range(hosts)]
        self.hardware = [o for b in self.beats for o in b.offers]
        self.plans = [self._plan(f"job-{n}") for n in range(jobs)]

    def measure(self, decisions: int) -> dict[str, list[float]]:
        self._on(Resumed())
        for beat in self.beats:  # heard of, and decided on once for all
            self.actor.hosts[beat.host] = (self.now, beat)
        for plan in self.plans:
            self.actor.view.plan(plan, self.now)
            self.actor.view.progress(self._progress(plan, self.dice.randrange(STAGES)), self.now)
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)  # as actors/main.py does
        took: dict[str, list[float]] = {
            "filling": [self._decide()],
            "steady": [],
            "new job": [],
            "lost host": [],
            "heartbeat": self.beat_ms,
        }
        had = -1
        while self.instances > had:  # what was asked for becomes warm, and the next is asked for
            had = self.instances
            self._settle(0.1)
            took["filling"].append(self._decide())
            self.instances = sum(len(w.instances) for w in self.actor.wanted.values())
        for n in range(decisions):
            self._settle()
            self.actor.view.progress(self._progress(self.plans[n % len(self.plans)], self.dice.randrange(STAGES)), self.now)
            took["steady"].append(self._decide())
        for n in range(decisions):
            self._settle()
            self.actor.view.plan(self._plan(f"new-{n}"), self.now)
            took["new job"].append(self._decide())
        for n in range(decisions):
            self._settle()
            host = next(h for h, w in self.actor.wanted.items() if w.instances and h in self.actor.hosts)
            self.actor.hosts[host] = (self.now - HOST_SILENT_S, self.actor.hosts[host][1])
            began = time.perf_counter()
            self._on(Woke("look"))
            took["lost host"].append((time.perf_counter() - began) * 1e3)
            assert host in self.actor.silent, n
        return took

    def _decide(self) -> float:
        self.actor.asked += 1
        began = time.perf_counter()
        self._on(Woke(f"decide-{self.actor.asked}"))
        return (time.perf_counter() - began) * 1e3

    def _on(self, event: Event) -> Iterable[Command]:
        """The messages that it says are made, as the shell would have them."""
        return [c for c in self.actor.on(event, self.now) if isinstance(c, Send)]

    def _settle(self, after_s: float = 0.5) -> None:
        """A moment later; hosts have what they shall have, and those whose turn it is have said that they live, as they do every two seconds."""
        self.now += after_s
        self.actor.decided_at = self.now  # nothing is decided before we say so
        self.turn = (self.turn + 1) % 4
        for n, (host, (_, beat)) in enumerate(list(self.actor.hosts.items())):
            wants = self.actor.wanted.get(host) or DesiredInstances(host=host, version=0)
            if {d.id for d in wants.instances} != {i.id for i in beat.instances}:
                warm = tuple(Instance(d.id, d.agent, d.implementation, d.hardware, "warm", 1, device=d.device) for d in wants.instances)
                beat = replace(beat, instances=warm, version=wants.version)
            elif n % 4 != self.turn:
                continue
            said = self.decode(self.encode(replace(beat, at=self.now)))
            began = time.perf_counter()
            self._on(Heard(said))
            self.beat_ms.append((time.perf_counter() - began) * 1e3)
            assert self.actor.hosts[host] == (self.now, said), "it was not taken"
        self.actor.view.heard = self.now

    def _row(self, agent: int, how: str) -> Implementation:
        mb = {"cores": 400, "small": 6_000, "large": 20_000}[how]
        on = ("cpu",) if how == "cores" else ("gpu",)
        return Implementation(
            how, f"Agent{agent}", "m:C", memory_mb=mb * (1 + agent % 3), load_s=5.0 + agent % 7, threads=1 + agent % 4, runs_on=on
        )

    def _host(self, n: int, each: int) -> HostHeartbeat:
        name, base, mb = CLASSES[n % len(CLASSES)]
        spot = "-spot" if n % 4 == 0 else ""
        offers = tuple(Offer(r.agent, r.name, f"{'cpu' if r.name == 'cores' else base}{spot}") for r in self.rows)
        devices = (Device("cpu", "cpu", 1_000_000, 0), *(Device(name, "gpu", mb, 0, id=f"GPU-{n}-{d}") for d in range(each)))
        return HostHeartbeat(
            host=f"host-{n}", at=self.now, devices=devices, offers=offers, cores=128, market="spot" if spot else "on-demand"
        )

    def _plan(self, job: str) -> PlanMade:
        stages, choices = [], []
        for s in range(STAGES):
            offer = self.dice.choice(self.hardware)
            name = f"s{s}"
            stages.append(Stage(name, offer.agent, (Edge("v", f"s{s - 1}" if s else ""),), 10, many=True))
            time_s, width = self.dice.uniform(0.5, 20), self.dice.randint(1, 4)
            choice = Choice(name, offer.implementation, offer.hardware, time_s, 0.0, 0.0, 1.0, tasks=10, width=width, load_s=5.0)
            choices.append(replace(choice, start_s=10.0 * s, end_s=10.0 * (s + 1)))
        return PlanMade(job=job, plan=Plan(Workflow(tuple(stages), (f"s{STAGES - 1}",)), tuple(choices)))

    def _progress(self, plan: PlanMade, at: int) -> JobProgress:
        done = [10 if s < at else 3 if s == at else 0 for s in range(STAGES)]
        stages = tuple(
            StageState(c.stage, s.agent, c.implementation, c.hardware, done=d, released=2 if n == at else 0, total=10)
            for n, (c, s, d) in enumerate(zip(plan.plan.choices, plan.plan.workflow.stages, done, strict=True))
        )
        return JobProgress(tenant="t", job=plan.job, phase="running", stages=stages)


if __name__ == "__main__":
    main()
