"""Lines from measurements: base + sum of rates x units, never negative, not led astray by outliers. Pure.

1. A first line that outliers cannot pull: Theil-Sen for one unit (median of the slopes of all pairs; Sen, "Estimates of the regression
   coefficient based on Kendall's tau", 1968), else least absolute deviations by reweighting. Its relative residuals give the outliers:
   those further than `FAR` times their scaled median distance (1.4826 x MAD, and no less than `LEAST`) from their median.
2. Least squares of relative errors over the rest, with coefficients that are zero or more (all sets of active columns are tried: there
   are few columns, and it is exact).
3. The interval by bootstrap of residuals (Efron, "Bootstrap methods: another look at the jackknife", 1979), 95 %, with fixed dice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from math import isfinite, sqrt
from statistics import median

from msgspec import Struct, field

from ..bus.values import Line

FAR, LEAST = 4.0, 0.05
DRAWS = 200
UNITS_MAX = 4
TINY = 1e-9
NOTHING = 1e-100
"""Its square is still a number."""


class BadMeasurement(ValueError):
    """A measurement that is none: which, what it says, and what would be right."""


class Sample(Struct, frozen=True):
    """One task: the work that it was, and the amount that it took."""

    units: Mapping[str, float]
    value: float


class Fit(Struct, frozen=True):
    """A line, and how well it holds. `low` and `high` are the 95 % interval of each coefficient."""

    line: Line = Line()
    low: Line = Line()
    high: Line = Line()
    samples: int = 0
    spread: float = 0.0
    """Median distance of a measurement from the line, as a part of the line's value."""
    outliers: tuple[int, ...] = field(default_factory=tuple)
    """Which measurements were left out."""
    certain: bool = False
    """There were more measurements than coefficients; else the interval says nothing."""


def fit(samples: Sequence[Sample]) -> Fit:
    """The line through these. Nothing measured gives an empty line. Raises BadMeasurement."""
    check(samples)
    if not samples:
        return Fit()
    units = _units(samples)
    rows = [(1.0, *(s.units.get(u, 0.0) for u in units)) for s in samples]
    top = max(s.value for s in samples) or 1.0
    values = [s.value / top for s in samples]  # so that seconds and watt-hours meet the same thresholds
    first = _robust(rows, values)
    far = _far(rows, values, first)
    kept = [n for n in range(len(rows)) if n not in far]
    best = _relative([rows[n] for n in kept], [values[n] for n in kept], first)
    certain = len(kept) > sum(c > 0 for c in best)
    low, high = _interval([rows[n] for n in kept], [values[n] for n in kept], best) if certain else (best, best)
    line, least, most = (_line(units, [top * c for c in coefficients]) for coefficients in (best, low, high))
    return Fit(
        line,
        least,
        most,
        len(samples),
        spread(line, samples),
        tuple(sorted(far)),
        certain,
    )


def check(samples: Iterable[Sample]) -> None:
    """Raises BadMeasurement for a value or an amount of work that is negative or no number."""
    for n, sample in enumerate(samples, 1):
        for what, amount in (("value", sample.value), *sample.units.items()):
            if not (isfinite(amount) and amount >= 0):
                raise BadMeasurement(f"measurement {n}: {what} is {amount}: it must be a finite number, zero or more")


def spread(line: Line, samples: Sequence[Sample]) -> float:
    """Median relative distance from the line; 0 where nothing was measured."""
    errors = [abs(s.value - at) / at for s in samples if (at := line.at(1, dict(s.units))) > 0]
    return median(errors) if errors else 0.0


def _units(samples: Sequence[Sample]) -> list[str]:
    """Units that vary; what is the same in every task is in the base. Of more than a few, those that vary most."""
    names = sorted({u for s in samples for u in s.units})
    ranges = {u: [s.units.get(u, 0.0) for s in samples] for u in names}
    vary = {u: (max(r) - min(r)) / max(r) for u, r in ranges.items() if max(r) > TINY and max(r) - min(r) > 0.01 * max(r)}
    return sorted(sorted(vary, key=lambda u: (-vary[u], u))[:UNITS_MAX])


def _robust(rows: Sequence[tuple[float, ...]], values: Sequence[float]) -> tuple[float, ...]:
    width = len(rows[0])
    if width == 1:
        return (median(values),)
    if width == 2:
        return _theil_sen([r[1] for r in rows], values)
    weights = [1 / max(v, TINY) for v in values]
    found = _nnls(rows, values, weights)
    for _ in range(30):  # least absolute relative deviations: each residual weighs by what is not its square
        errors = [abs(v - _at(found, r)) for r, v in zip(rows, values, strict=True)]
        scale = max(median(errors), TINY)
        weights = [1 / (max(e, 0.01 * scale) * max(v, TINY)) for e, v in zip(errors, values, strict=True)]
        found = _nnls(rows, values, weights)
    return found


def _theil_sen(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float]:
    slopes = [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(zip(xs, ys, strict=True), 2) if abs(x2 - x1) > TINY]
    slope = max(0.0, median(slopes)) if slopes else 0.0
    base = median(y - slope * x for x, y in zip(xs, ys, strict=True))
    if base < 0:  # steeper than through the origin: then through it
        return 0.0, max(0.0, median(y / x for x, y in zip(xs, ys, strict=True) if x > TINY))
    return base, slope


def _far(rows: Sequence[tuple[float, ...]], values: Sequence[float], line: tuple[float, ...]) -> set[int]:
    """Outliers; never so many that less than half remains, for then it is the line that is wrong."""
    floor = max(max(values) * 1e-6, TINY)
    errors = [(v - _at(line, r)) / max(_at(line, r), floor) for r, v in zip(rows, values, strict=True)]
    middle = median(errors)
    limit = FAR * max(1.4826 * median(abs(e - middle) for e in errors), LEAST)
    far = {n for n, e in enumerate(errors) if abs(e - middle) > limit}
    return far if len(rows) - len(far) >= max(len(rows) / 2, min(len(rows), len(rows[0]))) else set()


def _relative(rows: Sequence[tuple[float, ...]], values: Sequence[float], guess: tuple[float, ...]) -> tuple[float, ...]:
    """Least squares of errors as parts of the expected value, so that long tasks do not drown short ones."""
    top = max(values)
    if top < NOTHING:
        return (0.0,) * len(rows[0])
    weights = [1 / max(_at(guess, r), 0.01 * top) ** 2 for r in rows]
    return _nnls(rows, values, weights)


def _interval(
    rows: Sequence[tuple[float, ...]], values: Sequence[float], best: tuple[float, ...]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    fitted = [max(_at(best, r), TINY) for r in rows]
    free = len(rows) - sum(c > 0 for c in best)
    wider = sqrt(len(rows) / free)  # residuals of a fitted line are too small by this
    errors = [wider * (v - f) / f for v, f in zip(values, fitted, strict=True)]
    dice = _dice()
    drawn = []
    for _ in range(DRAWS):
        again = [max(0.0, f * (1 + errors[next(dice) % len(errors)])) for f in fitted]
        drawn.append(_relative(rows, again, best))
    low, high = [], []
    for n, value in enumerate(best):
        column = sorted(d[n] for d in drawn)
        low.append(min(value, column[round(0.025 * (DRAWS - 1))]))
        high.append(max(value, column[round(0.975 * (DRAWS - 1))]))
    return tuple(low), tuple(high)


def _dice(seed: int = 20_260_101) -> Iterator[int]:
    """The same numbers every time (Park and Miller's generator, high bits), for what decides must have no dice."""
    state = seed % 2_147_483_647
    while True:
        state = state * 48_271 % 2_147_483_647
        yield state >> 8


def _nnls(rows: Sequence[tuple[float, ...]], values: Sequence[float], weights: Sequence[float]) -> tuple[float, ...]:
    """Weighted least squares with coefficients >= 0: the best of all sets of columns whose own solution has none below 0."""
    width = len(rows[0])
    scale = [max((r[n] for r in rows), default=0.0) or TINY for n in range(width)]
    gram = [
        [sum(w * r[a] * r[b] for r, w in zip(rows, weights, strict=True)) / (scale[a] * scale[b]) for b in range(width)]
        for a in range(width)
    ]
    right = [sum(w * r[a] * v for r, v, w in zip(rows, values, weights, strict=True)) / scale[a] for a in range(width)]
    best, gain = [0.0] * width, 0.0
    for size in range(1, width + 1):
        for columns in combinations(range(width), size):
            found = _solve([[gram[a][b] for b in columns] for a in columns], [right[a] for a in columns])
            if found is None or min(found) < 0:
                continue
            # of the squared error, what this set takes away: x'b at a least-squares solution
            less = sum(x * right[a] for a, x in zip(columns, found, strict=True))
            if less > gain * (1 + 1e-12):
                gain, best = less, [0.0] * width
                for a, x in zip(columns, found, strict=True):
                    best[a] = x / scale[a]
    return tuple(best)


def _solve(matrix: list[list[float]], right: list[float]) -> list[float] | None:
    """Gauss with the largest pivot; None where the columns depend on each other."""
    n = len(right)
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    top = max(abs(rows[k][k]) for k in range(n))
    for k in range(n):
        pivot = max(range(k, n), key=lambda r: abs(rows[r][k]))
        if abs(rows[pivot][k]) <= 1e-10 * top:
            return None
        rows[k], rows[pivot] = rows[pivot], rows[k]
        for r in range(k + 1, n):
            part = rows[r][k] / rows[k][k]
            rows[r] = [x - part * y for x, y in zip(rows[r], rows[k], strict=True)]
    found = [0.0] * n
    for k in reversed(range(n)):
        found[k] = (rows[k][n] - sum(rows[k][c] * found[c] for c in range(k + 1, n))) / rows[k][k]
    return found


def _at(coefficients: Sequence[float], row: Sequence[float]) -> float:
    return sum(c * x for c, x in zip(coefficients, row, strict=True))


def _line(units: Sequence[str], coefficients: Sequence[float]) -> Line:
    """Without the units that it does not grow with."""
    return Line(coefficients[0], {u: c for u, c in zip(units, coefficients[1:], strict=True) if c > 0})
