"""Benches of the agents that read pictures and sound out of videos, and of detectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .bench import Bench, Exam, Task
from .lab import Lab
from .score import f1

NEAR_S = 0.5
"""A cut is found when it is placed so near."""
LENGTHS_S = (2.0, 5.0, 10.0, 20.0)
FIRST = "reading.mp4"


async def scene_splitter(lab: Lab) -> Bench:
    sizes = [lab.video("switchboard.mp4", s) for s in (5.0, 12.0, 20.0)] + [lab.video("switchboard.mp4")]
    whole = [lab.video(name) for name in lab.truth]
    cuts = [[s["start_s"] for s in v["scenes"][1:]] for v in lab.truth.values()]
    return Bench(
        tuple(Task({"video": v}) for v in sizes),
        3,
        Exam(
            f"F1 of {sum(map(len, cuts))} cuts of samples/ within {NEAR_S:g} s",
            tuple(Task({"video": v}) for v in whole),
            lambda out: _cuts(cuts, out),
        ),
    )


def _cuts(true: Sequence[Sequence[float]], outputs: Sequence[Any]) -> tuple[float, str]:
    right = said = there = 0
    for cuts, scenes in zip(true, outputs, strict=False):
        found = [s["start_s"] for s in scenes[1:]]
        right += sum(any(abs(f - c) <= NEAR_S for f in found) for c in cuts)
        said, there = said + len(found), there + len(cuts)
    return f1(right, said, there), f"{there} cuts"


async def section_cutter(lab: Lab) -> Bench:
    video = lab.video(FIRST)
    return Bench(tuple(Task({"video": video}, {"start_s": 1.0, "end_s": 1.0 + s}) for s in LENGTHS_S), 2)


async def frame_extractor(lab: Lab) -> Bench:
    tasks = [
        Task({"scene": lab.scene(FIRST, 0.0, length_s)}, {"num_frames": count, "every_s": length_s / count})
        for length_s in LENGTHS_S
        for count in (1, 5, 20)
        if count <= 8 * length_s
    ]
    return Bench(tuple(tasks), 7)


async def audio_extractor(lab: Lab) -> Bench:
    return Bench(tuple(Task({"scene": lab.scene(FIRST, 0.0, s)}) for s in LENGTHS_S), 2)


async def object_detector(lab: Lab) -> Bench:
    scenes = lab.scenes()
    busy = scenes[0][0]
    tasks = [Task({"frames": await lab.frames({**busy, "end_s": 8.0}, n)}) for n in (1, 5, 10, 20)]
    exam = []
    for scene, _ in scenes:
        exam.append(Task({"frames": await lab.frames(scene, round(scene["end_s"] - scene["start_s"]))}))
    return Bench(
        tuple(tasks),
        2,
        Exam(
            f"F1 of (picture, COCO label) over {sum(len(t.inputs['frames']['times_s']) for t in exam)} pictures of samples/",
            tuple(exam),
            lambda out: _labels([set(truth["coco"]) for _, truth in scenes], out),
        ),
    )


def _labels(true: Sequence[set[str]], outputs: Sequence[Any]) -> tuple[float, str]:
    """What is in a scene is in sight in all its pictures."""
    right = said = there = pictures = 0
    for labels, found in zip(true, outputs, strict=False):
        times = found["frame_times_s"]
        pairs = {(item["t_s"], item["label"]) for item in found["items"]}
        right += sum(label in labels for _, label in pairs)
        said, there, pictures = said + len(pairs), there + len(times) * len(labels), pictures + len(times)
    return f1(right, said, there), f"{pictures} pictures"


VIDEO = {
    "SceneSplitter": scene_splitter,
    "SectionCutter": section_cutter,
    "FrameExtractor": frame_extractor,
    "AudioExtractor": audio_extractor,
    "ObjectDetector": object_detector,
}
