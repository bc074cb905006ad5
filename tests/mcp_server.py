"""A real MCP server over stdio, of the protocol's own package, for tests: `python tests/mcp_server.py [FOLDER [PORT]]`; with a port over HTTP.

It writes its process id into FOLDER/pids, one a line, so that a test can see how often it was started and whether it is gone.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from mcp.server.mcpserver import Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, Field

server = MCPServer("test")
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)
"""The smallest PNG there is."""


class Counts(BaseModel):
    words: int
    letters: int


@server.tool()
def count(text: Annotated[str, Field(description="what is counted")]) -> Counts:
    """Count the words and letters of a text.

    Letters are counted without spaces.
    """
    return Counts(words=len(text.split()), letters=sum(not c.isspace() for c in text))


@server.tool()
def shout(text: str, times: Annotated[int, Field(ge=1, le=5)] = 1, mark: Literal["!", "?"] = "!", after: str | None = None) -> str:
    """Say a text in capitals."""
    return (text.upper() + mark) * times + (after or "")


@server.tool()
def refuse(text: str) -> str:
    """Refuse every text."""
    raise ToolError(f"Invalid text: {text}")


@server.tool()
def stumble() -> str:
    """Fail for a reason that may pass."""
    raise ToolError("the upstream service is busy")


@server.tool()
async def slow(seconds: float) -> str:
    """Wait, then say so."""
    await asyncio.sleep(seconds)
    return "done"


@server.tool()
def die(text: str) -> str:
    """End the server in the middle of the call, unless told to live."""
    if text != "live":
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


@server.tool(structured_output=False)
def picture() -> list[Any]:
    """A picture and what it shows."""
    return ["one pixel", Image(data=PIXEL, format="png")]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        with Path(sys.argv[1], "pids").open("a") as file:
            print(os.getpid(), file=file)
    print("this must not get into the protocol", file=sys.stderr)
    if len(sys.argv) > 2:
        server.run("streamable-http", port=int(sys.argv[2]))
    server.run()
