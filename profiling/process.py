"""One instance's process under measurement: started as a worker starts it, asked without a bus, watched from outside."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import psutil

from ..agents.instance import LINE_MAX, Answer, CallIn, Ready, Setup
from ..agents.library import Implementation

STOP_GRACE_S = 5.0


class Crashed(RuntimeError):
    """The process is gone, does not load, or does not answer: the implementation cannot be measured."""


class TaskFailed(RuntimeError):
    """The model answered that it could not do a task."""


class Done(msgspec.Struct, frozen=True):
    """One task. `wall_s` is from asking to the whole answer, `cpu_s` of the process and its children."""

    wall_s: float
    cpu_s: float
    units: dict[str, float]
    output: Any


class Probe:
    """Open with `Probe.start`. `load_s` and `load_cpu_s` are from the start of the process until it was ready."""

    def __init__(self, process: asyncio.subprocess.Process, row: Implementation) -> None:
        self.process, self.row = process, row
        self.load_s = self.load_cpu_s = 0.0
        self.spent_cpu_s = 0.0
        self._calls: dict[int, asyncio.Future[Answer]] = {}
        self._n = 0
        self._reading: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, row: Implementation, folder: Path, *, python: str = "", gpu: bool = True, limit_s: float = 120.0) -> Probe:
        """`gpu` False hides GPUs from it. Raises Crashed when it does not come up within `limit_s`, with the end of what it said."""
        hide = {} if gpu else {"CUDA_VISIBLE_DEVICES": ""}
        env = {**os.environ, **hide, "OMP_NUM_THREADS": str(row.threads), "TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1"}
        log_path = folder / "instance.log"
        started = time.perf_counter()
        with log_path.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                python or sys.executable, "-m", "murakkab.agents.instance",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log, env=env, limit=LINE_MAX, start_new_session=True,
            )  # fmt: skip
        probe = cls(process, row)
        assert process.stdin is not None
        assert process.stdout is not None
        setup = Setup(row.entry, dict(row.options), row.slots, str(folder / "artifacts"), row.agent, row.name, row.spawns)
        try:
            process.stdin.write(msgspec.json.encode(setup) + b"\n")
            async with asyncio.timeout(limit_s):
                line = await process.stdout.readline()
            if not line:
                raise Crashed(f"its process ended while loading ({_meaning(await process.wait())}){_tail(log_path)}")
            ready = msgspec.json.decode(line, type=Ready)
            if not ready.ready:
                raise Crashed(f"loading failed: {ready.error}")
        except TimeoutError:
            await probe.stop()
            raise Crashed(f"it was not loaded within {limit_s:.0f} s") from None
        except BaseException:
            await probe.stop()
            raise
        probe.load_s = time.perf_counter() - started
        probe.load_cpu_s = probe.cpu_s()
        probe._reading = asyncio.create_task(probe._read())
        return probe

    async def call(self, inputs: dict[str, Any], args: dict[str, Any], limit_s: float) -> Done:
        """Raises Crashed or TaskFailed."""
        self._n += 1
        n = self._n
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._calls[n] = answered
        started = time.perf_counter()
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(msgspec.json.encode(CallIn(n, inputs, args)) + b"\n")
            async with asyncio.timeout(limit_s):
                answer = await answered
        except TimeoutError:
            raise Crashed(f"it did not answer within {limit_s:.0f} s") from None
        finally:
            self._calls.pop(n, None)
        wall_s = time.perf_counter() - started
        if answer.error:
            raise TaskFailed(answer.error)
        return Done(wall_s, answer.cpu_s, answer.units, answer.output)

    async def _read(self) -> None:
        assert self.process.stdout is not None
        decode = msgspec.json.Decoder(Answer).decode
        while line := await self.process.stdout.readline():
            answer = decode(line)
            call = self._calls.get(answer.n)
            if call is not None and not call.done():
                call.set_result(answer)
        code = await self.process.wait()
        for call in self._calls.values():
            if not call.done():
                call.set_exception(Crashed(f"its process ended ({_meaning(code)}) in the middle of a task"))

    def cpu_s(self) -> float:
        """Of the process and its children, since it started; the last known when it is gone."""
        total = 0.0
        for one in self._family():
            with contextlib.suppress(psutil.Error):
                t = one.cpu_times()
                total += t.user + t.system + (t.children_user + t.children_system if one.pid == self.process.pid else 0.0)
        self.spent_cpu_s = max(self.spent_cpu_s, total)
        return self.spent_cpu_s

    def rss_mb(self) -> float:
        """Resident memory of the process and its children."""
        total = 0
        for one in self._family():
            with contextlib.suppress(psutil.Error):
                total += one.memory_info().rss
        return total / (1 << 20)

    def _family(self) -> list[psutil.Process]:
        try:
            me = psutil.Process(self.process.pid)
            return [me, *me.children(recursive=True)]
        except psutil.Error:
            return []

    async def stop(self) -> None:
        """In good order, else by force; also children that it may have left."""
        self.cpu_s()
        family = self._family()
        if self.process.returncode is None:
            assert self.process.stdin is not None
            self.process.stdin.close()
            try:
                async with asyncio.timeout(0.1 if self._calls else STOP_GRACE_S):
                    await self.process.wait()
            except TimeoutError:
                self.process.kill()
                await self.process.wait()
        if self._reading is not None:
            await asyncio.gather(self._reading, return_exceptions=True)
        for one in family:
            with contextlib.suppress(psutil.Error):
                one.kill()


def _meaning(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"exit status {code}"


def _tail(log: Path) -> str:
    """The last line that it said, for people."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return f": {lines[-1][:200]}" if lines else ""
