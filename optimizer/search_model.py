"""One step of a search as a (mixed-integer) linear programme for HiGHS. Needs numpy and highspy, which load when first used.

Columns: a share x of every open option of every stage, the times t of the events, and T where time is to be made small. Rows: the
shares of a stage add up to 1; t[target] - t[source] >= the time of the stage's part; sums and resources within their caps. Everything
is scaled to about 1, so that the solver's absolute tolerances mean the same in dollars, watt-hours and seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from .goals import Axis
from .search_table import Table

FEASIBLE = 1e-9
"""HiGHS's tolerance on scaled rows."""


class Answer(Struct):
    """`state`: "optimal", "infeasible", or "cut" (by the limit). `bound` is in units of the axis; `x` is by stage and option."""

    state: str
    bound: float
    x: list[list[float]] | None
    at: list[float] | None = None
    """Seconds of each event, where the problem has times."""
    extra: list[list[float]] | None = None
    """Of a linear programme: what each option costs more than the best at the prices of the optimum (reduced cost), in units of the axis."""


class Box(Struct):
    """A smaller programme within a model: `open_to[i]` are those of stage i's options that are left, in the order of the model's own;
    `early` and `late` (seconds) hold every event, where the problem has times."""

    open_to: Sequence[Sequence[int]]
    early: Sequence[float] | None = None
    late: Sequence[float] | None = None


class Model:
    """`open_to[i]` are the positions of stage i's options that are in question (at least one)."""

    def __init__(
        self, table: Table, axis: Axis, caps: Mapping[Axis, float], open_to: Sequence[Sequence[int]], scale: Mapping[Axis, float]
    ) -> None:
        import numpy as np

        self.table, self.axis, self.open_to = table, axis, open_to
        self.scale = scale[axis] or 1.0
        timed = axis == "time" or "time" in caps
        clock = scale["time"] or 1.0
        first: list[int] = []
        columns = 0
        for positions in open_to:
            first.append(columns)
            columns += len(positions) if len(positions) > 1 else 0
        self.first, self.shares, self.clock = first, columns, clock
        events = table.events if timed else 0
        at = columns
        columns += events
        self.at, self.events = at, events
        big_t = columns
        columns += axis == "time"
        # rows as triplets; options of one way are constants
        row, col, val = [], [], []
        low: list[float] = []
        high: list[float] = []
        inf = float("inf")

        def put(r: int, c: int, v: float) -> None:
            row.append(r)
            col.append(c)
            val.append(v)

        for i, positions in enumerate(open_to):
            if len(positions) > 1:
                for k in range(len(positions)):
                    put(len(low), first[i] + k, 1.0)
                low.append(1.0)
                high.append(1.0)
        if timed:
            for source, target, stage, part in table.arcs:
                r, least = len(low), 0.0
                put(r, at + target, 1.0)
                if source:
                    put(r, at + source, -1.0)
                if stage >= 0:
                    options, positions = table.options[stage], open_to[stage]
                    if len(positions) > 1:
                        for k, p in enumerate(positions):
                            if options[p].time[part]:
                                put(r, first[stage] + k, -options[p].time[part] / clock)
                    else:
                        least = options[positions[0]].time[part] / clock
                low.append(least)
                high.append(inf)
            if axis == "time":
                ends = {target for _, target, _, _ in table.arcs} - {source for source, _, _, _ in table.arcs}
                for end in sorted(ends):
                    put(len(low), big_t, 1.0)
                    put(len(low), at + end, -1.0)
                    low.append(0.0)
                    high.append(inf)
            for r, capacity in enumerate(table.capacity):
                fixed = 0.0
                for i, positions in enumerate(open_to):
                    for k, p in enumerate(positions):
                        uses = table.options[i][p].uses
                        if uses and uses[r]:
                            if len(positions) > 1:
                                put(len(low), first[i] + k, -uses[r] / capacity / clock)
                            else:
                                fixed += uses[r] / capacity / clock
                if axis == "time":
                    put(len(low), big_t, 1.0)
                    low.append(fixed)
                else:
                    low.append(fixed - caps["time"] / clock)
                high.append(inf)
        for capped, cap in caps.items():
            if capped == "time":
                continue
            unit = scale[capped] or 1.0
            fixed = 0.0
            for i, positions in enumerate(open_to):
                for k, p in enumerate(positions):
                    v = getattr(table.options[i][p], capped) / unit
                    if len(positions) > 1:
                        put(len(low), first[i] + k, v)
                    else:
                        fixed += v
            low.append(-inf)
            high.append(cap / unit - fixed)
        price = np.zeros(columns)
        self.offset = 0.0
        if axis == "time":
            price[big_t] = 1.0
        else:
            for i, positions in enumerate(open_to):
                for k, p in enumerate(positions):
                    v = getattr(table.options[i][p], axis) / self.scale
                    if len(positions) > 1:
                        price[first[i] + k] = v
                    else:
                        self.offset += v
        upper = np.full(columns, inf)
        upper[: self.shares] = 1.0
        if "time" in caps:
            upper[at : at + events] = max(caps["time"] / clock, 0.0)
            if axis == "time":
                upper[big_t] = max(caps["time"] / clock, 0.0)
        if timed:
            upper[at] = 0.0
        rows = np.asarray(row, dtype=np.int32)
        order = np.argsort(rows, kind="stable")
        starts = np.zeros(len(low) + 1, dtype=np.int32)
        np.add.at(starts, rows + 1, 1)
        self.np, self.columns, self.rows = np, columns, len(low)
        self.price, self.upper = price, upper
        self.low, self.high = np.asarray(low), np.asarray(high)
        self.starts = np.cumsum(starts, dtype=np.int32)
        self.index, self.value = np.asarray(col, dtype=np.int32)[order], np.asarray(val)[order]

    def solve(
        self,
        limit_s: float,
        whole: bool,
        start: Sequence[int] | None = None,
        box: Box | None = None,
        heuristics: bool = True,
        watch: Callable[[Any], None] | None = None,
    ) -> Answer:
        """`whole`: choose one option each, from `start` if there is one; else shares (a linear programme). Without `heuristics` HiGHS only
        proves, from what it is given: no search for plans of its own, and no restarts, which cost more than they save at these sizes.
        `watch` gets the solver before it runs, so that another thread can end it by `cancelSolve`."""
        import highspy

        np = self.np
        h: Any = highspy.Highs()  # type: ignore[no-untyped-call]
        h.setOptionValue("output_flag", False)
        h.setOptionValue("threads", 1)
        h.setOptionValue("time_limit", max(limit_s, 0.01))
        h.setOptionValue("mip_rel_gap", 1e-9)
        h.setOptionValue("mip_abs_gap", 1e-10)
        h.setOptionValue("mip_feasibility_tolerance", FEASIBLE)
        h.setOptionValue("primal_feasibility_tolerance", FEASIBLE)
        if not heuristics:
            h.setOptionValue("mip_heuristic_effort", 0.0)
            h.setOptionValue("mip_allow_restart", False)
        kind = np.zeros(self.columns, dtype=np.int32)
        if whole:
            kind[: self.shares] = 1
        lower, upper = self._bounds(box)
        h.passModel(
            self.columns, self.rows, len(self.value), int(highspy.MatrixFormat.kRowwise), int(highspy.ObjSense.kMinimize), self.offset,
            self.price, lower, upper, self.low, self.high, self.starts, self.index, self.value, kind,
        )  # fmt: skip
        if whole and start is not None:
            chosen = [self.first[i] + list(p).index(start[i]) for i, p in enumerate(self.open_to) if len(p) > 1 and start[i] in p]
            h.setSolution(len(chosen), np.asarray(chosen, dtype=np.int32), np.ones(len(chosen)))
        if watch is not None:
            h.HandleUserInterrupt = True
            watch(h)
        h.run()
        state, info = h.getModelStatus(), h.getInfo()
        names = highspy.HighsModelStatus
        if state in (names.kInfeasible, names.kUnboundedOrInfeasible):
            return Answer("infeasible", float("inf"), None)
        bound = float(info.mip_dual_bound if whole else info.objective_function_value if state == names.kOptimal else -float("inf"))
        x = at = extra = None
        if info.primal_solution_status == 2:
            solution = h.getSolution()
            x = self._by_stage(solution.col_value, 1.0)
            at = [v * self.clock for v in solution.col_value[self.at : self.at + self.events]] if self.events else None
            if not whole and state == names.kOptimal:
                extra = self._by_stage([v * self.scale for v in solution.col_dual], 0.0)
        return Answer("optimal" if state == names.kOptimal else "cut", bound * self.scale, x, at, extra)

    def _by_stage(self, flat: Sequence[float], alone: float) -> list[list[float]]:
        return [list(flat[f : f + len(p)]) if len(p) > 1 else [alone] for f, p in zip(self.first, self.open_to, strict=True)]

    def _bounds(self, box: Box | None) -> tuple[Any, Any]:
        """Of the columns, below and above."""
        lower, upper = self.np.zeros(self.columns), self.upper
        if box is None:
            return lower, upper
        upper = upper.copy()
        for first, all_of_it, left in zip(self.first, self.open_to, box.open_to, strict=True):
            if len(left) < len(all_of_it):
                upper[first : first + len(all_of_it)] = 0.0
                for p in left:
                    upper[first + list(all_of_it).index(p)] = 1.0
                if len(left) == 1:
                    lower[first + list(all_of_it).index(left[0])] = 1.0
        if self.events and box.early is not None and box.late is not None:
            ends = slice(self.at, self.at + self.events)
            lower[ends] = self.np.asarray(box.early) / self.clock
            upper[ends] = self.np.maximum(self.np.asarray(box.late) / self.clock, lower[ends])
            upper[self.at] = 0.0
        return lower, upper
