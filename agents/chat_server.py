"""One request to a chat server that speaks the OpenAI protocol, within a time and a size that the caller sets.

`llm_openai.py` waits as long as a task may; the planner may not: here a request ends when its time is over, whatever the
server does (no answer, one byte a second, an endless body, a name that does not resolve).
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from .llm_openai import _base, _reason

BLOCK = 1 << 16


class Answer(Struct, frozen=True):
    """What came back: `body` of a success, `reason` in one line of a refusal, the wait that the server asks for."""

    status: int
    body: dict[str, Any] | None = None
    reason: str = ""
    retry_after_s: float | None = None
    bytes: int = 0


class ChatServer:
    """`url` as `http://host:8000/v1`; an empty `model` is the first that the server names. Raises RuntimeError for a `url` or `key` that is none."""

    def __init__(self, url: str, key: str = "", model: str = "", *, variable: str = "MURAKKAB_PLANNER_URL") -> None:
        try:
            self.url = _base(url, variable)
        except ValueError:  # an address in brackets that is none
            raise RuntimeError(f"{variable} is '{url}'; it should be like http://localhost:8000/v1") from None
        self._variable, self._key, self.model = variable, key, model
        if not (key.isascii() and key.isprintable()):
            raise RuntimeError(f"{variable.removesuffix('_URL')}_KEY has characters that no HTTP header may have")

    def now(self) -> float:
        """Seconds on the clock of `until` below."""
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def chat(self, body: dict[str, Any], until: float, bytes_max: int) -> Answer:
        """POST /chat/completions. RuntimeError with one line when there is no whole answer by `until`, or it is over `bytes_max`."""
        if not self.model:
            self.model = self._first_model(until, bytes_max)
        return self._ask("POST", "/chat/completions", {"model": self.model, **body}, until, bytes_max)

    def _first_model(self, until: float, bytes_max: int) -> str:
        name = f"{self._variable.removesuffix('_URL')}_MODEL"
        answer = self._ask("GET", "/models", None, until, bytes_max)
        try:
            assert answer.body is not None
            return str(answer.body["data"][0]["id"])
        except (AssertionError, LookupError, TypeError):
            why = f" ({answer.status}: {answer.reason})" if answer.reason else ""
            raise RuntimeError(f"the chat server at {self.url} names no model{why}; set {name}") from None

    def _ask(self, method: str, path: str, body: dict[str, Any] | None, until: float, bytes_max: int) -> Answer:
        """In a thread of its own: no timeout of a socket bounds the sum of its waits, nor the search for a host's address."""
        allowed_s = until - time.monotonic()
        if allowed_s <= 0:
            raise RuntimeError(f"the chat server at {self.url} did not answer within the time that there was")
        one = _Request(
            self.url, method, path, self._headers(body), None if body is None else json.dumps(body).encode(), allowed_s, bytes_max
        )
        one.start()
        one.join(allowed_s)
        if one.is_alive() or isinstance(one.error, TimeoutError):
            one.end()
            raise RuntimeError(f"the chat server at {self.url} did not answer within {allowed_s:.3g} s")
        if one.error is not None:
            why = " ".join(str(one.error).split())[:200] or type(one.error).__name__
            raise RuntimeError(f"the chat server at {self.url} cannot be reached: {why} (is {self._variable} right?)")
        return self._answer(path, one, bytes_max)

    def _answer(self, path: str, one: _Request, bytes_max: int) -> Answer:
        if len(one.raw) > bytes_max:
            raise RuntimeError(f"the chat server at {self.url} answered with more than the {bytes_max} bytes that are left for it")
        if one.status != 200:
            reason = _reason(one.raw).replace(self._key, "(the key)") if self._key else _reason(one.raw)
            return Answer(one.status, None, reason, _seconds(one.retry_after), len(one.raw))
        try:
            body = json.loads(one.raw)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            raise RuntimeError(f"the chat server at {self.url}{path} answered something that is not a JSON object")
        return Answer(200, body, bytes=len(one.raw))

    def _headers(self, body: dict[str, Any] | None) -> dict[str, str]:
        headers = {"Accept": "application/json", "Connection": "close"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        return headers


class _Request(threading.Thread):
    """One request on its own connection. What went wrong is kept in `error`, never raised in the thread."""

    def __init__(
        self, url: str, method: str, path: str, headers: dict[str, str], data: bytes | None, timeout_s: float, bytes_max: int
    ) -> None:
        super().__init__(name="chat-server", daemon=True)
        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._link = kind(parts.hostname or "", parts.port, timeout=timeout_s)
        self._what = (method, parts.path + path, data, headers)
        self._bytes_max = bytes_max
        self._sock: socket.socket | None = None
        self.status, self.raw, self.retry_after = 0, b"", ""
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self._link.request(*self._what)
            self._sock = self._link.sock  # the connection forgets it before the body is read
            with self._link.getresponse() as response:
                self.status, self.retry_after = response.status, response.headers.get("Retry-After", "")
                blocks, size = [], 0
                while size <= self._bytes_max and (block := response.read(BLOCK)):
                    blocks.append(block)
                    size += len(block)
                self.raw = b"".join(blocks)
        except Exception as error:  # whatever a server can cause: the caller says it in one line
            self.error = error
        finally:
            self._link.close()

    def end(self) -> None:
        """Wakes the thread out of whatever it waits for on the socket; it then ends by itself."""
        try:
            if (sock := self._sock or self._link.sock) is not None:
                sock.shutdown(socket.SHUT_RDWR)
        except (OSError, ValueError):
            pass  # it was over just now


def _seconds(retry_after: str) -> float | None:
    """Retry-After as a number of seconds; a date is taken for none, for it speaks of another clock."""
    return float(retry_after) if retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 9 else None
