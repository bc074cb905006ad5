"""Built-in agents without a model: they wait, or give numbers. Tests and benchmarks measure the system around them."""

from __future__ import annotations

import asyncio

from .interface import BadInput, Call
from .types import Number


class Sleep:
    """Waits `ms` milliseconds; many at once in one event loop."""

    def load(self) -> None:
        pass

    async def run_async(self, call: Call) -> Number:
        ms = call.arg("ms", 0.0)
        if not 0 <= ms <= 3_600_000:
            raise BadInput(f"ms={ms:g} is not between 0 and 3600000")
        if ms:
            await asyncio.sleep(ms / 1000)
        return Number(ms)


class Spread:
    """Gives the numbers 0 … n-1 as a collection."""

    def load(self) -> None:
        pass

    async def run_async(self, call: Call) -> list[Number]:
        n = call.arg("n", 1)
        if not 0 <= n <= 100_000:
            raise BadInput(f"n={n} is not between 0 and 100000")
        return [Number(float(i)) for i in range(n)]
