"""What a media file holds, and its pictures one by one. Every media agent asks here first, so that all refuse alike.

Files come from strangers. `OPENABLE` names the containers that may be parsed at all: playlists (HLS, DASH, concat) and
numbered image sequences are not among them, because they make FFmpeg open *other* files and addresses.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from .interface import BadInput, Call

OPENABLE = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,flv,live_flv,asf,ogg,wav,w64,mp3,aac,flac,aiff,caf,amr,au,"
    "ac3,eac3,dts,ape,wv,tta,gif,apng,rm,mxf,dv,ivf,obu,h264,hevc,jpeg_pipe,png_pipe,bmp_pipe,webp_pipe,tiff_pipe,jpegxl_pipe"
)
"""FFmpeg's names of the demuxers that read one plain file."""
SAFE = {"format_whitelist": OPENABLE, "protocol_whitelist": "file"}


class Medium(Struct, frozen=True):
    """What is in a file. `duration_s` is the longest track's; `fps` is 0 without pictures.

    `pictures_start_s` is when the first picture is shown. Sound may begin earlier, often by the few hundredths of a second
    that its encoder needs; forgetting that would tear words and pictures apart.
    """

    duration_s: float
    fps: float
    pictures_start_s: float
    has_pictures: bool
    has_sound: bool


def threads(environ: Mapping[str, str] = os.environ) -> int:
    """How many threads an instance may keep busy: `OMP_NUM_THREADS`, which the worker sets; 1 without it."""
    said = environ.get("OMP_NUM_THREADS", "")
    return max(1, int(said)) if said.isdigit() else 1


@contextmanager
def opened(path: Path, name: str) -> Iterator[Any]:
    """An open PyAV container. `BadInput`, by the user's `name`, for what is no media file or is cut off."""
    import av

    if not path.stat().st_size:
        raise BadInput(f"{name}: the file is empty; give a video or a sound file")
    try:
        container = av.open(str(path), options=SAFE)
    except (av.FFmpegError, UnicodeDecodeError) as e:
        with path.open("rb") as f:
            what = looks_like(f.read(4096))
        raise BadInput(f"{name}: {what}; give a video or a sound file ({reason(e)})") from e
    with container:
        refuse_truncated(container, name)
        try:
            yield container
        except av.FFmpegError as e:
            raise BadInput(f"{name}: damaged media, cannot be decoded ({reason(e)})") from e


def probe(path: Path, name: str) -> Medium:
    """What the file holds, without decoding it. `BadInput` as `opened`, and for a file with neither pictures nor sound."""
    with opened(path, name) as container:
        video, audio = picture_stream(container), next(iter(container.streams.audio), None)
        if video is None and audio is None:
            raise BadInput(f"{name}: holds neither pictures nor sound; give a video or a sound file")
        rate = video and (video.average_rate or video.guessed_rate)
        first_s = float(video.start_time * video.time_base) - origin_s(container) if video and video.start_time else 0.0
        duration_s = container.duration / 1e6 if container.duration and container.duration > 0 else 0.0
    if not duration_s:  # raw and live-recorded streams do not say how long they are
        duration_s = end_s(path, name)
    if duration_s <= 0:
        raise BadInput(f"{name}: lasts no time at all; give a video or a sound file")
    return Medium(duration_s, float(rate or 0), max(0.0, first_s), video is not None, audio is not None)


def end_s(path: Path, name: str) -> float:
    """When the last packet of sound or pictures ends: reads the whole file once, decodes nothing."""
    last = 0.0
    with opened(path, name) as container:
        wanted = [s for s in (picture_stream(container), next(iter(container.streams.audio), None)) if s is not None]
        for packet in container.demux(wanted):
            if packet.pts is not None:
                last = max(last, float((packet.pts + (packet.duration or 0)) * packet.time_base) - origin_s(container))
    return last


def origin_s(container: Any) -> float:
    """What the container's own clock shows at the start of the medium; MPEG transport streams begin anywhere."""
    return (container.start_time or 0) / 1e6


def picture_stream(container: Any) -> Any:
    """The first track of moving pictures, or None. The cover picture of a sound file does not count."""
    from av.stream import Disposition

    return next((s for s in container.streams.video if not s.disposition & Disposition.attached_pic), None)


def refuse_truncated(container: Any, name: str) -> None:
    """`BadInput` when the index speaks of bytes beyond the end of the file: a broken-off upload or download."""
    for stream in container.streams:
        entries = stream.index_entries
        if len(entries):
            need, have = entries[-1].pos + entries[-1].size, container.size
            if 0 < have < need:
                raise BadInput(f"{name}: cut off after {have} of at least {need} bytes; give the whole file")


def looks_like(head: bytes) -> str:
    """What a file that is no media file seems to be, from its first bytes."""
    if head[4:8] == b"ftyp" or head[:4] in (b"RIFF", b"\x1aE\xdf\xa3", b"OggS", b"fLaC"):
        return "looks like a media file, but cannot be opened, perhaps cut off"
    try:
        # The cut after 4096 bytes may fall into a character.
        text = head.decode("utf-8", errors="strict" if len(head) < 4096 else "ignore")
    except UnicodeDecodeError:
        return "not a media file"
    return "a text file, not a media file" if text.isprintable() or ("\n" in text and "\0" not in text) else "not a media file"


def reason(error: Exception) -> str:
    """FFmpeg's own words, without the path, which is none of the user's."""
    return str(getattr(error, "strerror", "") or type(error).__name__)


class Pictures:
    """The pictures of a video in order, by OpenCV: at most one decoded picture is held at a time."""

    def __init__(self, path: Path, name: str, start_s: float) -> None:
        """`start_s`: `Medium.pictures_start_s`. OpenCV itself counts from the first picture."""
        import cv2

        self.start_s = start_s
        self.cv2: Any = cv2
        self.open: Any = lambda: cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, threads()])
        self.capture: Any = self.open()
        if not self.capture.isOpened():
            raise BadInput(f"{name}: OpenCV cannot decode its pictures; give H.264, H.265, VP9 or AV1 video")

    def __enter__(self) -> Pictures:
        return self

    def __exit__(self, *_: object) -> None:
        self.capture.release()

    def seek(self, t_s: float) -> float | None:
        """Grabs the picture at `t_s`, or one shortly before it, and gives its time; never a later one, if there is an earlier one."""
        for early_s in (0.0, 1.0, 10.0):
            if t_s - early_s <= self.start_s:
                break
            self.capture.set(self.cv2.CAP_PROP_POS_MSEC, (t_s - early_s - self.start_s) * 1000)
            at_s = self.grab()
            if at_s is not None and at_s <= t_s + 1e-3:
                return at_s
        self.capture.release()  # near the start, or a file in which seeking does not work: walk
        self.capture = self.open()
        return self.grab()

    def grab(self) -> float | None:
        """Goes to the next picture; its time in seconds, None at the end."""
        return self.start_s + self.capture.get(self.cv2.CAP_PROP_POS_MSEC) / 1000 if self.capture.grab() else None

    def retrieve(self) -> Any:
        """The picture that was grabbed last, (height, width, 3) uint8 BGR, or None when it is damaged."""
        ok, picture = self.capture.retrieve()
        return picture if ok and picture is not None and picture.size else None


def number(call: Call, name: str, default: float, low: float, high: float) -> float:
    """The argument `name` as a number in [low, high]; `BadInput` otherwise."""
    try:
        value = float(call.arg(name, default))
    except (msgspec.ValidationError, TypeError, ValueError):
        value = math.nan
    if not low <= value <= high:
        raise BadInput(f"{name}={call.args[name]!r} is not a number from {low:g} to {high:g}")
    return value
