"""SceneSplitter by OpenCV: cuts are where the colours of neighbouring pictures differ far more than around them.

Each looked-at picture becomes colour histograms of its four quarters. The distance of two pictures is the total variation
of their histograms, 0 (same colours) to 1. A cut needs a distance that is large by itself and large against its
neighbourhood, so that a panning camera or a busy crowd is no cut (the idea of "adaptive" thresholds in shot detection).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from .audio import RATE_HZ, samples
from .interface import BadInput, Call
from .media import Medium, Pictures, end_s, number, probe
from .types import Scene, Video

LOOK_S = 0.2
"""Seconds between looked-at pictures; a cut is thus placed within half of it."""
LEAST_DISTANCE = 0.25
LEAST_RATIO = 3.0
AROUND = 5
"""Neighbouring distances on each side that a distance is compared with."""
MIN_S, MAX_S = 2.0, 30.0
LOUDNESS_S = 0.1


class OpenCVScenes:
    """A video to its scenes, 2 to 30 s long: shorter ones join a neighbour, longer ones are split at quiet moments.

    Long takes are split so that their parts run side by side, and because a speech model hears 30 s at once.
    """

    def load(self) -> None:
        import av
        import cv2
        import numpy

        del av, cv2, numpy

    def run(self, call: Call) -> list[Scene]:
        video = call.take("video", Video)
        path = call.files.path(video.media)
        medium = probe(path, video.name)
        if call.arg("need_sound", False) and not medium.has_sound:
            raise BadInput(f"{video.name}: no sound track, so nothing can be transcribed; ask only for what is shown")
        if call.arg("need_pictures", False) and not medium.has_pictures:
            raise BadInput(f"{video.name}: no pictures, so nothing can be seen in it; ask only for what is said")
        times_s, distances = look(path, video.name, medium.pictures_start_s) if medium.has_pictures else ([], [])
        pictures_end_s = times_s[-1] + LOOK_S if times_s else 0.0
        whole(path, video.name, medium, pictures_end_s)
        call.count("video_s", medium.duration_s)  # all of it is looked at, also where a stretch is asked for
        borders = cuts(times_s, distances)
        if times_s and pictures_end_s < medium.duration_s - MIN_S:
            borders.append(pictures_end_s)
        long = max((b - a for a, b in partition(medium.duration_s, borders, MIN_S, math.inf)), default=0.0) > MAX_S
        loud = loudness(path, video.name, medium.duration_s) if long and medium.has_sound else []
        parts = within(partition(medium.duration_s, borders, MIN_S, MAX_S, loud), *window(call, video.name, medium.duration_s))
        return [
            Scene(video.media, video.name, n, start_s, stop_s, has_pictures=start_s < pictures_end_s, has_sound=medium.has_sound)
            for n, (start_s, stop_s) in enumerate(parts)
        ]


def window(call: Call, name: str, duration_s: float) -> tuple[float, float]:
    """The stretch of the medium that is asked for, in seconds; all of it by default. BadInput when nothing lies in it."""
    start_s = number(call, "start_s", 0.0, 0.0, math.inf)
    end_s = number(call, "end_s", duration_s, 0.0, math.inf) if call.args.get("end_s") is not None else duration_s
    if start_s >= min(end_s, duration_s):
        raise BadInput(f"{name}: nothing lies between {start_s:g} s and {end_s:g} s; it is {duration_s:.1f} s long")
    return start_s, min(end_s, duration_s)


def within(parts: Sequence[tuple[float, float]], start_s: float, end_s: float) -> list[tuple[float, float]]:
    """What of the parts lies between two times."""
    return [(max(a, start_s), min(b, end_s)) for a, b in parts if a < end_s and b > start_s]


def look(path: Path, name: str, start_s: float) -> tuple[list[float], list[float]]:
    """Times in seconds of the looked-at pictures, and the distance of each to the one before (0 for the first)."""
    times_s: list[float] = []
    distances: list[float] = []
    before: Any = None
    with Pictures(path, name, start_s) as pictures:
        while (t_s := pictures.grab()) is not None:
            if times_s and t_s < times_s[-1] + LOOK_S - 1e-6:
                continue
            picture = pictures.retrieve()
            if picture is None:
                continue
            now = colours(picture)
            distances.append(0.0 if before is None else float(abs(now - before).sum()) / 2)
            times_s.append(t_s)
            before = now
    if not times_s:
        raise BadInput(f"{name}: no picture in it can be decoded; give H.264, H.265, VP9 or AV1 video")
    return times_s, distances


def colours(picture: Any) -> Any:
    """Histograms of hue, saturation and value of the four quarters, one after another, float32 (160,), sum 1."""
    import cv2
    import numpy as np

    small = cv2.cvtColor(cv2.resize(picture, (64, 36), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2HSV)
    parts = []
    for top, left in ((0, 0), (0, 32), (18, 0), (18, 32)):
        quarter = np.ascontiguousarray(small[top : top + 18, left : left + 32])
        for channel, (bins, end) in enumerate(((16, 180), (8, 256), (16, 256))):
            parts.append(cv2.calcHist([quarter], [channel], None, [bins], [0, end]).ravel())
    joined = np.concatenate(parts)
    return joined / joined.sum()


def cuts(times_s: Sequence[float], distances: Sequence[float]) -> list[float]:
    """Where the cuts are, in seconds, from what `look` saw; of cuts closer than `MIN_S` the strongest."""
    found: list[tuple[float, float]] = []
    for n in range(1, len(times_s)):
        near = [*distances[max(1, n - AROUND) : n], *distances[n + 1 : n + 1 + AROUND]]
        usual = sum(near) / len(near) if near else 0.0
        if distances[n] >= max(LEAST_DISTANCE, LEAST_RATIO * usual):
            found.append((distances[n], (times_s[n - 1] + times_s[n]) / 2))
    kept: list[float] = []
    for _, t_s in sorted(found, reverse=True):
        if all(abs(t_s - other) >= MIN_S for other in kept):
            kept.append(t_s)
    return sorted(kept)


def partition(
    duration_s: float, borders: Sequence[float], min_s: float, max_s: float, loud: Sequence[float] = ()
) -> list[tuple[float, float]]:
    """Scenes that cover [0, duration_s) without hole or overlap, each min_s to max_s long (one shorter one if all is shorter).

    Needs 2 * min_s <= max_s. Where a scene is too long it is split into equal parts, or, with `loud` (one loudness each
    `LOUDNESS_S`), at its quietest moments, so that few words are torn.
    """
    edges = [0.0]
    for border in sorted(borders):
        if border - edges[-1] >= min_s and duration_s - border >= min_s:
            edges.append(border)
    edges.append(duration_s)
    scenes: list[tuple[float, float]] = []
    for a, b in pairwise(edges):
        while b - a > max_s:
            parts = math.ceil((b - a) / max_s)
            middle = a + (b - a) / parts
            if loud:
                # Any place is fine that leaves a half-full part here and a whole one for what follows.
                middle = quietest(loud, a + max_s / 2, min(a + max_s, b - min_s))
            scenes.append((a, middle))
            a = middle
        scenes.append((a, b))
    return scenes


def quietest(loud: Sequence[float], low_s: float, high_s: float) -> float:
    """The middle of the quietest half second of [low_s, high_s]; `high_s` where nothing is known."""
    half = 2
    first, last = math.ceil(low_s / LOUDNESS_S) + half, math.floor(high_s / LOUDNESS_S) - half
    best = min(range(first, min(last, len(loud) - half)), key=lambda n: sum(loud[n - half : n + half + 1]), default=None)
    return high_s if best is None else min(max((best + 0.5) * LOUDNESS_S, low_s), high_s)


def loudness(path: Path, name: str, duration_s: float) -> list[float]:
    """Mean absolute sample value (0..32768) of every `LOUDNESS_S` of the sound track; one float each, so hours fit."""
    import numpy as np

    step = round(LOUDNESS_S * RATE_HZ)
    means: list[float] = []
    rest = np.zeros(0, np.int16)
    for block in samples(path, name, 0.0, duration_s):
        rest = np.concatenate([rest, block])
        whole_steps = len(rest) // step
        if whole_steps:
            means += np.abs(rest[: whole_steps * step].astype(np.int32)).reshape(-1, step).mean(axis=1).tolist()
            rest = rest[whole_steps * step :]
    return means


def whole(path: Path, name: str, medium: Medium, pictures_end_s: float) -> None:
    """`BadInput` for a file that says it is much longer than what is in it, as Matroska and MPEG files that are cut off do."""
    missing_s = max(2.0, 0.1 * medium.duration_s)
    if pictures_end_s < medium.duration_s - missing_s:
        there_s = end_s(path, name)
        if there_s < medium.duration_s - missing_s:
            raise BadInput(f"{name}: cut off after {there_s:.1f} of {medium.duration_s:.1f} s; give the whole file")
