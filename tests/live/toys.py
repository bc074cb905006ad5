"""Workflows without models, for live tests."""

from __future__ import annotations

from murakkab.bus.messages import Edge, Stage, Workflow


def fan(n: int, ms: float) -> Workflow:
    """One task that spreads n numbers, n tasks that wait, one that gathers."""
    return Workflow(
        (
            Stage("spread", "Spread", many=True, args={"n": n}),
            Stage("wait", "Sleep", (Edge("after", "spread"),), 1, args={"ms": ms}),
            Stage("gather", "Sleep", (Edge("after", "wait"),)),
        ),
        ("gather",),
    )
