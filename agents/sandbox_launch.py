"""Inside the child: a launcher, which runs nothing strange, and the confined process that it starts, times and ends.

Settings come as JSON on standard input, all on this side of the first strange statement. Two lines of JSON go to the file `status`:
{"layers", "refused"} by the confined process before it runs anything, {"code", "cpu_s", "memory_mb", "late"} by the launcher at the end.
Standard library only.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any, NoReturn

from . import sandbox_confine as confine
from . import sandbox_exam, sandbox_serve

REFUSED = 3
"""Exit status of a confined process that found too few layers."""
ROLES = {"run": sandbox_serve.run, "serve": sandbox_serve.serve, "exam": sandbox_exam.exam}


def main() -> None:
    settings: dict[str, Any] = json.load(sys.stdin)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    confine.die_with_parent()
    if os.getppid() != settings["parent"]:
        sys.exit("the parent ended meanwhile")
    status, without = settings["status"], settings["without"]
    layers = confine.namespaces(without)
    signals = {signal.SIGCHLD, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    deadline = time.monotonic() + settings["wall_s"]
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        _confined(settings, layers)
    for fd in settings["pipes"]:
        os.close(fd)  # or the other side would never see this side's end
    late = False
    while True:
        done, code, used = os.wait4(child, os.WNOHANG)
        if done:
            break
        got = signal.sigtimedwait(signals, max(0.0, deadline - time.monotonic()))
        if got is None or got.si_signo == signal.SIGTERM:
            late = got is None
            os.kill(child, signal.SIGKILL)
            _, code, used = os.wait4(child, 0)
            break
    end = {
        "code": os.waitstatus_to_exitcode(code),
        "cpu_s": used.ru_utime + used.ru_stime,
        "memory_mb": used.ru_maxrss / 1024,
        "late": late,
    }
    os.write(status, json.dumps(end).encode() + b"\n")


def _confined(settings: dict[str, Any], layers: set[str]) -> NoReturn:
    """Puts on every layer, says which, and plays its role; never returns to the launcher's code."""
    code = 1
    try:
        without, folder, status = settings["without"], settings["folder"], settings["status"]
        confine.die_with_parent()
        layers |= confine.scratch(folder, settings["scratch_mb"], layers)
        layers |= confine.no_new_privileges()
        layers |= confine.landlock(folder, "scratch-in-memory" in layers, without)
        layers |= confine.limits(settings["cpu_s"], settings["memory_mb"], settings["file_mb"], settings["files"], without)
        layers |= confine.no_capabilities()
        layers |= confine.seccomp(without)
        open_to = confine.uncovered(layers)
        refused = open_to if not settings["accept_weak"] else []
        os.write(status, json.dumps({"layers": sorted(layers), "refused": refused}).encode() + b"\n")
        os.close(status)
        code = REFUSED if refused else ROLES[settings["role"]](settings)
    except BaseException as error:  # strangers' code may raise what it likes; nothing above us may run
        sys.stderr.write(f"{type(error).__name__}: {error}"[:2000] + "\n")
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
