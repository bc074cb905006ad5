"""An embedded system: nats-server and the five actors as child processes, each started again when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..bus.roles import CREDENTIALS, make_passwords, save
from ..bus.server import NatsServer

PROCESSES = ("conductor", "planner", "optimizer", "clustermgr", "worker")
STOP_GRACE_S = 8.0
RESTART_MAX_S = 10.0


def home(environ: Mapping[str, str]) -> Path:
    """Where Murakkab keeps its data unless told otherwise: MURAKKAB_HOME, else ~/.cache/murakkab."""
    return Path(environ.get("MURAKKAB_HOME") or Path.home() / ".cache" / "murakkab")


def lock_folder(folder: Path) -> int | None:
    """The descriptor that holds a data folder until it is closed; None while another process does. Two servers on one store
    would spoil it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


def free_folder(environ: Mapping[str, str]) -> tuple[Path, int]:
    """A data folder that no other embedded system uses just now, and the descriptor whose lock says so.

    Usually the same one every time, so that what one run has indexed the next one finds.
    """
    for n in range(1, 100):
        folder = home(environ) / ("embedded" if n == 1 else f"embedded-{n}")
        if (lock := lock_folder(folder)) is not None:
            return folder, lock
    raise RuntimeError(f"100 embedded systems run under {home(environ)}; stop some, or name a running one with --nats")


class System:
    """`async with System(data) as url:` runs everything until the block ends. `url` may name a running server instead."""

    def __init__(
        self,
        data: Path,
        *,
        url: str = "",
        processes: Sequence[str] = PROCESSES,
        worker_args: Sequence[str] = (),
        listen: tuple[str, int] = ("127.0.0.1", -1),
    ) -> None:
        """`listen`: the address and port of the embedded server; port -1 is a free one."""
        self.listen = listen
        self.data, self.url, self.processes, self.worker_args = data, url, processes, tuple(worker_args)
        self.server: NatsServer | None = None
        self.pids: dict[str, int] = {}
        self.env = {**os.environ, "MURAKKAB_OWNER": str(os.getpid())}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def __aenter__(self) -> str:
        self.data.mkdir(parents=True, exist_ok=True)
        if not self.url:
            passwords = make_passwords()
            credentials = self.data / "credentials.json"
            save(passwords, credentials)
            self.env[CREDENTIALS] = str(credentials)
            self.server = NatsServer(self.data / "nats", passwords, address=self.listen[0], port=self.listen[1])
            self.url = await asyncio.get_running_loop().run_in_executor(None, self.server.start)
            self._tasks["nats"] = asyncio.create_task(self._keep_server(self.server))
        (self.data / "system.json").write_text(
            json.dumps({"url": self.url, "credentials": self.env.get(CREDENTIALS, ""), "pid": os.getpid()})
        )
        self._tasks |= {role: asyncio.create_task(self._keep(role)) for role in self.processes}
        return self.url

    async def __aexit__(self, *_: object) -> None:
        # the worker first: it says that it leaves, and the cluster manager then wants nothing of it when it comes back
        for role in sorted(self._tasks, key=lambda r: r != "worker"):
            self._tasks[role].cancel()
            if role == "worker":
                await asyncio.gather(self._tasks[role], return_exceptions=True)
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        if self.server is not None:
            await asyncio.get_running_loop().run_in_executor(None, self.server.stop)
        (self.data / "system.json").unlink(missing_ok=True)

    async def _keep_server(self, server: NatsServer) -> None:
        """A server that dies comes back on its port with its store."""
        while True:
            await asyncio.sleep(0.2)
            if server.process is not None and server.process.poll() is not None:
                print(f"murakkab: nats-server ended (status {server.process.returncode}); starting it again", file=sys.stderr)
                with contextlib.suppress(RuntimeError):
                    await asyncio.get_running_loop().run_in_executor(None, server.start)

    async def _keep(self, role: str) -> None:
        pause = 0.2
        logs = self.data / "logs"
        logs.mkdir(exist_ok=True)
        while True:
            argv = [sys.executable, "-m", "murakkab.client.cli", role, "--nats", self.url, "--data", str(self.data)]
            if role == "worker":
                argv += self.worker_args
            started = asyncio.get_running_loop().time()
            with (logs / f"{role}.log").open("ab") as log_file:
                process = await asyncio.create_subprocess_exec(
                    *argv, stdin=asyncio.subprocess.DEVNULL, stdout=log_file, stderr=log_file, env=self.env, start_new_session=True
                )
            self.pids[role] = process.pid
            try:
                code = await process.wait()
            except asyncio.CancelledError:
                await _end(process)
                raise
            if asyncio.get_running_loop().time() - started > 30:
                pause = 0.2
            print(
                f"murakkab: the {role} ended (status {code}); starting it again in {pause:g} s; see {logs / (role + '.log')}",
                file=sys.stderr,
            )
            await asyncio.sleep(pause)
            pause = min(RESTART_MAX_S, pause * 2)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_GRACE_S)
        except TimeoutError:
            process.kill()
            await process.wait()
