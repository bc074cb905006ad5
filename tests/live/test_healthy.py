"""`murakkab healthy` of real conductors: at work, standing by, cut off from NATS, and hung."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from murakkab.bus.roles import make_passwords, save
from murakkab.bus.server import NatsServer

pytestmark = pytest.mark.live
CLI = (sys.executable, "-m", "murakkab.client.cli")


@contextmanager
def conductor(url: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    folder.mkdir()
    environ = {**os.environ, "MURAKKAB_ALIVE": str(folder / "alive")}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*CLI, "conductor", "--nats", url, "--data", str(folder)], env=environ, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def healthy(folder: Path, *more: str) -> tuple[int, str]:
    argv = [*CLI, "healthy", "--alive", str(folder / "alive"), *more]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stderr.strip()


def until(folder: Path, says: str, *more: str) -> None:
    end = time.monotonic() + 40
    while says not in (said := healthy(folder, *more)[1]) or bool(said) != bool(says):
        assert time.monotonic() < end, said
        time.sleep(0.1)


def test_conductors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = make_passwords()
    save(passwords, tmp_path / "credentials.json")
    monkeypatch.setenv("MURAKKAB_CREDENTIALS", str(tmp_path / "credentials.json"))
    monkeypatch.delenv("MURAKKAB_OWNER", raising=False)
    one, two = tmp_path / "one", tmp_path / "two"
    with ExitStack() as stop:
        server = NatsServer(tmp_path / "nats", passwords)
        stop.callback(server.stop)
        first = stop.enter_context(conductor(server.start(), one))
        until(one, "", "--ready")
        assert b'"working"' in (one / "alive").read_bytes()
        stop.enter_context(conductor(server.url, two))
        until(two, "", "--ready")
        assert b'"standing by"' in (two / "alive").read_bytes()

        server.kill()
        until(one, "it is not connected to a NATS server", "--ready")
        assert healthy(one) == (0, ""), "killing it would not help"
        server.start()
        until(one, "", "--ready")

        first.send_signal(signal.SIGSTOP)
        while psutil.Process(first.pid).status() != psutil.STATUS_STOPPED:
            time.sleep(0.01)
        os.utime(one / "alive", (time.time() - 60, time.time() - 60))  # rather than wait that long
        code, said = healthy(one)
        assert code == 1
        assert "s old, the limit is 30 s" in said
