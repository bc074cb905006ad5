"""A line for whoever waits where nobody shows progress: why a job does not begin, once that has lasted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TextIO

from ..bus.messages import JobProgress

PATIENCE_S = 3.0
"""A system that is just starting has its first hosts within this time."""


class Patience:
    """Hears a job's progress, and says each reason for waiting once."""

    def __init__(self, job: str, out: TextIO, patience_s: float = PATIENCE_S) -> None:
        self.job, self.out, self.patience_s = job, out, patience_s
        self._note, self._said = "", ""

    async def follow(self, events: AsyncIterator[JobProgress]) -> AsyncIterator[JobProgress]:
        """The same progress, which it hears."""
        task = asyncio.create_task(self._watch())
        try:
            async for news in events:
                self._note = news.note if news.phase in ("planning", "optimizing") else ""
                yield news
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _watch(self) -> None:
        while True:
            before = self._note
            await asyncio.sleep(self.patience_s)
            if before and before == self._note and before != self._said:
                self._said = before
                print(f"murakkab: job {self.job} waits: {before}", file=self.out, flush=True)
