"""What the planner's shell does for it: asks proposers, in threads, since they think long."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..planner.library import Library
from ..planner.proposal import Proposal, Proposer
from .core import Errand
from .planner import Propose


class Proposers:
    """The proposers of a planner, best first. One thread each job, few at a time: a language model server batches by itself."""

    def __init__(self, proposers: Mapping[str, Proposer], threads: int = 4) -> None:
        self.proposers = dict(proposers)
        self._pool = ThreadPoolExecutor(threads, "proposer")

    @property
    def errands(self) -> dict[type[Errand], Any]:
        return {Propose: self.propose}

    async def propose(self, errand: Propose, _: str) -> Proposal:
        proposer = self.proposers[errand.by]
        return await asyncio.get_running_loop().run_in_executor(
            self._pool, proposer.propose, errand.request, errand.library, errand.complaint
        )

    def warm(self, library: Library) -> None:
        """Loads what the offline proposer needs while nobody waits yet."""
        offline = self.proposers.get("offline")
        warm = getattr(offline, "warm", None)
        if warm is not None:
            threading.Thread(target=warm, args=(library,), daemon=True).start()

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
