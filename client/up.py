"""`murakkab up`: a whole system on this machine until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from pathlib import Path

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
    system = System(data, url=url, processes=processes, worker_args=worker_args)
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
