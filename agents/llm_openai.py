"""Any server that speaks the OpenAI chat protocol: vLLM, llama.cpp, Ollama, a hosted API.

`http.client` in threads, so that the base install needs no HTTP library. Wire format: POST {base}/chat/completions and
GET {base}/models as in OpenAI's API reference.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from .interface import BadInput
from .llm import count_tokens

TIMEOUT_S = 110.0
"""For each wait on the socket; a little under a task's default timeout, so that the server's name is in the error."""
BODY_MAX = 8 << 20
AT_ONCE = 32
REFUSED = (400, 413, 422)
"""Answers that say that the request itself is wrong; every other failure may pass."""


class OpenAIEngine:
    """`url`, `key` and `model`, each from MURAKKAB_LLM_URL, _KEY (optional) and _MODEL (else the server's first) unless given."""

    def __init__(self, url: str = "", key: str = "", model: str = "") -> None:
        self._threads = ThreadPoolExecutor(AT_ONCE, "llm-openai")
        self._url, self._key, self.model = url, key, model

    def load(self) -> None:
        self._url = _base(self._url or os.environ.get("MURAKKAB_LLM_URL", ""))
        self._key = self._key or os.environ.get("MURAKKAB_LLM_KEY", "")
        self.model = self.model or os.environ.get("MURAKKAB_LLM_MODEL", "")
        if not self.model:
            served = self._ask("GET", "/models").get("data") or []
            if not served:
                raise RuntimeError(f"the language model server at {self._url} serves no model; set MURAKKAB_LLM_MODEL")
            self.model = str(served[0]["id"])

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def chat(self, system: str, user: str, max_tokens: int, *, temperature: float = 0.0, seed: int = 0) -> str:
        messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        body = {"model": self.model, "messages": messages, "max_tokens": max_tokens, "temperature": temperature}
        if temperature > 0:  # some servers refuse fields that they do not know, so it is said only where it means something
            body["seed"] = seed
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(self._threads, self._ask, "POST", "/chat/completions", body)
        try:
            text = answer["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            raise RuntimeError(f"the language model server at {self._url} answered without choices[0].message.content") from None
        usage = answer.get("usage")
        if isinstance(usage, dict):  # servers may leave it out; then the task's work is not known
            count_tokens(usage.get("prompt_tokens"), usage.get("completion_tokens"))
        return str(text or "").strip()

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """One request on its own connection. The key is never part of an error."""
        parts = urlsplit(self._url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
        headers = {"Accept": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, parts.path + path, data, headers)
            response = connection.getresponse()
            status, raw = response.status, response.read(BODY_MAX + 1)
        except TimeoutError:
            raise RuntimeError(f"the language model server at {self._url} did not answer within {TIMEOUT_S:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            why = str(error) or type(error).__name__
            raise RuntimeError(f"the language model server at {self._url} cannot be reached: {why} (is MURAKKAB_LLM_URL right?)") from None
        finally:
            connection.close()
        if status in REFUSED:
            raise BadInput(f"the language model server refused the request ({status}): {_reason(raw)}")
        if status != 200:
            hint = " (is MURAKKAB_LLM_KEY right?)" if status in (401, 403) else ""
            raise RuntimeError(f"the language model server at {self._url}{path} answered {status}: {_reason(raw)}{hint}")
        try:
            answer = json.loads(raw)
        except ValueError:
            answer = None
        if len(raw) > BODY_MAX or not isinstance(answer, dict):
            raise RuntimeError(f"the language model server at {self._url}{path} answered something that is not a JSON object")
        return answer


def _base(url: str, variable: str = "MURAKKAB_LLM_URL") -> str:
    """The URL up to and with the version: `http://host:8000` means `http://host:8000/v1`, any path is kept as given."""
    parts = urlsplit(url)
    try:
        port_fits = parts.port is None or parts.port > 0
    except ValueError:
        port_fits = False
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_fits:
        raise RuntimeError(f"{variable} is '{url}'; it should be like http://localhost:8000/v1")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/') or '/v1'}"


def _reason(raw: bytes) -> str:
    """The server's own words in one line: `error.message` of the OpenAI format, else the start of the body."""
    text = raw[:2000].decode(errors="replace")
    try:
        error = json.loads(raw).get("error")
        text = error["message"] if isinstance(error, dict) else str(error or text)
    except (ValueError, AttributeError, KeyError):
        pass
    return " ".join(str(text).split())[:300] or "no reason given"
