"""Plans as points, cost against time with energy as size and colour, in one SVG. Hover texts are `<title>` elements: no script is needed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from . import amounts
from .gantt import text

WIDTH, HEIGHT = 960, 440
LEFT, RIGHT, TOP, BOTTOM = 84, 24, 34, 46
"""Margins around the plot; everything is in the units of the picture's viewBox."""
LEAST, MOST = 5.0, 19.0
"""Radii of a plan that takes no energy, and of the one that takes most; the area grows with it."""
HEAT = 5
"""Colours, from the plan that takes least energy (`w0`) to the one that takes most; the size shows how much it is from nothing, the
colour where it lies between those two: plans that are close by can still be told apart."""
LOG_FROM = 20.0
"""Where the largest value is so many times the least, a scale is logarithmic."""
CHAR = 6.3


class Mark(NamedTuple):
    """One plan. `css` is its class; `label` stands beside it where there is room; `tip` is its hover text."""

    time_s: float
    cost_usd: float
    energy_wh: float
    css: str
    label: str
    tip: str


class Scale:
    """Values to places, linear or logarithmic, with round ticks."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        usable = [v for v in values if math.isfinite(v) and v >= 0] or [0.0]
        low, high = min(usable), max(usable)
        self.log = low > 1e-12 and high / low > LOG_FROM
        self.start, self.end = start, end
        if self.log:
            self.low, self.high = math.log10(low) - 0.08, math.log10(high) + 0.08
        else:
            room = (high - low) * 0.08 or high * 0.2 or 1.0
            self.low, self.high = max(0.0, low - room), high + room

    def at(self, value: float) -> float:
        if not math.isfinite(value):
            return self.start
        v = math.log10(max(value, 1e-300)) if self.log else value
        share = (v - self.low) / (self.high - self.low)
        return self.start + (self.end - self.start) * min(1.0, max(0.0, share))

    def ticks(self) -> list[float]:
        """Three to eight round numbers."""
        if self.log:
            steps = (1.0, 2.0, 5.0) if self.high - self.low < 2 else (1.0,)
            found = [m * 10.0**p for p in range(math.floor(self.low), math.ceil(self.high) + 1) for m in steps]
            found = [t for t in found if self.low <= math.log10(t) <= self.high]
            return found[:: max(1, math.ceil(len(found) / 8))]
        rough = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


def plot(marks: Sequence[Mark]) -> str:
    """The SVG; empty without plans."""
    if not marks:
        return ""
    across = Scale([m.time_s for m in marks], LEFT, WIDTH - RIGHT)
    up = Scale([m.cost_usd for m in marks], HEIGHT - BOTTOM, TOP)
    known = [m.energy_wh for m in marks if math.isfinite(m.energy_wh)]
    least, most = min(known, default=0.0), max(known, default=0.0)
    parts = [_axes(across, up)]
    placed = [(across.at(m.time_s), up.at(m.cost_usd), radius(m.energy_wh, most)) for m in marks]
    order = sorted(range(len(marks)), key=lambda n: -placed[n][2])  # the small ones above, where they can be pointed at
    for n in order:
        x, y, r = placed[n]
        css = f"{marks[n].css} w{heat(marks[n].energy_wh, least, most)}"
        parts.append(f'<circle class="{css}" cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}"><title>{text(marks[n].tip)}</title></circle>')
    parts += _labels(marks, placed)
    return (
        f'<svg class="dots" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{len(marks)} plans: cost against time, energy as size and colour">{"".join(parts)}</svg>'
    )


def radius(energy_wh: float, most: float) -> float:
    share = energy_wh / most if most > 0 and math.isfinite(energy_wh) else 0.0
    return math.sqrt(LEAST**2 + (MOST**2 - LEAST**2) * min(1.0, max(0.0, share)))


def heat(energy_wh: float, least: float, most: float) -> int:
    """Which colour: 0 for the least of them, HEAT - 1 for the most; the last too for what is no number."""
    if not math.isfinite(energy_wh):
        return HEAT - 1
    share = (energy_wh - least) / (most - least) if most > least else 0.0
    return min(HEAT - 1, max(0, int(share * HEAT)))


def _axes(across: Scale, up: Scale) -> str:
    bottom = HEIGHT - BOTTOM
    made = []
    for tick in across.ticks():
        x = across.at(tick)
        made.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>')
        made.append(f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{text(_tick(tick, "s"))}</text>')
    for tick in up.ticks():
        y = up.at(tick)
        made.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        made.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{text(_tick(tick, "$"))}</text>')
    log = [f"{name} is logarithmic" for name, scale in (("time", across), ("cost", up)) if scale.log]
    made.append(f'<line class="grid edge" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>')
    made.append(f'<line class="grid edge" x1="{LEFT}" x2="{LEFT}" y1="{TOP}" y2="{bottom}"/>')
    said = f"time to the answer{' (' + ', '.join(log) + ')' if log else ''} →"
    made.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 8}" text-anchor="end">{text(said)}</text>')
    made.append(f'<text x="{LEFT - 8}" y="12" text-anchor="end">↑ cost</text>')
    return "".join(made)


def _tick(value: float, unit: str) -> str:
    """Without the digits that a round number does not need."""
    if unit == "$":
        return f"${value:.10f}".rstrip("0").rstrip(".") if value >= 1e-9 else "$0" if value == 0 else f"${value:.0e}"
    return amounts.seconds(value) if value >= 120 else f"{value:g} s"


def _labels(marks: Sequence[Mark], placed: Sequence[tuple[float, float, float]]) -> list[str]:
    """Beside their points, right, left, above or below, where they cover neither each other nor a point; else not at all."""
    taken = [(x - r, y - r, x + r, y + r) for x, y, r in placed]
    made = []
    for mark, (x, y, r) in zip(marks, placed, strict=True):
        if not mark.label:
            continue
        wide = CHAR * len(mark.label)
        for left, mid in ((x + r + 5, y), (x - r - 5 - wide, y), (x - wide / 2, y - r - 9), (x - wide / 2, y + r + 10)):
            box = (left, mid - 7, left + wide, mid + 6)
            inside = box[0] >= LEFT and box[2] <= WIDTH and box[1] >= 0 and box[3] <= HEIGHT - BOTTOM
            if inside and not any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken):
                taken.append(box)
                made.append(f'<text class="said" x="{left:.1f}" y="{mid + 4:.1f}">{text(mark.label)}</text>')
                break
    return made
