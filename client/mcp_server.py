"""`murakkab mcp`: Murakkab as an MCP server over standard input and output, so that other programs' models can run jobs.

Standard output belongs to the protocol. The package `mcp` is asked for only here (`mcp_offer.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
from importlib.util import find_spec

from .job import system
from .session import BadRequest

JOBS_END_S = 5.0


class Base:
    """The system that jobs run on: the one that is named, or an embedded one, started with the first job and stopped at the end."""

    def __init__(self, nats: str, stack: contextlib.AsyncExitStack) -> None:
        self._nats, self._stack = nats, stack
        self._url = nats or os.environ.get("NATS_URL", "")
        self._starting = asyncio.Lock()
        self.jobs: set[asyncio.Task[object]] = set()

    @property
    def running(self) -> str:
        """Its address; empty while there is none."""
        return self._url

    async def url(self) -> str:
        async with self._starting:
            if not self._url:
                self._url = await self._stack.enter_async_context(system(self._nats))
            return self._url

    async def end_jobs(self) -> None:
        """Nobody waits for them any more."""
        for job in self.jobs:
            job.cancel()
        if self.jobs:
            await asyncio.wait(self.jobs, timeout=JOBS_END_S)


async def serve(args: argparse.Namespace) -> int:
    """Until the input ends. Raises BadRequest when the package is not there."""
    if find_spec("mcp") is None:
        raise BadRequest("the Python package 'mcp' is not installed: pip install 'murakkab[mcp]'")
    from .mcp_offer import offer

    asked_to_end = False
    async with contextlib.AsyncExitStack() as stack:
        base = Base(args.nats, stack)
        talk = asyncio.create_task(offer(base).run_stdio_async())
        try:
            await asyncio.shield(talk)
        except asyncio.CancelledError:
            asked_to_end = True
        await base.end_jobs()
    if asked_to_end:  # its thread waits for a line that will not come, and cannot be told to stop
        sys.stderr.flush()
        os._exit(143)
    return 0
