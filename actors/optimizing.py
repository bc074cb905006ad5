"""What the optimizer's shell does for it: searches that take long, in a thread, so that the actor goes on hearing."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

from ..bus.messages import Plan
from .core import Errand
from .optimizer import Optimize, Refusal, optimized


class Searches:
    """One at a time: each has the time limit of one, and the machine's cores are for models."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "search")
        self._pool.submit(import_module, "highspy")  # takes a while, and the first job that needs it would wait

    @property
    def errands(self) -> dict[type[Errand], Any]:
        return {Optimize: self.optimize}

    async def optimize(self, errand: Optimize, _: str) -> Plan | Refusal:
        return await asyncio.get_running_loop().run_in_executor(self._pool, optimized, errand)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
