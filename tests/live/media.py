"""Small media that are wrong, or right, in one way each; made with PyAV."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

RATE = 16_000


def silent_film(path: Path, source: Path) -> Path:
    """The pictures of `source` without its sound; nothing is encoded again."""
    return _only(path, source, "video")


def sound_only(path: Path, source: Path) -> Path:
    """The sound of `source` without its pictures."""
    return _only(path, source, "audio")


def _only(path: Path, source: Path, kind: str) -> Path:
    import av

    with av.open(str(source)) as given, av.open(str(path), "w") as made:
        (stream,) = [s for s in given.streams if s.type == kind]
        copy = made.add_stream_from_template(stream)
        for packet in given.demux(stream):
            if packet.dts is not None:
                packet.stream = copy
                made.mux(packet)
    return path


def tone(path: Path, seconds: float = 1.0) -> Path:
    """A WAV file of a quiet tone."""
    import av
    import numpy as np

    with av.open(str(path), "w") as made:
        stream = made.add_stream("pcm_s16le", rate=RATE, layout="mono")
        samples = (1_000 * np.sin(np.arange(int(seconds * RATE)) * 2 * np.pi * 440 / RATE)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
        for packet in (*stream.encode(frame), *stream.encode(None)):
            made.mux(packet)
    return path


def padded(path: Path, source: Path, padding: int) -> Path:
    """The MP4 `source` and behind it a box of `padding` bytes that players skip; a hole in the file, so it costs no disk.

    A box is its size in 4 bytes, big-endian and with these 8 bytes counted, and its type in 4 (ISO/IEC 14496-12, 4.2).
    """
    data = source.read_bytes()
    with path.open("wb") as f:
        f.write(data + padding.to_bytes(4, "big") + b"free")
        f.truncate(len(data) + padding)
    return path
