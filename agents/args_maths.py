"""The arguments of the agents of the maths workflow."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class PathSpreaderArgs(Struct, frozen=True):
    paths: Annotated[
        int, Meta(ge=1, le=100, description="how many reasoning paths are tried and voted on; each costs one answer of the model")
    ] = 5


class MathReasonerArgs(Struct, frozen=True):
    max_tokens: Annotated[int, Meta(ge=1, le=4096, description="greatest length of one path in tokens")] = 256
    temperature: Annotated[float, Meta(ge=0, le=2, description="how freely the paths after the first draw their words")] = 0.7
