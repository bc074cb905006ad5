"""One way to do a stage: a pool, how wide, how many calls at a time; and what it then takes. Pure."""

from __future__ import annotations

import itertools
from math import ceil, log

from msgspec import Struct, field

from ..bus.messages import Choice, Estimate, Profile
from .fleet import Fleet, Key
from .prices import Rates
from .problem import Option

STRANDED_SHARE = 0.05
"""Of the price, for a device that is paid for and that nobody uses."""
QUALITY_LEAST = 1e-6
"""Quality 0 would make every plan with it infinitely bad, and all of them equally so."""
WHOLE, ONE, LOAD = 0, 1, 2
"""Parts of an option's time: the whole stage, one task of it, and loading."""


class Way(Struct, frozen=True):
    """Costs and energies of one task are without loading; `tasks`, `units` and totals are of the whole stage."""

    key: Key
    profile: Profile
    tasks: float
    units: dict[str, float]
    width: int
    slots: int
    """Calls at a time in one instance."""
    threads: int
    service_s: float
    """One task, at that many calls at a time."""
    cpu_s: float
    """Of one task."""
    loads: int
    """Instances that are not there yet."""
    usd: float
    """One task."""
    wh: float
    load_usd: float
    """All loads together."""
    load_wh: float
    idle_wh_per_s: float
    quality: float
    sensitivity: float = 1.0
    timeout_s: float = 120.0
    notes: tuple[str, ...] = ()
    kept: Choice | None = None
    """It was chosen before, and its stage may be running: nothing of it is open."""
    power_w: float | None = None
    on_cpu: bool = True
    """It takes cores; else devices, by the time."""
    own_slots: bool = False
    """The slots are not those of the row."""
    args: dict[str, object] = field(default_factory=dict)

    @property
    def warm(self) -> bool:
        return self.loads < self.width

    @property
    def servers(self) -> int:
        return max(1, self.width * self.slots)

    @property
    def load_s(self) -> float:
        return 0.0 if self.warm or self.kept else self.profile.load_s

    @property
    def span_s(self) -> float:
        """From its first task's start to its last one's end, when nothing else hinders it."""
        return 0.0 if self.kept else max(1, ceil(self.tasks / self.servers - 1e-9)) * self.service_s

    @property
    def cost(self) -> float:
        return self.kept_total.cost_usd if self.kept else self.tasks * self.usd + self.load_usd

    @property
    def energy(self) -> float:
        return self.kept_total.energy_wh if self.kept else self.tasks * self.wh + self.load_wh + self.idle_wh_per_s * self.span_s

    @property
    def loss(self) -> float:
        return self.sensitivity * -log(max(self.quality, QUALITY_LEAST))

    @property
    def kept_total(self) -> Estimate:
        assert self.kept is not None
        c = self.kept
        return c.total or Estimate(c.time_s, c.cost_usd, c.energy_wh, c.quality)

    def option(self, resources: dict[str, int]) -> Option:
        """For the search; `resources` are hardware classes by position, in core-seconds (of GPUs, device-seconds)."""
        uses = [0.0] * len(resources)
        if not self.kept and self.key[2] in resources:
            uses[resources[self.key[2]]] = self.work_s
        one = 0.0 if self.kept else self.service_s
        return Option((self.span_s, one, self.load_s), self.cost, self.energy, self.loss, tuple(uses))

    @property
    def work_s(self) -> float:
        """Core-seconds of the whole stage with loading; of GPUs, device-seconds."""
        if self.kept:
            return 0.0
        one, load = (self.cpu_s, self.profile.load_cpu_s or self.profile.load_s) if self.on_cpu else (self.service_s / self.slots, 0.0)
        return self.tasks * one + self.loads * load

    def label(self) -> str:
        """For people: implementation, where, and how wide."""
        _, name, hardware = self.key
        wide = f" × {self.width}" if self.width > 1 else ""
        slots = f", {self.slots} calls at a time" if self.own_slots else ""
        cap = f", capped at {self.power_w:g} W" if self.power_w else ""
        return f"{name} on {hardware}{wide}{slots}{cap}"


def way(
    key: Key,
    profile: Profile,
    rates: Rates,
    fleet: Fleet,
    tasks: float,
    units: dict[str, float],
    width: int,
    slots: int,
    row_slots: int,
    threads: int,
    timeout_s: float,
    quality: float,
    sensitivity: float,
    cap: tuple[float, float] | None = None,
) -> Way:
    """What a stage takes this way. `cap` is (watts, part of the board's power) of a device that is to be capped. CPU classes pay busy core-seconds; a GPU is paid for while an instance of its own is busy on it."""
    warm = fleet.warm(key)
    loads = max(0, width - warm.instances)
    n = max(tasks, 1e-9)
    own_s = profile.time.at(tasks, units) / n * profile.drift
    cpu_s = profile.cpu.at(tasks, units) / n * profile.drift
    service_s = max(own_s, 0.0) * crowd(profile, slots) * (1.0 if cap is None else capped(profile, units, cap[1]))
    notes: list[str] = []
    on_cpu = not rates.device_busy_w
    price = 1.0
    if not on_cpu and fleet.stranded(key[2]):
        price = STRANDED_SHARE
        notes.append("stranded: priced at 5 %")
    if on_cpu:
        usd, wh = cpu_s * rates.usd_per_core_hour / 3600, cpu_s * rates.watts_per_core / 3600
        load_cpu_s = profile.load_cpu_s or profile.load_s
        load_usd, load_wh = (loads * load_cpu_s * r / 3600 for r in (rates.usd_per_core_hour, rates.watts_per_core))
    else:
        share_s = service_s / slots
        busy_w = rates.device_busy_w if cap is None else min(rates.device_busy_w, cap[0])
        usd, wh = share_s * rates.usd_per_device_hour / 3600, share_s * busy_w / 3600
        load_usd, load_wh = (loads * profile.load_s * r / 3600 for r in (rates.usd_per_device_hour, rates.device_idle_w))
    if profile.energy is not None:
        wh = profile.energy.at(tasks, units) / n * profile.drift
        if cap is not None and rates.device_busy_w:  # as much longer, and as much less power
            wh *= capped(profile, units, cap[1]) * min(1.0, cap[0] / rates.device_busy_w)
    if profile.usd is not None:
        usd = profile.usd.at(tasks, units) / n
    if profile.rate_per_s:  # so many calls a second are let through, however many are asked for
        service_s = max(service_s, width * slots / profile.rate_per_s)
    return Way(
        key=key,
        profile=profile,
        tasks=tasks,
        units=units,
        width=width,
        slots=slots,
        threads=threads,
        service_s=service_s,
        cpu_s=cpu_s,
        loads=loads,
        usd=usd * price,
        wh=wh,
        load_usd=load_usd * price,
        load_wh=load_wh,
        idle_wh_per_s=width * (profile.idle_w or 0.0) / 3600,
        quality=quality,
        sensitivity=sensitivity,
        timeout_s=timeout_s,
        notes=tuple(notes),
        on_cpu=on_cpu,
        power_w=None if cap is None else cap[0],
        own_slots=slots != row_slots,
    )


def capped(profile: Profile, units: dict[str, float], share: float) -> float:
    """How many times as long a task takes on a device whose power is capped at `share` of the board's.

    At half the power of an H100, prompts take 1.30 times as long and single tokens 1.00 times: medians of 76 pairs of settings in Splitwise's
    measurements (Mutinifni/splitwise-sim 8f99e7d, data/perf_model.csv). In between in proportion; what is no token counts as prompt.
    """
    reads = sum(rate * units.get(unit, 0.0) for unit, rate in profile.time.per.items() if unit == "tokens_out")
    whole = profile.time.base + sum(rate * units.get(unit, 0.0) for unit, rate in profile.time.per.items())
    computes = 1.0 - reads / whole if whole > 0 else 1.0
    return 1.0 + 0.3 * computes * min(max(1.0 - share, 0.0), 0.5) / 0.5


def crowd(profile: Profile, slots: int) -> float:
    """How many times as long a call takes among `slots`: as measured, between two measured numbers in proportion, beyond them as the last."""
    if slots <= 1 or not profile.crowd:
        return 1.0
    known = sorted({1: 1.0, **profile.crowd}.items())
    for (n0, f0), (n1, f1) in itertools.pairwise(known):
        if slots <= n1:
            return f0 + (f1 - f0) * (slots - n0) / (n1 - n0)
    return known[-1][1]
