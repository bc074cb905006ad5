"""The hardware catalogue: what a class of devices is, draws and costs, each value with its source and date. Pure, and read once.

The values are in data/hardware.csv. Rules that made them: a price is that of a whole virtual machine over its devices (of the CPU:
over its vCPUs), the median over the zones and sizes listed, since one zone's offer of one day says little; a spot price that equals
the price on demand means that there was none, and is left out. A machine of a GPU brings its cores along: their price is in it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Literal, get_args

import msgspec
from msgspec import Struct, field

Market = Literal["on-demand", "spot", "harvest"]
MARKETS: tuple[Market, ...] = get_args(Market)


class HardwareClass(Struct, frozen=True):
    """One device; of the class "cpu" one hardware thread (a vCPU). None and () where nobody says."""

    name: str
    kind: Literal["cpu", "gpu"]
    memory_gb: float
    bandwidth_gb_s: float
    tflops: float
    """Dense, of 16-bit floats with the tensor cores; of the CPU 32-bit."""
    tdp_w: float
    idle_w: float | None = None
    """Loaded or not, with nothing running."""
    power_caps_w: tuple[float, ...] = ()
    """The least and the greatest cap that may be set."""
    usd_per_hour: float | None = None
    spot_usd_per_hour: float | None = None
    source: Mapping[str, str] = field(default_factory=dict)
    """Field to where its value comes from, with unit and date."""


@cache
def catalogue() -> Mapping[str, HardwareClass]:
    """Class name to what is known of it."""
    found: dict[str, dict[str, object]] = {}
    text = files(__package__).joinpath("data/hardware.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        fields = found.setdefault(row["name"], {"name": row["name"], "source": {}})
        value = row["value"]
        fields[row["field"]] = tuple(float(v) for v in value.split("-")) if row["field"] == "power_caps_w" else value
        if row["source"]:
            fields["source"][row["field"]] = f"{row['source']} ({row['unit']}; {row['date']})"  # type: ignore[index]
    return {name: msgspec.convert(fields, HardwareClass, strict=False) for name, fields in found.items()}


@cache
def known(base: str) -> HardwareClass | None:
    """A class of the catalogue; "h100-80gb-x8" is eight of them that work as one, with eight times everything. None for others."""
    if base in catalogue():
        return catalogue()[base]
    several = re.fullmatch(r"(.+)-x([2-9]|[1-9][0-9])", base)
    one = catalogue().get(several[1]) if several else None
    if several is None or one is None or one.kind != "gpu":
        return None
    n = int(several[2])
    times = {f: getattr(one, f) * n for f in SUMS if getattr(one, f) is not None}
    return msgspec.structs.replace(one, name=base, power_caps_w=tuple(w * n for w in one.power_caps_w), **times)


SUMS = ("memory_gb", "bandwidth_gb_s", "tflops", "tdp_w", "idle_w", "usd_per_hour", "spot_usd_per_hour")
"""What several devices have together."""


def split(hardware: str) -> tuple[str, Market]:
    """A hardware class without its market, and the market: "h100-80gb-spot" is an "h100-80gb" on the spot market."""
    for market in MARKETS[1:]:
        if hardware.endswith(f"-{market}"):
            return hardware[: -len(market) - 1], market
    return hardware, "on-demand"


def joined(base: str, market: str) -> str:
    """The opposite of `split`. An unknown market is as good as on demand: it promises nothing that would be cheaper."""
    return f"{base}-{market}" if market in MARKETS[1:] else base


NAMES: tuple[tuple[str, str], ...] = (
    (r"t4", "t4"),
    (r"v100 sxm2 (16|32)gb", r"v100-\1gb"),
    (r"a10", "a10"),
    (r"a100 sxm4? (40|80)gb", r"a100-\1gb"),
    (r"a100 (?:80gb pcie|pcie 80gb)", "a100-pcie-80gb"),
    (r"l4", "l4"),
    (r"l40s", "l40s"),
    (r"h100 pcie", "h100-pcie-80gb"),
    (r"h100 nvl", "h100-nvl-94gb"),
    (r"h100(?: sxm5?)?(?: 80gb)?(?: hbm3)?", "h100-80gb"),
    (r"h200(?: sxm)?(?: 141gb)?", "h200"),
    (r"b200(?: sxm)?", "b200"),
    (r"(?:geforce )?rtx 4090", "rtx-4090"),
    (r"(?:amd )?(?:instinct )?mi300x(?: .*)?", "mi300x"),
)
"""Device names as NVML and ROCm give them, in lower case with spaces between the words and without the maker, to classes."""


@cache
def hardware_of(gpu_name: str) -> str:
    """The hardware class of a device by the name that its driver gives it. One that is not in the catalogue has a class of its own."""
    words = " ".join(re.findall(r"[a-z0-9.]+", gpu_name.lower()))
    words = re.sub(r"^(?:nvidia |tesla )+", "", words)
    for pattern, name in NAMES:
        if found := re.fullmatch(pattern, words):
            return found.expand(name)
    own = re.sub(r"[^a-z0-9]+", "-", words).strip("-")[:60].strip("-") or "gpu"
    return f"{own}-gpu" if own == "cpu" or split(own)[1] != "on-demand" else own
