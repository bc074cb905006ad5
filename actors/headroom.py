"""Slots that stay free for tenants who used them a moment ago. Pure.

Turns decide who gets the next slot that falls free; they do not make one fall free. A tenant whose jobs come one after the other has nothing
waiting between them, and would find every slot taken each time by whoever has work without end, for as long as a task takes. So what a
tenant had released at once in a pool lately, up to its weight's part of the slots, stays free for it until the window is over.
Others lose so many slots for at most two windows; a tenant with work in every window loses nothing to anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

WINDOW_S = 4.0


@dataclass(slots=True)
class Headroom:
    """One pool. `out` is what each tenant has released now, `lately` and `before` the most that it had in this window and in the last."""

    out: dict[str, int] = field(default_factory=dict)
    lately: dict[str, int] = field(default_factory=dict)
    before: dict[str, int] = field(default_factory=dict)

    def took(self, tenant: str) -> None:
        n = self.out[tenant] = self.out.get(tenant, 0) + 1
        if n > self.lately.get(tenant, 0):
            self.lately[tenant] = n

    def gave(self, tenant: str) -> None:
        self.out[tenant] -= 1
        if not self.out[tenant]:
            del self.out[tenant]

    def turn(self) -> bool:
        """The next window begins. Whether anything is kept free that was not needed."""
        kept = bool(self.before or self.lately)
        self.before, self.lately = self.lately, dict(self.out)
        return kept

    def kept(self, slots: int, weight: Callable[[str], float], waiting: Iterable[str]) -> dict[str, int]:
        """Slots that stay free for each tenant, of those for whom any do."""
        used = {t: max(self.before.get(t, 0), self.lately.get(t, 0)) for t in {*self.before, *self.lately}}
        if not used:
            return {}
        total = sum(weight(t) for t in {*used, *waiting})
        gaps = {t: min(n, int(slots * weight(t) / total)) - self.out.get(t, 0) for t, n in used.items()}
        return {t: n for t, n in gaps.items() if n > 0}
