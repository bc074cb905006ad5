"""AudioExtractor by PyAV: the sound of one scene as the WAV that speech models want."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from .interface import BadInput, Call
from .media import opened, origin_s, probe
from .types import Audio, Scene

RATE_HZ = 16_000
EARLY_S = 0.5
"""Decoding begins this much before the wanted start: the first packets after a seek sound wrong in AAC, MP3 and Opus."""
GAP_S = 0.05
"""Packets that come this much too late leave a hole, which is filled with silence; less is rounding of time stamps."""


class PyAVAudio:
    """Sound of a scene to mono 16 kHz 16-bit WAV, block by block: memory does not grow with the file."""

    def load(self) -> None:
        import av
        import numpy

        del av, numpy

    def run(self, call: Call) -> Audio:
        scene = call.take("scene", Scene)
        source = call.files.path(scene.media)
        if not probe(source, scene.name).has_sound:
            raise BadInput(f"{scene.name}: no sound track, so there is no sound to extract; ask only for what is shown")
        target = call.files.scratch(".wav")
        try:
            with wave.open(str(target), "wb") as wav:
                wav.setparams((1, 2, RATE_HZ, 0, "NONE", "not compressed"))
                for block in samples(source, scene.name, scene.start_s, scene.end_s):
                    wav.writeframes(block.tobytes())
            call.count("video_s", scene.end_s - scene.start_s)
            return Audio(call.files.keep(target, "audio/wav"), scene)
        finally:
            target.unlink(missing_ok=True)


def samples(path: Path, name: str, start_s: float, end_s: float) -> Iterator[Any]:
    """The sound of [start_s, end_s) as 1-D int16 blocks at `RATE_HZ`, exactly round((end_s - start_s) * RATE_HZ) samples.

    Where the track has no sound (it starts late, ends early, has a hole) there are zeros, so that sample n is always at
    start_s + n / RATE_HZ.
    """
    import av
    import numpy as np

    total, given = max(0, round((end_s - start_s) * RATE_HZ)), 0
    with opened(path, name) as container:
        stream = container.streams.audio[0]
        zero_s = origin_s(container)
        if start_s > EARLY_S:
            with suppress(av.FFmpegError):  # what cannot be sought in is read from its start
                container.seek(int((start_s - EARLY_S + zero_s) / stream.time_base), stream=stream)
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ)
        position: int | None = None  # of the next sample out of the resampler, from start_s
        for frame in container.decode(stream):
            at = (position or 0) if frame.time is None else round((frame.time - zero_s - start_s) * RATE_HZ)
            if at >= total or given >= total:
                break
            if position is None or at - position > GAP_S * RATE_HZ:
                position = at
            frame.pts = None  # the resampler would mend holes in its own way
            for part in resampler.resample(frame):
                block = part.to_ndarray().reshape(-1)
                if position > given:
                    fill = min(position, total) - given
                    yield np.zeros(fill, np.int16)
                    given += fill
                block_from = max(0, given - position)
                kept = block[block_from : block_from + total - given]
                position += len(block)
                if len(kept):
                    given += len(kept)
                    yield kept
    while given < total:
        fill = min(RATE_HZ, total - given)
        given += fill
        yield np.zeros(fill, np.int16)
