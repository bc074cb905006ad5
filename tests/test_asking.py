"""How a job is asked for: goals with tolerance and bounds, on the command line, in Python, and over MCP."""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path

import msgspec
import pytest

from murakkab import MAX_QUALITY, MIN_COST, MIN_LATENCY, Job
from murakkab.bus.messages import SubmitJob
from murakkab.client.cli import parser
from murakkab.client.explain import in_words
from murakkab.client.mcp_server import Base
from murakkab.client.run import as_job
from murakkab.client.session import BadRequest


def said(*words: str) -> argparse.Namespace:
    return parser().parse_args(["explain", "Do it", *words])


def test_the_command_line_takes_goals_with_tolerance_and_an_energy_budget() -> None:
    job = as_job(
        said("--constraint", "MIN_COST:10%", "--constraint", "MAX_QUALITY", "--energy-budget", "0.5", "--deadline", "20"), explain=True
    )
    message = job.message("t", ())
    assert message.constraints == ("MIN_COST:10%", "MAX_QUALITY")
    assert (message.energy_budget_wh, message.explain) == (0.5, True)
    assert in_words(job) == "MIN_COST (within 10 %), then MAX_QUALITY (within 5 %); deadline 20 s; energy budget 0.5 Wh"
    assert in_words(as_job(said())) == "MIN_COST (within 5 %)"
    assert in_words(as_job(said("--constraint", "MIN_LATENCY:0"))) == "MIN_LATENCY"
    assert said("--trace", "x.html").trace == Path("x.html")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--constraint", "FAST"), "unknown constraint 'FAST'"),
        (("--constraint", "MIN_COST:-1"), "the tolerance is a number from 0 to 10"),
        (("--constraint", "MIN_COST", "--constraint", "MIN_COST:10%"), "constraint MIN_COST is there twice"),
        (("--energy-budget", "nan"), "energy_budget_wh=nan is not a positive number"),
        (("--budget", "0"), "budget_usd=0 is not a positive number"),
        (("--deadline", "-1"), "deadline_s=-1 is not a positive number"),
        (("--quality-floor", "1.1"), "quality_floor=1.1 is not between 0 and 1"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_started(words: tuple[str, ...], text: str) -> None:
    with pytest.raises(BadRequest, match=re.escape(text)):
        as_job(said(*words))


def test_tolerances_in_python() -> None:
    message = Job("Do it", constraints=[MIN_COST.within(0.1), MIN_LATENCY.within(0), MAX_QUALITY]).message("t", ())
    assert message.constraints == ("MIN_COST:0.1", "MIN_LATENCY:0", "MAX_QUALITY")
    assert msgspec.convert(msgspec.json.decode(msgspec.json.encode(message)), SubmitJob).constraints == message.constraints
    assert Job("Do it", constraints=MIN_COST).message("t", ()).constraints == ("MIN_COST",)
    for wrong in (-0.1, 11, math.nan, "10%", True):
        with pytest.raises(ValueError, match="the tolerance is a number from 0 to 10"):
            MIN_COST.within(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has a tolerance already"):
        MIN_COST.within(0.1).within(0.2)


def test_mcp_tools_take_the_energy_budget() -> None:
    pytest.importorskip("mcp")
    import asyncio
    import contextlib

    from murakkab.client.mcp_offer import offer

    async def tools() -> dict[str, dict[str, object]]:
        async with contextlib.AsyncExitStack() as stack:
            return {t.name: t.input_schema for t in await offer(Base("", stack)).list_tools()}

    found = asyncio.run(tools())
    for name in ("run_job", "explain_job"):
        assert "energy_budget_wh" in found[name]["properties"]  # type: ignore[operator]
