"""The instances of one host, seen from its worker: starts, watches and ends their processes, and carries calls to them.

The only place that spawns model processes. Each kind of errand of `actors/errands.py` has one method here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import psutil

from ..actors.core import Errand
from ..actors.errands import Measure, Ran, Readings, RunTask, Started, StartInstance, StopInstance, WatchInstance
from ..bus import tracing
from ..bus.artifacts import Artifacts, prune
from ..bus.messages import ArtifactRef, Desired
from ..optimizer.hardware import hardware_of, split
from ..optimizer.hops import MOVED_MB, MOVED_S, MOVES
from .devices import cpu_device, freest, gpu_devices
from .energy import PackageEnergy, share_wh
from .instance import LINE_MAX, Answer, CallIn, Ready, Setup
from .library import Implementation
from .machine import Machine
from .power import cap, limit_w
from .types import artifacts_in

log = logging.getLogger("murakkab.worker")

LOAD_LIMIT_S = 600.0
STOP_GRACE_S = 5.0
SPILLED = "$artifact"
CACHE_MAX = 20 << 30
"""Bytes of artifacts that a host keeps at hand."""
PRUNE_EVERY_S = 300.0


class InstanceLost(RuntimeError):
    """The instance's process is gone."""


class _Process:
    """One instance's process and the calls that it has not answered yet."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.calls: dict[int, asyncio.Future[Answer]] = {}
        self.ready = False
        self.n = 0
        self.ended = asyncio.get_running_loop().create_future()
        self.lines: list[bytes] = []

    def send(self, data: bytes) -> None:
        if not self.lines:
            asyncio.get_running_loop().call_soon(self._flush)
        self.lines.append(data)

    def _flush(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n".join(self.lines) + b"\n")
        self.lines.clear()

    async def read(self) -> None:
        """Until the process ends."""
        assert self.process.stdout is not None
        decode = msgspec.json.Decoder(Answer).decode
        try:
            while line := await self.process.stdout.readline():
                answer = decode(line)
                call = self.calls.pop(answer.n, None)
                if call is not None and not call.done():
                    call.set_result(answer)
        finally:
            code = await self.process.wait()
            for call in self.calls.values():
                if not call.done():
                    call.set_exception(InstanceLost(f"its process ended ({_meaning(code)}) in the middle of the task"))
            self.calls.clear()
            if not self.ended.done():
                self.ended.set_result(code)


class Moved:
    """What one task's artifacts took to move; nothing is said of a task that has none."""

    def __init__(self) -> None:
        self.artifacts = self.seen = 0
        self.mb = self.took_s = 0.0

    def note(self, ref: ArtifactRef, moved: bool, began: float) -> None:
        self.seen += 1
        if moved:
            self.artifacts, self.mb = self.artifacts + 1, self.mb + ref.size / 1e6
            self.took_s += time.perf_counter() - began

    def units(self) -> dict[str, float]:
        return {MOVES: float(self.artifacts), MOVED_MB: self.mb, MOVED_S: self.took_s} if self.seen else {}


class Instances:
    """All instances of this host. `folder` holds artifacts by hash, `logs` one file an instance."""

    def __init__(
        self,
        library: Mapping[tuple[str, str], Implementation],
        folder: Path,
        logs: Path,
        artifacts: Artifacts,
        pythons: Mapping[tuple[str, str], str],
        machine: Machine | None = None,
    ) -> None:
        self.machine = machine or Machine()
        self.library, self.folder, self.logs, self.artifacts, self.pythons = library, folder, logs, artifacts, pythons
        self.processes: dict[str, _Process] = {}
        self.gpu_of: dict[str, int] = {}
        """Instance to the place of its GPU, where it has one."""
        self.limit_of: dict[int, float] = {}
        """GPU that is capped to its limit before, in watts; it has it again when its last instance ends."""
        self._pruned_at = 0.0
        self.energy = PackageEnergy()
        folder.mkdir(parents=True, exist_ok=True)
        self._reading: set[asyncio.Task[None]] = set()

    @property
    def errands(self) -> dict[type[Errand], Any]:
        return {StartInstance: self.start, WatchInstance: self.watch, StopInstance: self.stop, RunTask: self.run, Measure: self.measure}

    async def start(self, errand: StartInstance, _: str) -> Started:
        wanted = errand.instance
        row = self.library[(wanted.agent, wanted.implementation)]
        python = self.pythons.get((wanted.agent, wanted.implementation), sys.executable)
        env = {
            **os.environ,
            **self._device_of(wanted),
            "OMP_NUM_THREADS": str(row.threads),
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONUNBUFFERED": "1",
        }
        self.logs.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        with (self.logs / f"{wanted.id}.log").open("ab") as log_file:
            process = await asyncio.create_subprocess_exec(
                python, "-m", "murakkab.agents.instance",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log_file, env=env, limit=LINE_MAX,
                start_new_session=True,
            )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        held = self.processes[wanted.id] = _Process(process)
        setup = Setup(row.entry, dict(row.options), wanted.slots or row.slots, str(self.folder), row.agent, row.name, row.spawns)
        try:
            process.stdin.write(msgspec.json.encode(setup) + b"\n")
            line = await asyncio.wait_for(process.stdout.readline(), LOAD_LIMIT_S)
            if not line:
                code = await process.wait()
                raise RuntimeError(f"its process ended while loading ({_meaning(code)}); see {wanted.id}.log")
            ready = msgspec.json.decode(line, type=Ready)
            if not ready.ready:
                await process.wait()
                raise RuntimeError(f"loading failed: {ready.error}")
        except BaseException:
            await self._end(wanted.id)
            raise
        held.ready = True
        task = asyncio.get_running_loop().create_task(held.read())
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)
        return Started(process.pid, time.perf_counter() - started)

    def _device_of(self, wanted: Desired) -> dict[str, str]:
        """What the instance may see, of what can use GPUs at all: none for CPU classes; else one of its class, under its cap."""
        row = self.library[(wanted.agent, wanted.implementation)]
        if "gpu" not in (row.runs_on or (row.hardware,)):
            return {}
        base = split(wanted.hardware)[0]
        if base == "cpu":
            return {"CUDA_VISIBLE_DEVICES": ""}
        if "CUDA_VISIBLE_DEVICES" in os.environ:  # the owner of this machine has said which are ours
            return {}
        gpus, _ = gpu_devices()
        taken = [place for name, place in self.gpu_of.items() if name != wanted.id]
        index = freest(gpus, lambda name: hardware_of(name) == base, taken)
        if index is None:
            return {}
        self.gpu_of[wanted.id] = index
        if wanted.power_w is not None:
            before = limit_w(index)
            if why := cap(index, wanted.power_w):
                log.warning("%s: %s", wanted.id, why)
            elif before is not None:
                self.limit_of.setdefault(index, before)
        # NVML counts devices by their bus; CUDA does so only when it is told to
        return {"CUDA_VISIBLE_DEVICES": str(index), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}

    def _leave_device(self, name: str) -> None:
        index = self.gpu_of.pop(name, None)
        if index is None or index not in self.limit_of or index in self.gpu_of.values():
            return
        if why := cap(index, self.limit_of.pop(index)):
            log.warning("%s: %s", name, why)

    async def watch(self, errand: WatchInstance, _: str) -> str:
        held = self.processes.get(errand.id)
        if held is None or held.process.pid != errand.pid:
            return "gone"
        return _meaning(await asyncio.shield(held.ended))

    async def stop(self, errand: StopInstance, _: str) -> None:
        await self._end(errand.id)

    async def _end(self, name: str) -> None:
        """Closes its input, which ends it in good order; then force, also for children that it may have left."""
        held = self.processes.pop(name, None)
        self._leave_device(name)
        if held is None:
            return
        process = held.process
        if process.returncode is None:
            try:
                children = psutil.Process(process.pid).children(recursive=True)
            except psutil.Error:
                children = []
            assert process.stdin is not None
            process.stdin.close()
            try:
                # one that loads or computes has nothing to save; only an idle one is given time to close what it opened
                await asyncio.wait_for(process.wait(), STOP_GRACE_S if held.ready and not held.calls else 0.1)
            except TimeoutError:
                process.kill()
                await process.wait()
            for child in children:
                try:
                    child.kill()
                except psutil.Error:
                    continue

    async def close(self) -> None:
        await asyncio.gather(*(self._end(name) for name in list(self.processes)))

    # --- one task -------------------------------------------------------------------------------------------------------------

    async def run(self, errand: RunTask, trace: str) -> Ran:
        """Brings the inputs here, calls the instance within the task's time, and takes its outputs to the store."""
        task, start, moved = errand.task, time.time(), Moved()
        held = self.processes.get(errand.instance)
        if held is None:
            return Ran(start, start, error="its instance is gone", lost=True)
        attributes = {"murakkab.job": task.job, "murakkab.stage": task.stage, "murakkab.implementation": task.implementation}
        with tracing.span(f"worker: run {task.agent}", trace, attributes=attributes) as mine:
            try:
                inputs = await self._bring(task.tenant, task.inputs, moved)
            except (OSError, LookupError, TimeoutError) as error:
                return Ran(start, time.time(), error=f"its input could not be fetched: {error}")
            before = self.energy.read()
            held.n += 1
            n = held.n
            answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            held.calls[n] = answered
            held.send(msgspec.json.encode(CallIn(n, inputs, task.args, mine, task.job)))
            try:
                async with asyncio.timeout(task.timeout_s):
                    answer = await answered
            except TimeoutError:
                held.calls.pop(n, None)
                return Ran(start, time.time(), error=f"it did not answer within {task.timeout_s:g} s and was ended", lost=True)
            except InstanceLost as error:
                return Ran(start, time.time(), error=str(error), lost=True)
            if answer.error:
                return Ran(start, time.time(), cpu_s=answer.cpu_s, error=answer.error, bad_input=answer.bad_input)
            try:
                output = await self._keep(task.tenant, answer.output, task.inline_max, moved)
            except (OSError, LookupError, TimeoutError) as error:
                return Ran(start, time.time(), cpu_s=answer.cpu_s, error=f"its output could not be stored: {error}")
        units = {**answer.units, **moved.units()}
        return Ran(start, time.time(), output, answer.cpu_s, share_wh(before, self.energy.read(), answer.cpu_s), units=units)

    async def _bring(self, tenant: str, inputs: dict[str, Any], moved: Moved) -> dict[str, Any]:
        if not inputs:
            return inputs
        whole = {name: await self._unspill(tenant, value, moved) for name, value in inputs.items()}
        for ref in artifacts_in(whole):
            await self._fetch(tenant, ref, moved)
        return whole

    async def _unspill(self, tenant: str, value: Any, moved: Moved) -> Any:
        if isinstance(value, list):
            return [await self._unspill(tenant, v, moved) for v in value]
        if isinstance(value, dict) and SPILLED in value:
            (ref,) = artifacts_in(value)
            await self._fetch(tenant, ref, moved)
            return msgspec.json.decode((self.folder / ref.sha256).read_bytes())
        return value

    async def _fetch(self, tenant: str, ref: ArtifactRef, moved: Moved) -> None:
        here, began = (self.folder / ref.sha256).exists(), time.perf_counter()
        await self.artifacts.fetch(tenant, ref, self.folder)
        moved.note(ref, not here, began)

    async def _store(self, tenant: str, ref: ArtifactRef, moved: Moved) -> None:
        began = time.perf_counter()
        moved.note(ref, await self.artifacts.store(tenant, ref, self.folder / ref.sha256), began)

    async def _keep(self, tenant: str, output: Any, inline_max: int, moved: Moved) -> Any:
        for ref in artifacts_in(output):
            await self._store(tenant, ref, moved)
        if isinstance(output, list) or output is None:
            return output
        data = msgspec.json.encode(output)
        if len(data) <= inline_max:
            return output
        ref = self.artifacts.keep(data, self.folder, "application/json")
        await self._store(tenant, ref, moved)
        return {SPILLED: msgspec.to_builtins(ref)}

    # --- the host ---------------------------------------------------------------------------------------------------------------

    async def measure(self, _: Measure, __: str) -> Readings:
        if time.time() - self._pruned_at > PRUNE_EVERY_S:
            self._pruned_at = time.time()
            await asyncio.get_running_loop().run_in_executor(None, lambda: prune(self.folder, time.time(), bytes_max=CACHE_MAX))
        gpus, note = gpu_devices()
        rss: dict[str, int] = {}
        for name, held in self.processes.items():
            try:
                rss[name] = psutil.Process(held.process.pid).memory_info().rss >> 20
            except psutil.Error:
                continue
        return Readings((cpu_device(self.machine.memory_mb), *gpus), note, rss, self.machine.revoked_in_s())


def _meaning(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"exit status {code}"
