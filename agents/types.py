"""The values that flow between agents: what a stage takes and gives, as it travels on the bus.

Times are seconds from the start of the medium. Bytes never travel: a value carries an `ArtifactRef`.
The names of these classes are the type names of workflows (`TYPES`).
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from ..bus.messages import ArtifactRef
from .types_code import CODE_TYPES
from .types_maths import MATHS_TYPES


class Media(Struct, frozen=True):
    """A file that a user gave, of any kind. Every job input travels as this; what kind it is, its subclass says."""

    media: ArtifactRef
    name: str
    """What the user called it; for people, never opened."""


class Video(Media, frozen=True):
    """A video file, or a file with sound only."""


class Document(Media, frozen=True):
    """A file of text: plain, Markdown, JSON, or JSON lines."""


class Text(Struct, frozen=True):
    """Words, wherever they came from."""

    text: str
    name: str = ""
    """Where it came from, for people."""


class Scene(Struct, frozen=True):
    """A part of one video between two cuts; frames and sound are taken from it later."""

    media: ArtifactRef
    name: str
    number: int
    start_s: float
    end_s: float
    has_pictures: bool = True
    has_sound: bool = True


class Frames(Struct, frozen=True):
    """Still pictures of one scene: an uncompressed zip of JPEGs named `000.jpg`, `001.jpg`, … in the order of `times_s`."""

    archive: ArtifactRef
    times_s: tuple[float, ...]
    scene: Scene


class Audio(Struct, frozen=True):
    """Sound of one scene: mono 16 kHz 16-bit WAV; sample 0 is at `scene.start_s`."""

    wav: ArtifactRef
    scene: Scene


class Segment(Struct, frozen=True):
    """One stretch of speech. Times are of the whole video, not of the scene."""

    start_s: float
    end_s: float
    text: str


class Transcript(Struct, frozen=True):
    segments: tuple[Segment, ...]
    scene: Scene
    language: str = "en"


class Detection(Struct, frozen=True):
    """One object in one frame. `box` is left, top, width, height as parts (0..1) of the picture."""

    label: str
    score: Annotated[float, Meta(ge=0, le=1)]
    t_s: float
    box: tuple[float, float, float, float]


class Detections(Struct, frozen=True):
    items: tuple[Detection, ...]
    scene: Scene
    frame_times_s: tuple[float, ...] = ()
    """When the frames that were looked at were taken; how long an object is seen follows from their spacing."""


class Summary(Struct, frozen=True):
    """Text of a language model about one scene, checked against the facts (`facts.py`)."""

    text: str
    scene: Scene
    dropped: tuple[str, ...] = ()
    """Sentences left out since they contradict what was seen and said, each with the reason."""


class VectorIndex(Struct, frozen=True):
    """Embedded passages of one video: a `.npz` of a float32 (n, d) matrix `vectors`, L2-normalised, and n JSON passages."""

    store: ArtifactRef
    media_hash: str
    passages: int
    kinds: tuple[str, ...] = ()
    """What was indexed: transcript, detections, summary; also when none was found in it."""


class Passage(Struct, frozen=True):
    """A piece of evidence: `kind` is transcript, detections or summary."""

    text: str
    kind: str
    name: str
    start_s: float
    end_s: float
    score: float = 0.0


class Passages(Struct, frozen=True):
    question: str
    items: tuple[Passage, ...]


class SeenObject(Struct, frozen=True):
    label: str
    start_s: float
    end_s: float
    score: float


class MentionedObject(Struct, frozen=True):
    label: str
    quote: str
    start_s: float


class VideoReport(Struct, frozen=True):
    """The answer of the video job for one input."""

    name: str
    objects_seen: tuple[SeenObject, ...]
    objects_mentioned: tuple[MentionedObject, ...]
    transcript: tuple[Segment, ...]
    summary: str
    summary_dropped: tuple[str, ...] = ()


class QuestionAnswer(Struct, frozen=True):
    """The answer to a question, with the passages that it rests on, best first."""

    question: str
    answer: str
    evidence: tuple[Passage, ...]


class Number(Struct, frozen=True):
    """Plain value of the built-in test and benchmark agents."""

    value: float = 0.0


_OURS: tuple[type[Struct], ...] = (
    Media,
    Video,
    Document,
    Text,
    Scene,
    Frames,
    Audio,
    Transcript,
    Detections,
    Summary,
    VectorIndex,
    Passages,
    VideoReport,
    QuestionAnswer,
    Number,
    *MATHS_TYPES,
    *CODE_TYPES,
)
TYPES: dict[str, type[Struct]] = {t.__name__: t for t in _OURS}


def artifacts_in(value: object) -> list[ArtifactRef]:
    """Every artifact reference inside a value as it travels (dicts and lists of builtins), in order of appearance."""
    found: list[ArtifactRef] = []
    match value:
        case {"sha256": str(), "size": int(), "media_type": str()}:
            found.append(msgspec.convert(value, ArtifactRef))
        case dict():
            for part in value.values():
                found += artifacts_in(part)
        case list() | tuple():
            for part in value:
                found += artifacts_in(part)
    return found
