"""Arguments: what the words of a job give, and what fits a schema."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from murakkab.agents.args import FrameExtractorArgs, SceneSplitterArgs, SpeechToTextArgs, VectorSearcherArgs
from murakkab.agents.schema import args_schema
from murakkab.planner.arguments import BadArgument, fit, from_words, problem

FRAMES, SCENES = args_schema(FrameExtractorArgs), args_schema(SceneSplitterArgs)


@pytest.mark.parametrize(
    ("text", "schema", "found"),
    [
        ("Extract 10 frames from each scene", FRAMES, {"num_frames": 10}),
        ("take ten frames", FRAMES, {"num_frames": 10}),
        ("one frame every 2 seconds", FRAMES, {"every_s": 2.0}),
        ("a frame every half minute", FRAMES, {}),
        ("every minute", FRAMES, {"every_s": 60.0}),
        ("every 500 ms", FRAMES, {"every_s": 0.5}),
        ("look at the frames", FRAMES, {}),
        ("List objects in the first 30 seconds", SCENES, {"end_s": 30.0}),
        ("from 10 s to 20 s", SCENES, {"start_s": 10.0, "end_s": 20.0}),
        ("between 1 and 2 minutes", SCENES, {"start_s": 60.0, "end_s": 120.0}),
        ("the year 1984", SCENES, {}),
        ("Transcribe the German talk", args_schema(SpeechToTextArgs), {"language": "de"}),
        ("Find the 3 best passages", args_schema(VectorSearcherArgs), {}),
    ],
)
def test_values_that_the_words_give(text: str, schema: dict[str, Any], found: dict[str, Any]) -> None:
    assert from_words(text, schema) == found


@pytest.mark.parametrize(
    ("value", "schema", "fitted"),
    [
        ("10", {"type": "integer"}, 10),
        ("yes", {"type": "boolean"}, True),
        (3.0, {"type": "integer"}, 3),
        (7, {"type": "string"}, "7"),
        ("cat", {"type": "array", "items": {"type": "string"}}, ["cat"]),
        ('{"a": 1}', {"type": "object"}, {"a": 1}),
    ],
)
def test_values_that_are_written_otherwise_are_read(value: Any, schema: dict[str, Any], fitted: Any) -> None:
    assert fit(value, schema) == fitted


@pytest.mark.parametrize(
    ("value", "schema"), [("many", {"type": "integer"}), (0, {"type": "integer", "minimum": 1}), ("z", {"enum": ["a", "b"]})]
)
def test_what_does_not_fit_is_refused(value: Any, schema: dict[str, Any]) -> None:
    with pytest.raises(BadArgument):
        fit(value, schema)


@given(st.text(max_size=300))
def test_any_words_give_only_what_fits(text: str) -> None:
    for schema in (FRAMES, SCENES):
        assert not problem(from_words(text, schema), schema)
