"""Who may use the system, with what weight and up to what: as its owner's file says. Pure; `main.py` reads the file.

The file is TOML or JSON, a table for each tenant; every field may be left out:

    [ann]
    weight = 2            # twice the share of a tenant with 1, while both have work
    running_jobs = 20     # that are being planned or run at a time; others wait, stored
    waiting_jobs = 500    # beyond it a submission is refused
    cores = 8             # of CPU pools, at a time; its other tasks wait
    devices = 1           # accelerators, at a time; a share of one counts as that share
    usd_per_hour = 2.5    # what its tasks may cost in any hour
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

from msgspec import Struct, convert

TENANTS_MAX = 10_000
_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")
_LEAST = {"running_jobs": 1, "waiting_jobs": 0, "cores": 0, "devices": 0, "usd_per_hour": 0}
"""Quota to its least value: a tenant that may run no job at all would wait for ever."""
_WHOLE = ("running_jobs", "waiting_jobs")


class BadTenants(ValueError):
    """The file cannot be used: which tenant's which field, and what would be right."""


class Tenant(Struct, frozen=True):
    """None is no quota. Cores, devices and dollars an hour may be fractions."""

    name: str
    weight: float = 1.0
    running_jobs: int | None = None
    waiting_jobs: int | None = None
    cores: float | None = None
    devices: float | None = None
    usd_per_hour: float | None = None

    @property
    def quotas(self) -> dict[str, float]:
        """Those that it has, by name."""
        return {name: float(value) for name in _LEAST if (value := getattr(self, name)) is not None}


def tenants_in(text: str, file: str) -> tuple[Tenant, ...]:
    """The tenants of a file; `file` is its name, which tells JSON (`.json`) from TOML. Raises BadTenants."""
    try:
        found: Any = json.loads(text) if file.endswith(".json") else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadTenants(f"{file} is not {'JSON' if file.endswith('.json') else 'TOML'}: {error}") from None
    if not isinstance(found, dict) or not found:
        raise BadTenants(f"{file} names no tenant: it has a table for each, such as [ann]")
    if len(found) > TENANTS_MAX:
        raise BadTenants(f"{file} names {len(found)} tenants: at most {TENANTS_MAX} are taken")
    return tuple(_tenant(name, fields, file) for name, fields in found.items())


def _tenant(name: str, fields: Any, file: str) -> Tenant:
    if not _NAME.fullmatch(name):
        raise BadTenants(f"{file}: tenant '{name[:80]}': a name is made of 1 to 80 letters, digits, '-' and '_'")
    where = f"{file}: tenant '{name}'"
    if not isinstance(fields, Mapping):
        raise BadTenants(f"{where} is {str(fields)[:40]!r}: it is a table of fields, such as weight = 2")
    for field, value in fields.items():
        if field != "weight" and field not in _LEAST:
            raise BadTenants(f"{where}: '{field[:40]}' is no field: they are weight, {', '.join(_LEAST)}")
        number = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
        if field == "weight":
            if not number or not 0.001 <= value <= 1000:
                raise BadTenants(f"{where}: weight is {str(value)[:40]!r}: it is a number from 0.001 to 1000")
        elif not number or value < _LEAST[field] or (field in _WHOLE and value != int(value)):
            kind = "whole number" if field in _WHOLE else "number"
            raise BadTenants(f"{where}: {field} is {str(value)[:40]!r}: it is a {kind} of at least {_LEAST[field]}")
    return convert({"name": name, **fields, **{f: int(fields[f]) for f in _WHOLE if f in fields}}, Tenant)


def named(tenants: Iterable[Tenant], names: Iterable[str]) -> tuple[Tenant, ...]:
    """The tenants of a file, and those that are only named."""
    found = {t.name: t for t in tenants}
    for name in names:
        found.setdefault(name, Tenant(name))
    return tuple(found.values())
