"""What Murakkab takes before it does anything: time to import, to start, to install; bytes on disk; memory at rest.

    python scripts/bench/footprint.py [--json FILE] [--install] [--reps 5]

    import_ms          median of 20 fresh interpreters each: `import murakkab` (which is lazy), and `from murakkab import Job` (which is all
                       that a program needs), timed inside, so without the interpreter's own start
    startup_ms         `python -c pass` and `murakkab --help` as whole processes, for comparison; median of 10
    accepted_s         from starting `murakkab run` on a sample video in an empty data folder until the conductor has stored the job
                       (the time of its log's first record), so nats-server and five actors start in it; median of --reps
    actors_mb          resident memory (RSS) of each process of `murakkab up` at rest, five seconds after the worker's first word: shared
                       pages count in each process. `pss_mb` splits shared pages among their users, so those add up
    idle_cpu_percent   CPU of all of them together over the next ten seconds, in percent of one core
    install            with --install: `make_env` of scripts/env.sh in a copy of the tracked files, that is a virtual environment with the extra
                       `local` and the model weights; and a second one with the base install alone. Seconds depend on the network and
                       pip's cache; megabytes are file sizes, each file once. No test says whether other computers take as long.
All are measured.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from murakkab.bus.messages import HostHeartbeat, Submitted
from murakkab.bus.roles import CREDENTIALS, address, inbox
from murakkab.bus.subjects import wildcard
from murakkab.client.locate import reach
from murakkab.client.session import Session
from murakkab.client.system import System

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "samples" / "switchboard.mp4"
STATEMENTS = ("import murakkab", "from murakkab import Job")


def main() -> None:
    p = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    p.add_argument("--json", type=Path, metavar="FILE")
    p.add_argument("--install", action="store_true")
    p.add_argument("--reps", type=int, default=5)
    args = p.parse_args()
    found: dict[str, Any] = {"what": "footprint", "how": "measured", "date": datetime.datetime.now(datetime.UTC).date().isoformat()}
    found |= {"cores": os.cpu_count(), "import_ms": imports(), "startup_ms": startup()}
    found["accepted_s"] = [round(asyncio.run(accepted()), 3) for _ in range(args.reps)]
    found["accepted_median_s"] = statistics.median(found["accepted_s"])
    found["rest"] = asyncio.run(at_rest())
    if args.install:
        found["install"] = install()
    print(json.dumps(found, indent=1))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


def imports(times: int = 20) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for statement in STATEMENTS:
        code = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
        each_ms = []
        for _ in range(times):
            said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
            each_ms.append(round(float(said) * 1000, 1))
        found[statement] = {"median": round(statistics.median(each_ms), 1), "least": min(each_ms), "most": max(each_ms)}
    slow = subprocess.run([sys.executable, "-X", "importtime", "-c", STATEMENTS[-1]], capture_output=True, text=True, check=True).stderr
    rows = [(int(m[1]), m[2].strip()) for m in re.finditer(r"import time:\s*\d+ \|\s*(\d+) \|(.*)", slow)]
    found["slowest_modules"] = [f"{name} {us / 1000:.0f}" for us, name in sorted(rows, reverse=True) if name.count(".") <= 1][:10]
    return found


def startup(times: int = 10) -> dict[str, float]:
    found = {}
    for name, argv in (("python -c pass", ["-c", "pass"]), ("murakkab --help", ["-m", "murakkab.client.cli", "--help"])):
        took = []
        for _ in range(times):
            start = time.perf_counter()
            subprocess.run([sys.executable, *argv], stdout=subprocess.DEVNULL, check=True)
            took.append((time.perf_counter() - start) * 1000)
        found[name] = round(statistics.median(took), 1)
    return found


async def accepted() -> float:
    """Seconds from starting the command until the job's first record, which the conductor writes before it accepts."""
    with tempfile.TemporaryDirectory(prefix="murakkab-footprint-") as folder:
        env = fresh(folder)
        start = time.time()
        argv = [sys.executable, "-m", "murakkab.client.cli", "run", "List objects shown in the video", str(SAMPLE), "--json"]
        done = await asyncio.create_subprocess_exec(*argv, env=env, stdout=asyncio.subprocess.PIPE)
        said, _ = await done.communicate()
        job = json.loads(said)["job"]
        async with reach("", None, {**env}) as url:
            session = await Session.open(url)
            try:
                records = [r for log in await session.log_of(job) for r in log.records]
            finally:
                await session.close()
                os.environ.pop(CREDENTIALS, None)
    return next(r.at for r in records if isinstance(r, Submitted)) - start


def fresh(folder: str) -> dict[str, str]:
    return {**{k: v for k, v in os.environ.items() if k not in ("NATS_URL", CREDENTIALS)}, "MURAKKAB_HOME": folder}


async def at_rest() -> dict[str, Any]:
    """Memory and CPU of an embedded system that has nothing to do and no model loaded."""
    from murakkab.bus.link import Link

    with tempfile.TemporaryDirectory(prefix="murakkab-footprint-") as folder:
        system = System(Path(folder))
        start = time.perf_counter()
        async with system as url:
            link = await Link.open(address(url, "observer", system.env), "murakkab-footprint", inbox=inbox("observer"))
            heard = asyncio.Event()

            async def on_beat(_: Any) -> None:
                heard.set()

            await link.subscribe(wildcard(HostHeartbeat), on_beat)
            await asyncio.wait_for(heard.wait(), 60)
            up_s = time.perf_counter() - start
            await link.close()
            await asyncio.sleep(5)
            assert system.server is not None
            assert system.server.process is not None
            processes = {"nats-server": psutil.Process(system.server.process.pid)}
            processes |= {role: psutil.Process(pid) for role, pid in system.pids.items()}
            before = {role: sum(p.cpu_times()[:2]) for role, p in processes.items()}
            await asyncio.sleep(10)
            cpu = {role: round((sum(p.cpu_times()[:2]) - before[role]) * 10, 2) for role, p in processes.items()}
            memory = {role: p.memory_full_info() for role, p in processes.items()}
    rss = {role: round(m.rss / 2**20, 1) for role, m in memory.items()}
    pss = {role: round(m.pss / 2**20, 1) for role, m in memory.items()}
    return {
        "worker_heard_after_s": round(up_s, 2),
        "actors_mb": rss,
        "pss_mb": {**pss, "sum": round(sum(pss.values()), 1)},
        "idle_cpu_percent": {**cpu, "sum": round(sum(cpu.values()), 2)},
    }


def install() -> dict[str, Any]:
    """Both environments, each in a copy of the tracked files."""
    with tempfile.TemporaryDirectory(prefix="murakkab-footprint-") as folder:
        copy = Path(folder) / "murakkab"
        files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
        for file in filter(None, files):
            (copy / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / file, copy / file)
        start = time.perf_counter()
        subprocess.run(["bash", "-ec", ". scripts/env.sh; make_env .venv local"], cwd=copy, check=True, stdout=sys.stderr)
        local_s = time.perf_counter() - start
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "venv", "base"], cwd=folder, check=True)
        empty_mb = size_mb(Path(folder) / "base")
        subprocess.run(
            ["base/bin/pip", "install", "-q", "-c", copy / "scripts/constraints.txt", copy], cwd=folder, check=True, stdout=sys.stderr
        )
        base_s = time.perf_counter() - start
        return {
            "base_s": round(base_s, 1),
            "base_mb": size_mb(Path(folder) / "base"),
            "empty_venv_mb": empty_mb,
            "local_s": round(local_s, 1),
            "local_mb": size_mb(copy / ".venv"),
            "checkout_mb": size_mb(copy) - size_mb(copy / ".venv"),
        }


def size_mb(folder: Path) -> float:
    seen: dict[tuple[int, int], int] = {}
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink():
            s = file.stat()
            seen[(s.st_dev, s.st_ino)] = s.st_size
    return round(sum(seen.values()) / 2**20, 1)


if __name__ == "__main__":
    main()
