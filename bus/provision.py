"""Makes what JetStream shall keep: our streams, and each tenant's bucket, with so many copies of each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from .artifacts import make_bucket
from .link import Link, NotMade
from .streams import STREAMS

log = logging.getLogger("murakkab.bus")

REPLICAS = "MURAKKAB_REPLICAS"
WAIT_S = 60.0
"""A cluster of NATS servers that has just started has no leader, and too few servers, for about ten seconds."""


def replicas(environ: Mapping[str, str]) -> int:
    """How many servers keep each stream: 1 unless MURAKKAB_REPLICAS says so. Raises ValueError, fit for a user."""
    text = environ.get(REPLICAS, "") or "1"
    if text not in ("1", "3", "5"):
        raise ValueError(f"{REPLICAS}={text[:40]}: it is 1, 3 or 5, and not more than there are NATS servers")
    return int(text)


async def provision(link: Link, tenants: Sequence[str], copies: int, *, wait_s: float = WAIT_S) -> None:
    """Tried again while the servers say no, which those of a young cluster do. Raises NotMade after `wait_s`."""
    end, told = link.loop.time() + wait_s, ""
    while True:
        try:
            for spec in STREAMS:
                await link.ensure(spec, copies)
            for tenant in tenants:
                await make_bucket(link, tenant, copies)
            return
        except NotMade as error:
            if link.loop.time() > end:
                raise
            if str(error) != told:
                told = str(error)
                log.warning("%s; trying again", told)
            await asyncio.sleep(0.5)
