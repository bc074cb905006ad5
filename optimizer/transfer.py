"""A profile carried over to hardware on which nobody has measured: an estimate, marked as one, until somebody has. Pure.

The rule, by what a unit of work waits for (the roofline model: Williams, Waterman, Patterson, Communications of the ACM 52, 2009):

- GPU to GPU: tokens that are written go with memory bandwidth, all other work with dense throughput; either ratio to the power of
  `DAMPED`, since no published pair gains as much as its data sheets promise: llama2-70b from A100 to H100 gains 1.51 a token where
  bandwidth gains 1.64, and 1.68 a token of the prompt where throughput gains 3.17 (splitwise); two language models from H100 to B200
  gain 1.60 and 1.75 where bandwidth gains 2.39 (ML.ENERGY). 0.65 is between them.
- CPU core to GPU: the ratio of throughputs, of which `CPU_SHARE` comes true, within `CPU_TO_GPU`; with an A100 that is 50 times. Published
  pairs (YOLOv8, a CPU against an A100) are 80 to 160, but of larger models and tuned engines. GPU to CPU is the inverse.
- What a task takes whatever its work (the base of its line) is the host's: it stays, unless the line has nothing else.
- CPU to CPU: taken as it is. Quality, memory and crowd stay; energy that was read goes with the time and the thermal design power.
"""

from __future__ import annotations

from msgspec.structs import replace

from ..bus.values import Line, Profile
from .hardware import HardwareClass

DAMPED = 0.65
CPU_SHARE = 0.02
CPU_TO_GPU = (2.0, 50.0)
GAIN_MAX = 8.0
"""Between two GPUs."""


def transfer(profile: Profile, to: str, source: HardwareClass | None, target: HardwareClass | None) -> Profile:
    """The profile on the class `to`. A `source` or `target` that is None is a class that the catalogue lacks: then nothing is scaled.

    What was a prior stays one: a guess carried over is no better than a guess.
    """
    gains, why = _gains(source, target)
    time = _scaled(profile.time, gains)
    energy = None
    if profile.energy is not None and source is not None and target is not None and source.kind == target.kind:
        watts = target.tdp_w / source.tdp_w if source.tdp_w > 0 else 1.0
        energy = _scaled(profile.energy, {unit: gain / watts for unit, gain in gains.items()}, watts)
    return replace(
        profile,
        hardware=to,
        how="prior" if profile.how == "prior" else "estimate",
        source=f"{profile.source or profile.how}; carried over from {profile.hardware}: {why}",
        cpu=_scaled(profile.cpu, gains),
        time=time,
        energy=energy,
        idle_w=None,  # of the other device
        busy_w=None,
        samples=0,
    )


def _gains(source: HardwareClass | None, target: HardwareClass | None) -> tuple[dict[str, float], str]:
    """How many times as fast: of written tokens, and of other work (under "")."""
    if source is None or target is None:
        return {"": 1.0}, "taken as it is, since the catalogue does not know both"
    if source.kind == target.kind == "cpu":
        return {"": 1.0}, "taken as it is"
    if source.kind == target.kind:
        tokens, work = _damped(source.bandwidth_gb_s, target.bandwidth_gb_s), _damped(source.tflops, target.tflops)
        return {"tokens_out": tokens, "": work}, f"{work:.3g} times as fast by throughput, {tokens:.3g} by memory bandwidth, both damped"
    gpu, cpu = (target, source) if target.kind == "gpu" else (source, target)
    low, high = CPU_TO_GPU
    gain = min(max(CPU_SHARE * gpu.tflops / cpu.tflops, low), high) if cpu.tflops > 0 else low
    if target.kind == "gpu":
        return {"": gain}, f"{gain:.3g} times as fast as a core, {CPU_SHARE:.0%} of what the throughputs promise"
    return {"": 1 / gain}, f"{gain:.3g} times as slow, as the opposite is estimated"


def _damped(source: float, target: float) -> float:
    if source <= 0 or target <= 0:
        return 1.0
    return float(min(max((target / source) ** DAMPED, 1 / GAIN_MAX), GAIN_MAX))


def _scaled(line: Line, gains: dict[str, float], base_times: float = 1.0) -> Line:
    base = line.base * base_times if line.per else line.base / gains[""]
    return Line(base, {unit: rate / gains.get(unit, gains[""]) for unit, rate in line.per.items()})
