"""FrameExtractor by OpenCV: still pictures of one scene, evenly spaced."""

from __future__ import annotations

import math
import zipfile
from typing import Any

from .interface import BadInput, Call
from .media import Pictures, number, probe
from .types import Frames, Scene

LONGEST_SIDE = 640
"""Pixels. Detectors look at 352 or 224; twice that keeps small faces and costs little to send."""
JPEG_QUALITY = 90


class OpenCVFrames:
    """A scene to JPEGs in a zip: one seek, then every picture is passed but only the wanted ones are converted."""

    def load(self) -> None:
        import cv2

        del cv2

    def run(self, call: Call) -> Frames:
        scene = call.take("scene", Scene)
        every_s = number(call, "every_s", 1.0, 0.01, 3600)
        most = int(number(call, "num_frames", 60, 1, 10_000))
        path = call.files.path(scene.media)
        medium = probe(path, scene.name)
        if not medium.has_pictures:
            raise BadInput(f"{scene.name}: no pictures, so no frames can be taken; ask only for what is said")
        half_s = 0.5 / medium.fps if medium.fps else 0.0
        target = call.files.scratch(".zip")
        times_s: list[float] = []
        try:
            with (
                Pictures(path, scene.name, medium.pictures_start_s) as pictures,
                zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive,
            ):
                at_s = pictures.seek(scene.start_s)
                for wanted_s in when(scene.start_s, scene.end_s, every_s, most):
                    while at_s is not None and at_s < wanted_s - half_s - 1e-6:
                        at_s = pictures.grab()
                    if at_s is None or at_s >= scene.end_s:
                        break
                    if times_s and at_s <= times_s[-1]:
                        continue  # fewer pictures than were asked for
                    add(archive, pictures.retrieve(), times_s, at_s)
                if not times_s and scene.has_pictures:  # a slide show: its one picture of this scene began earlier
                    at_s = pictures.seek(scene.start_s)
                    if at_s is not None and at_s < scene.end_s:
                        add(archive, pictures.retrieve(), times_s, max(at_s, scene.start_s))
            call.count("video_s", scene.end_s - scene.start_s)
            call.count("frames", len(times_s))
            return Frames(call.files.keep(target, "application/zip"), tuple(times_s), scene)
        finally:
            target.unlink(missing_ok=True)


def when(start_s: float, end_s: float, every_s: float, most: int) -> list[float]:
    """The wanted times: the middles of equal parts of about `every_s` (longer ones where that would be more than `most`).

    Middles, since the first picture of a scene may still belong to the one before; a short scene gives one.
    """
    length_s = end_s - start_s
    count = min(most, max(1, math.ceil(length_s / every_s - 0.5)))
    return [start_s + (n + 0.5) * length_s / count for n in range(count)]


def add(archive: zipfile.ZipFile, picture: Any, times_s: list[float], at_s: float) -> None:
    """Writes one picture (BGR) to the archive, made smaller if need be, and its time to `times_s`; skips a damaged one."""
    import cv2

    if picture is None:
        return
    height, width = picture.shape[:2]
    if (scale := LONGEST_SIDE / max(height, width)) < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    ok, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if ok:
        # A ZipInfo of its own has a fixed date, so that equal pictures give an equal archive.
        archive.writestr(zipfile.ZipInfo(f"{len(times_s):03d}.jpg"), jpeg.tobytes())
        times_s.append(round(at_s, 3))
