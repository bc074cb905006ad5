"""The value that a tool of an MCP server gives."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from ..bus.messages import ArtifactRef
from .types import Text


class ToolResult(Text, frozen=True):
    """What a tool said, as words, so that it may stand wherever a text is asked for."""

    content: dict[str, Any] | list[Any] | None = None
    """Its structured content, where the tool has such."""
    files: tuple[ArtifactRef, ...] = ()
    """Pictures, sounds and other bytes that it gave."""


MCP_TYPES: tuple[type[Struct], ...] = (ToolResult,)
