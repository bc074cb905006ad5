"""A model server that an instance runs beside itself, over loopback: started, waited for, asked for its health, put to sleep, stopped."""

from __future__ import annotations

import atexit
import http.client
import secrets
import socket
import tempfile
import time
from collections.abc import Mapping, Sequence

from .child import Child
from .llm_openai import OpenAIEngine

STOP_S = 15.0
PROBE_S = 0.25

RUNNING: list[Served] = []
"""The servers of this process; `instance.py` asks them for their health."""


class Served:
    """An `Engine` (llm.py) that owns a server of the OpenAI protocol. `title` is its name for people, `ready_path` answers 200 once it is loaded."""

    title = "the server"
    ready_path = "/v1/models"

    def __init__(self, model: str, start_s: float) -> None:
        self.model, self.start_s = model, start_s
        self.child: Child | None = None
        self.client: OpenAIEngine | None = None
        self.port = 0
        self._key = ""

    def launch(self, name: str, command: Sequence[str], environ: Mapping[str, str]) -> None:
        """Starts the server, which listens on `self.port`, and waits until it answers. `RuntimeError` with the end of its log if it does not."""
        atexit.register(self.close)
        # unlinked at once: nothing to clean up, whoever dies first
        log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the child
        self.child = Child(command, environ, log)
        try:
            self._wait()
            self.client = OpenAIEngine(f"http://127.0.0.1:{self.port}/v1", self._key, name)
            self.client.load()
        except BaseException:
            self.close()
            raise
        RUNNING.append(self)

    def reserve(self) -> None:
        """A free port, and a key that nobody else knows."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._key = secrets.token_urlsafe(24)

    async def chat(self, system: str, user: str, max_tokens: int, *, temperature: float = 0.0, seed: int = 0) -> str:
        if self.client is None or self.child is None:
            raise RuntimeError(f"{self.title} is not running: load() it first")
        try:
            return await self.client.chat(system, user, max_tokens, temperature=temperature, seed=seed)
        except RuntimeError as e:
            if not self.child.alive:
                raise RuntimeError(self._ended()) from e
            raise

    def health(self) -> dict[str, float]:
        """What it has to do, as far as it tells. `RuntimeError` when it is gone or ill."""
        if self.child is None or not self.child.alive:
            raise RuntimeError(self._ended() if self.child else f"{self.title} is not running")
        status, _ = self.ask("GET", self.ready_path)
        if status != 200:
            raise RuntimeError(f"{self.title} answered {self.ready_path} with status {status}")
        return self.figures()

    def figures(self) -> dict[str, float]:
        return {}

    def sleep(self) -> None:
        """Gives its device's memory back. `RuntimeError` where it cannot."""
        raise RuntimeError(f"{self.title} has no sleep")

    def wake(self) -> None:
        raise RuntimeError(f"{self.title} has no sleep to wake from")

    def close(self) -> None:
        """Stops the server and all that it started. May be called at any time, also twice."""
        atexit.unregister(self.close)
        if self in RUNNING:
            RUNNING.remove(self)
        child, self.child, self.client = self.child, None, None
        if child:
            child.stop(STOP_S)
            child.log.close()

    def ask(self, method: str, path: str, timeout_s: float = 10.0) -> tuple[int, str]:
        """Status and body. OSError when it cannot be reached."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            link.request(method, path, headers={"Authorization": f"Bearer {self._key}"} if self._key else {})
            answer = link.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        finally:
            link.close()

    def _wait(self) -> None:
        assert self.child
        until = time.monotonic() + self.start_s
        while time.monotonic() < until:
            if not self.child.alive:
                raise RuntimeError(self._ended())
            try:
                if self.ask("GET", self.ready_path)[0] == 200:
                    return
            except OSError:  # nobody listens yet
                pass
            time.sleep(PROBE_S)
        raise RuntimeError(f"{self.title} was not ready after {self.start_s:g} s; the end of its log:\n{self.child.last_lines(15)}")

    def _ended(self) -> str:
        assert self.child
        return f"{self.title} ended with status {self.child.process.returncode}; the end of its log:\n{self.child.last_lines(15)}"


def parse_metrics(text: str) -> dict[str, float]:
    """Prometheus text format to sample name and value, summed over labels; without histogram buckets and creation times."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        sample, _, value = line.rpartition(" ")
        name = sample.partition("{")[0]
        if name and not line.startswith("#") and not name.endswith(("_bucket", "_created")):
            found[name] = found.get(name, 0.0) + float(value)
    return found
