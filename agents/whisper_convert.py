"""A Whisper model in CTranslate2's format as a checkpoint that openai-whisper loads.

Sources: CTranslate2's `python/ctranslate2/specs/model_spec.py` (`ModelSpec.save`: the binary layout, `_quantize`: the
scales) and `specs/whisper_spec.py` (names); openai-whisper's `whisper/model.py` (names and shapes on the other side).
The tensors are only renamed: CTranslate2 keeps query, key and value (key and value in cross attention) as one matrix.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from .derived import derived

KIND = "whisper-v1.pt"
"""Part of the cache key: raise the version when the conversion changes."""
BINARY_VERSION = 6
"""The newest layout that is known; older ones down to 4 differ in nothing that is read here."""
HEAD_WIDTH = 64
"""Width of one attention head in every Whisper size; said by the model file only as a number of heads."""


def converted(folder: Path, root: Path) -> Path:
    """The openai-whisper checkpoint of a CTranslate2 model folder, made under `root` now if it is not there (about 1 s for tiny)."""
    return derived(folder / "model.bin", KIND, root, lambda out: write(folder, out))


def write(folder: Path, out: Path) -> None:
    """Writes the checkpoint: `{"dims": …, "model_state_dict": …}`, in half precision as OpenAI's own are."""
    import numpy as np
    import torch

    variables = read(folder / "model.bin")
    dims, tensors = rename(variables, _vocabulary(folder))
    state = {name: torch.from_numpy(np.array(value, np.float16)) for name, value in tensors.items()}
    torch.save({"dims": dims, "model_state_dict": state}, out)


def read(path: Path) -> dict[str, Any]:
    """Variable name to numpy array, as stored; aliases name the same array. `RuntimeError` when it is no Whisper model."""
    import numpy as np

    kinds = dict(enumerate((np.float32, np.int8, np.int16, np.int32, np.float16, np.uint16)))
    bfloat16 = 5
    with path.open("rb") as f:
        version = _number(f, "I")
        name = _string(f) if 4 <= version <= BINARY_VERSION else ""
        if name != "WhisperSpec":
            raise RuntimeError(f"{path} is not a CTranslate2 Whisper model (format {version}, '{name}')")
        _number(f, "I")  # revision of the specification: attributes that matter to CTranslate2 only
        found: dict[str, Any] = {}
        for _ in range(_number(f, "I")):
            name = _string(f)
            shape = [_number(f, "I") for _ in range(_number(f, "B"))]
            kind = _number(f, "B")
            value = np.frombuffer(f.read(_number(f, "I")), kinds[kind])
            if kind == bfloat16:  # the upper half of a float32
                value = (value.astype(np.uint32) << 16).view(np.float32)
            found[name] = value.reshape(shape)
        for _ in range(_number(f, "I")):
            alias = _string(f)
            found[alias] = found[_string(f)]
    return found


def rename(variables: Mapping[str, Any], vocabulary: int) -> tuple[dict[str, int], dict[str, Any]]:
    """openai-whisper's dimensions and float32 tensors. `vocabulary` is the number of tokens: padding rows are cut off."""
    tensors: dict[str, Any] = {
        "encoder.positional_embedding": variables["encoder/position_encodings/encodings"],
        "decoder.positional_embedding": variables["decoder/position_encodings/encodings"],
        "decoder.token_embedding.weight": weight(variables, "decoder/embeddings")[:vocabulary],
    }
    for ours, theirs in (("encoder.ln_post", "encoder/layer_norm"), ("decoder.ln", "decoder/layer_norm")):
        tensors |= _norm(variables, ours, theirs)
    for conv in ("conv1", "conv2"):
        tensors |= _linear(variables, (f"encoder.{conv}",), f"encoder/{conv}")
    layers = {side: _layers(variables, side) for side in ("encoder", "decoder")}
    for side, count in layers.items():
        for i in range(count):
            tensors |= _block(variables, f"{side}.blocks.{i}", f"{side}/layer_{i}", cross=side == "decoder")
    width = tensors["encoder.ln_post.weight"].shape[0]
    heads = {side: int(variables.get(f"{side}/num_heads", width // HEAD_WIDTH)) for side in layers}
    dims = {
        "n_mels": tensors["encoder.conv1.weight"].shape[1],
        "n_audio_ctx": tensors["encoder.positional_embedding"].shape[0],
        "n_audio_state": width,
        "n_audio_head": heads["encoder"],
        "n_audio_layer": layers["encoder"],
        "n_vocab": tensors["decoder.token_embedding.weight"].shape[0],
        "n_text_ctx": tensors["decoder.positional_embedding"].shape[0],
        "n_text_state": tensors["decoder.ln.weight"].shape[0],
        "n_text_head": heads["decoder"],
        "n_text_layer": layers["decoder"],
    }
    return dims, tensors


def weight(variables: Mapping[str, Any], name: str) -> Any:
    """A weight in float32. Integers were made by multiplying with a scale: one a row, or one for the whole matrix."""
    import numpy as np

    value = variables[f"{name}/weight"]
    if np.issubdtype(value.dtype, np.integer):
        scale = variables[f"{name}/weight_scale"]
        scale = scale.reshape(scale.shape + (1,) * (value.ndim - scale.ndim))
        return value.astype(np.float32) / scale
    return value.astype(np.float32)


def _block(variables: Mapping[str, Any], ours: str, theirs: str, cross: bool) -> dict[str, Any]:
    attn, mlp = f"{ours}.attn", f"{ours}.mlp"
    block = (
        _norm(variables, f"{ours}.attn_ln", f"{theirs}/self_attention/layer_norm")
        | _linear(variables, (f"{attn}.query", f"{attn}.key", f"{attn}.value"), f"{theirs}/self_attention/linear_0")
        | _linear(variables, (f"{attn}.out",), f"{theirs}/self_attention/linear_1")
        | _norm(variables, f"{ours}.mlp_ln", f"{theirs}/ffn/layer_norm")
        | _linear(variables, (f"{mlp}.0",), f"{theirs}/ffn/linear_0")
        | _linear(variables, (f"{mlp}.2",), f"{theirs}/ffn/linear_1")
    )
    if cross:
        attn = f"{ours}.cross_attn"
        block |= (
            _norm(variables, f"{attn}_ln", f"{theirs}/attention/layer_norm")
            | _linear(variables, (f"{attn}.query",), f"{theirs}/attention/linear_0")
            | _linear(variables, (f"{attn}.key", f"{attn}.value"), f"{theirs}/attention/linear_1")
            | _linear(variables, (f"{attn}.out",), f"{theirs}/attention/linear_2")
        )
    return block


def _linear(variables: Mapping[str, Any], names: tuple[str, ...], theirs: str) -> dict[str, Any]:
    """One matrix as the equal parts that openai-whisper has; its keys have no bias (CTranslate2 stores zeros)."""
    matrix, bias = weight(variables, theirs), variables[f"{theirs}/bias"]
    rows = len(bias) // len(names)
    parts: dict[str, Any] = {}
    for i, name in enumerate(names):
        parts[f"{name}.weight"] = matrix[i * rows : (i + 1) * rows]
        if not name.endswith(".key"):
            parts[f"{name}.bias"] = bias[i * rows : (i + 1) * rows]
    return parts


def _norm(variables: Mapping[str, Any], ours: str, theirs: str) -> dict[str, Any]:
    return {f"{ours}.weight": variables[f"{theirs}/gamma"], f"{ours}.bias": variables[f"{theirs}/beta"]}


def _layers(variables: Mapping[str, Any], side: str) -> int:
    return len(
        {name.split("/")[1] for name in variables if name.startswith(f"{side}/layer_") and not name.startswith(f"{side}/layer_norm")}
    )


def _vocabulary(folder: Path) -> int:
    """How many tokens the model's vocabulary has. openai-whisper tells languages and kinds of models by this number."""
    for name in ("vocabulary.json", "vocabulary.txt"):
        path = folder / name
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            return len(json.loads(text)) if name.endswith(".json") else sum(1 for _ in _lines(text))
    raise RuntimeError(f"{folder} has neither vocabulary.json nor vocabulary.txt")


def _lines(text: str) -> Iterator[str]:
    # not splitlines: a token may hold any of the characters that Unicode calls a line end
    yield from text.removesuffix("\n").split("\n")


def _number(f: BinaryIO, kind: str) -> int:
    form = f"<{kind}"
    return int(struct.unpack(form, f.read(struct.calcsize(form)))[0])


def _string(f: BinaryIO) -> str:
    return f.read(_number(f, "H"))[:-1].decode()  # zero-terminated
