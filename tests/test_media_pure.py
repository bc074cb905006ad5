"""The decisions of the media agents that need no media: where scenes end, when frames are taken, which boxes remain."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from murakkab.agents import scenes
from murakkab.agents.frames import when
from murakkab.agents.stills import overlap, steady, suppressed
from murakkab.agents.types import Detection


@given(
    duration_s=st.floats(0.01, 2_000),
    borders=st.lists(st.floats(0, 2_000), max_size=30),
    loud=st.lists(st.floats(0, 32_768), max_size=300),
)
def test_scenes_cover_everything_once(duration_s: float, borders: list[float], loud: list[float]) -> None:
    parts = scenes.partition(duration_s, borders, 2, 30, loud)
    assert parts == scenes.partition(duration_s, list(reversed(borders)), 2, 30, loud)
    assert parts[0][0] == 0
    assert parts[-1][1] == duration_s
    assert all(a[1] == b[0] for a, b in pairwise(parts))
    assert all(0 < end - start <= 30 + 1e-9 for start, end in parts)
    assert all(end - start >= min(2, duration_s) - 1e-9 for start, end in parts)


@given(st.lists(st.floats(0, 1), max_size=200))
def test_cuts_keep_apart_and_lie_between_pictures(distances: list[float]) -> None:
    times_s = [0.2 * n for n in range(len(distances))]
    found = scenes.cuts(times_s, distances)
    assert found == sorted(found)
    assert all(b - a >= scenes.MIN_S for a, b in pairwise(found))
    assert all(0 < t < times_s[-1] for t in found)


def test_steady_change_is_no_cut_and_a_jump_is_one() -> None:
    times_s = [0.2 * n for n in range(40)]
    panning = [0.0] + [0.4] * 39
    assert scenes.cuts(times_s, panning) == []
    jump = [0.0] + [0.02] * 39
    jump[20] = 0.5
    assert scenes.cuts(times_s, jump) == pytest.approx([3.9])


@given(st.floats(0, 1_000), st.floats(0.01, 500), st.floats(0.05, 60), st.integers(1, 100))
def test_wanted_times_lie_inside_evenly(start_s: float, length_s: float, every_s: float, most: int) -> None:
    wanted = when(start_s, start_s + length_s, every_s, most)
    assert 1 <= len(wanted) <= most
    assert start_s < wanted[0]
    assert wanted[-1] < start_s + length_s
    assert wanted == sorted(wanted)
    if len(wanted) < most and length_s >= every_s:
        assert length_s / len(wanted) == pytest.approx(every_s, rel=0.5)


def test_boxes_and_runs_of_frames() -> None:
    assert overlap((0, 0, 1, 1), (0, 0, 1, 1)) == 1
    assert overlap((0, 0, 0.5, 1), (0.25, 0, 0.5, 1)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 0.1, 0.1), (0.5, 0.5, 0.1, 0.1)) == 0
    a = Detection("cat", 0.9, 1.0, (0, 0, 0.5, 0.5))
    b = msgspec.structs.replace(a, score=0.8, box=(0.01, 0, 0.5, 0.5))
    dog = msgspec.structs.replace(b, label="dog", score=0.61)
    assert suppressed([b, a, dog], 0.45) == [a, dog]
    assert steady([a, dog], 10, 0.65) == [a]
    assert steady([a, dog], 3, 0.65) == [a, dog]
    assert steady([dog, msgspec.structs.replace(dog, t_s=2.0)], 10, 0.65)[0] == dog


def test_only_the_stretch_that_is_asked_for() -> None:
    from murakkab.agents.scenes import within

    assert within([(0, 5), (5, 12), (12, 20)], 3, 12) == [(3, 5), (5, 12)]
    assert within([(0, 5)], 5, 6) == []
