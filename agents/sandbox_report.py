"""The report of an examination, as it comes out of the sandbox: bytes that may have been cut off anywhere. Pure."""

from __future__ import annotations

from msgspec import Struct

from .sandbox_plain import NotPlain, loads

BYTES_MAX = 8 << 20


class Report(Struct, frozen=True):
    """How the cases went. `done` is false when the examination did not come to its end; then there is at least one failed case."""

    passed: int = 0
    failed: int = 0
    done: bool = False
    error: str = ""
    """The first failed case, in one line."""
    behaviour: str = ""
    """A digest of every call and what came of it; equal for candidates that cannot be told apart. Empty when nothing was called."""

    @property
    def good(self) -> bool:
        return self.done and not self.failed


def parse_report(raw: bytes) -> Report:
    """Never raises. A line that is not of the known form ends the report there, undone: what follows it cannot be trusted."""
    planned = passed = failed = 0
    error = ""
    lines = raw[:BYTES_MAX].split(b"\n")
    for line in lines[:-1]:  # what has no end of line was cut off
        try:
            value = loads(line)
        except NotPlain:
            break
        match value:
            case ["planned", int(n)] if _count(n):
                planned = n
            case ["case", int(at), str(why)] if _count(at):
                passed, failed = passed + (not why), failed + bool(why)
                error = error or _clean(f"test line {at}: {why}" if why and at else why)
            case ["done", int(p), int(f), str(behaviour)] if _count(p) and _count(f) and (p >= passed) and (f >= failed):
                return Report(p, f, True, error, behaviour)
            case _:
                break
    return Report(passed, max(1, failed, planned - passed), False, error or "the tests did not come to their end")


def _clean(text: str) -> str:
    """One line that every encoder takes: half a character may have come from the program under test."""
    return " ".join(text.encode(errors="replace").decode().split())


def _count(n: object) -> bool:
    return type(n) is int and n >= 0
