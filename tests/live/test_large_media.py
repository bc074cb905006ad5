"""A medium much larger than the memory that anybody may use for it goes from the client through the store to the model."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from commands import SAMPLES, Up, ours, up
from media import padded

pytestmark = pytest.mark.live

SIZE = 180 << 20
"""Bytes of the medium: on disk twice, in the store and in the worker's folder; the file itself is a hole."""
GROWTH_MB = 60
"""What a process may need more for it than for a small one. Chunks on their way, not the file."""

SPLIT = """
import json, re, sys
from murakkab.client.job import Job
from murakkab.bus.messages import Edge, Stage, Workflow
split = Workflow((Stage("scenes", "SceneSplitter", (Edge("video"),), 1, many=True),), ("scenes",))
result = Job("", [sys.argv[1]], workflow=split).execute()
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) >> 10
print(json.dumps({"scenes": len(result.answer), "peak_mb": peak}))
"""


def _split(system: Up, video: Path) -> dict[str, int]:
    """Has a video split in a client of its own; the number of scenes, and the client's peak of memory."""
    done = subprocess.run(
        [sys.executable, "-c", SPLIT, str(video)], env=system.env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, int] = json.loads(done.stdout)
    return said


def _peaks(system: Up) -> dict[str, int]:
    """The peak of memory of the worker, the other actors and its models so far, in MB."""
    found = {}
    for process in ours(system.home):
        try:
            words = " ".join(process.cmdline())
            match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
        except (psutil.Error, OSError):
            continue
        role = re.search(r"client\.cli (\w+)|agents\.(instance)", words)
        if role and match:
            found[role[1] or role[2]] = int(match[1]) >> 10
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="peaks of memory are read from /proc")
def test_a_large_medium_is_never_held_in_memory(tmp_path: Path) -> None:
    if shutil.disk_usage(tmp_path).free < 3 * SIZE:
        pytest.skip(f"{3 * SIZE >> 20} MB of disk are not free")
    small, large = SAMPLES / "switchboard.mp4", padded(tmp_path / "large.mp4", SAMPLES / "switchboard.mp4", SIZE)
    try:
        with up(tmp_path / "home") as system:
            before_client = _split(system, small)
            before = _peaks(system)
            after_client = _split(system, large)
            after = _peaks(system)
            assert before_client["scenes"] == after_client["scenes"] >= 1
            assert {"worker", "conductor", "planner", "optimizer", "clustermgr", "instance"} <= after.keys()
            grown = {role: after[role] - before[role] for role in after}
            grown["client"] = after_client["peak_mb"] - before_client["peak_mb"]
            assert max(grown.values()) < GROWTH_MB, grown
            assert max(*after.values(), after_client["peak_mb"]) < 300, after
            kept = [f for f in (tmp_path / "home" / "up" / "artifacts").iterdir() if f.stat().st_size > SIZE]
            assert len(kept) == 1, "it did go through the worker's folder"
    finally:
        shutil.rmtree(tmp_path / "home", ignore_errors=True)  # pytest keeps the folders of its last runs
