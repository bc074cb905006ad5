"""Murakkab: say what you want; it picks agents, models, hardware and parallelism, and runs the job durably on NATS.

`from murakkab import Job, MIN_COST` works through lazy attributes, so that `import murakkab` costs milliseconds and
pulls in no library besides the standard one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .client.constraints import MAX_QUALITY, MIN_COST, MIN_ENERGY, MIN_LATENCY
    from .client.job import Job, JobFailed, JobHandle, Result

__version__ = "0.1.0"

_HOMES = {
    "Job": "job",
    "JobFailed": "job",
    "JobHandle": "job",
    "Result": "job",
    "MIN_COST": "constraints",
    "MIN_LATENCY": "constraints",
    "MIN_ENERGY": "constraints",
    "MAX_QUALITY": "constraints",
}

__all__ = ["MAX_QUALITY", "MIN_COST", "MIN_ENERGY", "MIN_LATENCY", "Job", "JobFailed", "JobHandle", "Result"]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".client.{home}", __name__), name)
