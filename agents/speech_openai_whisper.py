"""Speech-to-text by openai-whisper (torch): the paper's own choice, and the way to every size of Whisper on a GPU."""

from __future__ import annotations

import os
import wave
from pathlib import Path
from typing import Any

from .gguf_convert import cache_root
from .interface import BadInput, Call
from .joined import model_folder
from .types import Audio, Segment, Transcript
from .whisper_convert import converted

RATE_HZ = 16_000
SILENT = 1e-3
"""Peak amplitude (full scale 1.0) below which nothing is said: -60 dB. Whisper invents words for silence."""
NO_SPEECH, LEAST_LOGPROB = 0.6, -1.0
"""A segment with more probability of "no speech", or less mean log probability of its tokens, is an invention and dropped. The
numbers are openai-whisper's own thresholds; seen here: 0.02 to 0.15 and -0.15 to -0.67 for speech, 0.5 to 0.96 for noise and tones."""


class OpenAIWhisper:
    """Greedy decoding at temperature 0, so that the same sound gives the same text.

    `weights`: a key of `weights.WEIGHTS` that stands for a CTranslate2 folder, converted once; without it what `MURAKKAB_WHISPER_MODEL`
    names, a model of openai-whisper's own such as `large-v3` or a `.pt` file.
    """

    def __init__(self, weights: str = "") -> None:
        self.weights = weights
        self.model: Any = None

    def load(self) -> None:
        import whisper

        self.model = whisper.load_model(str(self._checkpoint()) if self.weights else os.environ["MURAKKAB_WHISPER_MODEL"])

    def run(self, call: Call) -> Transcript:
        audio = call.take("audio", Audio)
        language = self._language(call.arg("language", "en"))
        sound = samples(call.files.path(audio.wav), audio.scene.name)
        call.count("audio_s", sound.size / RATE_HZ)
        if not sound.size or abs(sound).max() < SILENT:
            return Transcript((), audio.scene, language or "en")
        found = self.model.transcribe(
            sound,
            language=language or None,
            temperature=0.0,
            fp16=self.model.device.type == "cuda",
            condition_on_previous_text=False,  # one scene stands for itself; a wrong turn does not spread
            verbose=None,
        )
        start_s, most_s = audio.scene.start_s, sound.size / RATE_HZ
        segments = tuple(
            # Whisper thinks in windows of 30 s and may name an end behind the last sample
            Segment(start_s + min(part["start"], most_s), start_s + min(part["end"], most_s), part["text"].strip())
            for part in found["segments"]
            if part["text"].strip() and part["no_speech_prob"] <= NO_SPEECH and part["avg_logprob"] >= LEAST_LOGPROB
        )
        return Transcript(segments, audio.scene, found["language"])

    def _checkpoint(self) -> Path:
        return converted(model_folder(self.weights, os.environ), cache_root(os.environ))

    def _language(self, language: str) -> str:
        from whisper.tokenizer import LANGUAGES

        if language and language not in LANGUAGES:
            raise BadInput(
                f"language='{language}' is not an ISO 639-1 code that Whisper knows; say en, fr, … or leave it empty to detect it"
            )
        if not self.model.is_multilingual and language not in ("", "en"):
            raise BadInput(f"language='{language}': this model knows English only; leave it out or choose a multilingual model")
        return language


def samples(path: Path, name: str) -> Any:
    """The sound as float32 (n,) in -1..1. The file is `Audio.wav`: mono, 16 kHz, 16 bit; `BadInput` for anything else."""
    import numpy as np

    try:
        with wave.open(str(path), "rb") as f:
            have = f.getnchannels(), f.getframerate(), f.getsampwidth()
            data = f.readframes(f.getnframes())
    except (wave.Error, EOFError) as e:
        raise BadInput(f"{name}: the sound is no WAV file ({e}); it should be mono, 16 kHz, 16 bit") from e
    if have != (1, RATE_HZ, 2):
        raise BadInput(
            f"{name}: the sound has {have[0]} channels at {have[1]} Hz with {8 * have[2]} bit; it should be mono, 16 kHz, 16 bit"
        )
    return np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.float32) / 32768
