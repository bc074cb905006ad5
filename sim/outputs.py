"""What simulated tasks give: values of the right types, every text and name saying that it is simulated. Pure."""

from __future__ import annotations

import hashlib
from random import Random
from typing import Any

import msgspec

from ..agents.types import (
    Audio,
    Detection,
    Detections,
    Frames,
    Number,
    Passage,
    Passages,
    QuestionAnswer,
    Scene,
    Segment,
    Summary,
    Transcript,
    VectorIndex,
    Video,
    VideoReport,
)
from ..bus.messages import ArtifactRef, TaskReady

SIMULATED = "simulated"


def output(task: TaskReady, dice: Random) -> Any:
    """The output of a task as it travels (builtins). Raises ValueError for an agent that nobody simulates."""
    return msgspec.to_builtins(_make(task, dice))


def _make(task: TaskReady, dice: Random) -> Any:
    given = task.inputs
    match task.agent:
        case "Spread":
            return [Number(float(i)) for i in range(task.args.get("n", 1))]
        case "Sleep":
            return Number(float(task.args.get("ms", 0.0)))
        case "SceneSplitter":
            video = msgspec.convert(given["video"], Video)
            return [Scene(video.media, video.name, n, 2.0 * n, 2.0 * n + 2.0) for n in range(dice.choice([0, 1, 2, 3]))]
        case "FrameExtractor":
            return Frames(_artifact(task), (0.5, 1.5), msgspec.convert(given["scene"], Scene))
        case "AudioExtractor":
            return Audio(_artifact(task), msgspec.convert(given["scene"], Scene))
        case "SpeechToText":
            scene = msgspec.convert(given["audio"], Audio).scene
            return Transcript((Segment(scene.start_s, scene.end_s, "simulated speech"),), scene)
        case "ObjectDetector":
            frames = msgspec.convert(given["frames"], Frames)
            return Detections((Detection("simulated object", 0.5, frames.times_s[0], (0.0, 0.0, 1.0, 1.0)),), frames.scene, frames.times_s)
        case "Summarizer":
            one: Any = given.get("transcript") or given.get("detections")
            return Summary("A simulated summary.", msgspec.convert(one["scene"], Scene))
        case "VectorIndexer":
            parts = [p for name in ("transcripts", "detections", "summaries") for p in given.get(name) or []]
            media_hash = parts[0]["scene"]["media"]["sha256"] if parts else hashlib.sha256(task.job.encode()).hexdigest()
            return VectorIndex(_artifact(task), media_hash, len(parts))
        case "ObjectLister":
            return VideoReport(SIMULATED, (), (), (), "A simulated report.")
        case "VectorSearcher":
            return Passages(
                str(task.args.get("question", "")), tuple(_passage(i, dice) for i in given.get("indexes") or [] if dice.random() < 0.7)
            )
        case "SectionCutter":
            video = msgspec.convert(given["video"], Video)
            return Scene(video.media, video.name, 0, task.args["start_s"], task.args["end_s"])
        case "QuestionAnswerer":
            return QuestionAnswer(SIMULATED, "A simulated answer.", ())
    raise ValueError(f"nobody simulates the agent {task.agent}")


def _passage(index: dict[str, Any], dice: Random) -> Passage:
    """Found somewhere in the simulated video that was indexed, or nearly."""
    names = {hashlib.sha256(n.encode()).hexdigest(): n for n in (f"simulated-{i}.mp4" for i in range(3))}
    start_s = dice.uniform(0.0, 4.0)
    name = names.get(index["media_hash"], "unknown.mp4")
    return Passage("simulated passage", "transcript", name, start_s, start_s + 1.0, dice.choice([0.1, 0.5, 0.9]))


def _artifact(task: TaskReady) -> ArtifactRef:
    name = f"{SIMULATED}/{task.job}/{task.stage}/{task.index}"
    return ArtifactRef(hashlib.sha256(name.encode()).hexdigest(), len(name), "application/x-simulated")
