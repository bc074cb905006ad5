"""Profiles as a JSON file: written, read again, and refused with one line that says what is wrong with which. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import isfinite
from typing import Any

import msgspec

from ..bus.values import Line, Profile

FORMAT = "murakkab profiles 1"


class BadProfiles(ValueError):
    """A file that holds no profiles, or one that cannot be: which, what, and what would be right."""


class _File(msgspec.Struct, frozen=True):
    format: str
    profiles: tuple[Profile, ...]
    about: dict[str, Any] = msgspec.field(default_factory=dict)


def dump(profiles: Iterable[Profile], about: dict[str, Any] | None = None) -> bytes:
    """JSON for people and programs. `about` says where the figures come from."""
    ordered = tuple(sorted(profiles, key=lambda p: (p.agent, p.implementation, p.hardware)))
    return msgspec.json.format(msgspec.json.encode(_File(FORMAT, ordered, about or {})), indent=1) + b"\n"


def load(data: bytes, name: str = "the file") -> tuple[Profile, ...]:
    """Raises BadProfiles."""
    try:
        found = msgspec.json.decode(data, type=_File)
    except msgspec.DecodeError as error:
        raise BadProfiles(f"{name} holds no profiles: {error}") from None
    if found.format != FORMAT:
        raise BadProfiles(f"{name} says its format is '{found.format[:60]}'; it should be '{FORMAT}'")
    for profile in found.profiles:
        if problem := wrong_with(profile):
            raise BadProfiles(f"{name}: {profile.agent} {profile.implementation} on {profile.hardware}: {problem}")
    return found.profiles


def wrong_with(profile: Profile) -> str:
    """What of a profile cannot be, in one line; empty when it can."""
    if not (profile.agent and profile.implementation and profile.hardware):
        return "agent, implementation and hardware must be named"
    for what, value in _numbers(profile):
        if not (isfinite(value) and value >= 0):
            return f"{what} is {value}: it must be a finite number, zero or more"
    if profile.drift <= 0:
        return f"drift is {profile.drift}: it must be over 0"
    if profile.quality > 1:
        return f"quality is {profile.quality}: it must be from 0 to 1"
    return ""


def _numbers(profile: Profile) -> Iterator[tuple[str, float]]:
    for name in profile.__struct_fields__:
        value = getattr(profile, name)
        if isinstance(value, Line):
            yield f"{name}.base", value.base
            yield from ((f"{name}.per.{unit}", rate) for unit, rate in value.per.items())
        elif isinstance(value, dict):
            yield from ((f"{name}[{key}]", one) for key, one in value.items())
        elif isinstance(value, int | float):
            yield name, value
