"""Sentence embeddings by all-MiniLM-L6-v2 in numpy: no torch, no ONNX.

Sources of the formulas: the encoder is BERT (Devlin et al. 2018, arXiv:1810.04805) over post-norm transformer layers
(Vaswani et al. 2017, arXiv:1706.03762); GELU with the exact erf (Hendrycks & Gimpel 2016, arXiv:1606.08415), erf by
Abramowitz & Stegun 7.1.26 (error below 1.5e-7, float32's own); mean pooling over the tokens and L2 normalisation as in the
model's own `1_Pooling/config.json` and `modules.json` (Reimers & Gurevych 2019, arXiv:1908.10084).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import weights

TOKENS_MAX = 256
"""`max_seq_length` of the model's `sentence_bert_config.json`; the rest of a longer text is not embedded."""
BATCH = 32
DIMENSIONS = 384
HIDDEN = -1e9
"""Added to attention scores of padding: exp of it is exactly 0 in float32."""


class MiniLM:
    """Texts to unit vectors. `weights_key` names the weights in `weights.WEIGHTS`."""

    def __init__(self, weights_key: str = "minilm-l6-v2") -> None:
        self._key = weights_key

    def load(self) -> None:
        """Raises `RuntimeError` with how to get the weights where they are not found."""
        folder = weights.locate(self._key, os.environ)
        if folder is None:
            raise RuntimeError(weights.WEIGHTS[self._key].how)
        self._read(folder)

    def _read(self, folder: Path) -> None:
        import numpy as np
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        config = json.loads((folder / "config.json").read_text())
        self._heads, self._layers = config["num_attention_heads"], config["num_hidden_layers"]
        self._epsilon = config["layer_norm_eps"]
        tensors = load_file(folder / "model.safetensors")
        self._w = {name.removeprefix("bert."): w.astype(np.float32, copy=False) for name, w in tensors.items() if w.dtype.kind == "f"}
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(TOKENS_MAX)
        self._tokenizer.enable_padding()

    def embed(self, texts: Sequence[str]) -> Any:
        """float32 (n, 384), each row of length 1, in the order of `texts`; (0, 384) for none. A text's row does not depend on the others."""
        import numpy as np

        out = np.zeros((len(texts), DIMENSIONS), np.float32)
        by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # little padding within a batch
        for at in range(0, len(texts), BATCH):
            rows = by_length[at : at + BATCH]
            out[rows] = self._encode([texts[i] for i in rows])
        return out

    def _encode(self, texts: list[str]) -> Any:
        import numpy as np

        tokens = self._tokenizer.encode_batch(texts)
        ids = np.array([t.ids for t in tokens])
        mask = np.array([t.attention_mask for t in tokens], np.float32)
        w = self._w
        x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][: ids.shape[1]]
        x = self._norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings")
        hidden = (1 - mask)[:, None, None, :] * np.float32(HIDDEN)
        for i in range(self._layers):
            layer = f"encoder.layer.{i}."
            x = self._norm(x + self._linear(self._attend(x, layer, hidden), layer + "attention.output.dense"), layer + "attention.output")
            feed = _gelu(self._linear(x, layer + "intermediate.dense"))
            x = self._norm(x + self._linear(feed, layer + "output.dense"), layer + "output")
        mean = (x * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)

    def _attend(self, x: Any, layer: str, hidden: Any) -> Any:
        """softmax(QK'/sqrt(d)) V for all heads; (batch, tokens, width) to the same shape."""
        import numpy as np

        batch, count, width = x.shape
        size = width // self._heads

        def heads(name: str) -> Any:
            part = self._linear(x, f"{layer}attention.self.{name}")
            return part.reshape(batch, count, self._heads, size).transpose(0, 2, 1, 3)

        scores = heads("query") @ heads("key").transpose(0, 1, 3, 2) / np.float32(size**0.5) + hidden
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        return (scores @ heads("value")).transpose(0, 2, 1, 3).reshape(batch, count, width)

    def _linear(self, x: Any, name: str) -> Any:
        return x @ self._w[name + ".weight"].T + self._w[name + ".bias"]

    def _norm(self, x: Any, name: str) -> Any:
        import numpy as np

        centred = x - x.mean(-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(-1, keepdims=True) + np.float32(self._epsilon))
        return centred / scale * self._w[name + ".LayerNorm.weight"] + self._w[name + ".LayerNorm.bias"]


def _gelu(x: Any) -> Any:
    """x * (1 + erf(x / sqrt 2)) / 2, erf by Abramowitz & Stegun 7.1.26."""
    import numpy as np

    z = np.abs(x) * np.float32(0.5**0.5)
    t = 1 / (1 + np.float32(0.3275911) * z)
    tail = np.zeros_like(x)
    for factor in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail = (tail + np.float32(factor)) * t
    erf = np.sign(x) * (1 - tail * np.exp(-z * z))
    return np.float32(0.5) * x * (1 + erf)
