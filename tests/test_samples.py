"""The sample videos that are shipped, and the script that made them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import av
import pytest

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "samples"
TRUTH = json.loads((SAMPLES / "truth.json").read_text())


@pytest.mark.parametrize("name", sorted(TRUTH))
def test_a_sample_is_as_long_as_its_truth_says_and_its_scenes_follow_each_other(name: str) -> None:
    scenes = TRUTH[name]["scenes"]
    with av.open(str(SAMPLES / name)) as box:
        (video,), (audio,) = box.streams.video, box.streams.audio
        assert (video.codec_context.name, video.width, video.height, audio.codec_context.name) == ("h264", 640, 360, "aac")
        assert video.frames / 24 == pytest.approx(scenes[-1]["end_s"], abs=0.05)
        assert audio.duration is not None
        assert audio.time_base is not None
        assert float(audio.duration * audio.time_base) == pytest.approx(scenes[-1]["end_s"], abs=0.1)
    at_s = 0.0
    for scene in scenes:
        assert scene["start_s"] == at_s
        at_s = scene["end_s"]
        assert set(scene["coco"]) <= {*scene["seen"], "dining table"}
        for said in scene["said"]:
            assert scene["start_s"] < said["start_s"] < said["end_s"] <= scene["end_s"]
            assert all(word in said["text"].lower() for word in said["mentions"])


def test_the_samples_are_small() -> None:
    assert sum(path.stat().st_size for path in SAMPLES.iterdir()) < 1_500_000


def test_a_folder_without_the_sources_is_refused_by_name_and_hash(tmp_path: Path) -> None:
    (tmp_path / "other.wav").write_bytes(b"RIFF")
    words = [sys.executable, str(ROOT / "scripts" / "make_samples.py"), str(tmp_path / "out"), "--pictures", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "lacks 6 of 6 files: astronaut, camera, cat, coffee, officer, rocket" in done.stderr
    assert "SHA-256 88431cd9" in done.stderr
    assert not (tmp_path / "out").exists()
