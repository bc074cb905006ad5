"""Benches of speech-to-text and of what cuts sound for it: 2 to 20 seconds, and the 139 words that are said in the samples, twice.

Clean speech hardly tells models apart; with white noise under it (`NOISE_DB`) they differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .bench import Bench, Exam, Task
from .lab import Lab
from .score import edits, words

NOISE_DB = 10.0
"""Of speech over white noise. Measured here on the samples, errors of 139 words clean, at 20, 10 and 5 dB: tiny.en 3, 5, 12, 25; base 3, 2, 5, 17."""


async def speech_to_text(lab: Lab) -> Bench:
    # all begin with speech: a stretch of silence would be heard faster than words
    sizes = [Task({"audio": await lab.audio(lab.scene("reading.mp4", 0.4, 0.4 + s))}) for s in (2.0, 5.0, 10.0, 20.0)]
    scenes = lab.scenes()
    wanted = [[w for line in truth["said"] for w in words(line["text"])] for _, truth in scenes for _ in ("clean", "noisy")]
    sounds = [Task({"audio": one}) for scene, _ in scenes for one in (await lab.audio(scene), await lab.noisy(scene, NOISE_DB))]
    return Bench(
        tuple(sizes),
        2,
        Exam(
            f"1 - word error rate over {sum(map(len, wanted)) // 2} words of samples/, clean and with noise at {NOISE_DB:g} dB",
            tuple(sounds),
            lambda out: _heard(wanted, out),
        ),
    )


def _heard(wanted: Sequence[Sequence[str]], outputs: Sequence[Any]) -> tuple[float, str]:
    wrong = total = 0
    for want, transcript in zip(wanted, outputs, strict=False):
        wrong += edits(want, words(" ".join(s["text"] for s in transcript["segments"])))
        total += len(want)
    return max(0.0, 1 - wrong / total) if total else 0.0, f"{total} words"


async def audio_splitter(lab: Lab) -> Bench:
    sounds = [await lab.audio(lab.scene("reading.mp4", 0.4, 0.4 + s)) for s in (5.0, 10.0, 20.0, 28.0)]
    return Bench(tuple(Task({"audio": one}, {"parts": 4}) for one in sounds), 2)


async def transcript_joiner(lab: Lab) -> Bench:
    parts = [lab.transcript(scene, truth["said"]) for scene, truth in lab.scenes() if scene["name"] == "reading.mp4"]
    return Bench(tuple(Task({"transcripts": one}) for one in (parts[:1], parts)), 1)


SPEECH = {"SpeechToText": speech_to_text, "AudioSplitter": audio_splitter, "TranscriptJoiner": transcript_joiner}
