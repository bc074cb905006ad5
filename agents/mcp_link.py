"""One conversation with one MCP server, from any thread. The server lives no longer than the process that holds this.

The protocol's client wants to be opened and closed by one task: that task has a thread and an event loop of its own.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import IO, Any

from .mcp_clean import clean
from .mcp_config import McpServer

START_S = 20.0
"""Bound on a start. A server that does not know the newest protocol may be silent for ten seconds, and is then asked in the old one."""
PAGES_MAX = 100
CLOSE_S = 8.0


class Gone(RuntimeError):
    """The server does not answer any more."""


class Link:
    """`open`, then `tools` and `call`, then `close`. `log` gets what the server writes to its standard error."""

    def __init__(self, server: McpServer, log: IO[str] | None = None) -> None:
        self.server, self._log = server, log
        self.client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        return self.client is not None

    def open(self, limit_s: float = START_S) -> None:
        """Starts the server and greets it. Raises Gone with what it said last, if it does not answer in time."""
        ready: Future[None] = Future()
        with _Ear(self._log) as ear:
            # a kernel ties children to the thread that made them, so this one stays as long as the link
            self._thread = threading.Thread(target=self._live, args=(ear.file, ready, limit_s), name=f"mcp-{self.server.name}", daemon=True)
            self._thread.start()
            try:
                ready.result(limit_s + CLOSE_S)
            except BaseException as error:
                self.close()
                raise Gone(f"MCP server '{self.server.name}' did not start: {_why(error, ear.last_line())}") from None

    def tools(self, most: int, limit_s: float) -> list[Any]:
        """The first `most` + 1 of its tools, so that the caller sees whether there are more. Raises Gone."""
        return list(self._do(self._tools(most), limit_s).result())

    async def call(self, tool: str, args: dict[str, Any], limit_s: float) -> Any:
        """The `CallToolResult`. Raises Gone when the server is no more there, TimeoutError, and `mcp.MCPError` for what it refuses."""
        return await asyncio.wrap_future(self._do(self._call(tool, args, limit_s), limit_s + 1.0))

    def close(self) -> None:
        """Ends the server in good order, then by force. May be called at any time, also twice."""
        loop, end, thread = self._loop, self._end, self._thread
        if loop and end:
            with suppress(RuntimeError):  # the loop has ended already
                loop.call_soon_threadsafe(end.set)
        if thread and thread is not threading.current_thread():
            thread.join(CLOSE_S)

    # --- in the thread --------------------------------------------------------------------------------------------------------

    def _live(self, log: Any, ready: Future[None], limit_s: float) -> None:
        try:
            asyncio.run(self._serve(log, ready, limit_s))
        except BaseException as error:
            if not ready.done():
                ready.set_exception(error)
        finally:
            self.client = self._loop = None

    async def _serve(self, log: Any, ready: Future[None], limit_s: float) -> None:
        from mcp import Client

        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(limit_s):
                self.client = await stack.enter_async_context(Client(self._transport(log), cache=None))
            ready.set_result(None)
            await self._end.wait()
            self.client = None

    def _transport(self, log: Any) -> Any:
        from mcp import StdioServerParameters, stdio_client

        server = self.server
        if server.url:
            return _http(server)
        command = [server.command, *server.args]
        if sys.platform == "linux":
            command = [sys.executable, "-I", str(Path(__file__).with_name("mcp_guard.py")), str(os.getpid()), *command]
        params = StdioServerParameters(command=command[0], args=command[1:], env=server.env, cwd=server.cwd)
        return stdio_client(params, errlog=log)

    def _do(self, work: Any, limit_s: float) -> Future[Any]:
        loop = self._loop
        if loop is None or self.client is None:
            work.close()
            raise Gone(f"MCP server '{self.server.name}' is not running")
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, limit_s), loop)

    async def _tools(self, most: int) -> list[Any]:
        found: list[Any] = []
        cursor = None
        for _ in range(PAGES_MAX):
            page = await self.client.list_tools(cursor=cursor)
            found += page.tools
            cursor = page.next_cursor
            if cursor is None or len(found) > most:
                break
        return found[: most + 1]

    async def _call(self, tool: str, args: dict[str, Any], limit_s: float) -> Any:
        from mcp import MCPError
        from mcp.types import CONNECTION_CLOSED, REQUEST_TIMEOUT

        try:
            return await self.client.call_tool(tool, args, read_timeout_seconds=limit_s)
        except MCPError as error:
            if error.code == REQUEST_TIMEOUT:
                raise TimeoutError from None
            if error.code != CONNECTION_CLOSED:
                raise
        except OSError:
            pass
        assert self._end is not None
        self.client = None
        self._end.set()
        raise Gone(f"MCP server '{self.server.name}' ended in the middle of a call")


@asynccontextmanager
async def _http(server: McpServer) -> AsyncIterator[Any]:
    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    async with (
        httpx2.AsyncClient(headers=server.headers, timeout=httpx2.Timeout(30.0, read=600.0)) as http,
        streamable_http_client(server.url, http_client=http) as streams,
    ):
        yield streams


def _why(error: BaseException, said: str) -> str:
    """The reason inside groups of reasons. A server that ends says the reason itself, if it says one."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    if isinstance(error, TimeoutError):
        return "it did not answer in time" + (f"; it said: {said}" if said else "")
    return said or clean(str(error), 300) or type(error).__name__


class _Ear:
    """Hears a server's standard error: passes it on to `log`, if there is one, and knows the end of it. `file` is for the server."""

    def __init__(self, log: IO[str] | None) -> None:
        self._read, write = os.pipe()
        self.file = os.fdopen(write, "w")
        self._log, self._end = log, b""
        self._thread = threading.Thread(target=self._listen, name="mcp-stderr", daemon=True)
        self._thread.start()

    def __enter__(self) -> _Ear:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()  # the server has its own by now

    def _listen(self) -> None:
        with os.fdopen(self._read, "rb", buffering=0) as heard:
            while block := heard.read(1 << 16):
                self._end = (self._end + block)[-4_000:]
                if self._log:
                    with suppress(OSError, ValueError):
                        os.write(self._log.fileno(), block)

    def last_line(self) -> str:
        self.file.close()
        self._thread.join(1.0)
        lines = [line for line in self._end.decode(errors="replace").splitlines() if line.strip()]
        return clean(lines[-1], 300) if lines else ""
