"""One section of a medium as a scene. It reads nothing but the medium's facts; frames and sound are taken from it later."""

from __future__ import annotations

import math

from .interface import BadInput, Call
from .media import number, probe
from .types import Scene, Video


class PyAVSection:
    """The stretch from `start_s` to `end_s`, as far as the medium has it."""

    def load(self) -> None:
        import av

        del av

    def run(self, call: Call) -> Scene:
        video = call.take("video", Video)
        medium = probe(call.files.path(video.media), video.name)
        start_s = number(call, "start_s", 0.0, 0.0, math.inf)
        end_s = min(number(call, "end_s", medium.duration_s, 0.0, math.inf), medium.duration_s)
        if start_s >= end_s:
            raise BadInput(f"{video.name}: there is no section from {start_s:g} s to {end_s:g} s; it is {medium.duration_s:.1f} s long")
        call.count("video_s", end_s - start_s)
        return Scene(video.media, video.name, 0, start_s, end_s, has_pictures=medium.has_pictures, has_sound=medium.has_sound)
