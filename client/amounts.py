"""Amounts for people: ms, s, min; dollars with two significant digits; mWh and Wh; parts in per cent. Pure."""

from __future__ import annotations

import math


def significant(value: float, digits: int) -> str:
    """So many digits that mean something, and never an exponent: 0.00123, 12.3, 1230."""
    if not math.isfinite(value):
        return "?"
    if value == 0:
        return "0"
    power = int(f"{value:.{digits - 1}e}".partition("e")[2])  # of ten, once it is rounded: 9.999 is 10.0
    places = min(30, max(0, digits - 1 - power))
    return f"{value:,.{places}f}"


def seconds(value: float) -> str:
    """`12 ms`, `4.21 s`, `2 min 05 s`, `3 h 07 min`."""
    if not math.isfinite(value) or value < 0:
        return "?"
    if value == 0:
        return "0 s"
    if value < 0.9995:
        return f"{significant(value * 1000, 2 if value < 0.0995 else 3)} ms"
    if value < 119.5:
        return f"{significant(value, 3)} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02} s" if minutes < 120 else f"{minutes // 60:,} h {minutes % 60:02} min"


def span(start_s: float, end_s: float) -> str:
    """`1.2–4.8 s`: from when to when, in one unit."""
    if not (math.isfinite(start_s) and math.isfinite(end_s)):
        return "?"
    if max(start_s, end_s) >= 119.5:
        return f"{seconds(max(0.0, start_s))}–{seconds(max(0.0, end_s))}"
    places = 1 if end_s >= 10 else 2 if end_s >= 0.1 else 4
    return f"{start_s:.{places}f}–{end_s:.{places}f} s"


def usd(value: float, digits: int = 2) -> str:
    """Two significant digits (or so many) below a dollar: `$0.0012`; in millionths below a hundredth of a cent: `60 µ$`."""
    if not math.isfinite(value):
        return "$?"
    if value == 0:
        return "$0"
    if abs(value) >= 0.995:
        return f"${value:,.2f}"
    return f"${significant(value, digits)}" if abs(value) >= 0.995e-4 else f"{_small(value * 1e6, digits)} µ$"


def energy(wh: float) -> str:
    """`12.3 mWh`, `1.23 Wh`; smaller and larger by prefixes."""
    if not math.isfinite(wh):
        return "? Wh"
    for factor, unit in ((1e-3, "kWh"), (1.0, "Wh"), (1e3, "mWh")):
        if abs(wh) * factor >= (0.9995 if unit != "mWh" else 0.0995):
            return f"{significant(wh * factor, 3 if abs(wh) * factor >= 0.9995 else 2)} {unit}"
    return f"{_small(wh * 1e6)} µWh" if wh else "0 mWh"


def _small(value: float, digits: int = 2) -> str:
    return significant(value, digits) if abs(value) >= 0.001 else f"{value:.0e}"


def count(value: float) -> str:
    """Expected ones may be parts: `2`, `5.94`, `1,200`."""
    text = significant(value, 3)
    return text.rstrip("0").rstrip(".") if "." in text else text


def quality(value: float) -> str:
    """Three digits behind the point at most."""
    return f"{value:.3f}".rstrip("0").rstrip(".") if math.isfinite(value) else "?"


def part(value: float) -> str:
    """`0.8 %`, `12 %`."""
    if not math.isfinite(value):
        return "?"
    if 0 < abs(value) < 5e-5:
        return "less than 0.01 %"
    return f"{value * 100:.2g} %" if abs(value) < 0.0995 else f"{value * 100:,.0f} %"


def error(value: float | None) -> str:
    """With its sign: `+9 %`, `-0.4 %`; a dash where there is nothing to compare."""
    if value is None or not math.isfinite(value):
        return "–"
    if abs(value) >= 9.995:
        return f"{value + 1:,.0f} ×"
    return f"{value * 100:+.1f} %" if abs(value) < 0.0095 else f"{value * 100:+.0f} %"
