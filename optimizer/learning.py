"""What one finished stage teaches about a profile. Pure.

A line that was measured, published or carried over stays as it is; tasks move one number, `drift`: the mean, forgetting, of the logarithm
of what they took over what the line says. A prior has no line worth keeping: it is refined as a mean a task that forgets, and turns into
a rate a unit of work as soon as tasks report units. One report never moves what it is compared with by more than `STEP_MAX` times: it
may be a hiccup of the host; what is really so shows again.

CPU seconds are compared where they are most of the time, for the wall time of a task grows with whatever else runs on its host. Where a
task mostly waits, for a server say, and on every device that is no CPU, its wall time is compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import exp, isfinite, log

from msgspec.structs import replace

from ..bus.values import Line, Profile, StageReport
from .hardware import split
from .hops import MOVED_S
from .hops import UNITS as MOVING

PRIOR_TASKS = 5
"""A prior counts as so many tasks, and so does a line before its first."""
REMEMBERED = 50
"""No more tasks than this weigh against new ones, so that a change shows."""
STEP_MAX = 8.0
LEARNT_TASKS = 20
"""From so many tasks on a prior is no guess any more."""
LEARNT = "tasks that ran here"
NOISE_S = 0.002
"""Added to both sides of a ratio: a clock that ticks in milliseconds says nothing about less."""
DRIFT_MAX = 50.0
WAITS = 3.0
"""A task whose wall time is over this many times its CPU time mostly waits."""
WEIGHTS = {
    "audio_s": 1.0, "images": 1.0, "tokens_out": 1.0, "tokens_in": 0.15, "texts": 1.0, "video_s": 1.0, "frames": 1.0, "items": 1.0,
}  # fmt: skip
"""The units that a prior's rate may be of, the first that is there; tokens go together, and one that is read is assumed to take a part
of one that is written."""


def learnt(before: Profile, report: StageReport, at: float) -> Profile | None:
    """The profile with what this stage took; None when it says nothing."""
    amounts = (report.cpu_s, report.busy_s, *report.units.values())
    if report.tasks <= 0 or not all(isfinite(a) and a >= 0 for a in amounts):
        return None
    units = {u: v for u, v in report.units.items() if v > 0 and u not in MOVING}
    # what moving took is no work of the implementation's
    report = replace(report, busy_s=max(report.busy_s - report.units.get(MOVED_S, 0.0), min(report.busy_s, report.cpu_s)))
    mean = before.how == "prior" or before.source.startswith(LEARNT)
    after = _mean(before, report, units) if mean else _drift(before, report, units)
    return None if after is None else replace(after, samples=before.samples + report.tasks, at=at)


def weight(before: Profile, tasks: int) -> float:
    """Of new tasks against those that are remembered, 0..1."""
    return tasks / (min(before.samples + PRIOR_TASKS, REMEMBERED) + tasks)


def _mean(before: Profile, report: StageReport, units: Mapping[str, float]) -> Profile | None:
    work = _work(units)
    if (before.cpu.per or before.time.per) and not work:
        return None  # a rate cannot be refined by tasks that do not say how much they were
    w = weight(before, report.tasks)
    busy = report.busy_s or report.cpu_s
    if not _on_device(before) and busy <= WAITS * report.cpu_s:
        busy = min(busy, report.cpu_s)  # the rest of it is the load of others
    samples = before.samples + report.tasks
    seen = samples >= LEARNT_TASKS
    return replace(
        before,
        cpu=_refined(before.cpu, report.cpu_s, report.tasks, work, w),
        time=_refined(before.time, busy, report.tasks, work, w),
        how="measured" if seen else before.how,
        source=LEARNT if seen else before.source,
    )


def _work(units: Mapping[str, float]) -> dict[str, float]:
    """The units that the rate is of, weighted: all tokens, or the one that comes first."""
    for unit in WEIGHTS:
        if unit in units:
            family = [u for u in units if u.startswith("tokens_") and u in WEIGHTS] if unit.startswith("tokens_") else [unit]
            return {u: units[u] * WEIGHTS[u] for u in sorted(family)}
    other = max(units, key=lambda u: (units[u], u), default=None)
    return {} if other is None else {other: units[other]}


def _refined(line: Line, took_s: float, tasks: int, work: Mapping[str, float], w: float) -> Line:
    expected = line.at(tasks, {u: a / WEIGHTS.get(u, 1.0) for u, a in work.items()})
    least, most = expected / STEP_MAX, STEP_MAX * max(expected, 0.001 * tasks)
    total = expected + w * (min(max(took_s, least), most) - expected)
    if not work:
        return Line(total / tasks)
    rate = total / sum(work.values())
    return Line(0.0, {u: rate * WEIGHTS.get(u, 1.0) for u in work})


def _drift(before: Profile, report: StageReport, units: dict[str, float]) -> Profile | None:
    cpu_s, time_s = before.cpu.at(report.tasks, units), before.time.at(report.tasks, units)
    waits = _on_device(before) or time_s > WAITS * cpu_s
    took_s, said_s = (report.busy_s, time_s) if waits else (report.cpu_s, cpu_s)
    if said_s <= 0 or took_s <= 0 or not _comparable(before.time if waits else before.cpu, units):
        return None
    noise_s = NOISE_S * report.tasks
    ratio = (took_s + noise_s) / (said_s + noise_s)
    step = log(min(max(ratio / before.drift, 1 / STEP_MAX), STEP_MAX))
    drift = exp(log(before.drift) + weight(before, report.tasks) * step)
    return replace(before, drift=min(max(drift, 1 / DRIFT_MAX), DRIFT_MAX))


def _on_device(profile: Profile) -> bool:
    """Something other than a CPU does the work, and the thread that drives it may wait or spin."""
    return split(profile.hardware)[0] != "cpu"


def _comparable(line: Line, units: Mapping[str, float]) -> bool:
    """Tasks say how much they were, if the line depends on it."""
    return not line.per or any(unit in units for unit in line.per)
