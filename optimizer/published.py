"""Speeds that others have published, as profiles: a start for hardware on which nobody here has measured. Pure, and read once.

The facts are in data/published.csv, each with its source and date. A rate becomes seconds a unit of work (its inverse). Rates of full
batches say what a device does at its best; a single call takes longer. Language models stand under the agent "LanguageModel", since their
speed is the same behind any agent (`as_agent`). Classes like "h100-80gb-x8" are several devices that work as one. Of the ML.ENERGY
Benchmark, whose data have no licence, a few points are quoted as one does in a paper; its tables are not part of this package.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from msgspec.structs import replace

from ..bus.values import Line, Profile

LANGUAGE_MODEL = "LanguageModel"
ENGINE_START_S = 20.5
READ_GB_PER_S = 2.27
"""Through two points of vLLM 0.11.0 on local disks (fresh process until ready; vLLM blog, 26 October 2025, commit 93ea815): 21.0 s for
a model of 1.2 GB and 47.4 s for one of 61 GB. From cloud volumes weights come three to seven times slower (Run:ai streamer's table)."""


@cache
def published() -> tuple[Profile, ...]:
    """All of them, by agent, implementation and class."""
    rows: dict[tuple[str, str, str], list[dict[str, str]]] = {}
    text = files(__package__).joinpath("data/published.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        rows.setdefault((row["agent"], row["implementation"], row["hardware"]), []).append(row)
    return tuple(_profile(key, rows[key]) for key in sorted(rows))


def as_agent(profile: Profile, agent: str, implementation: str) -> Profile:
    """A language model's profile for an implementation that asks it."""
    return replace(profile, agent=agent, implementation=implementation)


def cold_start_s(size_gb: float, read_gb_per_s: float = READ_GB_PER_S, engine_s: float = ENGINE_START_S) -> float:
    """Seconds until a language model with that many GB of weights answers, started afresh."""
    return engine_s + max(size_gb, 0.0) / read_gb_per_s


def _profile(key: tuple[str, str, str], rows: list[dict[str, str]]) -> Profile:
    time = Line(sum(_number(r, "base_s") for r in rows), {r["unit"]: float(r["seconds_per_unit"]) for r in rows})
    energy = {r["unit"]: float(r["wh_per_unit"]) for r in rows if r["wh_per_unit"]}
    said = dict.fromkeys(f"{r['source']} ({r['date']}): {r['note']}" for r in rows)
    rated = next((r for r in rows if r["quality"]), None)
    return Profile(
        *key,
        how="published",
        source="; ".join(said),
        time=time,
        cpu=time,  # the thread that drives the device waits for it
        energy=Line(0.0, energy) if energy else None,
        crowd=_crowd(rows),
        memory_mb=max(_number(r, "memory_mb") for r in rows),
        quality=float(rated["quality"]) if rated else 0.5,
        quality_how=rated["quality_how"] if rated else "",
    )


def _number(row: Mapping[str, str], name: str) -> float:
    return float(row[name]) if row[name] else 0.0


def _crowd(rows: list[dict[str, str]]) -> dict[int, float]:
    pairs = [one.split(":") for r in rows for one in r["crowd"].split()]
    return {int(calls): float(times) for calls, times in pairs}
