"""A GGUF checkpoint of the llama architecture as a Hugging Face folder, which vLLM serves; without torch or transformers.

Sources: the GGUF tensor names and keys (ggml's `docs/gguf.md`), the parameter names of transformers' `LlamaForCausalLM`
and the fields of its `LlamaConfig`. Query and key rows are put back in order as in `gguf_convert.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .derived import derived
from .gguf_convert import tokenizer_of, unpermute

KIND = "hf-v1"
"""Part of the cache key: raise the version when the conversion changes."""
LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
WHOLE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def converted(gguf: Path, root: Path) -> Path:
    """The Hugging Face folder of a GGUF file, made under `root` now if it is not there (a few seconds for 135M parameters)."""
    return derived(gguf, KIND, root, lambda out: write(gguf, out))


def write(gguf: Path, out: Path) -> None:
    """Writes config, weights (float32: the packed values fit no narrower type exactly), tokenizer and chat template to `out`."""
    from gguf import GGUFReader
    from safetensors.numpy import save_file

    reader = GGUFReader(gguf)
    keys = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    if keys.get("general.architecture") != "llama":
        raise RuntimeError(f"{gguf.name} has architecture '{keys.get('general.architecture')}'; only 'llama' is converted")
    weights = _weights(reader, keys)
    tokens = keys["tokenizer.ggml.tokens"]
    bos, eos = (keys[f"tokenizer.ggml.{which}_token_id"] for which in ("bos", "eos"))
    out.mkdir(parents=True)
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    tokenizer_of(keys).save(str(out / "tokenizer.json"))
    _say(out / "config.json", _config(keys, tied="lm_head.weight" not in weights))
    _say(out / "generation_config.json", {"bos_token_id": bos, "eos_token_id": eos})
    _say(
        out / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": tokens[bos],
            "eos_token": tokens[eos],
            "pad_token": tokens[keys.get("tokenizer.ggml.padding_token_id", eos)],
            "model_max_length": keys["llama.context_length"],
            "clean_up_tokenization_spaces": False,
            "chat_template": keys.get("tokenizer.chat_template"),
        },
    )


def _weights(reader: Any, keys: Mapping[str, Any]) -> dict[str, Any]:
    import numpy as np
    from gguf import dequantize

    heads = keys["llama.attention.head_count"]
    rows = {"attn_q": heads, "attn_k": keys.get("llama.attention.head_count_kv", heads)}
    weights: dict[str, Any] = {}
    for tensor in reader.tensors:
        shape = tuple(int(n) for n in reversed(tensor.shape))  # GGUF counts dimensions from the fastest
        value = dequantize(tensor.data, tensor.tensor_type).reshape(shape)
        name, _, kind = tensor.name.rpartition(".")
        if kind != "weight":
            raise RuntimeError(f"tensor {tensor.name} is not one of the llama architecture")
        if name.startswith("blk."):
            _, layer, part = name.split(".")
            value = unpermute(value, rows[part]) if part in rows else value
            name = f"model.layers.{layer}.{LAYER[part]}"
        else:
            name = WHOLE[name]
        weights[f"{name}.weight"] = np.ascontiguousarray(value, np.float32)
    return weights


def _config(keys: Mapping[str, Any], tied: bool) -> dict[str, Any]:
    heads, rope = keys["llama.attention.head_count"], keys["llama.rope.freq_base"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": keys["llama.embedding_length"],
        "intermediate_size": keys["llama.feed_forward_length"],
        "num_hidden_layers": keys["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": keys.get("llama.attention.head_count_kv", heads),
        "max_position_embeddings": keys["llama.context_length"],
        "rms_norm_eps": keys["llama.attention.layer_norm_rms_epsilon"],
        "rope_theta": rope,  # transformers 4
        "rope_parameters": {"rope_type": "default", "rope_theta": rope},  # transformers 5
        "vocab_size": len(keys["tokenizer.ggml.tokens"]),
        "bos_token_id": keys["tokenizer.ggml.bos_token_id"],
        "eos_token_id": keys["tokenizer.ggml.eos_token_id"],
        "hidden_act": "silu",
        "tie_word_embeddings": tied,
        "torch_dtype": "float32",
    }


def _say(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
