"""What was measured, for people: one row an implementation, with its lines below it."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from ..optimizer.fit import Fit
from .summary import Summary

HEAD = (
    f"{'implementation':<50} {'load s':>7} {'first':>6} {'MB':>6} {'crowd':<14} {'quality':<22} {'tasks':>5} {'spread':>6} {'outliers':>8} {'failures':>8} "
    f"{'took s':>6}  {'1 % after':>9}"
)


def table(found: Sequence[Summary]) -> list[str]:
    """Times are of the least disturbed run of each task, CPU-seconds of all runs; intervals are 95 %."""
    return [HEAD, *(line for one in found for line in _rows(one))]


def _rows(one: Summary) -> list[str]:
    p = one.profile
    crowd = " ".join(f"{n}:×{times:.2g}" for n, times in sorted(p.crowd.items()) if n > 1) or "-"
    quality = f"{p.quality:.3f} ({one.quality_n or 'not measured'})"
    after = f"{one.pays_after:,.0f}" if isfinite(one.pays_after) else "-"
    rows = [
        f"{f'{p.agent} {p.implementation} [{p.hardware}]':<50} {p.load_s:>7.2f} {one.first_load_s:>6.2f} {p.memory_mb:>6.0f} {crowd:<14} {quality:<22} {p.samples:>5} "
        f"{p.spread:>6.1%} {p.outliers:>8} {p.failures:>8} {one.spent_s:>6.1f}  {after:>9}"
    ]
    if p.samples:
        rows += [f"    time {said(one.time)}", f"    cpu  {said(one.cpu)}"]
    if p.energy is not None:
        per = "".join(f" + {rate * 1000:.4g} mWh/{unit}" for unit, rate in p.energy.per.items())
        rows.append(f"    energy {p.energy.base * 1000:.4g} mWh{per}, counted")
    if one.note:
        rows.append(f"    note: {one.note}")
    return rows


def said(fit: Fit) -> str:
    """ "0.41 s (0.40-0.43) + 0.031 s/audio_s (0.030-0.033)"."""
    parts = [f"{fit.line.base:.3g} s{_between(fit, fit.low.base, fit.high.base)}"]
    for unit, rate in fit.line.per.items():
        parts.append(f"{rate:.3g} s/{unit}{_between(fit, fit.low.per.get(unit, 0.0), fit.high.per.get(unit, rate))}")
    return " + ".join(parts)


def _between(fit: Fit, low: float, high: float) -> str:
    return f" ({low:.3g}-{high:.3g})" if fit.certain else ""


def cost(found: Sequence[Summary], spent_s: float, spent_cpu_s: float, usd_per_core_hour: float) -> str:
    """What profiling itself cost. Measured seconds, modelled dollars."""
    usd = spent_cpu_s * usd_per_core_hour / 3600
    one = [s.pays_after for s in found if isfinite(s.pays_after)]
    typical = f"; the middle one is 1 % of {sorted(one)[len(one) // 2]:,.0f} typical tasks of its own" if one else ""
    return f"profiling took {spent_s:.0f} s, {spent_cpu_s:.0f} CPU-s, ${usd:.5f} (modelled){typical}"
