"""Runs untrusted Python: a fresh interpreter in as many layers of confinement as the kernel has, with limits of time, memory and output.

`run` gives a program's output. `examine` tests a program by tests or examples that run in a *second* confined interpreter, so that the verdict
is not the program's to give. What each layer keeps in, and what remains, is in docs/decisions/0011-sandbox.md.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import msgspec
from msgspec import Struct

from .sandbox_report import Report, parse_report

WEAK = "MURAKKAB_SANDBOX_WEAK"
"""Set to "accept" it lets code run where the kernel cannot confine it."""
GRACE_S = 5.0
"""The launcher has this long beyond the wall-clock limit, to start and to say how things ended; then all is killed from here."""
CHILD = Path(__file__).with_name("sandbox_child.py")


class CannotConfine(RuntimeError):
    """This machine has too few layers; nothing was run."""


class Limits(Struct, frozen=True):
    """Of each interpreter. Seconds, megabytes; memory is address space, of which an empty interpreter takes about 30."""

    wall_s: float = 10.0
    cpu_s: float = 8.0
    memory_mb: int = 512
    file_mb: int = 1
    """Of one file, and of standard output and error together."""
    scratch_mb: int = 16
    files: int = 32
    output_kb: int = 64
    """What is kept of standard output and of standard error."""


class Ended(Struct, frozen=True):
    """How one confined process ended. `why` is empty when it ended by itself, whatever its exit code."""

    code: int
    why: str = ""
    stdout: str = ""
    stderr: str = ""
    cpu_s: float = 0.0
    memory_mb: float = 0.0
    layers: tuple[str, ...] = ()


class Exam(Struct, frozen=True):
    """What to examine a program by: `tests` (asserts, or HumanEval's `check(candidate)`), else `examples`, else only that it runs."""

    entry_point: str
    prompt: str = ""
    """Python that the tests may lean on, if it is Python."""
    tests: str = ""
    examples: tuple[tuple[int, str, str], ...] = ()
    """(line, call, expected) each."""


class Verdict(Struct, frozen=True):
    """`report` is the tests' word, never the program's. Times and memory are of the program under test, without the tests."""

    report: Report
    wall_s: float
    cpu_s: float
    memory_mb: float
    layers: tuple[str, ...]


class _Process:
    """One launcher with its confined child, from start to the last word."""

    def __init__(self, stack: ExitStack, settings: Mapping[str, Any], limits: Limits, pipes: Sequence[int] = (), report: int = -1) -> None:
        self._limits, self._asked = limits, False
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="murakkab-sandbox-", ignore_cleanup_errors=True))
        self._out, self._err, self._status = (_file(stack) for _ in range(3))
        given = _file(stack)
        more = {"parent": os.getpid(), "status": self._status.fileno(), "folder": folder, "pipes": list(pipes), "report": report}
        given.write(json.dumps({**msgspec.to_builtins(limits), **settings, **more}).encode())
        given.seek(0)
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", "-X", "utf8", str(CHILD)],
            stdin=given,
            stdout=self._out,
            stderr=self._err,
            env={},
            cwd=folder,
            start_new_session=True,
            pass_fds=[self._status.fileno(), *pipes, *([report] if report >= 0 else [])],
        )
        stack.callback(self.kill)

    def kill(self) -> None:
        """The whole group, and whatever is left of it."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def ask_to_end(self) -> None:
        self._asked = True
        with suppress(ProcessLookupError):
            self.process.terminate()

    def ended(self, until: float) -> Ended:
        """Waits, at most until this monotonic time. Raises CannotConfine, or RuntimeError when the sandbox itself did not come up."""
        try:
            self.process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            pass
        finally:
            self.kill()
        limits = self._limits
        words = [json.loads(line) for line in _read(self._status, 20_000).splitlines()]
        stdout, stderr = _read(self._out, limits.output_kb << 10), _read(self._err, limits.output_kb << 10)
        if not words and self._asked:  # its end was wished for before it had begun
            return Ended(-signal.SIGKILL)
        if not words or "layers" not in words[0]:
            last = " ".join((stderr.strip().splitlines() or ["it said nothing"])[-1].split())
            raise RuntimeError(f"the sandbox did not start: {last[:500]}")
        if refused := words[0]["refused"]:
            raise CannotConfine(
                f"untrusted code is not run: this machine can keep it neither from {' nor from '.join(refused)} "
                f"(Linux with seccomp and Landlock can; {WEAK}=accept runs it all the same)"
            )
        end: dict[str, Any] = words[1] if len(words) > 1 else {"code": -9, "cpu_s": 0.0, "memory_mb": 0.0, "late": True}
        why = ""
        if end["late"]:
            why = f"it took longer than {limits.wall_s:g} s"
        elif end["code"] == -signal.SIGKILL and end["cpu_s"] >= limits.cpu_s - 0.2:
            why = f"it used more than {limits.cpu_s:g} s of CPU time"
        elif end["code"] < 0:
            why = f"it was ended by signal {-end['code']}"
        return Ended(end["code"], why, stdout, stderr, end["cpu_s"], end["memory_mb"], tuple(words[0]["layers"]))


class Sandbox:
    """`without` leaves layers out (for tests of the others). Calls block; use it from a thread that lives until they return."""

    def __init__(self, limits: Limits | None = None, without: Collection[str] = (), environ: Mapping[str, str] = os.environ) -> None:
        self.limits = limits or Limits()
        self._common = {"without": sorted(without), "accept_weak": environ.get(WEAK) == "accept"}

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """The active layers, as a trial run found them. Raises CannotConfine."""
        return self.run("").layers

    def run(self, code: str) -> Ended:
        """One program, to its end. Its exit code is its own word. Raises CannotConfine, RuntimeError."""
        with ExitStack() as stack:
            process = _Process(stack, {**self._common, "role": "run", "code": code}, self.limits)
            return process.ended(time.monotonic() + self.limits.wall_s + GRACE_S)

    def examine(self, code: str, exam: Exam, limits: Limits | None = None) -> Verdict:
        """The program in one interpreter, its tests in another, with two pipes between. Raises CannotConfine, RuntimeError."""
        limits = limits or self.limits
        start = time.monotonic()
        until = start + limits.wall_s + GRACE_S
        with ExitStack() as stack:
            pipes = [*os.pipe(), *os.pipe()]
            stack.callback(_close, pipes)
            calls_out, calls_in, answers_out, answers_in = pipes
            raw = _file(stack)
            asked = {**self._common, **msgspec.to_builtins(exam), "role": "exam"}
            program = _Process(stack, {**self._common, "role": "serve", "code": code}, limits, (calls_out, answers_in))
            tests = _Process(stack, asked, limits, (answers_out, calls_in), raw.fileno())
            _close(pipes)  # so that either side sees the other's end
            judge = tests.ended(until)
            program.ask_to_end()
            judged = program.ended(until + GRACE_S)
            raw.seek(0)
            report = parse_report(raw.read())
        if not report.done:
            why = judged.why if judged.why and "signal 9" not in judged.why else judge.why
            error = f"the code was stopped: {why}" if why else report.error
            report = msgspec.structs.replace(report, error=error)
        return Verdict(report, time.monotonic() - start, judged.cpu_s, judged.memory_mb, judged.layers)


def _file(stack: ExitStack) -> IO[bytes]:
    """A file without a name. Files, not pipes: nobody has to read while things run, and the size limit of files bounds them."""
    return stack.enter_context(tempfile.TemporaryFile())


def _read(file: IO[bytes], most: int) -> str:
    file.seek(0)
    return file.read(most).decode(errors="replace")


def _close(fds: list[int]) -> None:
    while fds:
        os.close(fds.pop())
