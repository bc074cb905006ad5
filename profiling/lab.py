"""Material for benches: the sample videos, and what the tools before an agent make of them."""

from __future__ import annotations

import json
import os
import shutil
import wave
from pathlib import Path
from typing import Any

import msgspec

from ..agents import library
from ..agents.interface import Files
from .noise import with_noise
from .process import Crashed, Probe, TaskFailed

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "samples"
DATA = Path(__file__).resolve().parent / "data"
LIMIT_S = 60.0


class NoMaterial(RuntimeError):
    """A bench cannot be set up here: why, in one line."""


class Lab:
    """`folder` gets artifacts and logs. Tools that make material are loaded when first needed, and stay."""

    def __init__(self, folder: Path, samples: Path = SAMPLES) -> None:
        self.folder, self.samples = folder, samples
        self.files = Files(folder / "artifacts")
        self._tools: dict[str, Probe] = {}
        self._made: dict[str, Any] = {}
        self.spent_cpu_s = 0.0

    @property
    def truth(self) -> dict[str, Any]:
        """What is seen and said in the samples. Raises NoMaterial."""
        if "truth" not in self._made:
            try:
                self._made["truth"] = json.loads((self.samples / "truth.json").read_text())
            except (OSError, ValueError) as error:
                raise NoMaterial(f"the sample videos are not here ({error})") from None
        found: dict[str, Any] = self._made["truth"]
        return found

    def put(self, path: Path, media_type: str) -> dict[str, Any]:
        """A file as an artifact, by content; the file itself stays."""
        copy = self.files.scratch()
        shutil.copyfile(path, copy)
        ref: dict[str, Any] = msgspec.to_builtins(self.files.keep(copy, media_type))
        return ref

    def video(self, name: str, seconds: float | None = None) -> dict[str, Any]:
        """A sample as a `Video`, or its first seconds (its packets as they are, nothing is encoded again)."""
        key = f"video {name} {seconds}"
        if key not in self._made:
            _ = self.truth
            source = self.samples / name
            if seconds is None:
                self._made[key] = {"media": self.put(source, "video/mp4"), "name": name}
            else:
                part = self.files.scratch(".mp4")
                _cut(source, part, seconds)
                self._made[key] = {"media": msgspec.to_builtins(self.files.keep(part, "video/mp4")), "name": f"{seconds:g} s of {name}"}
        found: dict[str, Any] = self._made[key]
        return found

    def scene(self, name: str, start_s: float, end_s: float, number: int = 0) -> dict[str, Any]:
        """A stretch of a sample as a `Scene`."""
        return {**self.video(name), "number": number, "start_s": start_s, "end_s": end_s, "has_pictures": True, "has_sound": True}

    def scenes(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Every scene of the samples as the truth has it, and what the truth says of it."""
        return [
            (self.scene(name, one["start_s"], one["end_s"], n), one)
            for name, video in self.truth.items()
            for n, one in enumerate(video["scenes"])
        ]

    def transcript(self, scene: dict[str, Any], said: list[dict[str, Any]]) -> dict[str, Any]:
        """What is said in a scene as a perfect `Transcript`."""
        segments = [{"start_s": s["start_s"], "end_s": s["end_s"], "text": s["text"]} for s in said]
        return {"segments": segments, "scene": scene, "language": "en"}

    async def audio(self, scene: dict[str, Any]) -> Any:
        return await self.run("AudioExtractor", {"scene": scene})

    async def noisy(self, scene: dict[str, Any], snr_db: float) -> Any:
        """The sound of a scene in white noise, so many decibels under it; the same noise every time. Raises NoMaterial."""
        sound = await self.audio(scene)
        key = f"noisy {sound['wav']['sha256']} {snr_db}"
        if key not in self._made:
            noisy = self.files.scratch(".wav")
            _add_noise(self.files.folder / sound["wav"]["sha256"], noisy, snr_db)
            self._made[key] = {**sound, "wav": msgspec.to_builtins(self.files.keep(noisy, "audio/wav"))}
        return self._made[key]

    async def frames(self, scene: dict[str, Any], count: int) -> Any:
        """So many pictures of a scene (or as many as it has), evenly spaced."""
        length_s = scene["end_s"] - scene["start_s"]
        return await self.run("FrameExtractor", {"scene": scene}, {"num_frames": count, "every_s": length_s / count})

    async def run(self, agent: str, inputs: dict[str, Any], args: dict[str, Any] | None = None) -> Any:
        """One task of the first implementation of an agent that runs here; what it gives is kept. Raises NoMaterial."""
        key = json.dumps([agent, inputs, args], sort_keys=True)
        if key not in self._made:
            tool = await self._tool(agent)
            try:
                done = await tool.call(inputs, args or {}, LIMIT_S)
            except (Crashed, TaskFailed) as error:
                raise NoMaterial(f"{agent} made no material: {error}") from None
            self._made[key] = done.output
        return self._made[key]

    async def _tool(self, agent: str) -> Probe:
        if agent not in self._tools:
            rows = [r for r in library.implementations().values() if r.agent == agent and not library.missing(r, os.environ)]
            if not rows:
                raise NoMaterial(f"no implementation of {agent} runs here")
            try:
                self._tools[agent] = await Probe.start(rows[0], self.folder, limit_s=LIMIT_S)
            except Crashed as error:
                raise NoMaterial(f"{agent} made no material: {error}") from None
        return self._tools[agent]

    async def close(self) -> None:
        for tool in self._tools.values():
            await tool.stop()
            self.spent_cpu_s += tool.spent_cpu_s
        self._tools.clear()


def _add_noise(source: Path, target: Path, snr_db: float) -> None:
    """A 16-bit WAV with white noise. Raises NoMaterial."""
    try:
        import numpy as np
    except ImportError:
        raise NoMaterial("Python module 'numpy' is not installed") from None
    with wave.open(str(source)) as given, wave.open(str(target), "wb") as out:
        sound = np.frombuffer(given.readframes(given.getnframes()), np.int16).astype(np.float64)
        out.setparams(given.getparams())
        out.writeframes(np.clip(np.rint(with_noise(sound, snr_db)), -32768, 32767).astype(np.int16).tobytes())


def _cut(source: Path, target: Path, seconds: float) -> None:
    """The packets of the first seconds of a file. Raises NoMaterial."""
    try:
        import av
    except ImportError:
        raise NoMaterial("Python module 'av' is not installed") from None
    with av.open(str(source)) as given, av.open(str(target), "w") as out:
        streams = {s.index: out.add_stream_from_template(s) for s in given.streams}
        for packet in given.demux():
            if packet.pts is not None and packet.dts is not None and float(packet.pts * packet.time_base) < seconds:
                packet.stream = streams[packet.stream.index]
                out.mux(packet)
