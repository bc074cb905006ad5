"""What object detectors share: the pictures of a `Frames`, overlapping boxes, and what a run of frames says about a label."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

from .interface import BadInput, Call
from .types import Detection, Frames

Box = tuple[float, float, float, float]
MANY = 8
"""Frames of a scene from which on being seen in a single one is suspicious."""


def pictures(call: Call, frames: Frames) -> Iterator[tuple[float, Any]]:
    """Time in seconds and picture, (height, width, 3) uint8 BGR, one after another; a damaged one is left out."""
    import cv2
    import numpy as np

    with zipfile.ZipFile(call.files.path(frames.archive)) as archive:
        for name, t_s in zip(sorted(archive.namelist()), frames.times_s, strict=True):
            picture = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_COLOR)
            if picture is not None:
                yield t_s, picture


def wanted_labels(call: Call, known: Sequence[str]) -> frozenset[str]:
    """The labels that the argument `labels` (a list, or words with commas) asks for; all of `known` without it.

    Labels unknown to this implementation are passed over, unless none is left: an empty answer would be a wrong one.
    """
    asked = call.args.get("labels") or []
    names = [str(one).strip().lower() for one in (asked.split(",") if isinstance(asked, str) else asked)]
    kept = frozenset(names) & frozenset(known) if names else frozenset(known)
    if not kept:
        some = ", ".join(sorted(known)[:8])
        raise BadInput(f"labels={', '.join(names)}: this detector knows none of them, but {len(known)} others such as {some}")
    return kept


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes (left, top, width, height), 0..1."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (a[2] * a[3] + b[2] * b[3] - width * height)


def suppressed(items: Sequence[Detection], most: float) -> list[Detection]:
    """Non-maximum suppression in one frame: of boxes of one label that overlap more than `most`, the best remains."""
    kept: list[Detection] = []
    for item in sorted(items, key=lambda d: -d.score):
        if all(item.label != other.label or overlap(item.box, other.box) <= most for other in kept):
            kept.append(item)
    return kept


def clipped(left: float, top: float, right: float, bottom: float) -> Box:
    """The part of a box that lies in the picture, from its borders, as left, top, width, height; all 0..1."""
    left, top = min(max(left, 0.0), 1.0), min(max(top, 0.0), 1.0)
    return (round(left, 4), round(top, 4), round(max(min(right, 1.0) - left, 0.0), 4), round(max(min(bottom, 1.0) - top, 0.0), 4))


def steady(items: Sequence[Detection], frames: int, sure: float) -> list[Detection]:
    """Drops the labels that a run of `MANY` or more frames shows in one of them only, and there with a score below `sure`.

    What is really there is usually seen twice, or clearly. Measured on the labelled videos the gain is small (precision
    +1 point, no recall lost); stricter rules began to lose things that only pass by.
    """
    if frames < MANY:
        return list(items)
    seen: dict[str, set[float]] = {}
    best: dict[str, float] = {}
    for item in items:
        seen.setdefault(item.label, set()).add(item.t_s)
        best[item.label] = max(best.get(item.label, 0.0), item.score)
    return [item for item in items if len(seen[item.label]) > 1 or best[item.label] >= sure]
