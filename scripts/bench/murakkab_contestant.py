"""Murakkab as a contestant of a dispatch benchmark: real nats-server, real actors, two workers with 32 slots each.

A workload is submitted and its result awaited exactly as `client/session.py` does it for every user. What a task is:
a call of the built-in agent Sleep in its instance's process. How the workloads map (`ms` is the sleep of one task):

- one task: a job of one Sleep stage, from the submission to the JobResult. There is no such thing as handing one task to a
  running job, so this includes planning, optimizing, the job's log and its result: ten stored messages instead of two.
- n independent tasks: one job, a Spread stage that gives n numbers and a Sleep stage mapped over them. The Spread task is
  not counted. All n results come back to the submitter in the answer.
- a chain of k: one job with k Sleep stages. Many chains are as many jobs at once.
- a fan of n: one job: Sleep, Spread(n), Sleep mapped, Sleep that gathers. One task more than counted.
- a video: one job: extract, Spread(scenes), speech and detection mapped, summaries of both, embed, answer. One task more than
  counted.

Nothing is bypassed: tasks and results go through file-backed JetStream streams, every job through its log.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import psutil

from murakkab.bus.messages import Counted, Edge, HostHeartbeat, JobResult, Stage, SubmitJob, Workflow
from murakkab.bus.roles import CREDENTIALS
from murakkab.bus.subjects import wildcard
from murakkab.bus.wire import decode
from murakkab.client.session import Session
from murakkab.client.system import System

HOSTS = ("w0", "w1")
CONTROL = ("conductor", "planner", "optimizer", "clustermgr")
WARM_LIMIT_S = 60.0

Node = tuple[str, list[str], float, str]
"""(node, nodes before it, sleep in ms, kind), as the harness writes a DAG down."""


# --- workloads as workflows -------------------------------------------------------------------------------------------------


def sleep(name: str, ms: float, *sources: str, depth: int = 0) -> Stage:
    """A stage of Sleep tasks that wait for all of `sources`."""
    return Stage(name, "Sleep", after(sources), depth, args={"ms": ms})


def spread(name: str, n: int, *sources: str) -> Stage:
    return Stage(name, "Spread", after(sources), many=True, args={"n": n})


def after(sources: Sequence[str]) -> tuple[Edge, ...]:
    """Both agents take `after`, and then p0, p1 …"""
    return tuple(Edge(f"p{i - 1}" if i else "after", s) for i, s in enumerate(sources))


def one(ms: float) -> Workflow:
    return Workflow((sleep("only", ms),), ("only",), "one")


def mapped(n: int, ms: float) -> Workflow:
    return Workflow((spread("spread", n), sleep("task", ms, "spread", depth=1)), ("task",), "map")


def chain(k: int, ms: float) -> Workflow:
    stages = [sleep("s0", ms), *(sleep(f"s{i}", ms, f"s{i - 1}") for i in range(1, k))]
    return Workflow(tuple(stages), (stages[-1].name,), "chain")


def fan(n: int, ms: float) -> Workflow:
    stages = (sleep("source", ms), spread("spread", n, "source"), sleep("mid", ms, "spread", depth=1), sleep("sink", ms, "mid"))
    return Workflow(stages, ("sink",), "fan")


def video(scenes: int, ms: float) -> Workflow:
    stages = (
        sleep("extract", ms),
        spread("scenes", scenes, "extract"),
        sleep("speech", ms, "scenes", depth=1),
        sleep("detect", ms, "scenes", depth=1),
        sleep("summary", ms, "speech", "detect", depth=1),
        sleep("embed", ms, "summary"),
        sleep("answer", ms, "embed"),
    )
    return Workflow(stages, ("answer",), "video")


def workflow_of(nodes: Sequence[Node]) -> Workflow:
    """A DAG of the harness's workloads. Raises ValueError for a shape that has no mapping here."""
    kinds, ms = Counter(kind for _, _, _, kind in nodes), nodes[0][2]
    if set(kinds) == {"hop"}:
        return chain(len(nodes), ms)
    if kinds["mid"]:
        return fan(kinds["mid"], ms)
    if kinds["stt"]:
        return video(kinds["stt"], ms)
    raise ValueError(f"no mapping for a DAG of {dict(kinds)}")


# --- the system under test ----------------------------------------------------------------------------------------------------


class Cluster:
    """nats-server, the four control actors and two workers, on this machine, with a data folder of their own."""

    async def open(self) -> None:
        """Returns when both workers have warm instances of both agents."""
        self.folder = Path(tempfile.mkdtemp(prefix="murakkab-bench-"))
        os.environ["MURAKKAB_HOME"] = str(self.folder)
        self.system = System(self.folder / "system", processes=CONTROL)
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self.session: Session | None = None
        self.last_job = ""
        self._jobs = 0
        self.url = await self.system.__aenter__()
        try:
            os.environ[CREDENTIALS] = self.system.env[CREDENTIALS]
            self.workers |= {host: self.start_worker(host) for host in HOSTS}
            self.session = await Session.open(self.url)
            await self._warm()
        except BaseException:
            await self.close()
            raise

    def start_worker(self, host: str) -> subprocess.Popen[bytes]:
        """The command line of `client/system.py`; that one starts only one worker."""
        argv = [
            sys.executable,
            "-m",
            "murakkab.client.cli",
            "worker",
            "--nats",
            self.url,
            "--data",
            str(self.folder / host),
            "--host",
            host,
        ]
        with (self.folder / f"{host}.log").open("ab") as log:
            return subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.system.env | os.environ, start_new_session=True
            )

    async def close(self) -> None:
        if self.session is not None:
            await self.session.close()
        for worker in self.workers.values():
            end(worker)
        await self.system.__aexit__(None, None, None)
        shutil.rmtree(self.folder, ignore_errors=True)

    async def _warm(self) -> None:
        """Runs a small job so that instances are wanted, and waits for the word of both hosts that they are warm."""
        warm: dict[str, set[str]] = {}

        async def on_beat(msg: Any) -> None:
            beat = decode(msg.data)
            if isinstance(beat, HostHeartbeat):
                warm[beat.host] = {i.agent for i in beat.instances if i.state == "warm"}

        # beats are for actors and observers, so a client may not hear them: an observer's link does
        observer = await self._observer()
        await observer.subscribe(wildcard(HostHeartbeat), on_beat)
        async with asyncio.timeout(WARM_LIMIT_S):
            while set(warm) < set(HOSTS):
                await asyncio.sleep(0.1)
            while not all(warm[h] >= {"Sleep", "Spread"} for h in HOSTS):  # a host loads what a running job needs
                await self.run(fan(1_000, 20))
            await self.run(fan(1_000, 0))
        await observer.close()

    async def _observer(self) -> Any:
        from murakkab.bus.link import Link
        from murakkab.bus.roles import address, inbox

        return await Link.open(address(self.url, "observer", os.environ), "murakkab-bench", inbox=inbox("observer"))

    async def run(self, workflow: Workflow) -> JobResult:
        """One job, from its submission to its end. Raises RuntimeError if it was not done."""
        self._jobs += 1
        job = self.last_job = f"bench-{self._jobs}"
        assert self.session is not None
        await self.session.submit(SubmitJob(tenant=self.session.tenant, description="", job=job, workflow=workflow))
        async for news in self.session.follow(job):
            if isinstance(news, JobResult):
                if news.status != "done":
                    raise RuntimeError(f"job {job} {news.status}: {news.error}")
                return news
        raise RuntimeError(f"job {job}: no result")

    def pids(self) -> dict[str, list[int]]:
        """Role to process ids, without the submitter (this process) and without the instances, which are children of workers."""
        assert self.system.server is not None
        assert self.system.server.process is not None
        return {
            "broker": [self.system.server.process.pid],
            **{role: [self.system.pids[role]] for role in CONTROL if role in self.system.pids},
            "workers": [w.pid for w in self.workers.values()],
        }

    def cpu_by_role(self) -> dict[str, float]:
        """CPU-seconds so far, user and system; instances apart from their workers."""
        t = os.times()
        found = {"submitter": t.user + t.system}
        for role, pids in self.pids().items():
            found[role] = sum(cpu_s(psutil.Process(p)) for p in pids)
        found["instances"] = sum(cpu_s(c) for p in self.pids()["workers"] for c in psutil.Process(p).children(recursive=True))
        return found

    async def tasks_by_host(self, job: str) -> dict[str, int]:
        """How many of a job's tasks counted on which host, from its log."""
        return dict(Counter(r.host for r in await self.counted(job)))

    async def counted(self, job: str) -> list[Counted]:
        """The records of a job's log that say that a task counted."""
        assert self.session is not None
        return [r for log in await self.session.log_of(job) for r in log.records if isinstance(r, Counted)]


def cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def end(process: subprocess.Popen[bytes]) -> None:
    """In good order, else by force."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# --- the contestant -------------------------------------------------------------------------------------------------------------


class Murakkab:
    """What the harness's `AsyncContestant` asks of a peer; `make` joins the two, since the harness is not part of this repository."""

    name = "murakkab"
    venv = "murakkab"
    native_dag = True
    durable = "tasks+results+job log (file)"
    note = "every DAG is a job: planned, optimized, logged"
    loop: asyncio.AbstractEventLoop

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    async def astart(self) -> None:
        self.cluster = Cluster()
        await self.cluster.open()

    async def astop(self) -> None:
        await self.cluster.close()

    def pids(self) -> dict[str, list[int]]:
        return self.cluster.pids()

    async def submit(self, _: str, ms: float) -> None:
        await self.cluster.run(one(ms))

    def many(self, n: int, ms: float = 0) -> None:
        result = self.do(self.cluster.run(mapped(n, ms)))
        if len(result.answer) != n:
            raise RuntimeError(f"{len(result.answer)} results of {n} tasks")

    def dags(self, dags: Sequence[Sequence[Node]]) -> None:
        async def go() -> None:
            await asyncio.gather(*(self.cluster.run(workflow_of(d)) for d in dags))

        self.do(go())

    def run(self, workload: str, **params: Any) -> dict[str, Any]:
        """As the harness's, and what each role's share of the CPU was."""
        before = self.cluster.cpu_by_role()
        out: dict[str, Any] = super().run(workload, **params)  # type: ignore[misc]
        after = self.cluster.cpu_by_role()
        out["cpu_by_role_s"] = {role: round(after[role] - before.get(role, 0.0), 3) for role in after}
        if workload == "W2":
            out["by_host"] = self.do(self.cluster.tasks_by_host(self.cluster.last_job))
        return out

    # W6: kill -9; who comes back is started again by its own supervisor, or by us where we were it

    def kill_worker(self) -> None:
        worker = self.cluster.workers["w0"]
        for process in [*psutil.Process(worker.pid).children(recursive=True), psutil.Process(worker.pid)]:
            with contextlib.suppress(psutil.Error):
                process.kill()
        worker.wait()

    def back_worker(self) -> None:
        self.cluster.workers["w0"] = self.cluster.start_worker("w0")

    def kill_broker(self) -> None:
        assert self.cluster.system.server is not None
        self.cluster.system.server.kill()

    def back_broker(self) -> None:
        """The embedded system starts a dead nats-server again by itself, within 0.2 s."""

    def collect(self, n: int, ms: float, timeout: float) -> dict[str, Any]:
        """n tasks as one job; what of its result arrived, and how often a task counted."""

        async def go() -> dict[str, Any]:
            try:
                async with asyncio.timeout(timeout):
                    answer = (await self.cluster.run(mapped(n, ms))).answer
            except (TimeoutError, RuntimeError) as error:
                return {"ok": 0, "errors": n, "error": repr(error)[:160], "dup": 0}
            counted = Counter((r.done.stage, r.done.index) for r in await self.cluster.counted(self.cluster.last_job))
            return {"ok": len(answer), "errors": 0, "error": "", "dup": sum(c - 1 for c in counted.values())}

        out: dict[str, Any] = self.do(go())
        return out


def make(_: str) -> Any:
    """For the harness's driver, whose folder is then on `sys.path`."""
    peer: Any = importlib.import_module("base").AsyncContestant
    return type("MurakkabContestant", (Murakkab, peer), {})()
