"""`murakkab up`: a whole system on this machine until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import os
import signal
from pathlib import Path

from ..actors.tenant_file import FILE, tenants_of
from .session import BadRequest
from .system import PROCESSES, System, home, lock_folder


async def up(args: argparse.Namespace) -> int:
    data: Path = args.data or home(os.environ) / "up"
    processes = tuple(p for p in PROCESSES if p != "worker") if args.no_worker else PROCESSES
    worker_args = [part for python in args.python for part in ("--python", python)]
    url = args.nats or os.environ.get("NATS_URL", "")
    lock = lock_folder(data)
    if lock is None:
        raise BadRequest(f"a system runs on {data} already: use it, stop it, or name another folder with --data")
    if args.listen and url:
        raise BadRequest(f"--listen is for an embedded NATS server; {url} is one already")
    system = System(data, url=url, processes=processes, worker_args=worker_args, listen=_listen(args.listen))
    _name_tenants(args.tenants, system.env)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with system as address:
        print(f"Murakkab is up at {address} ({', '.join(processes)}); data and logs in {data}")
        if not url:
            print(
                f"In another terminal:\n  export NATS_URL={address} MURAKKAB_CREDENTIALS={data / 'credentials.json'}\n  murakkab run ...",
                flush=True,
            )
        await stop.wait()
        print("\nstopping")
    os.close(lock)
    return 0


def _name_tenants(file: str, env: dict[str, str]) -> None:
    """What is wrong in the file is told now, and here."""
    if file:
        env[FILE] = str(Path(file).resolve())
    tenants_of(env)


def _listen(text: str) -> tuple[str, int]:
    """An address of this machine, and a port: 4222 unless it says another."""
    if not text:
        return "127.0.0.1", -1
    address, _, port = text.partition(":")
    try:
        ipaddress.IPv4Address(address)
        number = int(port or 4222)
    except ValueError:
        number = 0
    if not 0 < number < 65_536:
        raise BadRequest(f"--listen {text[:60]}: it is an IPv4 address of this machine and perhaps a port, as 192.0.2.7 or 192.0.2.7:4222")
    return address, number
