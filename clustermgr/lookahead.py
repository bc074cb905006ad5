"""The look-ahead policy: how many instances of a pool, from what is known of running jobs and expected of others. Pure.

- A stage that will start is loaded for at (its start − the load). Which quantile of the start: too early costs holding (h a second), too
  late costs waiting (w a second), so the best one is h / (h + w), as for the newsvendor (Arrow, Harris and Marschak, 1951).
- More instances than planned pay while the waiting that one more saves is worth more than its load (the work that it takes over, another need not hold).
- What nobody needs just now is held, let go, or let go and loaded again in time, whatever is expected to be cheapest (`arrivals.window`,
  or, where a running job is known to need it, the time until then).
- Fewer are wanted only after a surplus has lasted as long as a load is worth: so a square wave does not make it flap.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from .arrivals import Stakes, Window, window
from .forecast import Need
from .ratios import QUANTILES
from .state import Pool, Target

SURPRISE = 2
"""A stage with more than this many times the tasks that were planned for is weighed anew."""
SLACK_S = 0.25
"""A load is begun this much earlier: messages travel, and a process must be made."""


def target(pool: Pool, now: float) -> Target:
    due = [n for n in pool.needs if start_of(pool, n) - pool.load_s - SLACK_S <= now]
    if due:
        return _due(pool, due, now)
    if pool.needs:
        return _later(pool, now)
    return _idle(pool)


def start_of(pool: Pool, need: Need) -> float:
    """The quantile of a stage's start that is worth being ready for."""
    both = pool.stakes.hold_usd_per_s + pool.wait_usd_per_s
    q = pool.stakes.hold_usd_per_s / both if both > 0 else QUANTILES[0]
    low, middle, high = need.start
    if q <= QUANTILES[1]:
        share = max(0.0, (q - QUANTILES[0]) / (QUANTILES[1] - QUANTILES[0]))
        return low + share * (middle - low)
    share = min(1.0, (q - QUANTILES[1]) / (QUANTILES[2] - QUANTILES[1]))
    return middle + share * (high - middle)


def enough(pool: Pool, due: Sequence[Need]) -> int:
    """Instances for these stages: what the widest plan counts on, and more while that pays. Never falls when work is added."""
    tasks = sum(n.tasks for n in due)
    jobs = len({n.job for n in due})
    planned = min(pool.places, max(min(n.width, n.tasks) for n in due))
    work_s, n = sum(d.work_s for d in due) / pool.slots, max(1, planned)
    most = max(planned, min(pool.spare, ceil(tasks / pool.slots)))
    if jobs == 1 and all(d.tasks <= SURPRISE * d.planned for d in due):
        return min(n, pool.places)  # its plan has weighed this already, by the user's own goals
    while n < most:
        saved_s = work_s / n - max(work_s / (n + 1), pool.load_s)
        if saved_s * jobs * pool.wait_usd_per_s <= pool.stakes.load_usd:
            break
        n += 1
    return min(n, pool.places)


def _due(pool: Pool, due: Sequence[Need], now: float) -> Target:
    tasks, jobs = sum(n.tasks for n in due), len({n.job for n in due})
    wanted = enough(pool, due)
    first_s = max(0.0, min(start_of(pool, n) for n in due) - now)
    figures = {"tasks": float(tasks), "jobs": float(jobs), "work_s": sum(n.work_s for n in due), "start_s": first_s, "load_s": pool.load_s}
    when = "now" if first_s <= 0 else f"in {first_s:.1f} s, a load takes {pool.load_s:.1f} s"
    text = f"{tasks} task{'s' * (tasks > 1)} of {jobs} job{'s' * (jobs > 1)} {when}"
    if wanted < pool.have:
        left_s = pool.stakes.break_even_s - pool.surplus_s
        if left_s > 0 or _soon(pool, now):
            return Target(
                pool.have, True, "surplus-held", f"{text}; {wanted} would do, {pool.surplus_s:.0f} s so far", figures, max(left_s, 0.1)
            )
        return Target(wanted, True, "surplus", f"{text}; {wanted} have been enough for {pool.surplus_s:.0f} s", figures)
    return Target(wanted, True, "needed" if first_s <= 0 else "needed-soon", text, figures)


def _soon(pool: Pool, now: float) -> bool:
    """Whether stages that are not due yet would want what is too much just now, before another load would have paid."""
    return any(n.start[1] - now < pool.stakes.break_even_s for n in pool.needs if n.start[0] - pool.load_s > now)


def _later(pool: Pool, now: float) -> Target:
    """All stages that need it start later than a load takes."""
    first = min(pool.needs, key=lambda n: start_of(pool, n))
    wait_s = start_of(pool, first) - pool.load_s - SLACK_S - now
    hold_usd = pool.stakes.hold_usd_per_s * max(0.0, first.start[1] - now)
    figures = {"start_s": first.start[1] - now, "load_s": pool.load_s, "hold_usd": hold_usd, "load_usd": pool.stakes.load_usd}
    when = f"stage '{first.stage}' will need it in {first.start[1] - now:.1f} s"
    risk_usd = 0.1 * pool.stakes.cold_usd
    """A load that is begun in time is late for one stage in ten: that is what the 10 % quantile of its start says."""
    if pool.have and hold_usd <= pool.stakes.load_usd + risk_usd:
        return Target(pool.have, False, "held-for-stage", f"{when}; holding costs less than loading again", figures, wait_s)
    if pool.have:
        return Target(0, False, "load-again", f"{when}; loading again costs less than holding", figures, wait_s)
    return Target(0, False, "deferred", f"{when}, a load takes {pool.load_s:.1f} s", figures, wait_s)


def _idle(pool: Pool) -> Target:
    """No running job needs it."""
    warm = pool.have > 0
    windows = [(k.width, _window(pool, k.left, k.after_s, warm)) for k in pool.kinds]
    if not windows:
        windows = [(1, window((), pool.idle_s, pool.stakes, warm))]
    now_open = [(width, w) for width, w in windows if w.now]
    later = [w.start_s for _, w in windows if w.stop_s > 0 and not w.now]
    look_s = min([*later, *(w.stop_s for _, w in now_open)], default=float("inf"))
    figures = {"idle_s": pool.idle_s, "break_even_s": pool.stakes.break_even_s}
    if now_open:
        _, best = max(now_open, key=lambda found: found[1].need)
        figures |= {"need": best.need, "hold_for_s": best.stop_s}
        width = max(width for width, _ in now_open)
        n = min(max(pool.have, width) if best.how == "gaps" else pool.have, pool.places)
        if best.how == "gaps":
            return Target(n, False, "expected", f"a job is expected within {best.stop_s:.0f} s ({best.need:.0%})", figures, look_s)
        return Target(
            n,
            False,
            "kept",
            f"idle for {pool.idle_s:.0f} s; loading again would cost more until {best.stop_s:.0f} s from now",
            figures,
            look_s,
        )
    soonest = f"; it will be loaded again in {min(later):.0f} s" if later else ""
    return Target(0, False, "idle", f"idle for {pool.idle_s:.0f} s, no use is expected that pays for holding{soonest}", figures, look_s)


def _window(pool: Pool, left: Sequence[float], after_s: float, warm: bool) -> Window:
    """For jobs that need the pool some time after they come: what of its load falls into that time is no waiting."""
    cold_s = max(0.0, pool.load_s + SLACK_S - after_s)
    stakes = Stakes(pool.stakes.hold_usd_per_s, pool.stakes.load_usd, cold_s * pool.wait_usd_per_s)
    return window([s + after_s for s in left], pool.idle_s, stakes, warm, pool.load_s + SLACK_S)
