"""What scripts/bench/quality.py counts: word errors, and objects by second, as its docstring promises."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def quality() -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "scripts" / "bench" / "quality.py"
    spec = importlib.util.spec_from_file_location("murakkab_bench_quality_measure", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_word_error_rate_counts_words(quality: ModuleType) -> None:
    def same(a: str, b: str) -> bool:
        return bool(quality.words(a) == b.split())

    assert same("Mr. Smith's 10 cold-hearted clubs, in 1813!", "mister smith's ten cold hearted clubs in eighteen thirteen")
    assert same("In 1,250 rooms, 305 of 2000", "in one thousand two hundred fifty rooms three hundred five of two thousand")
    assert quality.edits(["a", "b", "c", "d"], ["a", "x", "c"]) == 2
    assert quality.edits([], ["a"]) == 1
    assert quality.edits(["same", "words"], ["same", "words"]) == 0


def test_objects_are_scored_as_the_benchmark_says(quality: ModuleType) -> None:
    truth = {"people": [{"start": 10, "end": 20}], "tolerance_s": 1, "classes": ["person", "dog"]}
    spans = quality.spans(truth, 30.0)
    perfect = [(s, "person") for s in range(10, 20)] + [(3, "dog")]
    listed = frozenset(("person", "dog"))
    assert quality.rates(quality.score(perfect, spans, 1, listed)) == {"precision": 1, "recall": 1, "f1": 1, "listed": 1}
    nothing = quality.rates(quality.score([], spans, 1, listed))
    assert nothing["recall"] == nothing["f1"] == 0
    wrong = quality.score([*perfect, (25, "person"), (25, "tv")], spans, 1, listed)
    assert (wrong["said"], wrong["right"], wrong["said_listed"]) == (13, 11, 12)
    counts = quality.spans({"bottle_count_at_s": {"0": 3, "8": 2, "12": 0}}, 20.0)
    # At 0 and 8 s it must be said, between them it may, at 12 s it is wrong.
    assert quality.rates(quality.score([(0, "bottle"), (4, "bottle"), (8, "bottle")], counts, 1, listed))["f1"] == 1
    assert quality.score([(14, "bottle")], counts, 1, listed)["right"] == 0
    empty = quality.spans({"classes": []}, 9.0)
    assert quality.rates(quality.score([], empty, 1, listed))["f1"] == 1
    assert quality.rates(quality.score([(1, "tv")], empty, 1, listed))["f1"] == 0
