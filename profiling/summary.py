"""From what was seen of an implementation to its profile, with how sure each figure is. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from statistics import median

from msgspec import Struct

from ..bus.values import Line, Profile
from ..optimizer.fit import Fit, Sample, fit
from .measure import Measured, Run

QUALITY_MIN = 0.01
"""A measured quality of 0 on a few cases is written as this: the benchmark is too small to say that it never works."""
PART = 0.01


class Summary(Struct, frozen=True):
    """A profile and what it rests on. `cpu` and `time` have the intervals."""

    profile: Profile
    cpu: Fit
    time: Fit
    failures: int
    quality_n: str
    note: str
    spent_s: float
    spent_cpu_s: float
    first_load_s: float
    """In the state that the machine was in; the profile has that of later ones."""
    typical: dict[str, float]
    """Work of a task of typical size, and what it takes."""
    typical_s: float
    typical_cpu_s: float

    @property
    def pays_after(self) -> float:
        """Tasks of typical size of which profiling was 1 %, in CPU-seconds; the price of a core falls out of it."""
        return self.spent_cpu_s / (PART * self.typical_cpu_s) if self.typical_cpu_s > 0 else inf


def summary(seen: Measured, *, source: str, at: float, watts_per_core: float) -> Summary:
    """Raises BadMeasurement for times that are none."""
    row = seen.row
    fastest = _fastest(seen.runs)
    # the model's own clock sees others' work as waiting: of the same task the shortest; CPU-seconds as they are
    time = fit([Sample(r.units, r.wall_s) for r in fastest])
    cpu = fit([Sample(r.units, r.cpu_s) for r in seen.runs])
    energy = fit(_energies(seen.runs)).line if seen.runs and all(r.energy_wh is not None for r in seen.runs) else None
    typical = next((r for r in fastest if r.task == seen.typical), fastest[-1] if fastest else None)
    on_gpu = seen.idle_gpu_w is not None
    quality, how = row.quality, f"{row.quality_how}{'' if seen.quality_how else '; no benchmark here'}"
    if seen.quality is not None:
        quality, how = max(QUALITY_MIN, seen.quality), f"{seen.quality_how}, measured"
    elif row.quality_how != "assumed":
        how = row.quality_how
    profile = Profile(
        agent=row.agent,
        implementation=row.name,
        hardware=seen.hardware,
        how="measured" if seen.runs else "prior",
        source=source if seen.runs else f"loading and memory: {source}; the rest: the library's row",
        at=at,
        cpu=_rounded(cpu.line) if seen.runs else Line(row.work_s),
        time=_rounded(time.line) if seen.runs else Line(row.work_s),
        energy=None if energy is None else _rounded(energy),
        crowd={n: round(times, 3) for n, times in seen.crowd.items()},
        load_s=round(median(seen.loads_s[1:] or seen.loads_s), 4),
        load_cpu_s=round(median(seen.loads_cpu_s[1:] or seen.loads_cpu_s), 4),
        memory_mb=round(seen.memory_mb, 1),
        idle_w=round(seen.idle_gpu_w if on_gpu and seen.idle_gpu_w is not None else seen.idle_cpu * watts_per_core, 4),
        busy_w=_busy_w(seen.runs, watts_per_core, energy is not None),
        quality=round(quality, 4),
        quality_how=how,
        samples=len(seen.runs),
        spread=round(cpu.spread, 4),
        outliers=len(cpu.outliers) + len(time.outliers),
        failures=seen.failures,
    )
    return Summary(
        profile,
        cpu,
        time,
        seen.failures,
        seen.quality_n,
        seen.note,
        seen.spent_s,
        seen.spent_cpu_s,
        seen.loads_s[0],
        dict(typical.units) if typical else {},
        typical.wall_s if typical else 0.0,
        median([r.cpu_s for r in seen.runs if r.task == typical.task]) if typical else 0.0,
    )


def _fastest(runs: Sequence[Run]) -> list[Run]:
    """The shortest run of each task, small tasks first."""
    best: dict[int, Run] = {}
    for run in runs:
        if run.task not in best or run.wall_s < best[run.task].wall_s:
            best[run.task] = run
    return [best[n] for n in sorted(best)]


def _energies(runs: Sequence[Run]) -> list[Sample]:
    """Mean of each task's runs: counters move in steps, which the least of several would follow down."""
    by_task: dict[int, list[Run]] = {}
    for run in runs:
        by_task.setdefault(run.task, []).append(run)
    return [Sample(group[0].units, sum(r.energy_wh or 0.0 for r in group) / len(group)) for group in by_task.values()]


def _busy_w(runs: Sequence[Run], watts_per_core: float, counted: bool) -> float | None:
    """Mean draw while it works."""
    wall_s = sum(r.wall_s for r in runs)
    if wall_s <= 0:
        return None
    if counted:
        return round(sum(r.energy_wh or 0.0 for r in runs) * 3600 / wall_s, 3)
    return round(sum(r.cpu_s for r in runs) / wall_s * watts_per_core, 3)


def _rounded(line: Line) -> Line:
    """Six significant digits: more were not measured."""
    return Line(float(f"{line.base:.6g}"), {unit: float(f"{rate:.6g}") for unit, rate in line.per.items()})
