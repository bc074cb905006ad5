"""The goals of a job; a list of them is a priority list, the first matters most."""

from __future__ import annotations


class Constraint(str):
    """A goal by its name, as messages carry it; with a tolerance of its own where wanted."""

    __slots__ = ()

    def within(self, tolerance: float) -> Constraint:
        """Plans within this part of the best count as equal, and the next goal decides: `MIN_COST.within(0.1)` is 10 %, the default 5 %.

        Raises ValueError for what is no number from 0 to 10, and where a tolerance has been said already.
        """
        if ":" in self:
            raise ValueError(f"{self} has a tolerance already")
        if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 <= tolerance <= 10:
            raise ValueError(f"{self}: the tolerance is a number from 0 to 10 (0.1 is 10 %), not {tolerance!r}")
        return Constraint(f"{self}:{tolerance:g}")


MIN_COST = Constraint("MIN_COST")
MIN_LATENCY = Constraint("MIN_LATENCY")
MIN_ENERGY = Constraint("MIN_ENERGY")
MAX_QUALITY = Constraint("MAX_QUALITY")
