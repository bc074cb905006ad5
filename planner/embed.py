"""Texts to vectors for retrieval: MiniLM where its weights are, hashed words and letters where they are not."""

from __future__ import annotations

import os
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from ..agents.minilm import MiniLM
from ..agents.weights import locate
from .words import content, tokens

TEXT_MAX = 1_000
"""Characters of a text that are embedded; MiniLM reads 256 tokens."""
KEPT_MAX = 20_000
"""Texts whose vectors are kept; 384 float32 each, 30 MB at most."""


class Embedder(Protocol):
    """`name` picks the fitted weights that belong to this embedder (`fitted.py`)."""

    name: str

    def embed(self, texts: Sequence[str]) -> Any:
        """float32 (n, d), rows of length 1 (0 for a text without words). A row does not depend on the other texts."""


class Kept:
    """An embedder that remembers the vectors of the texts it has seen; safe in several threads."""

    def __init__(self, inner: Embedder) -> None:
        self.name = inner.name
        self._inner = inner
        self._rows: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str]) -> Any:
        import numpy as np

        with self._lock:
            missing = [t for t in dict.fromkeys(texts) if t not in self._rows]
            if missing:
                self._rows.update(zip(missing, self._inner.embed(missing), strict=True))
            rows = [self._rows[t] for t in texts]
            while len(self._rows) > KEPT_MAX:
                self._rows.popitem(last=False)
        return np.stack(rows) if rows else np.zeros((0, 1), np.float32)


class Sentences:
    """all-MiniLM-L6-v2; loaded at the first text. Raises RuntimeError where there are no weights."""

    name = "minilm"

    def __init__(self) -> None:
        self._model: MiniLM | None = None
        self._one_thread: Callable[[], Any] = nullcontext

    def embed(self, texts: Sequence[str]) -> Any:
        if self._model is None:
            model = MiniLM()
            model.load()
            self._model, self._one_thread = model, _one_thread()
        with self._one_thread():
            return self._model.embed([t[:TEXT_MAX] or " " for t in texts])


def _one_thread() -> Callable[[], Any]:
    """A context in which BLAS uses one thread, where that can be arranged. Clauses make small matrices: with several threads on
    a busy machine these wait for one another, and one sentence was seen to take 700 ms instead of 6."""
    if find_spec("threadpoolctl") is None:
        return nullcontext
    controller = import_module("threadpoolctl").ThreadpoolController()
    return lambda: controller.limit(limits=1, user_api="blas")


class Hashed:
    """Stems and pieces of 4 letters, hashed to a fixed width (Weinberger et al. 2009, arXiv:0902.2206): no weights at all."""

    name = "hashed"
    width = 1024

    def embed(self, texts: Sequence[str]) -> Any:
        import numpy as np

        out = np.zeros((len(texts), self.width), np.float32)
        for row, text in zip(out, texts, strict=True):
            for stem in content(text):
                self._add(row, stem, 1.0)
            for token in tokens(text)[:400]:
                padded = f"<{token}>"
                for i in range(max(1, len(padded) - 3)):
                    self._add(row, "#" + padded[i : i + 4], 0.3)
        length = np.linalg.norm(out, axis=1, keepdims=True)
        return out / np.where(length == 0, 1, length)

    def _add(self, row: Any, feature: str, by: float) -> None:
        h = zlib.crc32(feature.encode("utf-8", "replace"))
        row[h % self.width] += by if h & 0x80000000 else -by


def best(environ: Mapping[str, str] = os.environ) -> Embedder:
    """MiniLM if its weights can be found, else hashed words."""
    return Kept(Sentences() if locate("minilm-l6-v2", environ) is not None else Hashed())
