"""A GGUF checkpoint of the llama architecture as a CTranslate2 folder with a tokenizer, without torch or transformers.

Sources: the GGUF tensor names and keys (ggml's `docs/gguf.md`, `gguf-py`), CTranslate2's `LlamaLoader` in its
`converters/transformers.py` (which weight goes where), and llama.cpp's `convert_hf_to_gguf.py`, whose `permute` of the
query and key rows is undone here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .derived import derived

FORMAT = 1
"""Part of the cache key: raise it when the conversion changes."""

SPECIAL = 3
"""`tokenizer.ggml.token_type` of control tokens (GGUF specification: 3 is CONTROL)."""


def cache_root(environ: Mapping[str, str]) -> Path:
    """Where derived files live: MURAKKAB_HOME, else the user's cache folder by the XDG rule."""
    if home := environ.get("MURAKKAB_HOME"):
        return Path(home) / "models"
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "murakkab" / "models"


def converted(gguf: Path, root: Path, quantization: str = "int8") -> Path:
    """The CTranslate2 folder of this checkpoint, made now if it is not there (about 5 s for 135M parameters)."""
    return derived(gguf, f"ctranslate2-{quantization}-v{FORMAT}", root, lambda out: convert(gguf, out, quantization))


def unpermute(rows: Any, heads: int) -> Any:
    """Query or key rows (heads * d, n) from GGUF's order to the checkpoint's.

    llama.cpp turns neighbouring rows of a head as pairs (0,1), (2,3), … where the original model turns (0, d/2),
    (1, d/2+1), …; its converter therefore interleaves the halves of each head, and this takes them apart again.
    """
    n = rows.shape[1]
    return rows.reshape(heads, -1, 2, n).swapaxes(1, 2).reshape(-1, n)


def convert(gguf: Path, out: Path, quantization: str) -> None:
    """Writes model.bin, config.json, vocabulary.json, tokenizer.json and chat.json (the special tokens' names) to `out`."""
    from gguf import GGUFReader

    reader = GGUFReader(gguf)
    keys = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    if keys.get("general.architecture") != "llama":
        raise RuntimeError(f"{gguf.name} has architecture '{keys.get('general.architecture')}'; only 'llama' is converted")
    out.mkdir(parents=True)
    spec = _spec(reader, keys)
    if quantization != "float32":
        spec.optimize(quantization=quantization)
    spec.save(str(out))
    tokenizer_of(keys).save(str(out / "tokenizer.json"))
    ends = [keys["tokenizer.ggml.tokens"][keys["tokenizer.ggml.eos_token_id"]]]
    (out / "chat.json").write_text(json.dumps({"end": ends, "context": keys["llama.context_length"]}))


def _spec(reader: Any, keys: Mapping[str, Any]) -> Any:
    import numpy as np
    from ctranslate2.specs import common_spec, transformer_spec
    from gguf import dequantize

    tensors = {tensor.name: tensor for tensor in reader.tensors}

    def weight(name: str) -> Any:
        tensor = tensors[name]
        shape = tuple(int(n) for n in reversed(tensor.shape))  # GGUF counts dimensions from the fastest
        return np.ascontiguousarray(dequantize(tensor.data, tensor.tensor_type).reshape(shape), np.float32)

    layers, heads = keys["llama.block_count"], keys["llama.attention.head_count"]
    heads_kv = keys.get("llama.attention.head_count_kv", heads)
    spec = transformer_spec.TransformerDecoderModelSpec.from_config(
        layers,
        heads,
        activation=common_spec.Activation.SWISH,
        pre_norm=True,
        ffn_glu=True,
        rms_norm=True,
        rotary_dim=0,
        rotary_interleave=False,
        rotary_base=keys["llama.rope.freq_base"],
        num_heads_kv=heads_kv,
    )
    decoder = spec.decoder
    decoder.scale_embeddings = False
    decoder.embeddings.weight = weight("token_embd.weight")
    tied = "output.weight" not in tensors
    decoder.projection.weight = decoder.embeddings.weight if tied else weight("output.weight")
    decoder.layer_norm.gamma = weight("output_norm.weight")
    for i, layer in enumerate(decoder.layer):
        part = f"blk.{i}."
        query = unpermute(weight(part + "attn_q.weight"), heads)
        key = unpermute(weight(part + "attn_k.weight"), heads_kv)
        attention, feed = layer.self_attention, layer.ffn
        attention.layer_norm.gamma = weight(part + "attn_norm.weight")
        attention.linear[0].weight = np.concatenate([query, key, weight(part + "attn_v.weight")])
        attention.linear[1].weight = weight(part + "attn_output.weight")
        feed.layer_norm.gamma = weight(part + "ffn_norm.weight")
        feed.linear_0.weight = weight(part + "ffn_gate.weight")
        feed.linear_0_noact.weight = weight(part + "ffn_up.weight")
        feed.linear_1.weight = weight(part + "ffn_down.weight")
    tokens = keys["tokenizer.ggml.tokens"]
    spec.register_vocabulary(tokens)
    spec.config.bos_token = tokens[keys["tokenizer.ggml.bos_token_id"]]
    spec.config.eos_token = tokens[keys["tokenizer.ggml.eos_token_id"]]
    spec.config.unk_token = tokens[keys["tokenizer.ggml.unknown_token_id"]]
    spec.config.layer_norm_epsilon = keys["llama.attention.layer_norm_rms_epsilon"]
    spec.validate()
    return spec


def tokenizer_of(keys: Mapping[str, Any]) -> Any:
    """Byte-level BPE with digits one by one: what `tokenizer.ggml.pre = smollm` stands for in llama.cpp."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    if (pre := keys["tokenizer.ggml.pre"]) != "smollm":
        raise RuntimeError(f"the checkpoint's tokenizer is '{pre}'; only 'smollm' is known")
    tokens = keys["tokenizer.ggml.tokens"]
    merges = [tuple(pair.split(" ")) for pair in keys["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer.decoder = decoders.ByteLevel()
    kinds = zip(tokens, keys["tokenizer.ggml.token_type"], strict=True)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token, kind in kinds if kind == SPECIAL])
    return tokenizer
