"""What hosted models cost and let through, as their owner says. Pure; the environment comes as a mapping."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite

from ..agents.spec import Implementation
from ..bus.messages import Line, Profile

VARIABLE = "MURAKKAB_LLM_URL"
USD_IN, USD_OUT, PER_MIN = "MURAKKAB_LLM_USD_PER_MTOK_IN", "MURAKKAB_LLM_USD_PER_MTOK_OUT", "MURAKKAB_LLM_REQUESTS_PER_MIN"
TOKENS_PER_S = 50.0
"""Of one request, until tasks have shown it: a middling hosted model. Assumed."""


def hosted_profiles(environ: Mapping[str, str], library: Mapping[tuple[str, str], Implementation]) -> tuple[Profile, ...]:
    """Of the implementations that ask the server at MURAKKAB_LLM_URL, where a price or a limit is said. Latency is assumed until tasks have
    shown it. Raises ValueError, naming the variable."""
    usd_in, usd_out, per_min = (_number(environ, name) for name in (USD_IN, USD_OUT, PER_MIN))
    if usd_in is None and usd_out is None and per_min is None:
        return ()
    usd = (
        None
        if usd_in is None and usd_out is None
        else Line(0.0, {"tokens_in": (usd_in or 0.0) / 1e6, "tokens_out": (usd_out or 0.0) / 1e6})
    )
    return tuple(
        Profile(
            row.agent,
            row.name,
            row.hardware,
            how="prior",
            source=f"prices and limits from {USD_IN}, {USD_OUT}, {PER_MIN}; {TOKENS_PER_S:g} tokens a second assumed",
            cpu=Line(0.01),
            time=Line(0.3, {"tokens_out": 1 / TOKENS_PER_S}),
            usd=usd,
            rate_per_s=per_min / 60 if per_min else None,
            load_s=row.load_s,
            load_cpu_s=row.load_s,
            memory_mb=float(row.memory_mb),
            quality=row.quality,
            quality_how=row.quality_how,
        )
        for row in library.values()
        if row.variable == VARIABLE
    )


def _number(environ: Mapping[str, str], name: str) -> float | None:
    text = environ.get(name, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not (isfinite(value) and value >= 0) or (name == PER_MIN and value == 0):
        raise ValueError(f"{name}={text[:40]} is not a number of at least 0")
    return value
