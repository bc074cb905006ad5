"""Model folders whose big file comes in pieces, one a package (an index may refuse files over some size): put together once, in the user's cache."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import weights
from .derived import derived
from .gguf_convert import cache_root

KIND = "joined-v1"
"""Part of the cache key: raise the version when what is made changes."""
WHOLE = "model.bin"
FIRST = f"{WHOLE}.part1"


def model_folder(key: str, environ: Mapping[str, str]) -> Path:
    """The folder of these weights with a whole `model.bin` in it. `RuntimeError` with the remedy where they are not found."""
    folder = weights.locate(key, environ)
    if folder is None:
        raise RuntimeError(weights.WEIGHTS[key].how)
    if not (folder / FIRST).is_file():
        return folder
    pieces = [folder / FIRST, *weights.further(key)]
    return derived(folder / FIRST, KIND, cache_root(environ), lambda out: join(folder, pieces, out))


def join(folder: Path, pieces: Sequence[Path], out: Path) -> None:
    """Writes `out`: the files of `folder` that are no pieces, and the pieces in their order as one file."""
    out.mkdir()
    for file in sorted(p for p in folder.iterdir() if p.is_file() and p not in pieces):
        shutil.copyfile(file, out / file.name)
    with (out / WHOLE).open("wb") as whole:
        for piece in pieces:
            with piece.open("rb") as f:
                shutil.copyfileobj(f, whole, 1 << 20)
