"""One tool of an MCP server as a model. The server is a process of the instance's own, and ends with it."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import os
import re
import sys
from typing import Any

from ..bus.messages import ArtifactRef
from .interface import BadInput, Call, Files
from .mcp_clean import clean
from .mcp_config import VARIABLE, servers
from .mcp_link import Link
from .types import Text
from .types_mcp import ToolResult

CALL_S = 110.0
"""Less than the task's time, so that it is the tool that is said to be slow."""
LIST_S = 10.0
TEXT_MAX = 4_000_000
"""Characters of one answer."""
_PREFACE = re.compile(r"\s*error executing tool [^:\n]{1,200}: *", re.I)
_OUR_FAULT = re.compile(r"(?:input |output )?(?:\d+ )?(?:validation error|invalid\b|unknown\b|missing\b)", re.I)
"""How the answer of a tool begins that was called with what it cannot take; anything else may go better another time."""


class MCPTool:
    """`server` is a name in MURAKKAB_MCP, `tool` the server's own name of it."""

    def __init__(self, server: str, tool: str, call_s: float = CALL_S) -> None:
        self.server, self.tool, self.call_s = server, tool, call_s
        self.link: Link | None = None
        self._opening = asyncio.Lock()

    def load(self) -> None:
        """Starts the server and looks whether it has the tool. Raises RuntimeError."""
        named, problems = servers(os.environ)
        if self.server not in named:
            why = next((p for p in problems if f"'{self.server}'" in p), f"{VARIABLE} does not name it")
            raise RuntimeError(f"there is no MCP server '{self.server}': {why}")
        link = Link(named[self.server], sys.stderr)
        link.open()
        try:
            known = [t.name for t in link.tools(10_000, LIST_S)]
        except TimeoutError:
            link.close()
            raise RuntimeError(f"MCP server '{self.server}' did not list its tools within {LIST_S:g} s") from None
        except BaseException:
            link.close()
            raise
        if self.tool not in known:
            link.close()
            raise RuntimeError(f"MCP server '{self.server}' has no tool '{self.tool}' now; it has {clean(', '.join(sorted(known)), 300)}")
        self.link = link

    async def run_async(self, call: Call) -> ToolResult:
        from mcp import MCPError
        from mcp.types import INVALID_PARAMS

        link = await self._alive()
        args = {**call.args, **{p: call.take(p, Text).text for p, value in call.inputs.items() if value is not None}}
        try:
            result = await link.call(self.tool, args, self.call_s)
        except TimeoutError:
            raise RuntimeError(f"{self._name} did not answer within {self.call_s:g} s") from None
        except MCPError as error:
            said = f"{self._name} refuses the call: {clean(error.message, 500)}"
            raise (BadInput if error.code == INVALID_PARAMS else RuntimeError)(said) from None
        found = _Read(call.files)
        for block in result.content:
            found.block(block)
        text = "\n".join(found.texts)
        if result.is_error:
            said = clean(_PREFACE.sub("", text), 500) or "it does not say why"
            raise (BadInput if _OUR_FAULT.match(said) else RuntimeError)(f"{self._name} failed: {said}")
        content = result.structured_content
        if not text and content is not None:
            text = json.dumps(content, ensure_ascii=False)
        if len(text) > TEXT_MAX:
            raise BadInput(f"{self._name} gave {len(text)} characters; at most {TEXT_MAX} are taken")
        kept = content if isinstance(content, dict | list) else None if content is None else {"result": content}
        return ToolResult(text, self._name, kept, tuple(found.files))

    def close(self) -> None:
        if self.link is not None:
            self.link.close()

    @property
    def _name(self) -> str:
        return f"{self.server}.{clean(self.tool, 60)}"

    async def _alive(self) -> Link:
        """A server that ended is started anew, once for all calls that wait for it."""
        async with self._opening:
            if self.link is None:
                raise RuntimeError("load() first")
            if not self.link.alive:
                self.link.close()
                await asyncio.get_running_loop().run_in_executor(None, self.load)
            return self.link


class _Read:
    """The parts of an answer: words, and files for the artifact store."""

    def __init__(self, files: Files) -> None:
        self._store = files
        self.texts: list[str] = []
        self.files: list[ArtifactRef] = []

    def block(self, block: Any) -> None:
        match block.type:
            case "text":
                self.texts.append(block.text)
            case "image" | "audio":
                self._keep(block.data, block.mime_type)
            case "resource":
                held = block.resource
                if (words := getattr(held, "text", None)) is not None:
                    self.texts.append(words)
                else:
                    self._keep(held.blob, held.mime_type)
            case "resource_link":  # only named: nobody asked for what is behind it
                self.texts.append(f"{clean(block.name, 200)}: {clean(str(block.uri), 2_000)}")

    def _keep(self, data: str, media_type: str | None) -> None:
        try:
            raw = base64.b64decode(data, validate=True)
        except binascii.Error:
            raise RuntimeError("it gave a file that is not base64") from None
        path = self._store.scratch()
        path.write_bytes(raw)
        kind = media_type if media_type and re.fullmatch(r"[\w.+-]{1,60}/[\w.+-]{1,60}", media_type) else "application/octet-stream"
        self.files.append(self._store.keep(path, kind))
