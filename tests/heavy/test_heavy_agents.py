"""The implementations that need torch, for real: openai-whisper, CLIP, vLLM. `scripts/test --heavy` runs this in its own environment.

Weights come from packages (Whisper tiny.en, SmolLM2) or are made here (CLIP, random): nothing is fetched.
"""

from __future__ import annotations

import asyncio
import io
import json
import math
import random
import re
import wave
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from murakkab.agents import weights
from murakkab.agents.interface import BadInput, Call, Files
from murakkab.agents.types import Audio, Detections, Frames, Scene, Transcript
from murakkab.bus.messages import ArtifactRef

pytestmark = [
    pytest.mark.heavy,
    # torch, transformers and numba announce their own plans; ours are still errors
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:unclosed file .*tiktoken:ResourceWarning"),  # openai-whisper leaves its token list open
]

RATE_HZ = 16_000
NOWHERE = ArtifactRef("0" * 64, 0, "video/mp4")
WER_MOST = 0.03
"""Whisper writes numbers in digits and Mr.; with that undone it gets 2 of the 143 words wrong here (1.4 %)."""
DIGITS = {"10": "ten", "4": "four", "1813": "eighteen thirteen", "mr": "mister"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Conversions go here, once for all tests of this file."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("MURAKKAB_HOME", str(folder))
        for name in ("MURAKKAB_WHISPER_MODEL", "MURAKKAB_VLLM_ARGS"):
            patch.delenv(name, raising=False)
        yield folder


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "files")


# --- speech -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whisper(home: Path) -> Any:
    pytest.importorskip("whisper")
    from murakkab.agents.speech_openai_whisper import OpenAIWhisper

    if weights.locate("whisper-tiny.en", {}) is None:
        pytest.skip(weights.WEIGHTS["whisper-tiny.en"].how)
    model = OpenAIWhisper("whisper-tiny.en")
    model.load()
    return model


def audio(files: Files, pcm: bytes, start_s: float = 0.0, rate_hz: int = RATE_HZ) -> dict[str, Any]:
    path = files.scratch(".wav")
    with wave.open(str(path), "wb") as f:
        f.setnchannels(1)
        f.setsampwidth(2)
        f.setframerate(rate_hz)
        f.writeframes(pcm)
    scene = Scene(NOWHERE, "clip", 0, start_s, start_s + len(pcm) / 2 / rate_hz)
    return {"audio": msgspec.to_builtins(Audio(files.keep(path, "audio/wav"), scene))}


def clips(shared: Path) -> list[tuple[str, str, Any]]:
    """File name, spoken words, float32 samples at 16 kHz."""
    decode = pytest.importorskip("faster_whisper").decode_audio
    folder = shared / "data" / "media" / "speech"
    rows = [json.loads(line) for line in (folder / "transcripts.jsonl").read_text().splitlines()]
    return [(row["file"], row["text"], decode(str(folder / row["file"]), sampling_rate=RATE_HZ)) for row in rows]


def pcm_of(samples: Any) -> bytes:
    return bytes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())


def words(text: str) -> list[str]:
    plain = re.sub(r"[^a-z0-9' ]", " ", text.lower()).split()
    return " ".join(DIGITS.get(word, word) for word in plain).split()


def edits(said: list[str], heard: list[str]) -> int:
    """Levenshtein distance in words."""
    row = list(range(len(heard) + 1))
    for i, a in enumerate(said, 1):
        left, row[0] = row[0], i
        for j, b in enumerate(heard, 1):
            left, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, left + (a != b))
    return row[-1]


def test_whisper_hears_what_is_said(whisper: Any, files: Files, shared: Path) -> None:
    wrong = total = 0
    for name, text, samples in clips(shared):
        start_s, long_s = 100.0, len(samples) / RATE_HZ
        heard: Transcript = whisper.run(Call(audio(files, pcm_of(samples), start_s), {}, files))
        wrong += edits(words(text), words(" ".join(s.text for s in heard.segments)))
        total += len(words(text))
        assert heard.language == "en"
        ends = [t for s in heard.segments for t in (s.start_s, s.end_s)]
        assert ends == sorted(ends), name
        assert start_s <= ends[0] < ends[-1] <= start_s + long_s + 1e-6, name
    assert wrong / total <= WER_MOST, f"{wrong} of {total} words wrong"


def test_the_conversion_lost_nothing(whisper: Any, shared: Path) -> None:
    """CTranslate2 itself, in float32 on the same weights, hears the same words."""
    faster_whisper = pytest.importorskip("faster_whisper")
    theirs = faster_whisper.WhisperModel(str(weights.locate("whisper-tiny.en", {})), device="cpu", compute_type="float32", cpu_threads=1)
    for name, _, samples in clips(shared):
        a = " ".join(s.text for s in theirs.transcribe(samples, language="en", beam_size=1, temperature=0.0)[0])
        b = whisper.model.transcribe(samples, language="en", temperature=0.0, fp16=False)["text"]
        assert words(a) == words(b), name


def test_the_converted_weights_are_kept(whisper: Any, home: Path) -> None:
    from murakkab.agents.speech_openai_whisper import OpenAIWhisper

    kept = list((home / "models").glob("*.pt"))
    assert len(kept) == 1
    before = kept[0].stat().st_mtime_ns
    OpenAIWhisper("whisper-tiny.en").load()
    assert kept[0].stat().st_mtime_ns == before


def test_a_checkpoint_of_the_users_own(whisper: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from murakkab.agents.speech_openai_whisper import OpenAIWhisper

    monkeypatch.setenv("MURAKKAB_WHISPER_TINY_EN", "/nowhere")
    with pytest.raises(RuntimeError, match=r"whisper tiny\.en not found"):
        OpenAIWhisper("whisper-tiny.en").load()
    monkeypatch.setenv("MURAKKAB_WHISPER_MODEL", str(next((home / "models").glob("*.pt"))))
    OpenAIWhisper().load()


def test_nothing_is_invented_for_silence_and_noise(whisper: Any, files: Files) -> None:
    noise = random.Random(1)
    hiss = b"".join(int(noise.gauss(0, 60)).to_bytes(2, "little", signed=True) for _ in range(5 * RATE_HZ))
    for pcm in (b"", bytes(2 * 5 * RATE_HZ), hiss):
        assert whisper.run(Call(audio(files, pcm), {}, files)).segments == ()


def test_bad_sound_and_language_are_refused(whisper: Any, files: Files) -> None:
    with pytest.raises(BadInput, match="1 channels at 8000 Hz with 16 bit"):
        whisper.run(Call(audio(files, bytes(1000), rate_hz=8000), {}, files))
    with pytest.raises(BadInput, match="language='fr': this model knows English only"):
        whisper.run(Call(audio(files, bytes(1000)), {"language": "fr"}, files))
    with pytest.raises(BadInput, match="language='klingon' is not"):
        whisper.run(Call(audio(files, bytes(1000)), {"language": "klingon"}, files))


# --- CLIP -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Loaded from a folder, as any checkpoint is. Its weights are random: this shows that it runs, not what it knows."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    from murakkab.agents.detect_clip import Clip

    folder = tmp_path_factory.mktemp("clip")
    letters = [chr(n) for n in range(33, 127)]
    vocabulary = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    transformers.CLIPTokenizer.from_pretrained(str(folder)).save_pretrained(folder)
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "projection_dim": 16}
    torch.manual_seed(1)
    config = transformers.CLIPConfig(
        text_config=size
        | {"vocab_size": len(vocabulary), "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1, "max_position_embeddings": 77},
        vision_config=size | {"image_size": 64, "patch_size": 16},
        projection_dim=16,
    )
    transformers.CLIPModel(config).save_pretrained(folder)
    transformers.CLIPImageProcessorPil(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}).save_pretrained(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MURAKKAB_CLIP_MODEL", str(folder))
        model = Clip()
        model.load()
    return model


def frames(files: Files, count: int) -> dict[str, Any]:
    from PIL import Image

    draw = random.Random(1)
    path = files.scratch(".zip")
    with zipfile.ZipFile(path, "w") as pack:
        for n in range(count):
            noise = Image.frombytes("RGB", (12, 9), draw.randbytes(12 * 9 * 3)).resize((120, 90))
            data = io.BytesIO()
            noise.save(data, "JPEG")
            pack.writestr(f"{n:03d}.jpg", data.getvalue())
    scene = Scene(NOWHERE, "film.mp4", 0, 5.0, 5.0 + count)
    value = Frames(files.keep(path, "application/zip"), tuple(5.0 + n for n in range(count)), scene)
    return {"frames": msgspec.to_builtins(value)}


def test_clip_gives_valid_detections_and_the_same_ones_again(clip: Any, files: Files) -> None:
    call = Call(frames(files, 20), {"labels": ["cat", "red car"], "threshold": 0.0}, files)
    found = clip.run(call)
    assert msgspec.convert(msgspec.to_builtins(found), Detections) == found
    assert len(found.items) == 2 * 20
    assert found.frame_times_s == tuple(5.0 + n for n in range(20))
    for t_s in found.frame_times_s:
        scores = [item.score for item in found.items if item.t_s == t_s]
        assert len(scores) == 2
        assert sum(scores) < 1.0  # the background has a part
        assert scores == sorted(scores, reverse=True)
    assert {item.box for item in found.items} == {(0.0, 0.0, 1.0, 1.0)}
    assert clip.run(call) == found


def test_clip_embeds_labels_once_and_a_batch_changes_nothing(clip: Any, files: Files) -> None:
    args = {"labels": "cat, dog,cat", "threshold": 0.0}
    pack = frames(files, 18)
    whole = clip.run(Call(pack, args, files))
    kept = clip.texts[("cat", "dog")]
    assert kept.shape == (3, 16)
    clip.run(Call(pack, args, files))
    assert clip.texts[("cat", "dog")] is kept
    alone = clip.run(Call(frames(files, 1), args, files))
    for a, b in zip(alone.items, whole.items, strict=False):
        assert a.label == b.label
        assert math.isclose(a.score, b.score, rel_tol=1e-3)


def test_clip_agrees_with_the_whole_model_of_transformers(clip: Any, files: Files) -> None:
    import torch
    from PIL import Image

    pack = frames(files, 1)
    found = clip.run(Call(pack, {"labels": ["cat", "dog"], "threshold": 0.0}, files))
    with zipfile.ZipFile(files.path(msgspec.convert(pack["frames"], Frames).archive)) as archive:
        picture = Image.open(io.BytesIO(archive.read("000.jpg"))).convert("RGB")
    tokens = clip.tokenizer(["a photo of a cat", "a photo of a dog", "a photo"], padding=True, return_tensors="pt")
    with torch.inference_mode():
        logits = clip.model(**tokens, pixel_values=clip.pictures(images=[picture], return_tensors="pt")["pixel_values"]).logits_per_image
    wanted = dict(zip(("cat", "dog"), logits.softmax(-1)[0].tolist(), strict=False))
    for item in found.items:
        assert math.isclose(item.score, wanted[item.label], rel_tol=1e-4)


def test_clip_knows_80_labels_of_its_own_and_a_threshold(clip: Any, files: Files) -> None:
    pack = frames(files, 2)
    assert len({item.label for item in clip.run(Call(pack, {"threshold": 0.0}, files)).items}) == 80
    assert clip.run(Call(pack, {"threshold": 1.0}, files)).items == ()


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({"labels": " , "}, "labels names nothing"),
        ({"labels": [1]}, "is not a list of words"),
        ({"threshold": 2}, "threshold=2 is not a number from 0 to 1"),
    ],
)
def test_clip_refuses_bad_arguments(clip: Any, files: Files, args: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        clip.run(Call(frames(files, 1), args, files))


def test_clip_refuses_what_is_no_zip_of_pictures(clip: Any, files: Files) -> None:
    pack = frames(files, 2)
    path = files.path(msgspec.convert(pack["frames"], Frames).archive)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BadInput, match=r"film\.mp4: the frames cannot be read"):
        clip.run(Call(pack, {}, files))


# --- vLLM -------------------------------------------------------------------------------------------------------------


def test_vllm_starts_answers_counts_and_leaves_nothing_running(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("vllm")
    psutil = pytest.importorskip("psutil")
    from murakkab.agents.llm_vllm import VLLMEngine

    if weights.locate("smollm2-135m", {}) is None:
        pytest.skip(weights.WEIGHTS["smollm2-135m"].how)
    monkeypatch.setenv("MURAKKAB_VLLM_MODEL", "smollm2-135m")
    engine = VLLMEngine(start_s=400)

    async def together() -> list[str]:
        return await asyncio.gather(*(engine.chat("You are helpful.", f"What is {n} plus one?", 8) for n in range(4)))

    try:
        engine.load()
        assert engine.child
        family = [psutil.Process(engine.child.process.pid)]
        family += family[0].children(recursive=True)
        assert len(family) > 1
        # float32 from the GGUF's own values: seen to hold, where 16 bits gave nonsense
        assert "Paris" in asyncio.run(engine.chat("You are helpful.", "What is the capital of France?", 24))
        assert len(asyncio.run(together())) == 4
        with pytest.raises(BadInput, match="refused the request"):
            asyncio.run(engine.chat("You are helpful.", "word " * 6000, 24))
        seen = engine.metrics()
        assert seen["vllm:request_success_total"] == 5
        assert seen["vllm:generation_tokens_total"] > 5
        strangers = VLLMEngine()
        strangers.port = engine.port
        assert strangers.ask("GET", "/v1/models")[0] == 401  # only we have the key
    finally:
        engine.close()
    engine.close()
    left = psutil.wait_procs(family, timeout=30)[1]
    assert [p for p in left if p.status() != psutil.STATUS_ZOMBIE] == []
    with pytest.raises(RuntimeError, match="not running"):
        asyncio.run(engine.chat("", "hello", 4))
