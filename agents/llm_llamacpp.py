"""A language model by llama.cpp's server, run by another Python interpreter: it needs no library of ours, and we none of its."""

from __future__ import annotations

import os
from pathlib import Path

from . import weights
from .served import Served

START_S = 300.0
CONTEXT = 4096
"""Tokens of a request and its answer together."""


class LlamaCppEngine(Served):
    """`MURAKKAB_LLAMACPP_PYTHON`: a Python that has `llama-cpp-python[server]`. `MURAKKAB_LLAMACPP_MODEL`: a GGUF file, or a name of
    `weights.WEIGHTS` (smollm2-135m when it is not set). One request at a time; others wait in the server.
    """

    title = "the llama.cpp server"

    def __init__(self, model: str = "", start_s: float = START_S) -> None:
        super().__init__(model, start_s)

    def load(self) -> None:
        python = os.environ.get("MURAKKAB_LLAMACPP_PYTHON", "")
        if not python:
            raise RuntimeError("MURAKKAB_LLAMACPP_PYTHON is not set; name a Python that has llama-cpp-python[server]")
        name = self.model or os.environ.get("MURAKKAB_LLAMACPP_MODEL", "") or "smollm2-135m"
        path = _file(name)
        self.close()
        self.reserve()
        threads = os.environ.get("OMP_NUM_THREADS", "") or str(os.cpu_count() or 1)
        options = {"model": path, "model_alias": name, "host": "127.0.0.1", "port": self.port, "n_ctx": CONTEXT, "n_threads": threads}
        # its key goes by the environment: arguments are there for all to read
        environ = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")} | {"API_KEY": self._key}
        self.launch(name, [python, "-m", "llama_cpp.server", *(str(x) for k, v in options.items() for x in (f"--{k}", v))], environ)


def _file(name: str) -> Path:
    found = weights.locate(name, os.environ) if name in weights.WEIGHTS else Path(name)
    if found is None:
        raise RuntimeError(weights.WEIGHTS[name].how)
    if not found.is_file():
        raise RuntimeError(f"there is no file {found}")
    return found
