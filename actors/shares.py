"""What each tenant's released tasks take of the cluster, and so whose turn is next: weighted dominant-resource fairness. Pure.

A tenant's dominant share is the largest of its shares of any one resource; next is who has the least of it, divided by its weight
(Ghodsi et al., "Dominant Resource Fairness: Fair Allocation of Multiple Resource Types", NSDI 2011, sections 4.1 and 4.3). Nobody gains by
asking for what it does not need, and who has work gets at least its weight's part of the cluster. Where tasks fit only some pools this
holds in each pool, among those who wait for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from msgspec import Struct

from .tenants import Tenant

HOUR_S = 3600.0
MINUTES = 60
NEARLY = 1e-9
"""Sums of many fractions are not exact; a quota is not missed for that."""


class Need(Struct, frozen=True):
    """What a task takes while it is released: cores (of CPU pools), accelerators, dollars in all, seconds. The last two are estimates."""

    cores: float = 1.0
    devices: float = 0.0
    usd: float = 0.0
    time_s: float = 0.0
    known: bool = True
    """False while nobody has told of its implementation: then it counts as one core, or device."""


class Spent:
    """Dollars of the last hour, by the minute."""

    __slots__ = ("_minutes", "total")

    def __init__(self) -> None:
        self._minutes: dict[int, float] = {}
        self.total = 0.0

    def add(self, usd: float, at: float) -> None:
        minute = int(at // 60)
        self._minutes[minute] = self._minutes.get(minute, 0.0) + max(0.0, usd)
        self.total += max(0.0, usd)

    def forget(self, now: float) -> float:
        """What was spent since an hour ago."""
        oldest = int(now // 60) - MINUTES
        for minute in [m for m in self._minutes if m <= oldest]:
            del self._minutes[minute]
        self.total = sum(self._minutes.values())
        return self.total


@dataclass(slots=True)
class Account:
    """One tenant's use: of what is released now, and of the last hour's dollars."""

    tenant: Tenant
    cores: float = 0.0
    devices: float = 0.0
    usd: float = 0.0
    """Estimated, of what is released."""
    tasks: int = 0
    share: float = 0.0
    """Its dominant share over its weight; 0 when nothing of it is released."""
    dominant: str = ""
    spent: Spent = field(default_factory=Spent)


@dataclass(slots=True)
class Shares:
    """`cores` and `devices` are those of the whole cluster, as hosts say."""

    accounts: dict[str, Account] = field(default_factory=dict)
    cores: float = 1.0
    devices: float = 1.0

    def of(self, tenant: str) -> Account:
        """Of anybody: whom no file names has weight 1 and no quota."""
        account = self.accounts.get(tenant)
        if account is None:
            account = self.accounts[tenant] = Account(Tenant(tenant))
        return account

    def know(self, tenants: Iterable[Tenant]) -> None:
        for tenant in tenants:
            self.of(tenant.name).tenant = tenant

    def resize(self, cores: float, devices: float) -> None:
        """The cluster is another one now. Less than one of a thing counts as one, so that shares stay finite."""
        if (cores, devices) != (self.cores, self.devices):
            self.cores, self.devices = max(1.0, cores), max(1.0, devices)
            for account in self.accounts.values():
                self._reckon(account)

    def take(self, tenant: str, need: Need) -> None:
        self._change(self.of(tenant), need, 1)

    def give_back(self, tenant: str, need: Need) -> None:
        self._change(self.of(tenant), need, -1)

    def next(self, tenants: Iterable[tuple[str, int]]) -> str:
        """Whose turn it is: of (tenant, when it was served last), the least dominant share by weight, then who has waited longest."""
        return min(tenants, key=lambda t: (self.of(t[0]).share, t[1]))[0]

    def beyond(self, tenant: str, need: Need) -> str:
        """The quota that a tenant would go beyond with one more such task; empty when it may have it."""
        account = self.of(tenant)
        mine = account.tenant
        if mine.cores is not None and need.cores and account.cores + need.cores > mine.cores + NEARLY:
            return "cores"
        if mine.devices is not None and need.devices and account.devices + need.devices > mine.devices + NEARLY:
            return "devices"
        if mine.usd_per_hour is not None and account.spent.total + account.usd + need.usd > mine.usd_per_hour + NEARLY:
            return "usd_per_hour"
        return ""

    def never(self, tenant: str, need: Need) -> str:
        """The quota that one such task alone is beyond, so that it could never run."""
        if not need.known:
            return ""
        mine = self.of(tenant).tenant
        for name, amount in (("cores", need.cores), ("devices", need.devices), ("usd_per_hour", need.usd)):
            quota = getattr(mine, name)
            if quota is not None and amount > quota + NEARLY:
                return name
        return ""

    def _change(self, account: Account, need: Need, sign: int) -> None:
        account.tasks += sign
        if account.tasks == 0:  # and no dust of fractions stays
            account.cores = account.devices = account.usd = 0.0
        else:
            account.cores += sign * need.cores
            account.devices += sign * need.devices
            account.usd += sign * need.usd
        self._reckon(account)

    def _reckon(self, account: Account) -> None:
        cores, devices = account.cores / self.cores, account.devices / self.devices
        account.dominant = "" if account.tasks == 0 else "devices" if devices > cores else "cores"
        account.share = max(cores, devices) / account.tenant.weight
