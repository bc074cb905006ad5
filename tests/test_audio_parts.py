"""Sound in parts: nothing is lost or told twice, cuts lie where it is quiet, and what is heard in parts is what is heard in the whole."""

from __future__ import annotations

import os
import re
import wave
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from murakkab.agents import weights
from murakkab.agents.audio import PyAVAudio
from murakkab.agents.audio_parts import PART_LEAST_S, AudioSplitter, TranscriptJoiner, joined, quiet
from murakkab.agents.interface import BadInput, Call, Files
from murakkab.agents.speech_faster_whisper import FasterWhisper
from murakkab.agents.types import Audio, Scene, Segment, Transcript

np = pytest.importorskip("numpy")
RATE = 16_000
NOTHING = {"sha256": "0" * 64, "size": 0, "media_type": "video/mp4"}


class Desk:
    """Runs models on sounds by their name, as an instance would."""

    def __init__(self, folder: Path) -> None:
        self.files = Files(folder)

    def audio(self, sound: Any, start_s: float = 0.0, channels: int = 1) -> Audio:
        target = self.files.scratch(".wav")
        with wave.open(str(target), "wb") as wav:
            wav.setparams((channels, 2, RATE, 0, "NONE", "not compressed"))
            wav.writeframes(sound.astype(np.int16).tobytes())
        scene = msgspec.convert({"media": NOTHING, "name": "a.mp4", "number": 1, "start_s": start_s, "end_s": 0.0}, Scene)
        return Audio(self.files.keep(target, "audio/wav"), replace(scene, end_s=start_s + len(sound) / RATE))

    def split(self, audio: Audio, **args: Any) -> tuple[list[Audio], Call]:
        call = Call(msgspec.to_builtins({"audio": audio}), args, self.files)
        return AudioSplitter().run(call), call

    def sound(self, audio: Audio) -> Any:
        with wave.open(str(self.files.path(audio.wav))) as wav:
            assert (wav.getnchannels(), wav.getframerate(), wav.getsampwidth()) == (1, RATE, 2)
            return np.frombuffer(wav.readframes(wav.getnframes()), np.int16)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def noise(seconds: float, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(-8_000, 8_000, int(seconds * RATE)).astype(np.int16)


def test_parts_together_are_the_whole(desk: Desk) -> None:
    whole = noise(11.3)
    audio = desk.audio(whole, start_s=7.25)
    parts, call = desk.split(audio, parts=4)
    assert len(parts) == 4
    assert (np.concatenate([desk.sound(p) for p in parts]) == whole).all()
    assert call.units == {"audio_s": pytest.approx(11.3)}
    assert (parts[0].scene.start_s, parts[-1].scene.end_s) == (audio.scene.start_s, audio.scene.end_s)
    for one, next_one in pairwise(parts):
        assert one.scene.end_s == next_one.scene.start_s
    for part in parts:  # sample 0 of a part is at the start of its scene
        at = round((part.scene.start_s - 7.25) * RATE)
        assert (desk.sound(part) == whole[at : at + len(desk.sound(part))]).all()


def test_a_cut_falls_into_the_pause(desk: Desk) -> None:
    sound = noise(10.0)
    sound[int(5.9 * RATE) : int(6.3 * RATE)] = 0
    parts, _ = desk.split(desk.audio(sound), parts=2)
    assert 6.0 <= parts[0].scene.end_s <= 6.2


def test_a_long_silence_is_cut_in_its_middle(desk: Desk) -> None:
    parts, _ = desk.split(desk.audio(np.zeros(10 * RATE)), parts=2)
    assert parts[0].scene.end_s == pytest.approx(5.0, abs=0.001)


@pytest.mark.parametrize("seconds", [0.0, 0.5, 3.9])
def test_what_is_short_stays_whole(desk: Desk, seconds: float) -> None:
    audio = desk.audio(noise(seconds), start_s=3.0)
    assert desk.split(audio, parts=4)[0] == [audio]


@given(st.floats(0, 40), st.integers(-3, 70), st.integers(0, 5))
def test_parts_are_never_too_short(seconds: float, parts: int, seed: int) -> None:
    sound = noise(seconds, seed)
    cuts = [0, *quiet(sound, RATE, parts), len(sound)]
    lengths = [b - a for a, b in pairwise(cuts)]
    assert 1 <= len(lengths) <= max(1, parts)
    if len(lengths) > 1:
        assert min(lengths) >= PART_LEAST_S * RATE - 2


def test_no_wav(desk: Desk, tmp_path: Path) -> None:
    stereo = desk.audio(noise(8.0), channels=2)
    with pytest.raises(BadInput, match=r"a\.mp4: the sound has 2 channels with 16 bit; it should be mono with 16 bit"):
        desk.split(stereo, parts=2)
    mono = desk.audio(noise(8.0))
    desk.files.path(mono.wav).write_bytes(b"RIFF but no sound")
    with pytest.raises(BadInput, match=r"a\.mp4: the sound is no WAV file"):
        desk.split(mono, parts=2)


def transcript(start_s: float, end_s: float, *texts: str, language: str = "en") -> Transcript:
    scene = msgspec.convert({"media": NOTHING, "name": "a.mp4", "number": 1, "start_s": start_s, "end_s": end_s}, Scene)
    return Transcript(tuple(Segment(start_s + n, start_s + n + 0.5, t) for n, t in enumerate(texts)), scene, language)


def test_joined_in_order_with_the_whole_scene() -> None:
    parts = [transcript(3.0, 7.0, "one", "two"), transcript(7.0, 9.0), transcript(9.0, 12.0, "three")]
    whole = joined(parts)
    assert [s.text for s in whole.segments] == ["one", "two", "three"]
    assert (whole.scene.start_s, whole.scene.end_s, whole.scene.name) == (3.0, 12.0, "a.mp4")
    call = Call({"transcripts": msgspec.to_builtins(parts)}, {}, Files(Path("unused")))
    assert TranscriptJoiner().run(call) == whole
    assert joined(parts[:1]) == parts[0]


def test_the_language_is_one_that_was_heard() -> None:
    assert joined([transcript(0, 3, language="en"), transcript(3, 6, "bonjour", language="fr")]).language == "fr"
    assert joined([transcript(0, 3, language="de")]).language == "de"
    with pytest.raises(BadInput, match="no transcript"):
        joined([])


def words(transcript: Transcript) -> list[str]:
    return re.findall(r"[a-z']+", " ".join(s.text for s in transcript.segments).lower())


def distance(a: list[str], b: list[str]) -> int:
    """Words to change, leave out or put in, from one to the other (Levenshtein)."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


@pytest.mark.models
@pytest.mark.parametrize("parts", [2, 4])
def test_what_is_heard_in_parts_is_what_is_heard_in_the_whole(desk: Desk, parts: int) -> None:
    """Real speech of the sample: at most one word in ten differs, and each word is at about the same time."""
    if weights.locate("whisper-tiny.en", os.environ) is None:
        pytest.skip("no weights of whisper-tiny.en")
    pytest.importorskip("faster_whisper")
    video = Path(__file__).parents[1] / "samples" / "reading.mp4"
    copy = desk.files.scratch()
    copy.write_bytes(video.read_bytes())
    scene = Scene(desk.files.keep(copy, "video/mp4"), "reading.mp4", 1, 2.0, 26.0)
    audio = PyAVAudio().run(Call(msgspec.to_builtins({"scene": scene}), {}, desk.files))
    model = FasterWhisper(weights="whisper-tiny.en")
    model.load()

    def heard(one: Audio) -> Transcript:
        return model.run(Call(msgspec.to_builtins({"audio": one}), {}, desk.files))

    pieces, _ = desk.split(audio, parts=parts)
    assert len(pieces) == parts
    whole, put_together = heard(audio), joined([heard(piece) for piece in pieces])
    assert put_together.scene == whole.scene
    a, b = words(whole), words(put_together)
    print(f"{parts} parts: {len(a)} words, {distance(a, b)} differ")
    assert len(a) > 30
    assert distance(a, b) <= len(a) / 10
    assert all(audio.scene.start_s <= s.start_s <= s.end_s <= audio.scene.end_s + 0.01 for s in put_together.segments)
    assert [s.start_s for s in put_together.segments] == sorted(s.start_s for s in put_together.segments)
