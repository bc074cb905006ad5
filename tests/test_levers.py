"""The levers of the paper's Table 1 move what they should, by our own profiles."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parents[1] / "scripts" / "bench" / "levers.py"


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    spec = importlib.util.spec_from_file_location("levers", BENCH)
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    sys.modules["levers"] = module
    spec.loader.exec_module(module)
    found: list[dict[str, Any]] = module.measure()
    return found


def one(rows: list[dict[str, Any]], lever: str, to: str) -> dict[str, str]:
    (row,) = (r for r in rows if (r["lever"], r["to"]) == (lever, to))
    direction: dict[str, str] = row["direction"]
    return direction


def test_a_newer_gpu_is_faster_dearer_and_draws_more(rows: list[dict[str, Any]]) -> None:
    assert one(rows, "GPU generation", "8 x H100") == {"cost": "up", "power": "up", "latency": "down", "quality": "same"}


def test_a_gpu_is_faster_than_a_core_and_draws_more(rows: list[dict[str, Any]]) -> None:
    moved = one(rows, "CPU or GPU", "A100")
    assert (moved["power"], moved["latency"]) == ("up", "down")


def test_parallel_tasks_take_less_time_and_more_power_for_the_same_money(rows: list[dict[str, Any]]) -> None:
    assert one(rows, "task parallelism", "4 instances") == {"cost": "same", "power": "up", "latency": "down", "quality": "same"}


@pytest.mark.parametrize("to", ["4", "5"])
def test_more_attempts_cost_more_and_are_better(rows: list[dict[str, Any]], to: str) -> None:
    moved = one(rows, "execution paths", to)
    assert (moved["cost"], moved["latency"], moved["quality"]) == ("up", "up", "up")


def test_another_model_trades_quality_for_cost_or_wins_by_both(rows: list[dict[str, Any]]) -> None:
    assert one(rows, "model or tool", "Whisper base") == {"cost": "up", "power": "same", "latency": "up", "quality": "up"}
    assert one(rows, "model or tool", "openai-whisper")["cost"] == "up"
    detector = one(rows, "model or tool", "FastestDet")
    assert (detector["cost"], detector["quality"]) == ("down", "up")


def test_spot_costs_less_and_changes_nothing_else(rows: list[dict[str, Any]]) -> None:
    assert one(rows, "spot market", "spot") == {"cost": "down", "power": "same", "latency": "same", "quality": "same"}
