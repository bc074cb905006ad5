"""What a busy core draws and costs, by hardware class: the model behind every modelled watt-hour and dollar.

Source of the default: AWS m6id.24xlarge, 96 vCPUs, 5.6952 $/h on demand in us-east-1 (SkyPilot catalogue v9, commit 2c3d7ea);
its Xeon Platinum 8375C has a thermal design power of 300 W (codecarbon 3.3.2) over 32 cores = 64 hardware threads, and a
vCPU is one of those. So a busy core-second is 4.69 joules: a model, not a measurement, and labelled so everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping

from .choose import Rates

CPU = Rates(watts_per_core=300 / 64, usd_per_core_hour=5.6952 / 96)


def rates(environ: Mapping[str, str]) -> dict[str, Rates]:
    """The table; MURAKKAB_WATTS_PER_CORE and MURAKKAB_USD_PER_CORE_HOUR replace the CPU's values. Raises ValueError."""
    try:
        cpu = Rates(
            float(environ.get("MURAKKAB_WATTS_PER_CORE", CPU.watts_per_core)),
            float(environ.get("MURAKKAB_USD_PER_CORE_HOUR", CPU.usd_per_core_hour)),
        )
    except ValueError as error:
        raise ValueError(f"MURAKKAB_WATTS_PER_CORE and MURAKKAB_USD_PER_CORE_HOUR are numbers: {error}") from None
    return {"cpu": cpu}
