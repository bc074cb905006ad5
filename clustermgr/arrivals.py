"""When the next job of a kind may come, and whether it pays to stay warm for it. Pure.

The gaps between jobs of a kind are kept as they were seen. Of an idle pool one asks: given that nothing has come for so long, when will
the next one? Every gap that was longer is as likely as any other. A *window* is when to be warm: from `start_s` to `stop_s` from now.
The cheapest one is chosen, by expected money: holding, loading again, and the waiting of a job that finds the pool cold.

The same question is asked of serverless functions by Shahrad et al., "Serverless in the Wild" (ATC '20): pre-warm and keep-alive windows
from a histogram of idle times. Here loading, holding and waiting have prices, so that the windows need no thresholds. Where too little
has been seen, an instance is held for as long as holding costs what its absence would: at most twice the best in hindsight, whatever
comes (the ski-rental rule; Karlin et al., "Competitive snoopy caching", 1988).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from msgspec import Struct

from .ratios import QUANTILES, quantile

GAPS = 64
"""Newest gaps of a kind that count."""
GAPS_LEAST = 2
"""Longer gaps seen, before they are trusted over the ski-rental rule."""
POINTS = 40
"""Of more gaps than this, so many quantiles stand for all."""
SPREAD = 0.15
"""A gap of 60 s stands for gaps of 51 to 69 s: clocks of people and of cron jobs are not exact, and 64 samples are few."""


class Stakes(Struct, frozen=True):
    """What is at stake, in dollars: a second of holding, one load, and one arrival that finds the pool cold."""

    hold_usd_per_s: float
    load_usd: float
    cold_usd: float

    @property
    def break_even_s(self) -> float:
        """Holding for so long costs what one absence would."""
        return (self.load_usd + self.cold_usd) / self.hold_usd_per_s if self.hold_usd_per_s > 0 else float("inf")


class Window(Struct, frozen=True):
    """When to begin to load (or, being warm, to hold on) and when to let go, in seconds from now; `stop_s` 0: at once. `usd` is the expected cost, `need` the chance of use inside it."""

    start_s: float
    stop_s: float
    usd: float
    need: float
    how: str

    @property
    def now(self) -> bool:
        return self.start_s <= 0 < self.stop_s


@dataclass(slots=True)
class Arrivals:
    """One kind of job. `times` are of the newest arrivals, oldest first."""

    times: deque[float] = field(default_factory=lambda: deque(maxlen=GAPS + 1))

    def came(self, now: float) -> None:
        self.times.append(now)

    def left(self, now: float) -> list[float]:
        """Seconds from now until the next arrival, some for each gap that was longer than this one is already; in order. Empty when
        too little is known."""
        if not self.times:
            return []
        elapsed_s = max(0.0, now - self.times[-1])
        times = list(self.times)
        gaps = [b - a for a, b in pairwise(times) if (b - a) * (1 + SPREAD) > elapsed_s]
        if len(gaps) < GAPS_LEAST:
            return []
        spread = (gap * (1 + SPREAD * n / 6) for gap in gaps for n in range(-6, 7))
        return sorted(g - elapsed_s for g in spread if g > elapsed_s)

    def next(self, now: float) -> tuple[float, ...]:
        """Quantiles of the seconds until the next arrival; empty when too little is known."""
        left = self.left(now)
        return tuple(quantile(left, q) for q in QUANTILES) if left else ()


def window(left: Sequence[float], idle_s: float, stakes: Stakes, warm: bool, lead_s: float = 0.0) -> Window:
    """The cheapest window. `left` as `Arrivals.left` gives it, `idle_s` is for how long nobody has needed the pool. It takes `lead_s`
    from now until an instance that is not there yet can be warm: no window that starts cold is there before."""
    if not left:
        keep_s = stakes.break_even_s - idle_s
        return Window(0.0, keep_s if warm and keep_s > 0 else 0.0, 0.0, 0.0, "ski-rental")
    if len(left) > POINTS:
        left = [quantile(left, n / (POINTS - 1)) for n in range(POINTS)]
    marks = sorted({quantile(left, q) for q in (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 1.0)})
    starts = [0.0, *(max(0.0, m - 1e-6) for m in marks if m > lead_s)]
    found = [Window(0.0, 0.0, stakes.load_usd + stakes.cold_usd, 0.0, "gaps")]
    for start_s in starts:
        ready_s = 0.0 if warm and start_s <= 0 else max(start_s, lead_s)
        for stop_s in (m for m in marks if m > ready_s):
            held = warm and start_s <= 0
            usd = 0.0 if held else stakes.load_usd
            need = 0
            for gap_s in left:
                usd_here = stakes.hold_usd_per_s * (min(max(gap_s, ready_s), stop_s) - ready_s)
                if ready_s <= gap_s <= stop_s:
                    need += 1
                elif gap_s < ready_s:  # cold; once the load has begun only for what is left of it
                    usd_here = stakes.cold_usd * (min(1.0, (ready_s - gap_s) / lead_s) if lead_s > 0 else 1.0)
                else:
                    usd_here += stakes.load_usd + stakes.cold_usd
                usd += usd_here / len(left)
            found.append(Window(0.0 if held else ready_s - lead_s, stop_s, usd, need / len(left), "gaps"))
    return min(found, key=lambda w: (w.usd, w.start_s))
