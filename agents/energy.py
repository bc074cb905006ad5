"""Energy as counters tell it: RAPL for processors where it can be read. Cumulative, in watt-hours.

RAPL's counters are of whole packages, so a task's part is its share of the host's busy CPU time while it ran; `share_wh`
is that rule. Counters: Linux powercap, `energy_uj` in microjoules, wrapping at `max_energy_range_uj`
(docs.kernel.org/power/powercap/powercap.html).
"""

from __future__ import annotations

from pathlib import Path

import psutil
from msgspec import Struct

POWERCAP = Path("/sys/class/powercap")
UJ_PER_WH = 3.6e9


class Reading(Struct, frozen=True):
    """Where the counters stood: package energy since the first look, and busy CPU-seconds of the host since boot."""

    package_wh: float
    busy_s: float


class PackageEnergy:
    """All packages of this host. `read` gives None where no counter can be read, as in most virtual machines."""

    def __init__(self, folder: Path = POWERCAP) -> None:
        # "intel-rapl:0" is a package; "intel-rapl:0:0" a part of one, which must not be counted again (AMD's have the same names)
        self._zones = [z for z in sorted(folder.glob("intel-rapl:*")) if z.name.count(":") == 1]
        self._last: dict[Path, int] = {}
        self._total_uj = 0.0

    def read(self) -> Reading | None:
        readable = False
        for zone in self._zones:
            try:
                now = int((zone / "energy_uj").read_text())
                wraps_at = int((zone / "max_energy_range_uj").read_text())
            except (OSError, ValueError):
                continue
            readable = True
            last = self._last.get(zone, now)
            self._total_uj += now - last if now >= last else now + wraps_at - last
            self._last[zone] = now
        if not readable:
            return None
        t = psutil.cpu_times()
        return Reading(self._total_uj / UJ_PER_WH, t.user + t.system + t.nice)


def share_wh(before: Reading | None, after: Reading | None, cpu_s: float) -> float | None:
    """A task's part of the energy between two readings; None when it cannot be told, and must be modelled."""
    if before is None or after is None:
        return None
    busy_s = max(after.busy_s - before.busy_s, cpu_s)
    return (after.package_wh - before.package_wh) * cpu_s / busy_s if busy_s > 0 else None
