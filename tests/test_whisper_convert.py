"""The conversions of weights, as far as they need no torch: what CTranslate2 itself wrote is read back."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from murakkab.agents import whisper_convert
from murakkab.agents.derived import derived

WIDTH, MELS, TOKENS, LAYERS = 8, 5, 11, 2


def a_model(quantization: str, folder: Path) -> dict[str, Any]:
    """Saves a tiny Whisper model with random weights as CTranslate2 does; gives the weights as they were before packing."""
    specs = pytest.importorskip("ctranslate2.specs")
    random = np.random.default_rng(1)
    spec = specs.WhisperSpec(LAYERS, 2, LAYERS, 2)
    shapes = {
        "conv1/weight": (WIDTH, MELS, 3),
        "conv2/weight": (WIDTH, WIDTH, 3),
        "embeddings/weight": (TOKENS, WIDTH),
        "projection/weight": (TOKENS, WIDTH),
        "encodings": (6, WIDTH),
        "self_attention/linear_0/weight": (3 * WIDTH, WIDTH),
        "attention/linear_1/weight": (2 * WIDTH, WIDTH),
        "ffn/linear_0/weight": (4 * WIDTH, WIDTH),
        "ffn/linear_1/weight": (WIDTH, 4 * WIDTH),
        "ffn/linear_1/bias": (WIDTH,),
    }
    whole: dict[str, Any] = {}

    def fill(layer: Any, name: str, value: Any) -> None:
        if value is not None and not (value == specs.model_spec.OPTIONAL and name.endswith(("/bias", "/encodings"))):
            return
        rows = (
            3
            if "self_attention/linear_0" in name
            else 2
            if "attention/linear_1" in name and "self" not in name
            else 4
            if "ffn/linear_0" in name
            else 1
        )
        shape = next((s for end, s in shapes.items() if name.endswith(end) and ("self" in end or "self" not in name)), None)
        shape = shape or ((WIDTH, WIDTH) if name.endswith("weight") else (rows * WIDTH,))
        whole[name] = random.normal(size=shape).astype(np.float32)
        setattr(layer, name.rpartition("/")[2], whole[name].copy())

    spec._visit(fill)
    spec.register_vocabulary([f"t{i}" for i in range(TOKENS)])
    spec.validate()
    spec.optimize(quantization=quantization)
    folder.mkdir()
    spec.save(str(folder))
    return whole


@pytest.mark.parametrize(
    ("quantization", "most"),
    [("float32", 0.0), ("float16", 2e-3), pytest.param("bfloat16", 2e-2, marks=pytest.mark.heavy), ("int16", 1e-2), ("int8", 2e-2)],
)
def test_every_number_format_of_ctranslate2_is_read(tmp_path: Path, quantization: str, most: float) -> None:
    whole = a_model(quantization, tmp_path / "model")
    variables = whisper_convert.read(tmp_path / "model" / "model.bin")
    dims, tensors = whisper_convert.rename(variables, TOKENS)
    assert dims == {
        "n_mels": MELS,
        "n_audio_ctx": 6,
        "n_audio_state": WIDTH,
        "n_audio_head": 2,
        "n_audio_layer": LAYERS,
        "n_vocab": TOKENS,
        "n_text_ctx": 6,
        "n_text_state": WIDTH,
        "n_text_head": 2,
        "n_text_layer": LAYERS,
    }

    def near(ours: str, theirs: str, rows: slice = slice(None)) -> None:
        assert np.abs(tensors[ours].astype(np.float32) - whole[theirs][rows]).max() <= most * np.abs(whole[theirs]).max()

    near("encoder.conv1.weight", "encoder/conv1/weight")
    near("encoder.blocks.1.attn.query.weight", "encoder/layer_1/self_attention/linear_0/weight", slice(0, WIDTH))
    near("encoder.blocks.1.attn.value.bias", "encoder/layer_1/self_attention/linear_0/bias", slice(2 * WIDTH, None))
    near("decoder.blocks.0.cross_attn.query.weight", "decoder/layer_0/attention/linear_0/weight")
    near("decoder.blocks.0.cross_attn.key.weight", "decoder/layer_0/attention/linear_1/weight", slice(0, WIDTH))
    near("decoder.blocks.0.cross_attn.value.weight", "decoder/layer_0/attention/linear_1/weight", slice(WIDTH, None))
    near("decoder.blocks.1.mlp.2.weight", "decoder/layer_1/ffn/linear_1/weight")
    near("decoder.token_embedding.weight", "decoder/embeddings/weight")
    assert not any(name.endswith(".key.bias") for name in tensors)


def test_rows_that_only_fill_up_the_vocabulary_are_cut_off(tmp_path: Path) -> None:
    a_model("float32", tmp_path / "model")
    dims, tensors = whisper_convert.rename(whisper_convert.read(tmp_path / "model" / "model.bin"), TOKENS - 2)
    assert dims["n_vocab"] == len(tensors["decoder.token_embedding.weight"]) == TOKENS - 2


def test_another_file_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"RIFF" + bytes(100))
    with pytest.raises(RuntimeError, match=r"model\.bin is not a CTranslate2 Whisper model"):
        whisper_convert.read(path)


def test_derived_is_made_once_and_again_for_other_content(tmp_path: Path) -> None:
    source, root, made = tmp_path / "weights.bin", tmp_path / "cache", []

    def make(out: Path) -> None:
        made.append(out)
        out.write_bytes(source.read_bytes()[::-1])

    source.write_bytes(b"abc")
    first = derived(source, "v1", root, make)
    assert first.read_bytes() == b"cba"
    assert derived(source, "v1", root, make) == first
    assert len(made) == 1
    source.write_bytes(b"xyz")
    assert derived(source, "v1", root, make).read_bytes() == b"zyx"
    assert derived(source, "v2", root, make) != first
    assert len(list(root.iterdir())) == 3


def test_a_conversion_that_fails_leaves_nothing(tmp_path: Path) -> None:
    source, root = tmp_path / "weights.bin", tmp_path / "cache"
    source.write_bytes(b"abc")

    def make(out: Path) -> None:
        out.write_bytes(b"half")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        derived(source, "v1", root, make)
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("as_folder", [True, False])
def test_of_two_that_make_it_at_once_both_get_a_whole_one(tmp_path: Path, as_folder: bool) -> None:
    source, root, together = tmp_path / "weights.bin", tmp_path / "cache", threading.Barrier(2, timeout=30)
    source.write_bytes(b"abc")
    got: list[Path] = []

    def make(out: Path) -> None:
        together.wait()  # both are at it before either is done
        if as_folder:
            out.mkdir()
            out = out / "part"
        out.write_bytes(b"whole")

    threads = [threading.Thread(target=lambda: got.append(derived(source, "v1", root, make))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(got)) == 1
    assert len(got) == 2
    assert (got[0] / "part" if as_folder else got[0]).read_bytes() == b"whole"
    assert list(root.iterdir()) == [got[0]]
