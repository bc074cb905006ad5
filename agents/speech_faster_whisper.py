"""SpeechToText by faster-whisper: Whisper on CTranslate2, int8 on the CPU.

Whisper invents sentences where nobody speaks ("Thanks for watching!"). Three guards: a voice detector (Silero, shipped
inside faster-whisper, nothing is fetched) cuts silence away first; segments that the model itself holds for silence are
dropped; and the text before is not fed back, so that one invention does not breed the next.
"""

from __future__ import annotations

import os
import wave
from typing import Any

from .interface import BadInput, Call
from .joined import model_folder
from .media import threads
from .types import Audio, Segment, Transcript

BEAM = 5
"""Measured on the 143 words of the clips of scripts/bench/quality.py: 8 plain errors against 12 of greedy search, for 8 % more time."""
NO_SPEECH = 0.6
LEAST_LOGPROB = -1.0
"""With a no-speech probability over `NO_SPEECH`, a mean token log probability below this is an invention (as openai-whisper)."""


class FasterWhisper:
    """`weights`: a key of `weights.WEIGHTS` that names a CTranslate2 Whisper folder."""

    def __init__(self, weights: str) -> None:
        self.weights = weights
        self.model: Any = None

    def load(self) -> None:
        import numpy as np
        from faster_whisper import WhisperModel

        self.model = WhisperModel(
            str(model_folder(self.weights, os.environ)),
            device="cpu",
            compute_type="int8",
            cpu_threads=threads(),
            num_workers=1,
            local_files_only=True,
        )
        # The first run allocates. A few words are enough: larger models have much to say about silence, and say it again at every temperature.
        silence = np.zeros(16_000, np.float32)
        list(self.model.transcribe(silence, language="en", beam_size=BEAM, temperature=0.0, max_new_tokens=4)[0])
        self.transcribe(silence, "en", listen_first=True)  # loads the voice detector

    def run(self, call: Call) -> Transcript:
        audio = call.take("audio", Audio)
        language = call.arg("language", "en")
        if not self.model.model.is_multilingual and language not in ("", "en"):
            raise BadInput(f"language={language}: {self.weights} only knows English; leave it out or choose a multilingual model")
        if language and language not in self.model.supported_languages:
            raise BadInput(f"language={language} is not an ISO 639-1 code that Whisper knows; say en, fr, … or leave it empty to detect it")
        with wave.open(str(call.files.path(audio.wav))) as wav:
            sound = as_floats(wav, audio.scene.name)
        call.count("audio_s", len(sound) / 16_000)
        found, language = self.transcribe(sound, language, listen_first=True)
        start_s, end_s = audio.scene.start_s, audio.scene.end_s
        segments = tuple(
            Segment(round(start_s + a, 3), max(round(start_s + a, 3), min(round(start_s + b, 3), end_s)), text)
            for a, b, text in found
            if start_s + a < end_s
        )
        return Transcript(segments, audio.scene, language)

    def transcribe(self, sound: Any, language: str, listen_first: bool) -> tuple[list[tuple[float, float, str]], str]:
        """Start and end in seconds and text of each segment, and the language. `sound`: float32 (n,) at 16 kHz."""
        segments, info = self.model.transcribe(
            sound,
            language=language or None,
            beam_size=BEAM,
            condition_on_previous_text=False,
            no_speech_threshold=NO_SPEECH,
            log_prob_threshold=LEAST_LOGPROB,
            vad_filter=listen_first,
        )
        return [(s.start, s.end, text) for s in segments if (text := s.text.strip())], info.language


def as_floats(wav: wave.Wave_read, name: str) -> Any:
    """The samples of a mono 16 kHz 16-bit WAV as float32 (n,) in -1..1."""
    import numpy as np

    if (wav.getnchannels(), wav.getframerate(), wav.getsampwidth()) != (1, 16_000, 2):
        raise BadInput(f"{name}: sound is not mono 16 kHz 16-bit WAV; an AudioExtractor gives that")
    return np.frombuffer(wav.readframes(wav.getnframes()), np.int16).astype(np.float32) / 32768
