"""Sound in parts: cut where it is quiet, and the transcripts of the parts joined again. For long sounds when there are instances to spare."""

from __future__ import annotations

import itertools
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from .interface import BadInput, Call
from .types import Audio, Transcript

PART_LEAST_S = 2.0
"""Shorter parts give a speech model too little to go by."""
SEARCH_S = 1.5
"""So far from an even cut a quieter moment is looked for."""
WINDOW_S = 0.2
"""A moment: about a pause between words."""


class AudioSplitter:
    """A WAV to parts of about even length; each knows where in the medium it lies, so what is heard in it has the right times."""

    def load(self) -> None:
        import numpy

        del numpy

    def run(self, call: Call) -> list[Audio]:
        audio = call.take("audio", Audio)
        sound, rate = _read(call.files.path(audio.wav), audio.scene.name)
        call.count("audio_s", len(sound) / rate)
        cuts = [0, *quiet(sound, rate, call.arg("parts", 2)), len(sound)]
        if len(cuts) == 2:
            return [audio]
        found = []
        for start, end in itertools.pairwise(cuts):
            target = call.files.scratch(".wav")
            try:
                with wave.open(str(target), "wb") as part:
                    part.setparams((1, 2, rate, 0, "NONE", "not compressed"))
                    part.writeframes(sound[start:end].tobytes())
                zero_s = audio.scene.start_s
                scene = replace(
                    audio.scene,
                    start_s=zero_s + start / rate,
                    end_s=zero_s + end / rate if end < len(sound) else audio.scene.end_s,
                )
                found.append(Audio(call.files.keep(target, "audio/wav"), scene))
            finally:
                target.unlink(missing_ok=True)
        return found


def _read(path: Path, name: str) -> tuple[Any, int]:
    """Samples (int16, (n,)) and their rate in Hz. BadInput for what is no mono WAV of 16 bit."""
    import numpy as np

    try:
        with wave.open(str(path)) as wav:
            have = wav.getnchannels(), wav.getsampwidth()
            rate, data = wav.getframerate(), wav.readframes(wav.getnframes())
    except (wave.Error, EOFError) as error:
        raise BadInput(f"{name}: the sound is no WAV file ({error}); an AudioExtractor gives one") from None
    if have != (1, 2):
        raise BadInput(f"{name}: the sound has {have[0]} channels with {8 * have[1]} bit; it should be mono with 16 bit")
    return np.frombuffer(data[: len(data) // 2 * 2], np.int16), rate


def quiet(sound: Any, rate: int, parts: int) -> list[int]:
    """Where to cut `sound` (int16, (n,)) into at most so many parts: of the moments near each even cut the quietest, in samples."""
    import numpy as np

    length_s = len(sound) / rate
    parts = max(1, min(parts, int(length_s // PART_LEAST_S)))
    window, reach = max(1, int(WINDOW_S * rate)), min(SEARCH_S, length_s / parts / 2 - PART_LEAST_S / 2)
    cuts = []
    for n in range(1, parts):
        even = int(n * len(sound) / parts)
        first, last = (even + sign * int(reach * rate) + sign * window // 2 for sign in (-1, 1))
        power = np.cumsum(np.concatenate([[0.0], sound[first:last].astype(np.float64) ** 2]))
        loud = power[window:] - power[:-window]
        quietest = np.flatnonzero(loud == loud.min())
        middle = len(loud) / 2  # of a long silence, as near to the even cut as can be
        cuts.append(first + int(quietest[np.argmin(abs(quietest - middle))]) + window // 2)
    return cuts


class TranscriptJoiner:
    """What was heard in the parts, in order, as one transcript."""

    def load(self) -> None:
        pass

    def run(self, call: Call) -> Transcript:
        return joined(call.take("transcripts", list[Transcript]))


def joined(parts: Sequence[Transcript]) -> Transcript:
    """The parts follow each other; the whole reaches from the first one's start to the last one's end."""
    if not parts:
        raise BadInput("there is no transcript to join")
    scene = replace(parts[0].scene, start_s=min(p.scene.start_s for p in parts), end_s=max(p.scene.end_s for p in parts))
    segments = sorted((s for p in parts for s in p.segments), key=lambda s: (s.start_s, s.end_s))
    spoken = [p for p in parts if p.segments] or parts  # where nothing is said, a language is a guess
    return Transcript(tuple(segments), scene, spoken[0].language)
