"""What a task is charged: energy and dollars of what it used on its host. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from ..bus.messages import Device, Use
from ..optimizer.prices import Rates
from .errands import Ran, Readings
from .slots import Slots


def at_owners_price(rates: Rates, usd_per_hour: float | None, devices: Iterable[Device], cores: int) -> Rates:
    """With what the owner says that the whole machine costs: by its GPUs, on a GPU's class, else by its cores."""
    gpus = sum(d.kind == "gpu" and not d.declared for d in devices)
    return rates.at(None if usd_per_hour is None else usd_per_hour / ((gpus if rates.device_busy_w else cores) or 1))


def use(ran: Ran, rates: Rates, slots: Slots, cold_s: float, readings: Readings) -> Use:
    """No counter sees a declared device, so nothing is called measured there."""
    counted = not any(d.declared and d.id == slots.device for d in readings.devices)
    energy_wh, cost_usd = ran.cpu_s * rates.watts_per_core / 3600, ran.cpu_s * rates.usd_per_core_hour / 3600
    read_wh = ran.energy_wh if counted else None
    if rates.device_busy_w:
        # a GPU counts while it is worked on, in equal shares of the calls that it may have; no counter of the CPU's sees it
        share_s = max(0.0, ran.end - ran.start) / slots.slots
        energy_wh, cost_usd = share_s * rates.device_busy_w / 3600, share_s * rates.usd_per_device_hour / 3600
        read_wh = None
    return Use(
        start=ran.start,
        end=ran.end,
        cpu_s=ran.cpu_s,
        energy_wh=energy_wh if read_wh is None else read_wh,
        energy_how="modelled" if read_wh is None else "measured",
        cost_usd=cost_usd,
        cold_s=cold_s,
        units=ran.units,
    )
