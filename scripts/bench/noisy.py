"""Copies of videos with white noise in their sound. The pictures are copied as they are; the sound is encoded again (AAC, mono)."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from murakkab.profiling.noise import with_noise


def noisy(source: Path, target: Path, snr_db: float) -> None:
    """`snr_db`: how far under the sound, in decibels (`with_noise`)."""
    with av.open(str(source)) as given:
        rate = given.streams.audio[0].codec_context.sample_rate
        to_floats = av.AudioResampler(format="flt", layout="mono", rate=rate)
        frames = [part for frame in given.decode(audio=0) for part in to_floats.resample(frame)]
    sound = np.concatenate([f.to_ndarray().reshape(-1) for f in [*frames, *to_floats.resample(None)]])
    with av.open(str(source)) as given, av.open(str(target), "w") as out:
        pictures = out.add_stream_from_template(given.streams.video[0])
        encoded = out.add_stream("aac", rate=rate, layout="mono")
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = pictures
                out.mux(packet)
        frame = av.AudioFrame.from_ndarray(
            np.clip(with_noise(sound, snr_db), -1, 1).astype(np.float32)[None, :], format="flt", layout="mono"
        )
        frame.sample_rate, frame.pts = rate, 0
        for part in av.AudioResampler(format="fltp", layout="mono", rate=rate, frame_size=1024).resample(frame):
            out.mux(encoded.encode(part))
        out.mux(encoded.encode(None))
