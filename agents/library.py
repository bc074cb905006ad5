"""The library: every agent (an interface) and every implementation (a way to do it). Light to import: no model is touched.

Adding an implementation is one `Implementation` row; adding an agent is one `Agent` row. Third parties register theirs
under the entry-point group `murakkab.implementations` (a list of `Implementation`s) and `murakkab.agents`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any

from msgspec import Struct, field

from . import weights


class Take(Struct, frozen=True):
    """One input of an agent: a type name of `types.TYPES`; `many` gathers a whole collection into one task."""

    type: str
    many: bool = False
    optional: bool = False


class Agent(Struct, frozen=True):
    """An interface with a typed signature. `many` says that one task gives a collection: later stages map over it."""

    name: str
    summary: str
    takes: Mapping[str, Take]
    gives: str
    many: bool = False
    args: Mapping[str, str] = {}
    """Argument name to one line about it, with its default and unit."""
    words: tuple[str, ...] = ()
    """Words of a job's text that speak of this agent."""


class Implementation(Struct, frozen=True):
    """One way to do what an agent promises."""

    name: str
    agent: str
    entry: str
    """`module:Class` of the model, imported only inside an instance."""
    modules: tuple[str, ...] = ()
    """Python modules that must be there."""
    weights: str = ""
    """A key of `weights.WEIGHTS` that must be found."""
    variable: str = ""
    """An environment variable that must be set, for what cannot be found by itself (a server's address)."""
    options: Mapping[str, Any] = field(default_factory=dict)
    hardware: str = "cpu"
    slots: int = 1
    memory_mb: int = 200
    threads: int = 1
    quality: float = 0.5
    """0..1 on the agent's own benchmark; `quality_how` says which. Compared only between implementations of one agent."""
    quality_how: str = "assumed"
    work_s: float = 1.0
    """Busy CPU-seconds a task, a prior from one measured run of the sample job; refined from every task that runs."""
    load_s: float = 1.0
    """Seconds from process start to ready, likewise."""
    spawns: bool = False
    """Its model runs servers of its own, whose CPU time counts too."""
    timeout_s: float = 120.0
    """A task that takes longer hangs: its instance is ended and the task tried again."""


SCENE, FRAMES, AUDIO = Take("Scene"), Take("Frames"), Take("Audio")

AGENTS: tuple[Agent, ...] = (
    Agent(
        "SceneSplitter",
        "Split each video into scenes at its cuts.",
        {"video": Take("Video")},
        "Scene",
        many=True,
        args={"need_pictures": "refuse media without pictures (false)", "need_sound": "refuse media without sound (false)"},
        words=("scene", "scenes", "split", "segment", "cut", "cuts", "shots"),
    ),
    Agent(
        "FrameExtractor",
        "Extract still frames from each scene of a video.",
        {"scene": SCENE},
        "Frames",
        args={"every_s": "seconds between frames (1.0)", "num_frames": "at most this many frames a scene (60)"},
        words=("extract frames", "frame", "frames", "stills", "pictures"),
    ),
    Agent(
        "AudioExtractor",
        "Extract the sound track of each scene.",
        {"scene": SCENE},
        "Audio",
        words=("audio", "sound track"),
    ),
    Agent(
        "SpeechToText",
        "Run speech-to-text: transcribe what is said or mentioned.",
        {"audio": AUDIO},
        "Transcript",
        args={"language": "ISO code, empty to detect (en)"},
        words=("speech", "speech-to-text", "transcribe", "transcript", "said", "say", "spoken", "mention", "mentioned", "speaker"),
    ),
    Agent(
        "ObjectDetector",
        "Detect objects shown in the frames, with labels, scores and boxes.",
        {"frames": FRAMES},
        "Detections",
        args={"threshold": "least score that counts (implementation's own)", "labels": "labels to look for (implementation's own)"},
        words=("detect", "detection", "object", "objects", "shown", "seen", "visible", "recognize", "things"),
    ),
    Agent(
        "Summarizer",
        "Summarize a scene from what was said and what was seen.",
        {"transcript": Take("Transcript", optional=True), "detections": Take("Detections", optional=True)},
        "Summary",
        args={"max_tokens": "length of the summary (64)"},
        words=("summarize", "summary", "summaries", "describe"),
    ),
    Agent(
        "VectorIndexer",
        "Embed transcripts, detections and summaries of one video and keep them in the vector store.",
        {
            "transcripts": Take("Transcript", many=True, optional=True),
            "detections": Take("Detections", many=True, optional=True),
            "summaries": Take("Summary", many=True, optional=True),
        },
        "VectorIndex",
        words=("embed", "embedding", "embeddings", "index", "vector"),
    ),
    Agent(
        "ObjectLister",
        "List the objects seen and mentioned in one video, each with its source, and a summary.",
        {
            "transcripts": Take("Transcript", many=True, optional=True),
            "detections": Take("Detections", many=True, optional=True),
            "summaries": Take("Summary", many=True, optional=True),
        },
        "VideoReport",
        words=("list objects", "list"),
    ),
    Agent(
        "VectorSearcher",
        "Find the passages of the indexed videos that answer a question.",
        {"indexes": Take("VectorIndex", many=True)},
        "Passages",
        args={"question": "what is asked", "k": "number of passages (5)"},
        words=("search", "retrieve", "find"),
    ),
    Agent(
        "QuestionAnswerer",
        "Answer a question from retrieved passages, quoting them.",
        {"passages": Take("Passages")},
        "QuestionAnswer",
        words=("answer", "question"),
    ),
    Agent(
        "Sleep",
        "Wait some milliseconds; for tests and benchmarks.",
        {"after": Take("Number", many=True, optional=True)},
        "Number",
        args={"ms": "milliseconds (0)"},
    ),
    Agent("Spread", "Give n numbers; for tests and benchmarks.", {}, "Number", many=True, args={"n": "how many (1)"}),
)

IMPLEMENTATIONS: tuple[Implementation, ...] = (
    Implementation(
        "opencv-scenes",
        "SceneSplitter",
        "murakkab.agents.scenes:OpenCVScenes",
        ("cv2", "av"),
        quality=0.9,
        work_s=0.18,
        load_s=0.2,
        memory_mb=120,
    ),
    Implementation(
        "opencv-frames",
        "FrameExtractor",
        "murakkab.agents.frames:OpenCVFrames",
        ("cv2", "av"),
        quality=0.9,
        work_s=0.11,
        load_s=0.15,
        memory_mb=80,
    ),
    Implementation(
        "pyav-audio", "AudioExtractor", "murakkab.agents.audio:PyAVAudio", ("av",), quality=0.9, work_s=0.01, load_s=0.15, memory_mb=60
    ),
    Implementation(
        "faster-whisper/tiny.en/int8",
        "SpeechToText",
        "murakkab.agents.speech_faster_whisper:FasterWhisper",
        ("faster_whisper", "av", "onnxruntime"),
        "whisper-tiny.en",
        options={"weights": "whisper-tiny.en"},
        quality=0.98,
        quality_how="1 - word error rate, scripts/bench/quality.py",
        work_s=0.44,
        load_s=1.0,
        memory_mb=250,
    ),
    Implementation(
        "openai-whisper/tiny.en",
        "SpeechToText",
        "murakkab.agents.speech_openai_whisper:OpenAIWhisper",
        ("whisper", "torch"),
        "whisper-tiny.en",
        options={"weights": "whisper-tiny.en"},
        memory_mb=900,
        quality=0.95,
        work_s=2.5,
        load_s=6.0,
    ),
    Implementation(
        "fastestdet/onnx",
        "ObjectDetector",
        "murakkab.agents.detect_fastestdet:FastestDet",
        ("onnxruntime", "cv2", "av"),
        "fastestdet",
        quality=0.67,
        quality_how="mean F1, scripts/bench/quality.py",
        work_s=0.04,
        load_s=0.2,
        memory_mb=120,
    ),
    Implementation(
        "opencv-hog-cascades",
        "ObjectDetector",
        "murakkab.agents.detect_opencv:HogCascades",
        ("cv2", "av"),
        quality=0.51,
        quality_how="mean F1, scripts/bench/quality.py",
        work_s=1.25,
        load_s=0.2,
        memory_mb=100,
    ),
    Implementation(
        "clip",
        "ObjectDetector",
        "murakkab.agents.detect_clip:Clip",
        ("torch", "transformers"),
        variable="MURAKKAB_CLIP_MODEL",
        memory_mb=1500,
        quality=0.8,
        work_s=2.0,
        load_s=6.0,
    ),
    Implementation(
        "smollm2-135m/ctranslate2/int8",
        "Summarizer",
        "murakkab.agents.summarize:Summarizer",
        ("ctranslate2", "gguf", "tokenizers"),
        "smollm2-135m",
        options={"engine": "ctranslate2"},
        memory_mb=300,
        quality=0.3,
        work_s=0.7,
        load_s=1.0,
    ),
    Implementation(
        "openai-compatible",
        "Summarizer",
        "murakkab.agents.summarize:Summarizer",
        variable="MURAKKAB_LLM_URL",
        options={"engine": "openai"},
        slots=8,
        quality=0.7,
        work_s=0.1,
        load_s=0.2,
    ),
    Implementation(
        "vllm",
        "Summarizer",
        "murakkab.agents.summarize:Summarizer",
        ("vllm",),
        variable="MURAKKAB_VLLM_MODEL",
        options={"engine": "vllm"},
        slots=8,
        memory_mb=4000,
        threads=2,
        quality=0.6,
        work_s=4.0,
        load_s=50.0,
    ),
    Implementation(
        "minilm-index",
        "VectorIndexer",
        "murakkab.agents.vectors:VectorIndexer",
        ("tokenizers", "safetensors"),
        "minilm-l6-v2",
        memory_mb=250,
        quality=0.8,
        work_s=0.13,
        load_s=0.3,
    ),
    Implementation(
        "minilm-search",
        "VectorSearcher",
        "murakkab.agents.vectors:VectorSearcher",
        ("tokenizers", "safetensors"),
        "minilm-l6-v2",
        memory_mb=250,
        quality=0.8,
        work_s=0.01,
        load_s=0.3,
    ),
    Implementation("fact-list", "ObjectLister", "murakkab.agents.report:FactList", quality=0.9, work_s=0.001, load_s=0.11),
    Implementation(
        "smollm2-135m/ctranslate2/int8",
        "QuestionAnswerer",
        "murakkab.agents.answer:QuestionAnswerer",
        ("ctranslate2", "gguf", "tokenizers"),
        "smollm2-135m",
        options={"engine": "ctranslate2"},
        memory_mb=300,
        quality=0.3,
        work_s=0.18,
        load_s=1.0,
    ),
    Implementation(
        "openai-compatible",
        "QuestionAnswerer",
        "murakkab.agents.answer:QuestionAnswerer",
        variable="MURAKKAB_LLM_URL",
        options={"engine": "openai"},
        slots=8,
        quality=0.7,
        work_s=0.1,
        load_s=0.2,
    ),
    Implementation(
        "vllm",
        "QuestionAnswerer",
        "murakkab.agents.answer:QuestionAnswerer",
        ("vllm",),
        variable="MURAKKAB_VLLM_MODEL",
        options={"engine": "vllm"},
        slots=8,
        memory_mb=4000,
        threads=2,
        quality=0.6,
        work_s=4.0,
        load_s=50.0,
    ),
    Implementation("sleep", "Sleep", "murakkab.agents.toys:Sleep", slots=32, memory_mb=30, quality=1.0, work_s=0.0, load_s=0.2),
    Implementation("spread", "Spread", "murakkab.agents.toys:Spread", slots=32, memory_mb=30, quality=1.0, work_s=0.0, load_s=0.2),
)


@cache
def agents() -> dict[str, Agent]:
    """Agent name to agent, ours and those of installed packages."""
    rows = list(AGENTS)
    for point in entry_points(group="murakkab.agents"):
        rows += point.load()
    return {row.name: row for row in rows}


@cache
def implementations() -> dict[tuple[str, str], Implementation]:
    """(agent, implementation name) to implementation, ours and those of installed packages."""
    rows = list(IMPLEMENTATIONS)
    for point in entry_points(group="murakkab.implementations"):
        rows += point.load()
    return {(row.agent, row.name): row for row in rows}


def missing(row: Implementation, environ: Mapping[str, str]) -> str:
    """Why this implementation cannot run in this interpreter, in one line; empty when it can."""
    for module in row.modules:
        if find_spec(module) is None:
            return f"Python module '{module}' is not installed"
    if row.variable and not environ.get(row.variable):
        return f"{row.variable} is not set"
    if row.weights and weights.locate(row.weights, environ) is None:
        return weights.WEIGHTS[row.weights].how
    return ""
