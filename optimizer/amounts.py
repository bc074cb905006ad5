"""What is known of work before anything has run: priors by agent, counts that arguments give, and what flows from stage to stage. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

from ..bus.values import Workload

ELEMENTS = 3.0
"""A collection of which nothing is known."""
COUNTS = ("paths", "candidates", "parts", "n")
"""Arguments that say how many elements a task gives."""
FOLLOWS: dict[str, tuple[str, ...]] = {
    "images": ("frames",),
    "frames": ("frames",),
    "audio_s": ("audio_s", "video_s"),
    "video_s": ("video_s", "audio_s"),
}
"""A unit of a stage and those of the stages that it takes from which it is as much of: sound is as long as its video."""

Args = Mapping[str, Any]


def _most(args: Args) -> dict[str, float]:
    return {"tokens_out": 0.5 * _number(args, "max_tokens", 128)}


def _scene_summary(args: Args) -> dict[str, float]:
    """Measured on 11 scenes with speech of four videos (samples/ and two others): 85 tokens in, 20 out of at most 64."""
    return {"tokens_in": 85.0, "tokens_out": 0.31 * _number(args, "max_tokens", 64)}


def _frames(args: Args) -> dict[str, float]:
    """A scene is about 10 s."""
    return {"video_s": 10.0, "frames": min(10.0 / _number(args, "every_s", 1.0, least=1e-3), _number(args, "num_frames", 60))}


def _section(args: Args) -> dict[str, float]:
    return {"video_s": max(0.0, _number(args, "end_s", 10.0) - _number(args, "start_s", 0.0))}


UNITS: dict[str, Callable[[Args], dict[str, float]]] = {
    "SceneSplitter": lambda args: {"video_s": 30.0},
    "SectionCutter": _section,
    "FrameExtractor": _frames,
    "AudioExtractor": lambda args: {"video_s": 10.0},
    "AudioSplitter": lambda args: {"audio_s": 10.0},
    "SpeechToText": lambda args: {"audio_s": 10.0},
    "ObjectDetector": lambda args: {"images": 10.0},
    "VectorIndexer": lambda args: {"texts": 9.0},
    "Summarizer": _scene_summary,
    "TextSummarizer": lambda args: {"tokens_in": 300.0, **_most(args)},
    "QuestionAnswerer": lambda args: {"tokens_in": 250.0, "tokens_out": 24.0},
    "MathReasoner": lambda args: {"tokens_in": 150.0, **_most(args)},
    "CodeGenerator": lambda args: {"tokens_in": 200.0, **_most(args)},
    "CodeRepairer": lambda args: {"tokens_in": 350.0, **_most(args)},
    "CodeTester": lambda args: {"items": 1.0},
}
"""Work units of one task where nobody has seen one: of a scene of 10 s, and of a text of some paragraphs."""
ELEMENTS_PER: dict[str, dict[str, float]] = {
    "SceneSplitter": {"video_s": 0.1, "audio_s": 0.05},
    "DocumentReader": {"texts": 1.0},
}
"""Elements per unit of the inputs: the sample videos have a scene about every 10 s, and mere sound is cut after 20 to 30 s."""


def prior(agent: str, args: Args, many: bool) -> Workload:
    """Before the first task. `args` with the defaults filled in."""
    units = UNITS[agent](args) if agent in UNITS else {}
    return Workload(agent, elements=ELEMENTS if many else 1.0, units=units, elements_per=ELEMENTS_PER.get(agent, {}))


def count(args: Args) -> float | None:
    """How many elements a task gives by its arguments; None when they do not say."""
    for name in COUNTS:
        value = args.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and value >= 0:
            return float(value)
    return None


def share(args: Args, each: float) -> float:
    """What part of a medium of `each` seconds is asked for by start_s and end_s, 0..1."""
    if each <= 0:
        return 1.0
    start, end = _number(args, "start_s", 0.0), _number(args, "end_s", each)
    return min(max(min(end, each) - start, 0.0) / each, 1.0)


def followed(unit: str, args: Args, tasks: float, flow: Mapping[str, float]) -> float | None:
    """How much of a unit a stage has by what the stages before it give; None when they do not say."""
    if unit == "frames" and "video_s" in flow:
        every, most = _number(args, "every_s", 1.0, least=1e-3), _number(args, "num_frames", 60)
        return min(flow["video_s"] / every, most * tasks)
    return next((flow[u] for u in FOLLOWS.get(unit, ()) if u in flow), None)


def _number(args: Args, name: str, usual: float, least: float = 0.0) -> float:
    value = args.get(name)
    if isinstance(value, int | float) and isfinite(value):
        return max(float(value), least)
    return usual
