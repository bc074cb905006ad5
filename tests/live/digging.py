"""An agent whose tasks take a second each, as somebody else's package would bring it: worth more than one host."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from murakkab.agents.interface import Call
from murakkab.agents.library import Agent, Implementation, Take
from murakkab.agents.types import Number
from murakkab.bus.messages import Edge, Stage, Workflow

AGENTS = [Agent("Dig", "Digs for a second; for tests.", {"after": Take("Number")}, "Number")]
IMPLEMENTATIONS = [Implementation("spade", "Dig", "digging:Spade", memory_mb=30, work_s=1.0, load_s=0.2)]


class Spade:
    def load(self) -> None:
        pass

    async def run_async(self, call: Call) -> Number:
        await asyncio.sleep(1.0)
        return Number(1.0)


def dig(n: int) -> Workflow:
    """One task that spreads n numbers, n that dig, one that gathers."""
    return Workflow(
        (
            Stage("spread", "Spread", many=True, args={"n": n}),
            Stage("dig", "Dig", (Edge("after", "spread"),), 1),
            Stage("gather", "Sleep", (Edge("after", "dig"),)),
        ),
        ("gather",),
    )


def install(folder: Path) -> str:
    """Makes `folder` a place that has this module installed with its entry points; returns the PYTHONPATH that says so."""
    info = folder / "digging-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: digging\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[murakkab.agents]\ndigging = digging:AGENTS\n\n[murakkab.implementations]\ndigging = digging:IMPLEMENTATIONS\n"
    )
    path = os.environ.get("PYTHONPATH", "")
    return os.pathsep.join([str(folder), str(Path(__file__).parent), *([path] if path else [])])
