"""Agents that misbehave, each in one way, as somebody else's package would bring them: see `install`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from murakkab.agents.interface import BadInput, Call
from murakkab.agents.library import Agent, Implementation
from murakkab.agents.types import Number

NAMES = ("Crash", "Hang", "Raise", "Leak", "Chatter", "Picky", "Unloadable", "Stillborn", "Loop", "Absent", "Odd")

LIMIT_S = {"Hang": 1.5}

AGENTS = [Agent(name, f"Misbehaves: {name}; for tests.", {}, "Number") for name in NAMES]
IMPLEMENTATIONS = [
    Implementation(f"faulty-{name.lower()}", name, f"faulty:{name}", memory_mb=30, work_s=0.01, load_s=0.2, timeout_s=LIMIT_S.get(name, 30))
    for name in NAMES
]
"""`Absent` names a class that is not there."""


class _Model:
    def load(self) -> None:
        pass

    def run(self, call: Call) -> Number:
        raise NotImplementedError


class Crash(_Model):
    """Takes its process with it, as a fault in native code does."""

    def run(self, call: Call) -> Number:
        os._exit(7)


class Hang(_Model):
    """Never answers."""

    def run(self, call: Call) -> Number:
        while True:
            time.sleep(1)


class Raise(_Model):
    def run(self, call: Call) -> Number:
        raise ZeroDivisionError("the moon is in\nthe wrong house")


class Leak(_Model):
    """Keeps 700 MB of every task: more than four times the 30 MB that it declares, and 500."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []

    def run(self, call: Call) -> Number:
        self.kept.append(b"x" * (700 << 20))
        return Number(float(os.getpid()))


class Chatter(_Model):
    """Prints to the standard output that answers travel on, in every way that there is."""

    def load(self) -> None:
        print('{"ready": false, "error": "garbage"}', flush=True)

    def run(self, call: Call) -> Number:
        print("garbage " * 100)
        print('{"n": 1, "output": {"value": -1}}', flush=True)
        sys.stdout.write("no newline")
        os.write(1, b"\xff\xfe\x00 raw bytes\n")
        os.system("echo from a child")
        return Number(42.0)


class Picky(_Model):
    def run(self, call: Call) -> Number:
        raise BadInput("picky.mp4: it is Monday; give a Tuesday")


class Unloadable(_Model):
    def load(self) -> None:
        raise FileNotFoundError("the weights are in another castle")


class Stillborn(_Model):
    def load(self) -> None:
        os._exit(9)


class Loop(_Model):
    """Loads, and dies before anybody asks anything."""

    def load(self) -> None:
        if os.fork() == 0:
            time.sleep(0.1)
            os.kill(os.getppid(), 9)
            os._exit(0)


class Odd(_Model):
    """Gives what no message can carry."""

    def run(self, call: Call) -> Number:
        return object()  # type: ignore[return-value]


def install(folder: Path) -> str:
    """Makes `folder` a place that has this module installed with its entry points; returns the PYTHONPATH that says so."""
    info = folder / "faulty_models-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty-models\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[murakkab.agents]\nfaulty = faulty:AGENTS\n\n[murakkab.implementations]\nfaulty = faulty:IMPLEMENTATIONS\n"
    )
    path = os.environ.get("PYTHONPATH", "")
    return os.pathsep.join([str(folder), str(Path(__file__).parent), *([path] if path else [])])
