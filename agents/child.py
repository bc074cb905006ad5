"""A child process that does not outlive us: its own process group, and on Linux a signal from the kernel when we die.

`python child.py PARENT_PID COMMAND…` is the step between: it asks the kernel for the signal, then becomes the command.
(Popen's `preexec_fn` would do the same, but may deadlock in a process with threads.)
"""

from __future__ import annotations

import ctypes
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO

PR_SET_PDEATHSIG = 1
"""Linux `prctl(2)`: the signal that a process gets when the thread that started it ends. Survives exec."""


class Child:
    """A running command. Output goes to `log`."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], log: IO[bytes]) -> None:
        self.log = log
        self._started: queue.SimpleQueue[subprocess.Popen[bytes] | OSError] = queue.SimpleQueue()
        # "the thread that started it": so that thread has to live as long as the child, whoever calls us
        threading.Thread(target=self._keep, args=(list(command), dict(environ)), name="child", daemon=True).start()
        started = self._started.get()
        if isinstance(started, OSError):
            raise started
        self.process = started

    def _keep(self, command: list[str], environ: dict[str, str]) -> None:
        if sys.platform == "linux":
            command = [sys.executable, "-I", __file__, str(os.getpid()), *command]
        try:
            process = subprocess.Popen(
                command, env=environ, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True
            )
        except OSError as e:
            self._started.put(e)
            return
        self._started.put(process)
        process.wait()

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def stop(self, grace_s: float) -> None:
        """Ends the whole group: politely, then after `grace_s` by force. Returns when the command is gone; may be called twice."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(grace_s)
        with suppress(ProcessLookupError):  # also what the command left behind
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def last_lines(self, count: int, most_bytes: int = 20_000) -> str:
        """The end of the output, for an error message. `log` must be open for reading too."""
        size = os.fstat(self.log.fileno()).st_size
        end = os.pread(self.log.fileno(), most_bytes, max(0, size - most_bytes))
        return "\n".join(end.decode(errors="replace").rstrip().splitlines()[-count:])


def become(parent: int, command: Sequence[str]) -> None:
    """Ties this process to its parent and turns it into the command; never returns. Quits if the parent is gone already."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit("the parent ended meanwhile")
    os.execvpe(command[0], list(command), os.environ)


if __name__ == "__main__":
    become(int(sys.argv[1]), sys.argv[2:])
