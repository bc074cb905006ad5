"""The command line as a user has it: processes of its own, in a home of its own, each with a limit on its time."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats
import psutil

from murakkab.client.system import System

CLI = (sys.executable, "-m", "murakkab.client.cli")
STEPS = ("Extract frames from each video", "Run speech-to-text on all scenes", "Detect objects in the frames")
HINTS = tuple(word for step in STEPS for word in ("--task", step))
LIST = "List objects shown/mentioned in the videos"
SAMPLES = Path(__file__).resolve().parents[2] / "samples"


def clean_env(home: Path, **more: str) -> dict[str, str]:
    """The environment without anything that would lead to another system; MURAKKAB_HOME marks our processes as ours."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NATS_", "MURAKKAB_CREDENTIALS", "OTEL_"))}
    return {**kept, "MURAKKAB_HOME": str(home), **more}


def murakkab(*args: str | Path, env: Mapping[str, str], limit_s: float = 90.0, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs one command to its end."""
    with subprocess.Popen(
        [*CLI, *map(str, args)], env=dict(env), cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            out, err = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
            end_all(Path(env["MURAKKAB_HOME"]))
            raise
    return subprocess.CompletedProcess(args, process.returncode, out, err)


def ours(home: Path) -> list[psutil.Process]:
    """Every living process that was started for this home: their environment names it."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("MURAKKAB_HOME") == str(home) and process.pid != os.getpid() and process.status() != "zombie":
                found.append(process)
        except psutil.Error:
            continue
    return found


def left_behind(home: Path, patience_s: float = 0.0) -> list[str]:
    """The command lines of our processes that still live after `patience_s`."""
    end = time.monotonic() + patience_s
    while (found := ours(home)) and time.monotonic() < end:
        time.sleep(0.1)
    lines = []
    for process in found:
        with contextlib.suppress(psutil.Error):
            lines.append(f"{process.pid} {' '.join(process.cmdline())}")
    return lines


def end_all(home: Path) -> None:
    """After a test that failed."""
    for process in ours(home):
        with contextlib.suppress(psutil.Error):
            process.kill()


@dataclass
class Up:
    """A running `murakkab up`. `env` is what it tells a user to export."""

    process: subprocess.Popen[str]
    env: dict[str, str]
    home: Path
    url: str

    def run(self, *args: str | Path, limit_s: float = 90.0) -> subprocess.CompletedProcess[str]:
        return murakkab(*args, env=self.env, limit_s=limit_s)

    def stop(self, number: int = signal.SIGINT) -> int:
        """As Ctrl-C does; its exit status."""
        self.process.send_signal(number)
        return self.process.wait(30)


@contextlib.contextmanager
def up(home: Path, *args: str, **more: str) -> Iterator[Up]:
    """`murakkab up`, from its first words until the block ends."""
    env = clean_env(home, **more)
    process = subprocess.Popen(
        [*CLI, "up", *args], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    lines: queue.Queue[str] = queue.Queue()
    stream = process.stdout

    def listen() -> None:
        for line in stream:
            lines.put(line)

    reader = threading.Thread(target=listen)
    reader.start()
    try:
        said = ""
        while "export" not in said:
            said += lines.get(timeout=30)
        exported = dict(re.findall(r"(NATS_URL|MURAKKAB_CREDENTIALS)=(\S+)", said))
        yield Up(process, {**env, **exported}, home, exported["NATS_URL"])
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()
        process.wait()
        end_all(home)
        reader.join(10)
        stream.close()


def _password(system: System, role: str) -> str:
    return str(json.loads(Path(system.env["MURAKKAB_CREDENTIALS"]).read_text())[role])


@contextlib.asynccontextmanager
async def observer(system: System) -> AsyncIterator[Any]:
    """A connection that hears what actors say and says nothing."""
    password = _password(system, "observer")
    nc = await nats.connect(system.url, user="observer", password=password, inbox_prefix=b"_INBOX.observer")
    try:
        yield nc
    finally:
        await nc.close()
