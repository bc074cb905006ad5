"""The slow work of a simulated planner: the real offline proposer, which takes no weights here, and time as a language model would."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

from ..actors.core import Errand
from ..actors.planner import Propose
from ..planner.embed import Hashed
from ..planner.proposal import Proposal
from ..planner.proposers import Offline


class Planning:
    """Proposes after a while that the dice say."""

    def __init__(self, dice: Random) -> None:
        self.dice, self.offline = dice, Offline(Hashed())

    @property
    def errands(self) -> dict[type[Errand], Any]:
        return {Propose: self.propose}

    async def propose(self, errand: Propose, _: str) -> Proposal:
        await asyncio.sleep(self.dice.uniform(0.01, 2.0))
        return self.offline.propose(errand.request, errand.library, errand.complaint)
