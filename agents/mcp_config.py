"""Which MCP servers there are, by the environment variable MURAKKAB_MCP. Pure but for reading a file that it names.

Its items stand on lines, or in one line with ';' between them. An item is `name=command argument …`, `name=https://host/mcp`,
or the path of a JSON file of the usual form: {"mcpServers": {"name": {"command": …, "args": […], "env": {…}}}}.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

VARIABLE = "MURAKKAB_MCP"
SERVERS_MAX = 50
FILE_MAX = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9_-]{1,30}")
_ONE_LINE = re.compile(r"\s*([^\s=]+)\s*=\s*(.*)", re.S)
_ITEMS = re.compile(r"""(?:[^;"']|"[^"]*"|'[^']*'|["'])+""")
_HOLE = re.compile(r"\$\{([A-Za-z_]\w*)(?::-([^}]*))?\}")


class McpServer(Struct, frozen=True):
    """One server: a command that speaks over its standard input and output, or the URL of one that runs already.

    Of our environment a command sees PATH, HOME and the like, and besides them only `env`.
    """

    name: str
    command: str = ""
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    cwd: str | None = None
    url: str = ""
    headers: dict[str, str] = {}


class _Entry(Struct):
    """One server as the file has it; what we do not know (hints for other programs) is skipped."""

    command: str = ""
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    cwd: str | None = None
    url: str = ""
    headers: dict[str, str] = {}
    disabled: bool = False


class _File(Struct):
    mcpServers: dict[str, msgspec.Raw]


def servers(environ: Mapping[str, str]) -> tuple[dict[str, McpServer], list[str]]:
    """Servers by name, and what is wrong with the others, a line each. Of two with one name the first stays."""
    said = environ.get(VARIABLE, "").strip()
    found: dict[str, McpServer] = {}
    problems: list[str] = []

    def take(where: str, name: str, make: Callable[[], McpServer | None]) -> None:
        label = f"MCP server '{name[:40]}'{where}"
        if not _NAME.fullmatch(name):
            problems.append(f"{label}: a name has 1 to 30 letters, digits, '-' and '_'")
        elif name in found:
            problems.append(f"{label}: there is another of this name before it, which stays")
        elif len(found) >= SERVERS_MAX:
            problems.append(f"{label}: at most {SERVERS_MAX} servers are looked at")
        else:
            try:
                if (made := make()) is not None:
                    found[name] = made
            except (ValueError, msgspec.ValidationError) as error:
                problems.append(f"{label}: {' '.join(str(error).split())[:300]}")

    for item in said.splitlines() if "\n" in said else _ITEMS.findall(said):
        if not item.strip():
            continue
        if one := _ONE_LINE.fullmatch(item):
            name, words = one.groups()
            take("", name, lambda name=name, words=words: _of_line(name, words))  # type: ignore[misc]
            continue
        path = Path(os.path.expanduser(item.strip()))
        try:
            if path.exists() and not path.is_file():
                raise ValueError("it is not a file")
            if path.stat().st_size > FILE_MAX:
                raise ValueError(f"it has more than {FILE_MAX} bytes")
            entries = msgspec.json.decode(path.read_bytes(), type=_File).mcpServers
        except (OSError, ValueError) as error:  # also ValidationError
            why = (error.strerror if isinstance(error, OSError) else None) or error
            problems.append(f"{VARIABLE}: '{str(path)[:200]}' is neither name=command nor a file of the form {{\"mcpServers\": …}}: {why}")
            continue
        for name, raw in entries.items():
            take(f" of {path.name}", name, lambda name=name, raw=raw: _of_entry(name, raw, environ))  # type: ignore[misc]
    return found, problems


def _of_line(name: str, words: str) -> McpServer:
    try:
        parts = shlex.split(words)
    except ValueError as error:
        raise ValueError(f"its command cannot be read: {error}") from None
    if not parts:
        raise ValueError("its command is missing: name=command argument …")
    if len(parts) == 1 and re.match(r"https?://", parts[0]):
        return McpServer(name, url=parts[0])
    return McpServer(name, parts[0], tuple(parts[1:]))


def _of_entry(name: str, raw: msgspec.Raw, environ: Mapping[str, str]) -> McpServer | None:
    entry = msgspec.json.decode(raw, type=_Entry)
    if entry.disabled:
        return None
    if bool(entry.command) == bool(entry.url):
        raise ValueError("it needs a command, or else a url")
    if entry.url and not re.match(r"https?://", entry.url):
        raise ValueError(f"its url is '{entry.url[:100]}'; it begins with http:// or https://")

    def fill(text: str) -> str:
        return _HOLE.sub(lambda hole: _value(hole, environ), text)

    return McpServer(
        name,
        fill(entry.command),
        tuple(map(fill, entry.args)),
        {k: fill(v) for k, v in entry.env.items()},
        fill(entry.cwd) if entry.cwd else None,
        fill(entry.url),
        {k: fill(v) for k, v in entry.headers.items()},
    )


def _value(hole: re.Match[str], environ: Mapping[str, str]) -> str:
    name, default = hole.groups()
    value = environ.get(name, default)
    if value is None:
        raise ValueError(f"it wants ${{{name}}}, which is not set")
    return value
