"""A worker and the processes that it really has: limits, health, crash loops, drains, declared devices. Toy models; no bus, no weights.

Time runs faster for the worker than on the clock (SPEED), so that its pauses are short here.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import psutil
import pytest

from murakkab.actors.core import Do, Event, Heard, Outcome, Resumed, Return, Send, Wake, Woke
from murakkab.actors.slots import CRASHES_MAX
from murakkab.actors.worker import Worker
from murakkab.agents import host as host_module
from murakkab.agents.host import Instances
from murakkab.agents.library import Implementation
from murakkab.agents.machine import Machine, machine
from murakkab.bus.artifacts import Artifacts
from murakkab.bus.messages import (
    Desired,
    DesiredInstances,
    HostHeartbeat,
    Instance,
    TaskDone,
    TaskFailed,
    TaskReady,
    TaskResults,
)
from murakkab.optimizer.prices import Prices

pytestmark = pytest.mark.anyio
linux = pytest.mark.skipif(sys.platform != "linux", reason="affinity and /proc are Linux's")

SPEED = 20.0
PATIENCE_S = 60.0

TOYS = """
import ctypes, os, time
from pathlib import Path
from msgspec import Struct
from murakkab.agents import served
from murakkab.agents.served import Served

class Said(Struct):
    what: dict

class Toy:
    def load(self):
        pass
    def run(self, call):
        time.sleep(call.args.get("s", 0.0))
        if mb := call.args.get("mb", 0):
            self.held = bytearray(os.urandom(1 << 20) * mb)
            time.sleep(60)
        return Said({"cores": sorted(os.sched_getaffinity(0)), "cuda": os.environ.get("CUDA_VISIBLE_DEVICES"),
                     "device": os.environ.get("MURAKKAB_DEVICE"), "omp": os.environ["OMP_NUM_THREADS"],
                     "oom": Path("/proc/self/oom_score_adj").read_text().strip()})

class Greedy(Toy):
    def load(self):
        self.held = bytearray(os.urandom(1 << 20) * 400)
        time.sleep(60)

class Broken(Toy):
    def load(self):
        os._exit(3)

class Stuck(Toy):
    '''After its first task it holds the interpreter's lock for good: no thread of it says anything any more.'''
    def run(self, call):
        import threading
        threading.Timer(0.3, lambda: ctypes.PyDLL(None).sleep(600)).start()
        return Said({})

class Server:
    '''Stands where a server of a model stands, and can sleep.'''
    asleep = False
    def health(self):
        return {"running": 1.0, "waiting": 2.0, "cache": 0.5}
    def sleep(self):
        self.asleep = True
    def wake(self):
        self.asleep = False

class Sleeper(Toy):
    def load(self):
        self.server = Server()
        served.RUNNING.append(self.server)
    def run(self, call):
        return Said({"asleep": self.server.asleep})
"""
NAMES = ("Toy", "Greedy", "Broken", "Stuck", "Sleeper")
ROWS = {("A", n): Implementation(n, "A", f"lifecycle_toys:{n}", memory_mb=100, threads=4, runs_on=("cpu", "gpu")) for n in NAMES}


class Shell:
    """Runs a worker with real processes; what it says is kept."""

    def __init__(self, instances: Instances, mine: Machine) -> None:
        self.worker = Worker("h", ROWS, (), Prices({}), 2, machine=mine)
        self.instances = instances
        self.loop = asyncio.get_running_loop()
        self.began = self.loop.time()
        self.tasks: set[asyncio.Task[None]] = set()
        self.beat: HostHeartbeat | None = None
        self.results: dict[int, TaskDone | TaskFailed] = {}
        self.returned: list[str] = []
        self.news = asyncio.Event()
        self.version = 0
        self.over = False

    def deliver(self, event: Event) -> None:
        if self.over:
            return
        for command in self.worker.on(event, 1000.0 + (self.loop.time() - self.began) * SPEED):
            match command:
                case Do(errand=errand):
                    task = self.loop.create_task(self.do(errand))
                    self.tasks.add(task)
                    task.add_done_callback(self.tasks.discard)
                case Wake(after_s=after_s, key=key):
                    self.loop.call_later(after_s / SPEED, self.deliver, Woke(key))
                case Return(keys=keys):
                    self.returned += keys
                case Send(msg=HostHeartbeat() as beat):
                    self.beat = beat
                case Send(msg=TaskResults() as said):
                    self.results.update({r.index[0]: r for r in said.results})
        self.worker.check()
        self.news.set()

    async def do(self, errand: Any) -> None:
        try:
            value = await self.instances.errands[type(errand)](errand, "")
        except Exception as error:
            self.deliver(Outcome(errand, error=str(error)))
        else:
            self.deliver(Outcome(errand, value))

    def want(self, *desired: Desired) -> None:
        self.version += 1
        self.deliver(Heard(DesiredInstances(host="h", version=self.version, instances=desired)))

    def give(self, n: int, name: str = "Toy", hardware: str = "cpu", **args: Any) -> None:
        task = TaskReady(
            pool=f"A-{name}-{hardware}", tenant="t", job="j", stage="s", index=(n,), attempt=1, agent="A", implementation=name, args=args
        )
        self.deliver(Heard(task, f"k{n}", 1))

    async def until(self, so: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not so():
                self.news.clear()
                await self.news.wait()

    def told(self, name: str = "x") -> Instance | None:
        return next((i for i in self.beat.instances if i.id == name), None) if self.beat else None

    def is_(self, state: str, name: str = "x") -> bool:
        told = self.told(name)
        return told is not None and told.state == state

    async def warm(self, *desired: Desired) -> None:
        self.want(*desired)
        await self.until(lambda: all(self.is_("warm", d.id) for d in desired))

    async def ask(self, n: int, name: str = "Toy", hardware: str = "cpu", **args: Any) -> Any:
        self.give(n, name, hardware, **args)
        await self.until(lambda: n in self.results)
        done = self.results[n]
        assert isinstance(done, TaskDone), done
        return done.output["what"]


@pytest.fixture
async def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anyio_backend: str) -> AsyncIterator[Callable[..., Shell]]:
    (tmp_path / "lifecycle_toys.py").write_text(TOYS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(host_module, "gpu_devices", lambda: ((), "no GPU: this is a test"))
    shells: list[Shell] = []

    def begin(environ: dict[str, str] | None = None) -> Shell:
        mine = machine(environ or {})
        shells.append(Shell(Instances(ROWS, tmp_path / "a", tmp_path / "logs", cast(Artifacts, None), {}, mine), mine))
        shells[-1].deliver(Resumed())
        return shells[-1]

    yield begin
    for shell in shells:
        shell.over = True
        await shell.instances.close()
        await asyncio.gather(*shell.tasks, *shell.instances._tasks)


Start = Callable[..., Shell]


def x(name: str = "Toy", **more: Any) -> Desired:
    return Desired("x", "A", name, more.pop("hardware", "cpu"), **more)


# --- limits ---------------------------------------------------------------------------------------------------------------------


@linux
async def test_it_runs_on_the_cores_that_it_is_given(start: Start) -> None:
    ours = sorted(os.sched_getaffinity(0))
    shell = start()
    await shell.warm(x(cores=(ours[0],)))
    said = await shell.ask(0)
    assert said == {"cores": [ours[0]], "cuda": "", "device": None, "omp": "1", "oom": "800"}
    (told,) = [i for i in shell.beat.instances if i.id == "x"] if shell.beat else []
    assert psutil.Process(told.pid).cpu_affinity() == [ours[0]]
    await shell.warm(x())
    assert (await shell.ask(1))["cores"] == ours, "another affinity is another process"


@linux
async def test_cores_that_this_host_has_not(start: Start) -> None:
    shell = start()
    shell.want(x(cores=(4096,)))
    await shell.until(lambda: shell.is_("failed"))
    told = shell.told()
    assert told is not None
    assert "cores [4096] are wanted; this host has [" in told.error


async def test_memory_is_limited_in_the_middle_of_a_task(start: Start) -> None:
    shell = start()
    await shell.warm(x(memory_mb=250))
    await shell.ask(0)
    shell.give(1, mb=400)
    await shell.until(lambda: 1 in shell.results)
    failed = shell.results[1]
    assert isinstance(failed, TaskFailed)
    assert "over its limit of 250 MB" in failed.error
    await shell.until(lambda: shell.is_("warm"))
    assert await shell.ask(2), "it is started anew, and works"


async def test_memory_is_limited_while_it_loads(start: Start) -> None:
    shell = start()
    shell.want(x("Greedy", memory_mb=250))
    await shell.until(lambda: (told := shell.told()) and "over its limit of 250 MB" in told.error)


# --- health ---------------------------------------------------------------------------------------------------------------------


async def test_one_that_hangs_while_idle_is_ended_and_started_anew(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_module, "CHECK_LIMIT_S", 1.0)
    monkeypatch.setattr(host_module, "STOP_GRACE_S", 0.5)
    shell = start()
    await shell.warm(x("Stuck"))
    before = shell.told()
    assert before is not None
    shell.give(0, "Stuck")
    await shell.until(lambda: shell.is_("failed"))
    ill = shell.told()
    assert ill is not None
    assert ill.error == "it gave no answer to a question for its health within 1 s"
    await shell.until(lambda: shell.is_("warm"))
    after = shell.told()
    assert after is not None
    assert (after.pid != before.pid, after.failures) == (True, 1)
    assert not psutil.pid_exists(before.pid)


async def test_one_that_was_killed_is_started_anew(start: Start) -> None:
    shell = start()
    await shell.warm(x())
    before = shell.told()
    assert before is not None
    psutil.Process(before.pid).kill()
    await shell.until(lambda: (told := shell.told()) and told.pid not in (0, before.pid))
    assert await shell.ask(0)


async def test_a_crash_loop_ends_in_quarantine_until_something_else_is_wanted(start: Start) -> None:
    shell = start()
    shell.want(x("Broken"))
    await shell.until(lambda: shell.is_("quarantined"))
    told = shell.told()
    assert told is not None
    assert told.failures == CRASHES_MAX
    assert told.error.startswith(f"it ended {CRASHES_MAX} times within ")
    assert "its process ended while loading (exit status 3); see x.log" in told.error
    before = shell.worker.starts
    shell.want(x("Broken"), Desired("y", "A", "Toy", "cpu"))
    await shell.until(lambda: shell.is_("warm", "y"))
    assert (shell.worker.starts, shell.is_("quarantined")) == (before + 1, True), "another wish of the host starts only what is new"
    await shell.warm(x("Toy"))


# --- drain ----------------------------------------------------------------------------------------------------------------------


async def test_it_drains(start: Start) -> None:
    shell = start()
    await shell.warm(x())
    told = shell.told()
    assert told is not None
    shell.give(0, s=1.5)
    shell.give(1)
    shell.want()
    assert shell.is_("draining")
    assert shell.returned == ["k1"], "what has not begun goes to others"
    await shell.until(lambda: shell.told() is None)
    await shell.until(lambda: 0 in shell.results)
    assert isinstance(shell.results[0], TaskDone)
    while psutil.pid_exists(told.pid):
        await asyncio.sleep(0.05)


async def test_one_that_does_not_end_its_tasks_is_ended(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("murakkab.actors.keeper.DRAIN_S", 10.0)
    shell = start()
    await shell.warm(x())
    shell.give(0, s=60.0)
    shell.want()
    await shell.until(lambda: shell.told() is None)
    assert shell.returned == ["k0"]
    async with asyncio.timeout(PATIENCE_S):
        while shell.instances.processes or any(shell.instances.ending.values()):
            await asyncio.sleep(0.05)


async def test_wanted_again_while_it_drains(start: Start) -> None:
    shell = start()
    await shell.warm(x())
    before = shell.told()
    shell.give(0, s=1.0)
    shell.want()
    await shell.warm(x())
    await shell.until(lambda: 0 in shell.results)
    after = shell.told()
    assert before
    assert after
    assert before.pid == after.pid, "it never went"


# --- sleep and load -------------------------------------------------------------------------------------------------------------


async def test_it_sleeps_and_wakes(start: Start) -> None:
    shell = start()
    await shell.warm(x("Sleeper"))
    await shell.until(lambda: (told := shell.told()) and told.load == {"running": 1.0, "waiting": 2.0, "cache": 0.5})
    shell.want(x("Sleeper", asleep=True))
    await shell.until(lambda: shell.is_("asleep"))
    told = shell.told()
    await shell.warm(x("Sleeper"))
    assert await shell.ask(0, "Sleeper") == {"asleep": False}
    again = shell.told()
    assert told
    assert again
    assert told.pid == again.pid


async def test_one_that_cannot_sleep_says_so_and_stays_awake(start: Start) -> None:
    shell = start()
    await shell.warm(x())
    shell.want(x(asleep=True))
    await shell.until(lambda: (told := shell.told()) and told.error)
    told = shell.told()
    assert told is not None
    assert (told.state, told.error) == ("warm", "it stays awake: its model runs in the process itself, and has no sleep")
    assert await shell.ask(0)


# --- declared devices -----------------------------------------------------------------------------------------------------------

DEVICES = {"MURAKKAB_DEVICES": '[{"name": "toy-gpu", "memory_mb": 250, "count": 2}]'}


async def test_several_instances_share_declared_devices_by_memory(start: Start) -> None:
    shell = start(DEVICES)
    wanted = [Desired(n, "A", "Toy", "toy-gpu") for n in "abcd"]
    await shell.warm(*wanted)
    on = [told.device for n in "abcd" if (told := shell.told(n))]
    assert sorted(on) == ["toy-gpu-0", "toy-gpu-0", "toy-gpu-1", "toy-gpu-1"]
    shell.want(*wanted, Desired("e", "A", "Toy", "toy-gpu"), Desired("f", "A", "Toy", "toy-gpu", device="toy-gpu-7"))
    await shell.until(lambda: shell.is_("failed", "e") and shell.is_("failed", "f"))
    errors = {told.id: told.error for n in "ef" if (told := shell.told(n))}
    assert errors == {
        "e": "it declares 100 MB, and toy-gpu-0 has 50 of 250 MB left",
        "f": "this host has no device 'toy-gpu-7'; it has toy-gpu-0, toy-gpu-1",
    }
    assert shell.beat is not None
    await shell.until(lambda: shell.beat and [d.memory_used_mb for d in shell.beat.devices if d.declared] == [200, 200])
    assert {d.kind for d in shell.beat.devices if d.declared} == {"gpu"}
    shell.want(*wanted[1:])
    await shell.until(lambda: shell.told("a") is None)
    await shell.warm(*wanted[1:], Desired("g", "A", "Toy", "toy-gpu"))


@linux
async def test_an_instance_on_a_declared_device_sees_no_other(start: Start) -> None:
    shell = start(DEVICES)
    await shell.warm(x(hardware="toy-gpu", device="toy-gpu-1"))
    await shell.until(lambda: shell.beat and any(d.declared for d in shell.beat.devices))
    said = await shell.ask(0, hardware="toy-gpu")
    assert (said["cuda"], said["device"]) == ("", "toy-gpu-1")
