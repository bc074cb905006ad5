"""The media agents on real media, on small clips made here, and on files that are none."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import math
import os
import sys
import wave
import zipfile
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from murakkab.agents import library
from murakkab.agents.audio import PyAVAudio
from murakkab.agents.detect_fastestdet import FastestDet
from murakkab.agents.detect_opencv import HogCascades
from murakkab.agents.frames import OpenCVFrames
from murakkab.agents.interface import BadInput, Call, Files
from murakkab.agents.scenes import OpenCVScenes
from murakkab.agents.speech_faster_whisper import FasterWhisper
from murakkab.agents.types import Audio, Frames, Scene, Transcript, Video
from murakkab.profiling.benches import BENCHES
from murakkab.profiling.lab import Lab

np = pytest.importorskip("numpy")
av = pytest.importorskip("av")
pytest.importorskip("cv2")


class Desk:
    """Runs models on files by their name, as an instance would."""

    def __init__(self, folder: Path) -> None:
        self.files = Files(folder)

    def video(self, path: Path) -> Video:
        copy = self.files.scratch()
        copy.write_bytes(path.read_bytes())
        return Video(self.files.keep(copy, "video/mp4"), path.name)

    def run(self, model: Any, args: dict[str, Any] | None = None, **inputs: Any) -> Any:
        return model.run(Call(msgspec.to_builtins(inputs), args or {}, self.files))

    def split(self, path: Path, **args: Any) -> list[Scene]:
        found: list[Scene] = self.run(OpenCVScenes(), args, video=self.video(path))
        return found

    def times(self, scene: Scene, **args: Any) -> tuple[float, ...]:
        frames: Frames = self.run(OpenCVFrames(), args, scene=scene)
        return frames.times_s

    def sound(self, scene: Scene) -> Any:
        """int16 samples of a scene, after checks of the WAV's head."""
        audio: Audio = self.run(PyAVAudio(), scene=scene)
        with wave.open(str(self.files.path(audio.wav))) as wav:
            assert (wav.getnchannels(), wav.getframerate(), wav.getsampwidth()) == (1, 16_000, 2)
            return np.frombuffer(wav.readframes(wav.getnframes()), np.int16)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "artifacts")


@pytest.fixture(scope="session")
def quality() -> ModuleType:
    """scripts/bench/quality.py, whose word error rate is used here too."""
    path = Path(__file__).resolve().parents[1] / "scripts" / "bench" / "quality.py"
    spec = importlib.util.spec_from_file_location("murakkab_bench_quality", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


COLOURS = ((200, 30, 30), (30, 200, 30), (30, 30, 200), (200, 200, 30))


def clip(
    path: Path,
    takes: Sequence[float] = (),
    tones: Sequence[tuple[float, float]] = (),
    fps: int = 10,
    format: str = "mp4",
    late_s: float = 0.0,
) -> Path:
    """A small film: one colour a take (seconds each) with a moving square; sound of (seconds, amplitude 0..1) stretches of 440 Hz.

    `late_s` lets the pictures begin after the sound.
    """
    with av.open(str(path), "w", format=format) as out:
        video = out.add_stream("mpeg4", rate=fps) if takes else None
        if video is not None:
            video.width, video.height, video.pix_fmt = 128, 96, "yuv420p"
        audio = out.add_stream("aac" if format in ("mp4", "mpegts") else "pcm_s16le", rate=16_000, layout="mono") if tones else None
        shown = 0
        for take, length_s in enumerate(takes):
            for n in range(round(length_s * fps)):
                picture = np.empty((96, 128, 3), np.uint8)
                picture[:] = COLOURS[take % len(COLOURS)]
                picture[40:50, n % 100 : n % 100 + 10] = 255
                assert video is not None
                image = av.VideoFrame.from_ndarray(picture, format="rgb24")
                image.pts, image.time_base = round(late_s * fps) + shown, Fraction(1, fps)
                shown += 1
                out.mux(video.encode(image))
        if tones:
            wave_ = np.concatenate([a * np.sin(np.arange(round(s * 16_000)) * 2 * np.pi * 440 / 16_000) for s, a in tones])
            frame = av.AudioFrame.from_ndarray((wave_ * 32_000).astype(np.int16)[None], format="s16", layout="mono")
            frame.sample_rate = 16_000
            assert audio is not None
            out.mux(audio.encode(frame))
        for stream in (video, audio):
            if stream is not None:
                out.mux(stream.encode(None))
    return path


# --- scenes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["scene_a.mp4", "scene_b.mp4"])
def test_the_cuts_of_the_samples_are_found_and_no_others(desk: Desk, shared: Path, name: str) -> None:
    folder = shared / "data" / "media" / "video"
    truth = [s["start"] for s in json.loads((folder / "truth.json").read_text())[name]["segments"]][1:]
    found = [s.start_s for s in desk.split(folder / name, need_sound=True, need_pictures=True)][1:]
    assert len(found) == len(truth)
    assert all(abs(a - b) <= 0.5 for a, b in zip(found, truth, strict=True))


def test_a_single_take_with_movement_has_no_cuts(desk: Desk, shared: Path) -> None:
    found = desk.split(shared / "data" / "media" / "video" / "store_aisle.mp4")
    assert len(found) == 1


def test_made_cuts_are_found_where_they_are(desk: Desk, tmp_path: Path) -> None:
    found = desk.split(clip(tmp_path / "a.mp4", (3, 4, 2.5)))
    assert [s.number for s in found] == [0, 1, 2]
    assert [s.start_s for s in found] == pytest.approx([0, 3, 7], abs=0.2)
    assert found[-1].end_s == pytest.approx(9.5, abs=0.1)
    assert all(s.has_pictures and not s.has_sound and s.name == "a.mp4" for s in found)


def test_a_long_take_is_split_at_its_quiet_moment(desk: Desk, tmp_path: Path) -> None:
    found = desk.split(clip(tmp_path / "long.mp4", (42,), ((20, 0.5), (0.8, 0), (21.2, 0.5)), fps=5))
    assert [s.start_s for s in found] == pytest.approx([0, 20.4], abs=0.4)
    assert all(s.has_sound and s.has_pictures for s in found)


def test_sound_only_gives_scenes_without_pictures(desk: Desk, tmp_path: Path) -> None:
    path = clip(tmp_path / "talk.wav", tones=((65, 0.3),), format="wav")
    found = desk.split(path, need_sound=True)
    assert len(found) >= 3
    assert max(s.end_s - s.start_s for s in found) <= 30
    assert not any(s.has_pictures for s in found)
    with pytest.raises(BadInput, match=r"talk\.wav: no pictures, so nothing can be seen"):
        desk.split(path, need_pictures=True)
    with pytest.raises(BadInput, match=r"talk\.wav: no pictures"):
        desk.times(found[0])


def test_pictures_that_end_before_the_sound_leave_a_scene_of_sound(desk: Desk, tmp_path: Path) -> None:
    found = desk.split(clip(tmp_path / "half.mp4", (5,), ((12, 0.3),)))
    assert [s.has_pictures for s in found] == [True, False]
    assert desk.times(found[1]) == ()
    assert len(desk.sound(found[1])) == round((found[1].end_s - found[1].start_s) * 16_000)


def test_silent_video_is_refused_only_when_sound_is_needed(desk: Desk, tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.mp4", (3,))
    scene = desk.split(path, need_pictures=True)[0]
    with pytest.raises(BadInput, match=r"^clip\.mp4: no sound track, so nothing can be transcribed; ask only for what is shown$"):
        desk.split(path, need_sound=True)
    with pytest.raises(BadInput, match=r"^clip\.mp4: no sound track"):
        desk.sound(scene)


# --- files that are none --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the file is empty"),
        (b"Dear diary, this is no film.\n" * 300, "a text file, not a media file"),
        ("Liebes Tagebuch, dies ist kein Film: äöü\n".encode() * 300, "a text file, not a media file"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nother.mp4\n#EXT-X-ENDLIST\n", "a text file, not a media file"),
        (b"ffconcat version 1.0\nfile other.mp4\n", "a text file, not a media file"),
        (bytes(range(256)) * 40, "not a media file"),
    ],
)
def test_what_is_no_media_file_is_refused_in_one_line(desk: Desk, tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(content)
    with pytest.raises(BadInput) as caught:
        desk.split(path)
    text = str(caught.value)
    assert text.startswith("film.mp4: ")
    assert says in text
    assert "give a video or a sound file" in text
    assert "\n" not in text
    assert str(tmp_path) not in text


@pytest.mark.parametrize(("format", "part"), [("mp4", 0.5), ("mp4", 0.02), ("matroska", 0.5)])
def test_a_broken_off_file_is_refused(desk: Desk, tmp_path: Path, format: str, part: float) -> None:
    whole = clip(tmp_path / "whole", (8, 8), ((16, 0.3),), format=format).read_bytes()
    path = tmp_path / "broken.mp4"
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(BadInput, match=r"^broken\.mp4: .*cut off"):
        desk.split(path)


def test_a_broken_off_download_with_its_index_in_front_is_refused(desk: Desk, shared: Path, tmp_path: Path) -> None:
    path = tmp_path / "part.mp4"
    path.write_bytes((shared / "data" / "media" / "video" / "scene_a.mp4").read_bytes()[:500_000])
    with pytest.raises(BadInput, match=r"^part\.mp4: cut off after 500000 of at least 8\d{5} bytes; give the whole file$"):
        desk.split(path)


# --- frames and sound -------------------------------------------------------------------------------------------------------


def test_frames_are_jpegs_of_the_scene_at_times_of_the_video(desk: Desk, shared: Path) -> None:
    import cv2

    scene = desk.split(shared / "data" / "media" / "video" / "scene_a.mp4")[1]
    frames: Frames = desk.run(OpenCVFrames(), {"every_s": 0.5}, scene=scene)
    again: Frames = desk.run(OpenCVFrames(), {"every_s": 0.5}, scene=scene)
    assert frames.archive == again.archive
    assert all(scene.start_s <= t < scene.end_s for t in frames.times_s)
    assert [b - a for a, b in pairwise(frames.times_s)] == pytest.approx([0.5] * (len(frames.times_s) - 1), abs=0.1)
    with zipfile.ZipFile(desk.files.path(frames.archive)) as archive:
        assert archive.namelist() == [f"{n:03d}.jpg" for n in range(len(frames.times_s))]
        assert {i.compress_type for i in archive.infolist()} == {zipfile.ZIP_STORED}
        picture: Any = cv2.imdecode(np.frombuffer(archive.read("003.jpg"), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (360, 640, 3)


def test_a_frame_shows_the_moment_that_its_time_says(desk: Desk, tmp_path: Path) -> None:
    import cv2

    media = desk.video(clip(tmp_path / "a.mp4", (3, 4, 2.5)))
    frames: Frames = desk.run(OpenCVFrames(), {"every_s": 0.5}, scene=Scene(media.media, "a.mp4", 0, 2.0, 8.0))
    assert len(frames.times_s) == 12
    with zipfile.ZipFile(desk.files.path(frames.archive)) as archive:
        for name, t_s in zip(archive.namelist(), frames.times_s, strict=True):
            picture = np.asarray(cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_COLOR))
            blue, green, red = picture[:20, :20].reshape(-1, 3).mean(axis=0)
            brightest = max((red, 0), (green, 1), (blue, 2))[1]
            assert brightest == (0 if t_s < 3 else 1 if t_s < 7 else 2), t_s


def test_the_number_of_frames_is_bounded_and_spread(desk: Desk, tmp_path: Path) -> None:
    scene = desk.split(clip(tmp_path / "a.mp4", (9,)))[0]
    assert desk.times(scene, num_frames=3) == pytest.approx((1.5, 4.5, 7.5), abs=0.11)
    assert len(desk.times(scene, every_s=2)) == 4
    assert len(desk.times(msgspec.structs.replace(scene, end_s=0.3))) == 1
    with pytest.raises(BadInput, match="every_s=0 is not a number from"):
        desk.times(scene, every_s=0)
    with pytest.raises(BadInput, match="num_frames='many' is not a number"):
        desk.times(scene, num_frames="many")


def test_sound_has_the_length_and_the_place_of_its_scene(desk: Desk, tmp_path: Path) -> None:
    media = desk.video(clip(tmp_path / "a.mkv", (10,), ((4, 0.0), (2, 0.5), (4, 0.0)), format="matroska"))
    sound = desk.sound(Scene(media.media, "a.mp4", 0, 3.0, 7.5))
    assert len(sound) == 72_000
    loud = np.abs(sound.astype(int)) > 3_000
    assert np.flatnonzero(loud)[[0, -1]] / 16_000 == pytest.approx([1.0, 3.0], abs=0.03)
    late = desk.sound(Scene(media.media, "a.mp4", 0, 9.0, 12.0))
    assert len(late) == 48_000
    assert not late[20_000:].any()


@pytest.mark.parametrize(("format", "late_s"), [("mov", 0.0), ("mov", 1.5), ("matroska", 1.5), ("mpegts", 1.5)])
def test_pictures_and_sound_share_one_clock(desk: Desk, tmp_path: Path, format: str, late_s: float) -> None:
    """The colour changes when the tone begins, also where the first picture comes later than the first sound."""
    import cv2

    path = clip(tmp_path / "a", (2, 2), ((2 + late_s, 0.0), (2, 0.5)), fps=50, format=format, late_s=late_s)
    whole = Scene(desk.video(path).media, "a", 0, 0.0, 4.0 + late_s)
    frames: Frames = desk.run(OpenCVFrames(), {"every_s": 0.02, "num_frames": 400}, scene=whole)
    with zipfile.ZipFile(desk.files.path(frames.archive)) as archive:
        pictures = [cv2.imdecode(np.frombuffer(archive.read(n), np.uint8), cv2.IMREAD_COLOR) for n in archive.namelist()]
    seen_s = next(
        t for t, p in zip(frames.times_s, map(np.asarray, pictures), strict=True) if p[:20, :20, 1].mean() > p[:20, :20, 2].mean()
    )
    heard_s = float(np.flatnonzero(np.abs(desk.sound(whole).astype(int)) > 3_000)[0]) / 16_000
    assert seen_s == pytest.approx(2 + late_s, abs=0.03)
    # The AAC encoder begins with 1024 samples of nothing, which MPEG-TS does not tell.
    assert seen_s == pytest.approx(heard_s - (1024 / 16_000 if format == "mpegts" else 0), abs=0.03)


def test_sound_joined_from_scenes_is_the_sound(desk: Desk, shared: Path) -> None:
    whole = desk.video(shared / "data" / "media" / "video" / "scene_b.mp4")
    all_at_once = desk.sound(Scene(whole.media, "b", 0, 0.0, 22.0)).astype(float)
    parts = np.concatenate([desk.sound(Scene(whole.media, "b", 0, a, b)) for a, b in pairwise((0.0, 7.3, 16.4, 22.0))]).astype(float)
    assert len(parts) == len(all_at_once)
    assert math.sqrt(((parts - all_at_once) ** 2).mean()) < 0.02 * math.sqrt((all_at_once**2).mean())


# --- speech -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whisper() -> FasterWhisper:
    if why := library.missing(library.implementations()[("SpeechToText", "faster-whisper/tiny.en/int8")], os.environ):
        pytest.skip(why)
    model = FasterWhisper("whisper-tiny.en")
    model.load()
    return model


@pytest.mark.models
def test_speech_is_understood(desk: Desk, shared: Path, whisper: FasterWhisper, quality: ModuleType) -> None:
    folder = shared / "data" / "media" / "speech"
    wrong = total = 0
    for line in (folder / "transcripts.jsonl").read_text().splitlines():
        said = json.loads(line)
        heard = []
        for scene in desk.split(folder / said["file"], need_sound=True):
            transcript: Transcript = desk.run(whisper, audio=desk.run(PyAVAudio(), scene=scene))
            assert all(scene.start_s <= s.start_s <= s.end_s <= scene.end_s for s in transcript.segments)
            heard += [s.text for s in transcript.segments]
        wanted = quality.words(said["text"])
        wrong += quality.edits(wanted, quality.words(" ".join(heard)))
        total += len(wanted)
    assert wrong / total < 0.08


@pytest.mark.models
def test_times_of_speech_are_of_the_whole_video(desk: Desk, shared: Path, whisper: FasterWhisper) -> None:
    scene = desk.split(shared / "data" / "media" / "video" / "scene_a.mp4")[1]
    transcript: Transcript = desk.run(whisper, audio=desk.run(PyAVAudio(), scene=scene))
    assert "john dashwood" in " ".join(s.text for s in transcript.segments).lower()
    assert all(11 < s.start_s < s.end_s < 19.5 for s in transcript.segments)


@pytest.mark.models
@pytest.mark.parametrize("amplitude", [0.0, 0.3])
def test_where_nobody_speaks_nothing_is_heard(desk: Desk, tmp_path: Path, whisper: FasterWhisper, amplitude: float) -> None:
    scene = desk.split(clip(tmp_path / "hum.wav", tones=((12, amplitude),), format="wav"))[0]
    transcript: Transcript = desk.run(whisper, audio=desk.run(PyAVAudio(), scene=scene))
    assert transcript.segments == ()


@pytest.mark.models
def test_a_language_that_the_model_cannot_is_refused(desk: Desk, tmp_path: Path, whisper: FasterWhisper) -> None:
    scene = desk.split(clip(tmp_path / "hum.wav", tones=((3, 0.1),), format="wav"))[0]
    with pytest.raises(BadInput, match=r"language=de: whisper-tiny\.en only knows English"):
        desk.run(whisper, {"language": "de"}, audio=desk.run(PyAVAudio(), scene=scene))


@pytest.mark.models
def test_the_larger_model_knows_other_languages_and_hears_better_in_noise(
    desk: Desk, tmp_path: Path, whisper: FasterWhisper, quality: ModuleType
) -> None:
    if why := library.missing(library.implementations()[("SpeechToText", "faster-whisper/base/int8")], os.environ):
        pytest.skip(why)
    base = FasterWhisper("whisper-base")
    base.load()
    hum = desk.run(PyAVAudio(), scene=desk.split(clip(tmp_path / "hum.wav", tones=((3, 0.1),), format="wav"))[0])
    assert desk.run(base, {"language": "de"}, audio=hum).language == "de"
    with pytest.raises(BadInput, match="language=xx is not an ISO 639-1 code that Whisper knows"):
        desk.run(base, {"language": "xx"}, audio=hum)

    async def exam() -> list[float]:
        lab = Lab(tmp_path / "lab")
        try:
            found = (await BENCHES["SpeechToText"](lab)).exam
        finally:
            await lab.close()
        assert found is not None
        heard = [[model.run(Call(t.inputs, t.args, lab.files)) for t in found.tasks] for model in (whisper, base)]
        return [found.mark([msgspec.to_builtins(one) for one in outputs])[0] for outputs in heard]

    small, large = asyncio.run(exam())
    assert 0.9 < small < large < 1


# --- objects ------------------------------------------------------------------------------------------------------------------


@pytest.mark.models
def test_fastestdet_finds_what_the_truth_file_says(desk: Desk, shared: Path) -> None:
    pytest.importorskip("onnxruntime")
    model = FastestDet()
    model.load()
    found = desk.split(shared / "data" / "media" / "video" / "scene_a.mp4")
    for scene, label in zip(found, ("person", "bottle", "person"), strict=True):
        frames: Frames = desk.run(OpenCVFrames(), scene=scene)
        detections = desk.run(model, frames=frames)
        assert detections.frame_times_s == frames.times_s
        assert len({d.t_s for d in detections.items if d.label == label}) >= 0.8 * len(frames.times_s)
        for d in detections.items:
            assert d.t_s in frames.times_s
            assert 0.6 <= d.score <= 1
            assert all(0 <= v <= 1 for v in d.box)
            assert d.box[0] + d.box[2] <= 1.001
        only = desk.run(model, {"labels": [label, "no such thing"], "threshold": 0.8}, frames=frames)
        assert {d.label for d in only.items} == {label}
        assert min(d.score for d in only.items) >= 0.8
    with pytest.raises(BadInput, match="labels=unicorn: this detector knows none of them"):
        desk.run(model, {"labels": "unicorn"}, frames=frames)
    with pytest.raises(BadInput, match="threshold=7 is not a number from 0 to 1"):
        desk.run(model, {"threshold": 7}, frames=frames)


def test_hog_and_cascades_find_people_and_no_people_among_fruit(desk: Desk, shared: Path) -> None:
    model = HogCascades()
    model.load()
    folder = shared / "data" / "media" / "video"
    aisle = desk.run(model, frames=desk.run(OpenCVFrames(), scene=desk.split(folder / "store_aisle.mp4")[0]))
    fruit = desk.run(model, frames=desk.run(OpenCVFrames(), scene=desk.split(folder / "fruit_vegetable.mp4")[0]))
    assert {d.label for d in aisle.items} == {"person"}
    assert not fruit.items
