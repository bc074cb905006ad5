"""`python mcp_guard.py PARENT_PID COMMAND…`: runs an MCP server that cannot outlive the process that asked for it.

The command talks over the standard input and output that it inherits; the guard only waits. When the command ends, or the
parent is gone however that went, the command's whole process group is ended, also what ignores a polite word.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

PR_SET_PDEATHSIG = 1
GRACE_S = 1.0
"""Less than the client waits before it ends the guard by force."""


class _Asked(BaseException):
    """Somebody wants the end."""


def guard(parent: int, command: Sequence[str]) -> int:
    """The command's exit status."""

    def asked(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise _Asked

    prctl = ctypes.CDLL(None).prctl
    signal.signal(signal.SIGTERM, asked)
    try:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            return 1
        # no other thread runs here, so preexec_fn is safe; it is for a guard that is killed itself
        process = subprocess.Popen(command, start_new_session=True, preexec_fn=lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL))  # noqa: PLW1509
    except OSError as error:
        print(f"{command[0]}: {error.strerror or error}", file=sys.stderr)
        return 127
    except _Asked:
        return 1
    code = 1
    try:
        # the client sees the end of the output when the server ends, not when we do
        for stream in (0, 1):
            os.close(stream)
        code = process.wait()
    except _Asked:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            code = process.wait(GRACE_S)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return code


if __name__ == "__main__":
    sys.exit(guard(int(sys.argv[1]), sys.argv[2:]))
