"""Which tenants this system has: those of the owner's file, and those that MURAKKAB_TENANTS names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..agents.machine import BadSetting
from ..bus.subjects import token
from .tenants import BadTenants, Tenant, named, tenants_in

FILE, NAMES = "MURAKKAB_TENANTS_FILE", "MURAKKAB_TENANTS"
BYTES_MAX = 1 << 20


def tenants_of(environ: Mapping[str, str]) -> tuple[Tenant, ...]:
    """Never empty: without any setting there is "default". Raises BadSetting, naming the file and what is wrong in it."""
    names = [token(t.strip()) for t in environ.get(NAMES, "").split(",") if t.strip()]
    if not (path := environ.get(FILE, "")):
        return named((), names or ["default"])
    try:
        with Path(path).open("rb") as file:
            data = file.read(BYTES_MAX + 1)
        if len(data) > BYTES_MAX:
            raise BadSetting(f"tenants file {path} is larger than {BYTES_MAX >> 20} MiB")
        return named(tenants_in(data.decode(), path), names or ["default"])
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise BadSetting(f"tenants file {path}: {why}") from None
    except BadTenants as error:
        raise BadSetting(f"tenants file {error}") from None
