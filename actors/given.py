"""The profiles that an optimizer starts with: published facts, those that are shipped, those that were measured on this machine."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from msgspec.structs import replace

from ..agents.spec import Implementation
from ..bus.values import Profile
from ..optimizer.profile_file import BadProfiles, load
from ..profiling.kept import read_kept

log = logging.getLogger("murakkab.optimizer")


def given(data: Path, environ: Mapping[str, str], library: Mapping[tuple[str, str], Implementation]) -> tuple[Profile, ...]:
    """In the order in which they are to be put: the later one of a pool stays. A file that cannot be read is left out, with a warning.

    Raises ValueError for prices of hosted models that are no numbers.
    """
    from ..client.system import home
    from ..optimizer.hosted import hosted_profiles

    found = [*_published(library), *_shipped()]
    for folder in dict.fromkeys((home(environ), data)):
        try:
            found += read_kept(folder)
        except BadProfiles as error:
            log.warning("%s", error)
    return (*found, *hosted_profiles(environ, library))


def _shipped() -> tuple[Profile, ...]:
    """Measured on another machine: estimates here, until they are measured here."""
    file = files("murakkab.optimizer") / "data" / "profiles.json"
    rows = load(file.read_bytes(), "the shipped profiles") if file.is_file() else ()
    return tuple(replace(p, how="estimate", samples=0) for p in rows)


def _published(library: Mapping[tuple[str, str], Implementation]) -> tuple[Profile, ...]:
    """Of implementations that the library has."""
    from ..optimizer.published import published

    return tuple(p for p in published() if (p.agent, p.implementation) in library)
