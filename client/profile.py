"""`murakkab profile`: measures implementations on this machine, shows how sure it is, and keeps the profiles for the optimizer.

Exit status: 0 everything asked for was measured; 1 something failed, or nothing could be measured; 2 an unknown name.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import msgspec
import psutil

from ..agents import library as lib
from ..agents.library import Implementation
from ..agents.offered import Interpreter, rows_of
from ..bus.link import Link
from ..bus.messages import Profile, ProfileKept
from ..bus.roles import address, inbox
from ..bus.subjects import pool, subject_of
from ..bus.wire import encode
from ..optimizer.fit import BadMeasurement
from ..optimizer.prices import Prices, Rates
from ..optimizer.profile_file import BadProfiles, dump
from ..profiling.bench import Bench
from ..profiling.benches import BENCHES
from ..profiling.kept import keep, read
from ..profiling.lab import Lab, NoMaterial
from ..profiling.measure import Measured, Measurer
from ..profiling.power import Meter
from ..profiling.summary import Summary, summary
from ..profiling.table import cost, table
from .locate import running_here
from .sensitivity import sensitivity
from .session import BadRequest
from .system import home

STORED_S = 15.0

Key = tuple[str, str]


async def profile(args: argparse.Namespace) -> int:
    """Raises BadRequest for names, files and numbers that cannot be."""
    if args.sensitivity:
        if args.implementations or args.import_ or args.export:
            raise BadRequest("--sensitivity JOB measures that job's stages: leave out implementations, --import and --export")
        return await sensitivity(args)
    lib.with_mcp(os.environ)
    if not (args.limit > 0 and args.reps > 0):
        raise BadRequest("--limit (seconds an implementation) and --reps are larger than 0")
    given = _import(args.import_) if args.import_ else ()
    homes: dict[Key, tuple[Implementation, str]] = {}
    for python in args.python:
        homes |= {key: (row, python) for key, row in _others(python).items()}
    rows, left_out = chosen(args.implementations, homes) if args.implementations or not args.import_ else ([], [])
    price = _price()
    if args.export:
        _writable(args.export)
    started = time.perf_counter()
    found, failed, spent_cpu_s = await _measure(rows, price, args) if rows else ([], [], 0.0)
    spent_s = time.perf_counter() - started
    failed = [*(f"{row.agent} {row.name} cannot run here: {why}" for row, why in left_out if args.implementations), *failed]
    newest = {(p.agent, p.implementation, p.hardware): p for p in (*given, *(one.profile for one in found))}
    profiles = tuple(newest.values())
    where = await _keep(profiles, args) if profiles else ""
    if args.export and profiles:
        args.export.write_bytes(dump(profiles, _about(args)))
    if args.json:
        print(json.dumps(_as_json(found, failed, given, spent_s, spent_cpu_s, price, where)))
    elif found:
        print("\n".join(table(found)))
        print(f"\n{cost(found, spent_s, spent_cpu_s, price.usd_per_core_hour)}")
    for line in failed:
        print(f"murakkab: {line}", file=sys.stderr)
    if not args.json:
        if given:
            print(f"{len(given)} profiles read from {args.import_}")
        if where:
            print(f"kept in {where}{f', written to {args.export}' if args.export else ''}")
    if not profiles:
        print("murakkab: nothing could be measured; `murakkab doctor` says what is missing here", file=sys.stderr)
    return 1 if failed or not profiles else 0


# --- what to measure ------------------------------------------------------------------------------------------------------------


def chosen(
    names: Sequence[str], others: Mapping[Key, tuple[Implementation, str]]
) -> tuple[list[tuple[Implementation, str]], list[tuple[Implementation, str]]]:
    """The rows that are meant and run here, each with its interpreter ("" is this one); and those that do not, with the reason.

    A name is that of an implementation (of any agent), of an agent, or AGENT/IMPLEMENTATION. Without names: all. `others` are rows of
    other interpreters. Raises BadRequest for an unknown name, with its neighbours.
    """
    rows = list(({key: row for key, (row, _) in others.items()} | lib.implementations()).values())
    wanted: dict[Key, Implementation] = {}
    for name in names or [""]:
        meant = [r for r in rows if name in ("", r.name, r.agent, f"{r.agent}/{r.name}")]
        if not meant:
            raise BadRequest(_unknown(name, rows))
        wanted |= {(r.agent, r.name): r for r in meant}
    run: list[tuple[Implementation, str]] = []
    left_out: list[tuple[Implementation, str]] = []
    for key, row in wanted.items():
        why = lib.missing(row, os.environ) if key in lib.implementations() else "it is not installed here"
        if not why:
            run.append((row, ""))
        elif key in others:
            run.append((row, others[key][1]))
        else:
            left_out.append((row, why))
    return run, left_out


def _others(python: str) -> dict[Key, Implementation]:
    """What another interpreter can run. Raises BadRequest for one that has no murakkab."""
    try:
        answer = subprocess.run([python, "-m", "murakkab.agents.offered"], capture_output=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BadRequest(f"--python {python} cannot be run: {error}") from None
    if answer.returncode:
        raise BadRequest(f"--python {python}: murakkab cannot be imported there: {answer.stderr.decode().strip().splitlines()[-1:]}")
    there = msgspec.json.decode(answer.stdout.splitlines()[-1], type=Interpreter)
    rows = {**rows_of(there.brings), **lib.implementations()}
    return {key: rows[key] for key in there.can if key in rows}


def _price() -> Rates:
    try:
        return Prices(os.environ).of("cpu")
    except ValueError as error:
        raise BadRequest(str(error)) from None


def _unknown(name: str, rows: Sequence[Implementation]) -> str:
    there = sorted({r.name for r in rows} | {r.agent for r in rows})
    if not there:
        return "the library is empty: there is nothing to measure"
    lower = {one.lower(): one for one in there}
    near = [lower[one] for one in difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.4)]
    near += [one for one in there if len(name) > 2 and name.lower() in one.lower() and one not in near][:3]
    hint = f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(there[:6])} …"
    return f"no implementation or agent '{name[:80]}': {hint} (`murakkab library` lists all)"


# --- measuring ------------------------------------------------------------------------------------------------------------------


async def _measure(
    rows: Sequence[tuple[Implementation, str]], price: Rates, args: argparse.Namespace
) -> tuple[list[Summary], list[str], float]:
    """Summaries, a line for each that failed, and CPU-seconds of all processes."""
    found: list[Summary] = []
    failed: list[str] = []
    spent_cpu_s = 0.0
    meter, bar = Meter(), Bar(sys.stderr, len(rows))
    with tempfile.TemporaryDirectory(prefix="murakkab-profile-") as folder:
        lab = Lab(Path(folder))
        try:
            for n, (row, python) in enumerate(rows):
                measurer = Measurer(Path(folder), meter, limit_s=args.limit, reps=args.reps, hardware=args.hardware, python=python)
                name = f"{row.agent} {row.name}"
                bar.next(n, name)
                bench, note = await _bench(lab, row)
                seen = await measurer.measure(row, bench, bar.show)
                seen.note = seen.note or note
                spent_cpu_s += seen.spent_cpu_s
                try:
                    if not seen.error:
                        found.append(summary(seen, source=source(seen, meter), at=time.time(), watts_per_core=price.watts_per_core))
                except BadMeasurement as error:
                    seen.error = str(error)
                if seen.error:
                    failed.append(f"{name} failed: {seen.error}")
        finally:
            bar.clear()
            await lab.close()
    return found, failed, spent_cpu_s + lab.spent_cpu_s


async def _bench(lab: Lab, row: Implementation) -> tuple[Bench | None, str]:
    """None, and why, where only loading and memory can be measured."""
    if row.agent not in BENCHES:
        return None, f"no bench for {row.agent}: only loading, memory and idling were measured"
    try:
        return await BENCHES[row.agent](lab), ""
    except NoMaterial as error:
        return None, f"only loading, memory and idling were measured: {error}"


def source(seen: Measured, meter: Meter) -> str:
    """Where a profile was measured: "AMD EPYC, 2 cores, 2026-11-23", with the GPU that did the work."""
    gpu = next((device.name for device in meter.gpus if seen.hardware != "cpu"), "")
    return f"{f'{gpu}, ' if gpu else ''}{_cpu_name()}, {os.cpu_count() or 1} cores, {time.strftime('%Y-%m-%d', time.gmtime())}"


def _about(args: argparse.Namespace) -> dict[str, Any]:
    """Provenance, for the head of an exported file."""
    return {
        "machine": f"{_cpu_name()}, {os.cpu_count() or 1} cores, {psutil.virtual_memory().total >> 30} GiB, {platform.system()}",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "by": f"murakkab profile, at most {args.limit:g} s an implementation and {args.reps} runs of a task",
        "figures": "times: the shortest run of each task, since others used the machine too; CPU-seconds: all runs",
        "load_average": [round(one, 2) for one in os.getloadavg()] if hasattr(os, "getloadavg") else None,
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "") or platform.machine()


class Bar:
    """Progress on a terminal, on one line that is written over; silent elsewhere."""

    def __init__(self, out: TextIO, total: int) -> None:
        self.out, self.total, self.n, self.name, self.on = out, total, 0, "", out.isatty()

    def next(self, n: int, name: str) -> None:
        self.n, self.name = n, name
        self.show("material", 0.0)

    def show(self, what: str, part: float) -> None:
        if self.on:
            done = round(20 * (self.n + min(1.0, part)) / max(1, self.total))
            self.out.write(f"\r\x1b[K{'█' * done}{'░' * (20 - done)} {self.n + 1}/{self.total} {self.name}: {what}")
            self.out.flush()

    def clear(self) -> None:
        if self.on:
            self.out.write("\r\x1b[K")
            self.out.flush()


# --- keeping --------------------------------------------------------------------------------------------------------------------


async def _keep(profiles: Sequence[Profile], args: argparse.Namespace) -> str:
    """Tells a running system; without one, a file in the data home, which the next system's optimizer reads. Where it went, for people."""
    url = args.nats or os.environ.get("NATS_URL", "") or running_here(args.data, os.environ)
    if not url:
        return str(keep(args.data or home(os.environ), profiles))
    link = await Link.open(address(url, "worker", os.environ), "murakkab-profile", inbox=inbox("worker"))
    refused: list[str] = []
    try:
        for one in profiles:
            kept = ProfileKept(pool=pool(one.agent, one.implementation, one.hardware), profile=one)
            link.store(subject_of(kept), encode(kept), {}, lambda _, error: refused.append(error) if error else None)
        await link.stored(STORED_S)
    except TimeoutError:
        raise TimeoutError(f"the system at {url} did not store the profiles within {STORED_S:g} s: is a conductor running?") from None
    finally:
        await link.close()
    if refused:
        raise OSError(f"the system refused {len(refused)} of {len(profiles)} profiles: {refused[0]}")
    return f"the system at {url.rpartition('@')[2]}"


def _import(path: Path) -> tuple[Profile, ...]:
    try:
        return read(path)
    except BadProfiles as error:
        raise BadRequest(str(error)) from None


def _writable(path: Path) -> None:
    """Before minutes are spent on what could then not be written."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise BadRequest(f"--export {path}: that is no file in a folder that exists")


def _as_json(
    found: Sequence[Summary],
    failed: Sequence[str],
    given: Sequence[Profile],
    spent_s: float,
    spent_cpu_s: float,
    price: Rates,
    where: str,
) -> dict[str, Any]:
    """The object of `--json`; its fields are a contract."""
    usd = spent_cpu_s * price.usd_per_core_hour / 3600
    return {
        "measured": [
            {
                "profile": msgspec.to_builtins(one.profile),
                "time": msgspec.to_builtins(one.time),
                "cpu": msgspec.to_builtins(one.cpu),
                "quality_n": one.quality_n,
                "note": one.note,
                "first_load_s": round(one.first_load_s, 4),
                "took_s": round(one.spent_s, 3),
                "took_cpu_s": round(one.spent_cpu_s, 3),
                "typical": {"units": one.typical, "time_s": one.typical_s, "cpu_s": one.typical_cpu_s},
                "one_percent_after_tasks": one.pays_after if one.typical_cpu_s > 0 else None,
            }
            for one in found
        ],
        "imported": [msgspec.to_builtins(one) for one in given],
        "failed": list(failed),
        "kept": where,
        "cost": {"time_s": round(spent_s, 3), "cpu_s": round(spent_cpu_s, 3), "usd": {"value": usd, "how": "modelled"}},
    }
