"""The arguments of our agents, one class each; `schema.args_schema` makes JSON Schema of them. Times are in seconds."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class SceneSplitterArgs(Struct, frozen=True):
    start_s: Annotated[float, Meta(ge=0, description="where in the medium to begin, in seconds", extra_json_schema={"x-partial": True})] = (
        0.0
    )
    end_s: Annotated[
        float | None, Meta(description="where to end, in seconds; its end when not said", extra_json_schema={"x-partial": True})
    ] = None
    need_pictures: Annotated[bool, Meta(description="refuse media without pictures", extra_json_schema={"x-true-when-taken": "Frames"})] = (
        False
    )
    need_sound: Annotated[bool, Meta(description="refuse media without sound", extra_json_schema={"x-true-when-taken": "Audio"})] = False


class SectionCutterArgs(Struct, frozen=True):
    start_s: Annotated[float, Meta(ge=0, description="where the section begins, in seconds", extra_json_schema={"x-partial": True})]
    end_s: Annotated[float, Meta(gt=0, description="where the section ends, in seconds", extra_json_schema={"x-partial": True})]


class FrameExtractorArgs(Struct, frozen=True):
    every_s: Annotated[float, Meta(gt=0, le=3600, description="seconds between frames", extra_json_schema={"x-closer": 0.25})] = 1.0
    num_frames: Annotated[int, Meta(ge=1, le=100_000, description="at most this many frames a scene")] = 60


class SpeechToTextArgs(Struct, frozen=True):
    language: Annotated[str, Meta(description="language that is spoken, as ISO 639-1 code; empty to detect it")] = "en"


class AudioSplitterArgs(Struct, frozen=True):
    parts: Annotated[int, Meta(ge=1, le=64, description="into how many parts a sound is cut at most")] = 2


class ObjectDetectorArgs(Struct, frozen=True):
    threshold: Annotated[float, Meta(ge=0, le=1, description="least score that counts")] | None = None
    labels: Annotated[list[str], Meta(description="labels to look for; the implementation's own when empty")] = []


class SummarizerArgs(Struct, frozen=True):
    max_tokens: Annotated[int, Meta(ge=1, le=4096, description="greatest length of the summary in tokens")] = 64


class VectorIndexerArgs(Struct, frozen=True):
    partial: Annotated[
        bool,
        Meta(
            description="only a part of the medium is in it, so it serves this job alone", extra_json_schema={"x-true-when-partial": True}
        ),
    ] = False


class VectorSearcherArgs(Struct, frozen=True):
    question: Annotated[str, Meta(description="what is asked")]
    k: Annotated[int, Meta(ge=1, le=1000, description="number of passages")] = 5


class SleepArgs(Struct, frozen=True):
    ms: Annotated[float, Meta(ge=0, le=3_600_000, description="milliseconds to wait")] = 0.0


class SpreadArgs(Struct, frozen=True):
    n: Annotated[int, Meta(ge=0, le=100_000, description="how many numbers")] = 1
