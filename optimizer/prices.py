"""What busy hardware draws and costs: the model behind every modelled watt-hour and dollar. Pure; the environment comes as a mapping.

CPU: AWS m6id.24xlarge, 96 vCPUs, 5.6952 $/h on demand; its Xeon Platinum 8375C has a thermal design power of 300 W over 64 hardware
threads, and a vCPU is one of those. So a busy core-second is 4.69 joules: a model, not a measurement, and labelled so everywhere.
Other classes and markets, with sources and dates: `hardware.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from statistics import median

from msgspec import Struct
from msgspec.structs import replace

from .hardware import HardwareClass, Market, catalogue, known, split

HARVEST_SHARE = 0.05
"""Of the price on demand, for what would stand idle otherwise: assumed; near zero, so that it is taken, but less of it is still better."""
IDLE_SHARE = 0.12
"""Of the thermal design power, for devices whose idle draw nobody gives: assumed, between those that the catalogue has."""
BUSY_SHARE = 0.7
"""Of the thermal design power, for a busy GPU: assumed; inference seldom draws all of it. A counter's reading goes first."""


class Rates(Struct, frozen=True):
    """Watts of a busy core and dollars of a core-hour; of a GPU's class also those of one device. The device's price has its host's
    cores in it, so a core-hour costs nothing there."""

    watts_per_core: float
    usd_per_core_hour: float
    usd_per_device_hour: float = 0.0
    device_busy_w: float = 0.0
    device_idle_w: float = 0.0
    note: str = ""
    """What of it is a guess, for people."""

    def at(self, usd_per_hour: float | None) -> Rates:
        """With the price that the owner says, of a core (of GPUs, of a device), where one is said."""
        if usd_per_hour is None:
            return self
        return replace(self, usd_per_device_hour=usd_per_hour) if self.device_busy_w else replace(self, usd_per_core_hour=usd_per_hour)


class Prices:
    """Rates by hardware class. MURAKKAB_WATTS_PER_CORE and MURAKKAB_USD_PER_CORE_HOUR replace the CPU's values on every host, with
    the other markets in proportion. Raises ValueError."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        cpu = catalogue()["cpu"]
        assert cpu.usd_per_hour is not None
        try:
            self.watts_per_core, self.usd_per_core_hour = (
                _amount(environ, name, default)
                for name, default in (("MURAKKAB_WATTS_PER_CORE", cpu.tdp_w), ("MURAKKAB_USD_PER_CORE_HOUR", cpu.usd_per_hour))
            )
        except ValueError as error:
            raise ValueError(f"MURAKKAB_WATTS_PER_CORE and MURAKKAB_USD_PER_CORE_HOUR are numbers: {error}") from None
        self._known: dict[str, Rates] = {}

    def of(self, hardware: str) -> Rates:
        """The rates of a class on its market. One that is not in the catalogue counts as one core of the CPU, with a note."""
        if hardware not in self._known:
            self._known[hardware] = self._of(*split(hardware))
        return self._known[hardware]

    def _of(self, base: str, market: Market) -> Rates:
        cpu = Rates(self.watts_per_core, self.usd_per_core_hour)
        device = known(base)
        if device is None:
            note = f"{base} is not in the hardware catalogue: priced as a CPU core"
            return replace(cpu, usd_per_core_hour=cpu.usd_per_core_hour * _share(None, market), note=note)
        if device.kind == "cpu":
            return replace(cpu, usd_per_core_hour=cpu.usd_per_core_hour * _share(device, market))
        usd, note = (
            (device.usd_per_hour, "") if device.usd_per_hour is not None else (_guess(device), f"no price of {base} is listed: guessed")
        )
        idle_w = device.idle_w if device.idle_w is not None else IDLE_SHARE * device.tdp_w
        return Rates(cpu.watts_per_core, 0.0, usd * _share(device, market), BUSY_SHARE * device.tdp_w, idle_w, note)


def _amount(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name, "")
    value = float(text) if text else default
    if not (isfinite(value) and value >= 0):
        raise ValueError(f"{name} is {text}, and must be a finite number, zero or more")
    return value


def _share(device: HardwareClass | None, market: Market) -> float:
    """What part of the price on demand a market asks."""
    if market == "harvest":
        return HARVEST_SHARE
    if market == "spot" and device is not None and device.usd_per_hour and device.spot_usd_per_hour is not None:
        return device.spot_usd_per_hour / device.usd_per_hour
    return 1.0  # no discount was on offer


def _guess(device: HardwareClass) -> float:
    """By what others ask for their throughput, in the middle."""
    return device.tflops * median(d.usd_per_hour / d.tflops for d in catalogue().values() if d.kind == "gpu" and d.usd_per_hour)
