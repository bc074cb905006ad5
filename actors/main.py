"""One actor as a process: `murakkab conductor --nats URL`, and so on for each role."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import logging
import os
import secrets
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from ..agents import library
from ..agents.cores import cores
from ..agents.devices import gpu_devices
from ..agents.instance import die_with_parent
from ..agents.machine import BadSetting, machine
from ..agents.offered import Interpreter, fitting, rows_of, this_interpreter, together
from ..bus import metrics, tracing
from ..bus.artifacts import Artifacts
from ..bus.lease import Lease
from ..bus.link import Link
from ..bus.messages import LibraryOffered, Offer
from ..bus.provision import provision, replicas
from ..bus.roles import address, inbox
from ..bus.subjects import token
from ..clustermgr.policy import policy, wait_usd_per_s
from ..optimizer.hardware import hardware_of, joined
from ..optimizer.prices import Prices
from ..planner.library import Library
from ..planner.proposers import proposers
from .clustermgr import ClusterManager
from .conductor import Conductor
from .core import Actor, Woke
from .given import given
from .optimizer import Optimizer
from .optimizing import Searches
from .planner import Planner
from .proposing import Proposers
from .pulse import Pulse, file_of
from .shell import LEASE_S, Errands, Fenced, Shell
from .tenant_file import tenants_of
from .worker import Worker

log = logging.getLogger("murakkab.actor")

OWNER = "MURAKKAB_OWNER"
"""The process whose embedded system this actor belongs to: it ends with it, however that goes."""
HOST_PATIENCE_S = 5.0
"""How long a planner that has just started waits for a first host's word before it refuses a job."""
ACTORS = ("planner", "optimizer", "conductor", "clustermgr", "worker")


async def run_actor(
    role: str,
    url: str,
    *,
    data: Path,
    host: str = "",
    pythons: tuple[str, ...] = (),
    without: tuple[str, ...] = (),
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Runs one actor until SIGTERM or SIGINT. Raises BadSetting for what cannot be, Unreachable when no NATS server answers,
    Fenced when replaced."""
    logging.basicConfig(level=environ.get("MURAKKAB_LOG", "WARNING"), format=f"%(asctime)s {role} %(levelname)s %(message)s")
    if owner := environ.get(OWNER):
        die_with_parent()
        if os.getppid() != int(owner):  # it had gone before we asked
            return
    if role == "worker":
        machine(environ)  # what its owner says wrongly of it is told before anything is waited for
    if role == "conductor":
        tenants_of(environ)
    tracing.setup(role)
    metrics.setup(role)
    gc.freeze()  # imports are for ever; and messages are short-lived trees without cycles, so looking for cycles can wait
    gc.set_threshold(20_000, 20, 50)
    link = await Link.open(address(url, role, environ), f"murakkab-{role}", inbox=inbox(role), wait_s=30.0)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        link.loop.add_signal_handler(number, stop.set)
    stopped = link.loop.create_task(stop.wait())
    close = contextlib.AsyncExitStack()
    pulse = Pulse(file_of(environ), lambda: bool(link.nc.is_connected))
    link.spawn(pulse.beat())
    try:
        ends: set[asyncio.Task[Any]] = {stopped}
        if role == "conductor":
            lease = await _lead(link, data, stopped, environ, pulse)
            if lease is None:
                return
            close.push_async_callback(_give_up, lease)
            ends.add(link.loop.create_task(_until_lost(lease)))
        actor, errands = _make(role, link, data, host, pythons, without, environ, close)
        shell = Shell(actor, link, errands, lease_s=float(environ.get("MURAKKAB_LEASE_S", LEASE_S)))
        running = link.loop.create_task(_run(shell, pulse))
        done, _ = await asyncio.wait({running, *ends}, return_when=asyncio.FIRST_COMPLETED)
        for task in done - {running, stopped}:
            task.result()
        if running.done():
            running.result()
        else:
            if role == "worker":
                shell.deliver(Woke("leave"))
            running.cancel()
            with contextlib.suppress(TimeoutError):
                await link.stored(2.0)
    finally:
        stopped.cancel()
        await close.aclose()
        await link.close()
        tracing.shutdown()
        metrics.shutdown()


async def _lead(link: Link, data: Path, stopped: asyncio.Task[Any], environ: Mapping[str, str], pulse: Pulse) -> Lease | None:
    """Makes the streams, and waits until this conductor is the one; None when it is stopped before."""
    try:
        copies = replicas(environ)
    except ValueError as error:
        raise BadSetting(str(error)) from None
    await provision(link, [t.name for t in tenants_of(environ)], copies)
    pulse.state = "standing by"
    lease = Lease(link, "conductor", _identity(data))
    acquiring = link.loop.create_task(lease.acquire(lambda who: log.warning("conductor %s is at work; standing by", who)))
    await asyncio.wait({acquiring, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if not acquiring.done():
        acquiring.cancel()
        return None
    acquiring.result()
    return lease


async def _run(shell: Shell, pulse: Pulse) -> None:
    await shell.start()
    pulse.state = "working"
    await shell.ended


async def _until_lost(lease: Lease) -> None:
    await lease.keep()
    raise Fenced("another conductor has taken over")


async def _give_up(lease: Lease) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1.0):
            await lease.release()


def _identity(data: Path) -> str:
    """The same for every start on a data folder, so that a conductor that crashed follows itself at once; but two at the same time differ."""
    data.mkdir(parents=True, exist_ok=True)
    file = os.open(data / "conductor.id", os.O_RDWR | os.O_CREAT, 0o600)
    fresh = f"{token(socket.gethostname())[:40]}-{secrets.token_hex(4)}"
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held, with the file open, as long as this process lives
    except OSError:
        os.close(file)
        return fresh
    known = os.read(file, 100).decode()
    if not known:
        os.write(file, fresh.encode())
    return known or fresh


def _make(
    role: str,
    link: Link,
    data: Path,
    host: str,
    pythons: tuple[str, ...],
    without: tuple[str, ...],
    environ: Mapping[str, str],
    close: contextlib.AsyncExitStack,
) -> tuple[Actor, Errands]:
    """The actor, and what its shell can do for it."""
    match role:
        case "planner":
            asked = Proposers(proposers(environ))
            close.callback(asked.close)
            planner = Planner(Library(library.agents(), library.lattice()), tuple(asked.proposers), HOST_PATIENCE_S)
            asked.warm(planner.library)
            return planner, asked.errands
        case "optimizer":
            searches = Searches()
            close.callback(searches.close)
            rows = library.implementations()
            return Optimizer(library.agents(), rows, _prices(environ), given(data, environ, rows)), searches.errands
        case "conductor":
            return Conductor(tenants_of(environ), library.implementations()), {}
        case "clustermgr":
            try:
                scaling = policy(environ.get("MURAKKAB_SCALING", "")), wait_usd_per_s(environ)
            except ValueError as error:
                raise BadSetting(str(error)) from None
            return ClusterManager(library.implementations(), _prices(environ), *scaling), {}
        case "worker":
            from ..agents.host import Instances

            name = token(host or socket.gethostname())
            mine = machine(environ)
            here = look_around(name, pythons, environ, mine.market)
            instances = Instances(here.rows, data / "artifacts", data / "logs", Artifacts(link), here.homes, mine)
            close.push_async_callback(instances.close)
            offers = tuple(o for o in here.offers if o.implementation not in without)
            return Worker(
                name,
                here.rows,
                offers,
                _prices(environ),
                cores(),
                here.brings,
                mine,
                run=f"{token(socket.gethostname())[:40]}/{os.getpid()}",
            ), instances.errands
    raise ValueError(f"there is no actor '{role}'")


def _prices(environ: Mapping[str, str]) -> Prices:
    try:
        return Prices(environ)
    except ValueError as error:
        raise BadSetting(str(error)) from None


class Host(Struct, frozen=True):
    """What this host can run, with all rows that say how."""

    offers: tuple[Offer, ...]
    rows: dict[tuple[str, str], library.Implementation]
    homes: dict[tuple[str, str], str]
    """In which interpreter, where it is not this one."""
    brings: LibraryOffered


def look_around(host: str, pythons: tuple[str, ...], environ: Mapping[str, str], market: str = "on-demand") -> Host:
    """Asks this interpreter and the others. Raises BadSetting for one that has no murakkab."""
    library.with_mcp(environ)
    mine = this_interpreter(host, environ)
    rows, homes, brings, can = dict(library.implementations()), {}, mine.brings, set(mine.can)
    for python in pythons:
        other = _ask(python)
        rows = {**rows_of(other.brings), **rows}
        homes.update({key: python for key in other.can if key not in can})
        can |= set(other.can)
        brings = together(brings, other.brings)
    for problem in brings.problems:
        log.warning("%s", problem)
    gpus = tuple(dict.fromkeys(hardware_of(d.name) for d in (*gpu_devices()[0], *machine(environ).devices)))
    offers = tuple(Offer(*key, joined(h, market)) for key, row in rows.items() if key in can for h in classes(row, gpus))
    return Host(offers, rows, homes, fitting(brings))


def classes(row: library.Implementation, gpus: tuple[str, ...]) -> tuple[str, ...]:
    """The hardware classes of a host on which a row can run; `gpus` are those of its devices."""
    kinds = row.runs_on or (row.hardware,)
    return tuple(dict.fromkeys(c for kind in kinds for c in (gpus if kind == "gpu" else (kind,))))


def _ask(python: str) -> Interpreter:
    import subprocess

    answer = subprocess.run([python, "-m", "murakkab.agents.offered"], capture_output=True, check=False, timeout=60)
    if answer.returncode:
        raise BadSetting(f"--python {python}: murakkab cannot be imported there: {answer.stderr.decode().strip().splitlines()[-1:]}")
    return msgspec.json.decode(answer.stdout.splitlines()[-1], type=Interpreter)
