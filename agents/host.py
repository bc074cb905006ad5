"""The instances of one host, seen from its worker: starts, watches and ends their processes, and carries calls to them.

The only place that spawns model processes. Each kind of errand of `actors/errands.py` has one method here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

import msgspec
import psutil

from ..actors.core import Errand
from ..actors.errands import (
    Checked,
    CheckInstance,
    Measure,
    Ran,
    Readings,
    RestInstance,
    RunTask,
    Started,
    StartInstance,
    StopInstance,
    WatchInstance,
)
from ..bus import tracing
from ..bus.artifacts import Artifacts, prune
from ..bus.messages import ArtifactRef, Desired
from ..optimizer.hardware import split
from ..optimizer.hops import MOVED_MB, MOVED_S, MOVES
from .devices import cpu_device, gpu_devices
from .energy import PackageEnergy, share_wh
from .instance import LINE_MAX, Ready, Setup
from .library import Implementation
from .machine import Machine
from .placing import Placing
from .power import cap, limit_w
from .process import InstanceLost, Process, family
from .types import artifacts_in

log = logging.getLogger("murakkab.worker")

LOAD_LIMIT_S = 600.0
STOP_GRACE_S = 5.0
CHECK_LIMIT_S = 20.0
"""For a sign of life: a host whose cores and disk are all taken may need some seconds."""
REST_LIMIT_S = 120.0
SPILLED = "$artifact"
CACHE_MAX = 20 << 30
"""Bytes of artifacts that a host keeps at hand."""
PRUNE_EVERY_S = 300.0


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
        self.processes: dict[str, Process] = {}
        self.ending: dict[str, set[asyncio.Future[None]]] = {}
        """Instance to the ends of its processes that are under way: the next one starts after them."""
        self.newest: dict[str, int] = {}
        """Instance to the newest start that it was asked for, or the one after that which it was told to end."""
        self.places = Placing(self.machine.devices)
        self.closing = False
        self.limit_of: dict[int, float] = {}
        """GPU that is capped to its limit before, in watts; it has it again when its last instance ends."""
        self._pruned_at = 0.0
        self.energy = PackageEnergy()
        folder.mkdir(parents=True, exist_ok=True)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def errands(self) -> dict[type[Errand], Any]:
        return {
            StartInstance: self.start,
            WatchInstance: self.watch,
            StopInstance: self.stop,
            CheckInstance: self.check,
            RestInstance: self.rest,
            RunTask: self.run,
            Measure: self.measure,
        }

    async def start(self, errand: StartInstance, _: str) -> Started:
        wanted, run = errand.instance, errand.run
        row = self.library[(wanted.agent, wanted.implementation)]
        python = self.pythons.get((wanted.agent, wanted.implementation), sys.executable)
        self.newest[wanted.id] = run
        while self.ending.get(wanted.id):
            await asyncio.wait(self.ending[wanted.id])
        if self.closing or self.newest[wanted.id] != run:
            raise RuntimeError("it was ended before it was started")
        env = {
            **os.environ,
            **self._device_of(wanted),
            "OMP_NUM_THREADS": str(min(row.threads, len(wanted.cores) or row.threads)),
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
        held = Process(process, run, spawns=row.spawns)
        if self.newest[wanted.id] == run:
            self.processes[wanted.id] = held
        setup = Setup(
            row.entry,
            dict(row.options),
            wanted.slots or row.slots,
            str(self.folder),
            row.agent,
            row.name,
            row.spawns,
            wanted.cores,
        )
        try:
            if self.closing or self.processes.get(wanted.id) is not held:
                raise RuntimeError("it was ended while it was started")
            if wanted.memory_mb:
                self._spawn(held.hold(wanted.memory_mb))
            process.stdin.write(msgspec.json.encode(setup) + b"\n")
            line = await asyncio.wait_for(process.stdout.readline(), LOAD_LIMIT_S)
            if not line:
                raise RuntimeError(f"its process ended while loading ({await held.over()}); see {wanted.id}.log")
            ready = msgspec.json.decode(line, type=Ready)
            if not ready.ready:
                await process.wait()
                raise RuntimeError(f"loading failed: {ready.error}")
        except BaseException:
            await self._end(wanted.id, held)
            raise
        held.ready = True
        self._spawn(held.read())
        place = self.places.of.get(wanted.id)
        return Started(process.pid, time.perf_counter() - started, place.id if place else "")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _device_of(self, wanted: Desired) -> dict[str, str]:
        """What the instance may see, of what can use GPUs at all: none for CPU classes; else one of its class, under its cap."""
        row = self.library[(wanted.agent, wanted.implementation)]
        if "gpu" not in (row.runs_on or (row.hardware,)):
            return {}
        if split(wanted.hardware)[0] == "cpu":
            return {"CUDA_VISIBLE_DEVICES": ""}
        # the owner of this machine may have said which GPUs are ours
        gpus = () if "CUDA_VISIBLE_DEVICES" in os.environ else gpu_devices()[0]
        place = self.places.choose(wanted, row, gpus)
        if place is None:
            return {}
        if place.index is None:
            return {"CUDA_VISIBLE_DEVICES": "", "MURAKKAB_DEVICE": place.id}
        if wanted.power_w is not None:
            before = limit_w(place.index)
            if why := cap(place.index, wanted.power_w):
                log.warning("%s: %s", wanted.id, why)
            elif before is not None:
                self.limit_of.setdefault(place.index, before)
        # NVML counts devices by their bus; CUDA does so only when it is told to
        return {"CUDA_VISIBLE_DEVICES": str(place.index), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}

    def _leave_device(self, name: str) -> None:
        place = self.places.of.pop(name, None)
        index = None if place is None else place.index
        if index is None or index not in self.limit_of or index in {p.index for p in self.places.of.values()}:
            return
        if why := cap(index, self.limit_of.pop(index)):
            log.warning("%s: %s", name, why)

    def _held(self, name: str, run: int) -> Process | None:
        held = self.processes.get(name)
        return held if held is not None and held.run == run else None

    async def watch(self, errand: WatchInstance, _: str) -> str:
        held = self._held(errand.id, errand.run)
        return "gone" if held is None else str(await asyncio.shield(held.ended))

    async def check(self, errand: CheckInstance, _: str) -> Checked:
        return Checked(await self._control(errand.id, errand.run, "health", CHECK_LIMIT_S))

    async def rest(self, errand: RestInstance, _: str) -> None:
        await self._control(errand.id, errand.run, "sleep" if errand.asleep else "wake", REST_LIMIT_S)

    async def _control(self, name: str, run: int, what: str, limit_s: float) -> dict[str, float]:
        held = self._held(name, run)
        if held is None:
            raise InstanceLost("its process is gone")
        try:
            answer = await held.call(limit_s, control=what)
        except TimeoutError:
            raise RuntimeError(f"it gave no answer to a question for its {what} within {limit_s:g} s") from None
        if answer.error:
            raise RuntimeError(answer.error)
        return answer.load

    async def stop(self, errand: StopInstance, _: str) -> None:
        self.newest[errand.id] = max(self.newest.get(errand.id, 0), errand.run + 1)
        if held := self._held(errand.id, errand.run):
            await self._end(errand.id, held)

    async def _end(self, name: str, held: Process) -> None:
        """Closes its input, which ends it in good order; then force, also for children that it may have left."""
        if self.processes.get(name) is held:
            del self.processes[name]
        ended = asyncio.get_running_loop().create_future()
        self.ending.setdefault(name, set()).add(ended)
        try:
            await self._wind_up(held)
        finally:
            self._leave_device(name)
            self.ending[name].discard(ended)
            ended.set_result(None)

    async def _wind_up(self, held: Process) -> None:
        process = held.process
        if process.returncode is not None:
            return
        children = family(process.pid)
        assert process.stdin is not None
        process.stdin.close()
        try:
            # one that loads or computes has nothing to save; only an idle one is given time to close what it opened
            await asyncio.wait_for(process.wait(), STOP_GRACE_S if held.ready and not held.calls else 0.1)
        except TimeoutError:
            process.kill()
            await process.wait()
        for child in children:
            with contextlib.suppress(psutil.Error):
                child.kill()

    async def close(self) -> None:
        """Ends all; what is being started just now ends itself."""
        self.closing = True
        await asyncio.gather(*(self._end(name, held) for name, held in list(self.processes.items())))
        while under_way := [ended for ends in self.ending.values() for ended in ends]:
            await asyncio.wait(under_way)

    # --- one task -------------------------------------------------------------------------------------------------------------

    async def run(self, errand: RunTask, trace: str) -> Ran:
        """Brings the inputs here, calls the instance within the task's time, and takes its outputs to the store."""
        task, start, moved = errand.task, time.time(), Moved()
        held = self._held(errand.instance, errand.run)
        if held is None:
            return Ran(start, start, error="its instance is gone", lost=True)
        attributes = {"murakkab.job": task.job, "murakkab.stage": task.stage, "murakkab.implementation": task.implementation}
        with tracing.span(f"worker: run {task.agent}", trace, attributes=attributes) as mine:
            try:
                inputs = await self._bring(task.tenant, task.inputs, moved)
            except (OSError, LookupError, TimeoutError) as error:
                return Ran(start, time.time(), error=f"its input could not be fetched: {error}")
            before = self.energy.read()
            try:
                answer = await held.call(task.timeout_s, inputs=inputs, args=task.args, trace=mine, job=task.job)
            except TimeoutError:
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
            if (rss_mb := held.rss_mb()) is not None:
                rss[name] = rss_mb
        return Readings((cpu_device(self.machine.memory_mb), *gpus, *self.places.used()), note, rss, self.machine.revoked_in_s())
