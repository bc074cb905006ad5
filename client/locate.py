"""Which system a command means: the one that is named, else the one that runs here, else what an ended one has stored."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from ..bus.roles import CREDENTIALS, make_passwords, save
from ..bus.server import NatsServer
from .session import BadRequest
from .system import home, lock_folder


def running_here(data: Path | None, environ: Mapping[str, str]) -> str:
    """The URL of a system that runs on this machine; its credentials go into the environment. Empty if there is none."""
    folders = [data] if data else [home(environ) / "up", *sorted(home(environ).glob("embedded*"))]
    for folder in folders:
        try:
            said = json.loads((folder / "system.json").read_text())
            os.kill(said["pid"], 0)
        except (OSError, ValueError, KeyError):
            continue
        if said["credentials"]:
            os.environ.setdefault(CREDENTIALS, said["credentials"])
        return str(said["url"])
    return ""


@contextlib.asynccontextmanager
async def reach(named: str, data: Path | None, environ: Mapping[str, str]) -> AsyncIterator[str]:
    """A URL to ask about the past; if nothing runs, a NATS server alone is started on what an ended system has stored."""
    url = named or environ.get("NATS_URL", "") or running_here(data, environ)
    if url:
        yield url
        return
    folder = data or home(environ) / "embedded"
    if not (folder / "nats").is_dir():
        raise BadRequest("no system runs here and none has stored anything: start one with `murakkab up`, or name one with --nats")
    lock = lock_folder(folder)
    if lock is None:
        raise BadRequest(f"the system on {folder} is just being started or stopped: ask again in a moment")
    passwords = make_passwords()
    save(passwords, folder / "credentials.json")
    os.environ[CREDENTIALS] = str(folder / "credentials.json")
    server = NatsServer(folder / "nats", passwords)
    loop = asyncio.get_running_loop()
    try:
        yield await loop.run_in_executor(None, server.start)
    finally:
        await loop.run_in_executor(None, server.stop)
        os.close(lock)
