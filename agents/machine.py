"""What the owner of this machine says of it: how it was had, what it costs, when it will be taken away."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from pathlib import Path

from msgspec import Struct

from ..bus.messages import Device
from ..optimizer.hardware import MARKETS, Market
from .declared import declared

MARKET, USD, REVOCATION, MEMORY = "MURAKKAB_MARKET", "MURAKKAB_USD_PER_HOUR", "MURAKKAB_REVOCATION_FILE", "MURAKKAB_MEMORY_MB"
DEVICES = "MURAKKAB_DEVICES"

NOTICE_S = 120.0
"""Of a notice that does not say when: what AWS gives its spot instances."""


class BadSetting(ValueError):
    """What the environment or the command line says cannot be: which of it, and what would be right."""


class Machine(Struct, frozen=True):
    """`memory_mb` is how much of its memory we may count on, where that is less than all. `notice` is a file that appears when the machine
    will be taken away; its text is in how many seconds (120 when it says none), as clouds' metadata services say it. `devices` are those
    that it has by its owner's word alone."""

    market: Market = "on-demand"
    usd_per_hour: float | None = None
    notice: Path | None = None
    memory_mb: int | None = None
    devices: tuple[Device, ...] = ()

    def revoked_in_s(self) -> float | None:
        """Seconds until the end, once there is a notice."""
        if self.notice is None:
            return None
        try:
            text = self.notice.read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return None
        try:
            seconds = float(text)
        except ValueError:
            return NOTICE_S  # whatever it says, it is there
        return max(0.0, seconds) if isfinite(seconds) else NOTICE_S


def machine(environ: Mapping[str, str]) -> Machine:
    """Raises BadSetting, naming the variable."""
    market = environ.get(MARKET, "") or MARKETS[0]
    if market not in MARKETS:
        raise BadSetting(f"{MARKET}={market[:40]}: it is one of {', '.join(MARKETS)}")
    text = environ.get(USD, "")
    try:
        usd = float(text) if text else None
    except ValueError:
        usd = -1.0
    if usd is not None and not (isfinite(usd) and usd >= 0):
        raise BadSetting(f"{USD}={text[:40]} is not a number of at least 0")
    text = environ.get(MEMORY, "")
    if text and not (text.isascii() and text.isdigit() and int(text) > 0):
        raise BadSetting(f"{MEMORY}={text[:40]} is not a whole number of megabytes above 0")
    try:
        devices = declared(environ.get(DEVICES, ""))
    except ValueError as error:
        raise BadSetting(f"{DEVICES}: {error}") from None
    return Machine(market, usd, Path(environ[REVOCATION]) if environ.get(REVOCATION) else None, int(text) if text else None, devices)
