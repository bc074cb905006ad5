"""Files made once from weights in another format, kept in the user's cache and shared by all instances of a host."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def derived(source: Path, kind: str, root: Path, make: Callable[[Path], None]) -> Path:
    """The file or folder of this `kind` made from the file `source`; `make(path)` writes it when it is not there yet.

    Named by the source's content, so that a changed source is never answered with an old result; `kind` ends in the
    version of the code that makes it. It appears by one rename: others see all of it or nothing. Of two processes that
    make it at once one wins, and both use the winner's.
    """
    with source.open("rb") as f:
        digest = hashlib.file_digest(f, "sha256").hexdigest()
    done = root / f"{source.stem}-{digest[:16]}-{kind}"
    if done.exists():
        return done
    root.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{done.name}.", dir=root))
    try:
        new = work / done.name
        make(new)
        try:
            new.rename(done)
        except OSError:  # a folder that another process put there meanwhile; a file is simply replaced by its equal
            if not done.exists():
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return done
