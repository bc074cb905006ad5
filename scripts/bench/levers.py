"""The levers of the paper's Table 1: what each does to cost, power, latency and quality, from our own profiles and published ones.

    python scripts/bench/levers.py [--json FILE]

Each row is one decision of the optimizer, taken both ways on a fleet that leaves it no other choice; everything else is the same. Figures are *modelled*: `optimizer/make.py`
applied to profiles that were measured here (optimizer/data/profiles.json), published by others (optimizer/data/published.csv, for GPUs), or, for reasoning paths of a better model
than the small one here, to an assumed chance of 0.5 that one path is right (the row says so). All instances are warm.
    latency   seconds of the whole stage
    power     its energy over its time, in watts of the hardware at work
    quality   of the stage
An arrow says whether the figure rises or falls from the first way to the second; "·" is less than 2 %.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from msgspec.structs import replace

from murakkab.agents import library
from murakkab.agents.spec import Implementation
from murakkab.bus.messages import Edge, MakePlan, Plan, Profile, Stage, Workflow
from murakkab.optimizer.fleet import Fleet, HostView, Key, Warm
from murakkab.optimizer.hardware import split
from murakkab.optimizer.make import World, make_plan
from murakkab.optimizer.prices import Prices
from murakkab.optimizer.profile_file import load
from murakkab.optimizer.profiles import Profiles
from murakkab.optimizer.published import published
from murakkab.optimizer.workloads import Workloads

ROOT = Path(__file__).resolve().parents[2]
MEASURED = load((ROOT / "optimizer" / "data" / "profiles.json").read_bytes())
FIGURES = ("cost", "power", "latency", "quality")


class Way(NamedTuple):
    """One way: what is offered, how many instances of it there are, and arguments of the first stage."""

    name: str
    key: Key
    instances: int = 1
    args: Mapping[str, Any] = MappingProxyType({})


class Lever(NamedTuple):
    name: str
    first: Way
    second: Way
    stage: str
    units: dict[str, float]
    tasks: int
    profiles: Sequence[Profile]
    note: str


def one_stage(agent: str, args: Mapping[str, Any]) -> Workflow:
    return Workflow((Stage("it", agent, (Edge("x"),), 1, args=dict(args)),), ("it",))


def attempts(spread: str, each: str, args: Mapping[str, Any]) -> Workflow:
    return Workflow((Stage("k", spread, (Edge("x"),), 1, many=True, args=dict(args)), Stage("it", each, (Edge("x", "k"),), 2)), ("it",))


def plan(way: Way, lever: Lever) -> Plan:
    """The plan where there is nothing but this way (and what its workflow needs besides)."""
    agents, known = library.agents(), [p for p in lever.profiles if (p.agent, p.implementation, p.hardware) == way.key]
    spread = {"MathReasoner": "PathSpreader", "CodeGenerator": "CandidateSpreader"}.get(way.key[0])
    flow = attempts(spread, way.key[0], way.args) if spread and way.args else one_stage(way.key[0], way.args)
    beside: list[Key] = [(r.agent, r.name, "cpu") for r in library.implementations().values() if r.agent == spread]
    keys = frozenset({way.key, *beside})
    rows = {**library.implementations(), way.key[:2]: _row(way.key)}
    host = HostView(
        "h",
        way.instances,
        1e6,
        keys,
        warm={k: Warm(way.instances, way.instances) for k in keys},
        devices={} if split(way.key[2])[0] == "cpu" else {way.key[2]: 1},
    )
    loads = Workloads(agents)
    ask = MakePlan(job="lever", workflow=flow, inputs=lever.tasks, constraints=("MIN_LATENCY:0",), units=lever.units, again=True)
    world = World(agents, rows, Fleet((host,)), Profiles(rows, [*known, *_others(lever.profiles, beside)]), loads, Prices({}))
    return make_plan(world, ask)


def _row(key: Key) -> Implementation:
    known = library.implementations().get(key[:2])
    return known if known is not None else Implementation(key[1], key[0], "none:None", hardware=key[2])


def _others(profiles: Iterable[Profile], keys: Sequence[Key]) -> list[Profile]:
    return [p for p in profiles if (p.agent, p.implementation, p.hardware) in keys]


def figures(made: Plan) -> dict[str, float]:
    (it,) = (c for c in made.choices if c.stage == "it")
    time_s = max(c.end_s for c in made.choices)
    return {"cost": made.cost_usd, "power": made.energy_wh * 3600 / time_s, "latency": time_s, "quality": it.quality}


def levers() -> list[Lever]:
    speech: Key = ("SpeechToText", "faster-whisper/tiny.en/int8", "cpu")
    sound = {"audio_s": 60.0}
    llama = [replace(p, agent="TextSummarizer") for p in published() if p.implementation == "llama2-70b/fp16"]
    text: Key = ("TextSummarizer", "llama2-70b/fp16", "")
    rows = [
        Lever("GPU generation", Way("8 x A100", (*text[:2], "a100-80gb-x8")), Way("8 x H100", (*text[:2], "h100-80gb-x8")),
              "it", {"tokens_in": 512.0, "tokens_out": 128.0}, 1, llama, "Llama 2 70B, one request, published (Splitwise)"),
    ]  # fmt: skip
    gpu = [p for p in published() if p.agent == "SpeechToText" and p.hardware == "a100-80gb" and "whisper-tiny.en" in p.implementation]
    torch: Key = ("SpeechToText", "openai-whisper/tiny.en", "cpu")
    if gpu:
        rows.append(
            Lever("CPU or GPU", Way("CPU", torch), Way("A100", (gpu[0].agent, gpu[0].implementation, gpu[0].hardware)),
                  "it", sound, 6, [*MEASURED, *gpu], "Whisper tiny.en: measured here, published for the GPU in large batches")
        )  # fmt: skip
    rows += [
        Lever("task parallelism", Way("1 instance", speech), Way("4 instances", speech, 4), "it", sound, 8, MEASURED,
              "faster-whisper on 8 sounds, measured"),
        Lever("model or tool", Way("Whisper tiny.en", speech), Way("Whisper base", (speech[0], "faster-whisper/base/int8", "cpu")),
              "it", sound, 6, MEASURED, "measured"),
        Lever("model or tool", Way("HOG", ("ObjectDetector", "opencv-hog-cascades", "cpu")), Way("FastestDet", ("ObjectDetector", "fastestdet/onnx", "cpu")),
              "it", {"images": 60.0}, 6, MEASURED, "measured"),
        Lever("model or tool", Way("faster-whisper", speech), Way("openai-whisper", torch), "it", sound, 6, MEASURED, "measured"),
        Lever("spot market", Way("on demand", speech), Way("spot", (speech[0], speech[1], "cpu-spot")), "it", sound, 6,
              [*MEASURED, *(replace(p, hardware="cpu-spot") for p in MEASURED if p.hardware == "cpu")], "measured; spot price of the catalogue"),
        *paths(),
    ]  # fmt: skip
    return rows


def paths() -> list[Lever]:
    """The lever of attempts, at what one attempt of the small model is worth, and at what that of a better one might be."""
    code: Key = ("CodeGenerator", "smollm2-135m/ctranslate2/int8", "cpu")
    maths: Key = ("MathReasoner", "smollm2-135m/ctranslate2/int8", "cpu")
    better = [replace(p, quality=0.5) if p.agent == "MathReasoner" else p for p in MEASURED]
    return [
        Lever("execution paths", Way("1", code, 1, {"candidates": 1}), Way("4", code, 1, {"candidates": 4}), "it", {}, 1, MEASURED,
              "candidates, ranked by tests: measured"),
        Lever("execution paths", Way("1", maths, 1, {"paths": 1}), Way("5", maths, 1, {"paths": 5}), "it", {}, 1, better,
              "reasoning paths, by vote: time measured, one path assumed to be right half of the time"),
    ]  # fmt: skip


def measure() -> list[dict[str, Any]]:
    found = []
    for lever in levers():
        first, second = figures(plan(lever.first, lever)), figures(plan(lever.second, lever))
        arrows = {f: arrow(first[f], second[f]) for f in FIGURES}
        found.append({"lever": lever.name, "from": lever.first.name, "to": lever.second.name, "first": first, "second": second,
                      "direction": arrows, "note": lever.note, "how": "modelled"})  # fmt: skip
    return found


def arrow(a: float, b: float) -> str:
    return "same" if abs(b - a) <= 0.02 * max(abs(a), abs(b), 1e-12) else "up" if b > a else "down"


SIGN = {"up": "↑", "down": "↓", "same": "·"}


def main() -> None:
    p = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    p.add_argument("--json", type=Path, metavar="FILE")
    args = p.parse_args()
    rows = measure()
    print(f"{'lever':<17} {'from':>14} {'to':>14} " + " ".join(f"{f:>22}" for f in FIGURES))
    for r in rows:
        cells = " ".join(f"{r['first'][f]:>8.3g} > {r['second'][f]:<8.3g} {SIGN[r['direction'][f]]}" for f in FIGURES)
        print(f"{r['lever']:<17} {r['from']:>14} {r['to']:>14} {cells}   {r['note']}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
