"""The process of one instance: `python -m murakkab.agents.instance`. It loads one model and answers calls until its input ends.

Protocol, one JSON object a line: first the setup on standard input; then `{"ready": …}` or `{"failed": …}` on standard
output; then calls in, answers out, in any order. The worker is the only one who speaks to it; it never sees the bus.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib
import inspect
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from ..bus import tracing
from . import served
from .interface import CALL, BadInput, Call, Files

LINE_MAX = 64 << 20
"""Bytes of one line; the bus carries at most 1 MB, so this is never the limit."""


class Setup(Struct):
    """What an instance is to be."""

    entry: str
    options: dict[str, Any]
    slots: int
    folder: str
    agent: str = ""
    implementation: str = ""
    spawns: bool = False
    cores: tuple[int, ...] = ()
    """That it may run on; () for any."""


class CallIn(Struct):
    """A task; or, where `control` says so, a question about the instance itself: "health", "sleep", "wake"."""

    n: int
    inputs: dict[str, Any] = {}
    args: dict[str, Any] = {}
    trace: str = ""
    job: str = ""
    control: str = ""


class Answer(Struct, omit_defaults=True):
    """`cpu_s` are the busy CPU-seconds of this process since its last answer, so that they add up over concurrent calls."""

    n: int
    output: Any = None
    cpu_s: float = 0.0
    error: str = ""
    bad_input: bool = False
    units: dict[str, float] = {}
    """What the model counted with `Call.count`."""
    load: dict[str, float] = {}
    """What its server has to do, in answer to "health"."""


class Ready(Struct):
    ready: bool
    load_s: float = 0.0
    error: str = ""


def die_with_parent() -> None:
    """On Linux, asks the kernel to end this process when its worker is gone, however that went."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def stay_on(cores: Sequence[int]) -> None:
    """Keeps this process, and what it starts, on these cores of the machine. Raises ValueError for those that we do not have."""
    if not cores:
        return
    if not hasattr(os, "sched_setaffinity"):
        raise ValueError(f"cores {list(cores)} are wanted, and this system pins no process to cores")
    ours = os.sched_getaffinity(0)
    if missing := sorted(set(cores) - ours):
        raise ValueError(f"cores {missing} are wanted; this host has {sorted(ours)}")
    os.sched_setaffinity(0, cores)


def first_to_go() -> None:
    """When the machine runs out of memory, the kernel shall end a model rather than its worker: models are started anew."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("800")


def _children_cpu_s() -> float:
    """CPU-seconds of all living descendants of this process."""
    import psutil

    total = 0.0
    for child in psutil.Process().children(recursive=True):
        try:
            t = child.cpu_times()
        except psutil.Error:
            continue
        total += float(t.user + t.system)
    return total


class _Server:
    def __init__(self, setup: Setup, out: int) -> None:
        self.setup, self.out = setup, out
        module, _, name = setup.entry.partition(":")
        self.model: Any = getattr(importlib.import_module(module), name)(**setup.options)
        self.files = Files(Path(setup.folder))
        self.threads = ThreadPoolExecutor(max_workers=setup.slots)
        self.side = ThreadPoolExecutor(max_workers=1)
        self.asynchronous = hasattr(self.model, "run_async")
        self.cpu_s = 0.0
        self.lines: list[bytes] = []
        self.encode = msgspec.json.Encoder().encode

    def write(self, value: Struct) -> None:
        """Answers of one turn of the loop go out in one write."""
        if not self.lines:
            asyncio.get_running_loop().call_soon(self._flush)
        self.lines.append(self.encode(value))

    def _flush(self) -> None:
        data = b"\n".join(self.lines) + b"\n"
        self.lines.clear()
        view = memoryview(data)
        while view:
            view = view[os.write(self.out, view) :]

    def busy_s(self) -> float:
        """CPU-seconds of this process, of its children that have ended, and of the servers that its model runs, since last asked."""
        ended = os.times()
        now = time.process_time() + ended.children_user + ended.children_system
        if self.setup.spawns:
            now += _children_cpu_s()
        used, self.cpu_s = max(0.0, now - self.cpu_s), now
        return used

    async def control(self, call: CallIn) -> None:
        """About ourselves and the servers that our model runs. That we answer at all is half of our health. Never raises."""
        work = {"health": self._health, "sleep": self._sleep, "wake": self._wake}.get(call.control, self._unknown)
        try:
            load = await asyncio.get_running_loop().run_in_executor(self.side, work)
            self.write(Answer(call.n, load=load))
        except Exception as error:
            self.write(Answer(call.n, error=" ".join(str(error).split())[:2_000] or type(error).__name__))

    def _health(self) -> dict[str, float]:
        load: dict[str, float] = {}
        for one in served.RUNNING:
            for what, amount in one.health().items():
                load[what] = load.get(what, 0.0) + amount
        return load

    def _sleep(self) -> dict[str, float]:
        if not served.RUNNING:
            raise RuntimeError("its model runs in the process itself, and has no sleep")
        for one in served.RUNNING:
            one.sleep()
        return {}

    def _wake(self) -> dict[str, float]:
        for one in served.RUNNING:
            one.wake()
        return {}

    def _unknown(self) -> dict[str, float]:
        raise RuntimeError("an instance does not know how to do that")

    async def answer(self, call: CallIn) -> None:
        """Never raises: a failure is an answer too."""
        attributes = {
            "gen_ai.operation.name": self.setup.agent,
            "murakkab.implementation": self.setup.implementation,
            "murakkab.job": call.job,
        }
        try:
            with tracing.span(f"model: {self.setup.implementation}", call.trace, attributes=attributes):
                given = Call(call.inputs, call.args, self.files)
                CALL.set(given)
                if self.asynchronous:
                    result = await self.model.run_async(given)
                else:
                    result = await asyncio.get_running_loop().run_in_executor(self.threads, self.model.run, given)
            output = [msgspec.to_builtins(x) for x in result] if isinstance(result, Sequence) else msgspec.to_builtins(result)
            self.write(Answer(call.n, output, self.busy_s(), units=given.units))
        except BadInput as error:
            self.write(Answer(call.n, None, self.busy_s(), " ".join(str(error).split()), True))
        except msgspec.ValidationError as error:
            self.write(Answer(call.n, None, self.busy_s(), f"{self.setup.agent}: {error}", True))
        except Exception as error:
            traceback.print_exc()
            self.write(Answer(call.n, None, self.busy_s(), f"{type(error).__name__}: {' '.join(str(error).split())}"[:2_000]))


async def _serve(out: int) -> int:
    reader = asyncio.StreamReader(limit=LINE_MAX)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    first = await reader.readline()
    if not first:
        return 0
    setup = msgspec.json.decode(first, type=Setup)
    tracing.setup(f"instance-{setup.agent}")
    start = time.perf_counter()
    try:
        stay_on(setup.cores)
        server = _Server(setup, out)
        await loop.run_in_executor(None, server.model.load)
    except Exception as error:
        traceback.print_exc()
        os.write(out, msgspec.json.encode(Ready(False, error=f"{type(error).__name__}: {' '.join(str(error).split())}"[:2_000])) + b"\n")
        return 1
    server.busy_s()
    with contextlib.suppress(BrokenPipeError):  # the worker has gone meanwhile: the end of input says so next
        os.write(out, msgspec.json.encode(Ready(True, time.perf_counter() - start)) + b"\n")
    decode = msgspec.json.Decoder(CallIn).decode
    tasks: set[asyncio.Task[None]] = set()
    while line := await reader.readline():
        call = decode(line)
        task = loop.create_task(server.control(call) if call.control else server.answer(call))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    for task in tasks:
        task.cancel()
    close = getattr(server.model, "close", None)
    if close is not None:
        done = close()
        if inspect.isawaitable(done):
            await done
    return 0


def main() -> None:
    die_with_parent()
    first_to_go()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the worker, which ends us in good order
    # what libraries print must not get between the answers: the real standard output becomes ours alone
    out = os.dup(1)
    os.dup2(2, 1)
    code = asyncio.run(_serve(out))
    tracing.shutdown()
    os._exit(code)  # threads of native libraries may hang at interpreter exit; nothing of ours is left to save


if __name__ == "__main__":
    main()
