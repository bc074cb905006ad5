"""The arguments of the agents that read and shorten text."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct


class DocumentReaderArgs(Struct, frozen=True):
    per: Annotated[
        Literal["auto", "whole", "line", "paragraph"],
        Meta(description="what becomes one text; auto: each line of a .jsonl or .ndjson file, any other file as a whole"),
    ] = "auto"


class TextSummarizerArgs(Struct, frozen=True):
    max_tokens: Annotated[int, Meta(ge=1, le=1024, description="greatest length of the summary in tokens")] = 96
