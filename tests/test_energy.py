"""Energy counters, on files laid out as Linux's powercap; this machine may have none of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from murakkab.agents.energy import PackageEnergy, Reading, share_wh


def _zone(folder: Path, name: str, energy_uj: int, wraps_at: int = 1_000_000_000) -> Path:
    zone = folder / name
    zone.mkdir(exist_ok=True)
    (zone / "energy_uj").write_text(f"{energy_uj}\n")
    (zone / "max_energy_range_uj").write_text(f"{wraps_at}\n")
    return zone


def test_packages_add_up_and_their_parts_are_not_counted_again(tmp_path: Path) -> None:
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        _zone(tmp_path, name, 100)
    meter = PackageEnergy(tmp_path)
    first = meter.read()
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        _zone(tmp_path, name, 100 + 3_600_000)
    second = meter.read()
    assert first is not None
    assert second is not None
    assert second.package_wh - first.package_wh == pytest.approx(2e-3)


def test_a_counter_that_wraps_goes_on(tmp_path: Path) -> None:
    _zone(tmp_path, "intel-rapl:0", 900, wraps_at=1_000)
    meter = PackageEnergy(tmp_path)
    meter.read()
    _zone(tmp_path, "intel-rapl:0", 50, wraps_at=1_000)
    reading = meter.read()
    assert reading is not None
    assert reading.package_wh == pytest.approx(150 / 3.6e9)


def test_no_counters_no_reading(tmp_path: Path) -> None:
    assert PackageEnergy(tmp_path).read() is None
    assert PackageEnergy(tmp_path / "absent").read() is None
    (_zone(tmp_path, "intel-rapl:0", 1) / "energy_uj").write_text("unreadable")
    assert PackageEnergy(tmp_path).read() is None


@given(wh=st.floats(0, 1), busy=st.floats(0, 100), cpu=st.lists(st.floats(0, 10), min_size=1, max_size=5))
def test_tasks_never_get_more_than_there_was(wh: float, busy: float, cpu: list[float]) -> None:
    """Tasks that ran side by side, all of whose CPU time is in the host's."""
    before, after = Reading(1.0, 50.0), Reading(1.0 + wh, 50.0 + busy + sum(cpu))
    shares = [share_wh(before, after, c) or 0.0 for c in cpu]
    assert all(s >= 0 for s in shares)
    assert sum(shares) <= (after.package_wh - before.package_wh) * (1 + 1e-9)


def test_what_cannot_be_told_is_left_to_the_model() -> None:
    assert share_wh(None, Reading(1.0, 1.0), 1.0) is None
    assert share_wh(Reading(1.0, 1.0), None, 1.0) is None
