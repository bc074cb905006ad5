"""The arguments of the code generation agents."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class CandidateSpreaderArgs(Struct, frozen=True):
    candidates: Annotated[int, Meta(ge=1, le=100, description="how many candidates to write for each task")] = 4


class CodeGeneratorArgs(Struct, frozen=True):
    temperature: Annotated[float, Meta(gt=0, le=2, description="how freely candidates other than the first are drawn")] = 0.8
    max_tokens: Annotated[int, Meta(ge=1, le=8192, description="greatest length of a candidate in tokens")] = 384


class CodeTesterArgs(Struct, frozen=True):
    time_s: Annotated[float, Meta(ge=0.5, le=60, description="seconds of wall-clock and CPU time for the tests of one candidate")] = 10.0
    memory_mb: Annotated[int, Meta(ge=64, le=4096, description="address space of the interpreter under test")] = 512


class CodeRepairerArgs(Struct, frozen=True):
    repairs: Annotated[int, Meta(ge=0, le=5, description="how often the best candidate may be repaired when it fails")] = 1
    max_tokens: Annotated[int, Meta(ge=1, le=8192, description="greatest length of a repaired candidate in tokens")] = 384
    time_s: Annotated[float, Meta(ge=0.5, le=60, description="seconds of wall-clock and CPU time for the tests of one candidate")] = 10.0
    memory_mb: Annotated[int, Meta(ge=64, le=4096, description="address space of the interpreter under test")] = 512
