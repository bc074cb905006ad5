"""What `murakkab status` says of the cluster manager: pools with their forecasts, and why the last changes were made."""

from __future__ import annotations

from collections.abc import Iterator
from time import localtime, strftime

from ..bus.messages import ClusterOutlook, Decision, PoolForecast


def lines(outlook: ClusterOutlook | None, now: float) -> Iterator[str]:
    """For people; with how old it is when that is long."""
    if outlook is None:
        yield "the cluster manager has said nothing yet: is it running?"
        return
    age_s = now - outlook.at
    old = f", {age_s:.0f} s ago: is the cluster manager running?" if age_s > 10 else ""
    yield f"pools (scaling: {outlook.policy}{old})"
    for p in outlook.pools:
        if p.warm or p.loading or p.wanted or p.tasks or p.arrival_s:
            yield f"  {p.implementation:<30} for {p.agent:<16} on {p.hardware:<10} {p.warm} warm, {p.loading} loading, {p.wanted} wanted; {_queue(p)}"
            yield f"      {p.why}{_ahead(p)}"
    if outlook.errors:
        e = outlook.errors[0]
        yield f"forecasts of {e.n} stages' starts: off by {e.absolute_s:.1f} s on average, {e.within:.0%} between their 10 % and 90 % quantiles"
    for host in outlook.silent:
        yield f"host {host} is lost: nothing was heard of it for too long"
    for fault in outlook.faults:
        yield f"SUSPECT  {fault}"
    for d in outlook.unmet:
        yield f"NOT MET  {d.implementation} for {d.agent} on {d.hardware}: {d.text} ({d.code})"
    if outlook.decisions:
        yield "the last changes"
        yield from (f"  {_decision(d)}" for d in outlook.decisions)


def _queue(p: PoolForecast) -> str:
    return f"{p.tasks} open tasks, {p.ready} ready" if p.tasks else "no task is open"


def _ahead(p: PoolForecast) -> str:
    parts = []
    if p.start_s:
        parts.append(f"next stage in {p.start_s[0]:.1f} to {p.start_s[2]:.1f} s")
    if p.arrival_s:
        parts.append(f"next job expected in {p.arrival_s[0]:.0f} to {p.arrival_s[2]:.0f} s")
    return f" ({'; '.join(parts)})" if parts else ""


def _decision(d: Decision) -> str:
    at = strftime("%H:%M:%S", localtime(d.at))
    return f"{at}  {d.verb:<7} {d.implementation} for {d.agent} on {d.host}: {d.text} ({d.code})"
