"""Profiles on disk, for a machine on which no system runs: `profiles.json` in the data home, which an optimizer reads at its start."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from ..bus.values import Profile
from ..optimizer.profile_file import BadProfiles, dump, load

NAME = "profiles.json"


def read_kept(folder: Path) -> tuple[Profile, ...]:
    """What was kept in this folder; nothing when there is no file. Raises BadProfiles for one that cannot be read."""
    return read(folder / NAME) if (folder / NAME).exists() else ()


def keep(folder: Path, profiles: Iterable[Profile]) -> Path:
    """Adds profiles; the newest of each implementation on each hardware stays. A file that cannot be read is put aside, not lost."""
    path = folder / NAME
    try:
        before = read_kept(folder)
    except BadProfiles:
        path.replace(path.with_suffix(".bad"))
        before = ()
    kept = {(p.agent, p.implementation, p.hardware): p for p in (*before, *profiles)}
    write(path, kept.values())
    return path


def read(path: Path) -> tuple[Profile, ...]:
    """Raises BadProfiles."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadProfiles(f"{path} cannot be read: {error.strerror or error}") from None
    return load(data, str(path))


def write(path: Path, profiles: Iterable[Profile]) -> None:
    """At once: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_bytes(dump(profiles))
        part.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
