"""What `murakkab status` says of tenants: whose share is what, what waits and why."""

from __future__ import annotations

from collections.abc import Iterator

from ..bus.messages import TenantsState, TenantState


def lines(told: TenantsState | None) -> Iterator[str]:
    """For people; nothing where there is one tenant without a quota and nothing of it waits, since that is the system as a whole."""
    tenants = told.tenants if told is not None else ()
    if len(tenants) < 2 and not any(t.quota or t.waiting or t.refused for t in tenants):
        return
    yield ""
    yield "tenants (the least share by weight is served next)"
    for t in tenants:
        share = f"{t.share:.0%} of {t.dominant}" if t.dominant else "nothing released"
        refused = f", {t.refused} refused" if t.refused else ""
        yield f"  {t.tenant:<20} weight {t.weight:g}  {share:<18}  {t.running} jobs running, {t.waiting} waiting{refused}; {_tasks(t)}"
        if t.quota:
            yield f"      quotas: {', '.join(f'{name} = {value:g}' for name, value in t.quota.items())}; {_used(t)}"
        if t.why:
            yield f"      waits for {t.why}" if t.waiting else f"      {t.why}"


def _tasks(t: TenantState) -> str:
    return f"{t.tasks} tasks released, {t.tasks_waiting} wait for a slot"


def _used(t: TenantState) -> str:
    return f"used: {t.cores:g} cores, {t.devices:g} devices, ${t.usd_last_hour:.4g} in the last hour"
