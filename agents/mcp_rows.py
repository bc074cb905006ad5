"""The tools of MCP servers as rows of the library. `mcp_rows` asks all servers that MURAKKAB_MCP names, once, in bounded time.

The asking is done by a process of its own (`python -m murakkab.agents.mcp_rows`): a server that floods, hangs or lies costs
nobody else anything, and neither the worker nor the command line ever imports the protocol's package.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from .mcp_clean import DESCRIPTION_MAX, SUMMARY_MAX, BadTool, agent_name, clean, flat_schema
from .mcp_config import VARIABLE, McpServer, servers
from .spec import Agent, Implementation, Take

if TYPE_CHECKING:
    from .installed import Installed

ENTRY = "murakkab.agents.mcp_tools:MCPTool"
TOOLS_MAX = 200
BYTES_MAX = 200_000
"""What one server may add to a library, all rows together: the library travels in one message."""
START_S, LIST_S = 12.0, 5.0
AT_ONCE = 8
NOT_INSTALLED = "the Python package 'mcp' is not installed: pip install 'murakkab[mcp]'"


class Rows(Struct):
    """What the servers have, and what is wrong with them, a line each."""

    agents: list[Agent] = []
    implementations: list[Implementation] = []
    problems: list[str] = []


def mcp_rows(environ: Mapping[str, str]) -> tuple[list[Agent], list[Implementation], list[str]]:
    """Agents, implementations and problems of all servers. Takes some 20 s at most for up to eight servers; never raises for a server."""
    named, problems = servers(environ)
    if not named:
        return [], [], problems
    if find_spec("mcp") is None:
        return [], [], [*problems, f"{VARIABLE} names {len(named)} servers, but {NOT_INSTALLED}"]
    rounds = -(-len(named) // AT_ONCE)
    try:
        asked = subprocess.run(
            [sys.executable, "-m", "murakkab.agents.mcp_rows"],
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=10 + rounds * (START_S + LIST_S + 10),
        )
        rows = msgspec.json.decode(asked.stdout, type=Rows)
    except subprocess.TimeoutExpired:
        return [], [], [*problems, "the MCP servers could not be asked: they were not done in time"]
    except (OSError, ValueError) as error:  # also what is no JSON
        said = asked.stderr.decode(errors="replace").strip().splitlines()[-1:] if isinstance(error, ValueError) else [str(error)]
        return [], [], [*problems, clean(f"the MCP servers could not be asked: {''.join(said) or error}", 300)]
    return rows.agents, rows.implementations, rows.problems


def add_to(found: Installed, environ: Mapping[str, str]) -> None:
    """Adds all servers' tools to a library, each as of a package of its own; what is wrong goes to its problems. See `mcp_rows`."""
    from .plugin import Declared
    from .types import Text
    from .types_mcp import ToolResult

    agents, rows, problems = mcp_rows(environ)
    servers_of = {row.agent: f"MCP server {row.options['server']}" for row in rows}
    found.add([(servers_of[a.name], Declared(__name__, a, (ToolResult, Text))) for a in agents])
    found.add([(servers_of[r.agent], Declared(__name__, r)) for r in rows])
    found.problems += [p for p in problems if p not in found.problems]


def look(environ: Mapping[str, str]) -> Rows:
    """Asks all servers, some at a time. Of rows in the order of the configuration."""
    named, problems = servers(environ)
    rows = Rows(problems=problems)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for one in threads.map(_ask, named.values()):
            rows.agents += one.agents
            rows.implementations += one.implementations
            rows.problems += one.problems
    return rows


def _ask(server: McpServer) -> Rows:
    from .mcp_link import Gone, Link

    link = Link(server)
    try:
        link.open(START_S)
        return rows_of(server.name, link.tools(TOOLS_MAX, LIST_S))
    except Gone as error:
        return Rows(problems=[str(error)])
    except TimeoutError:
        return Rows(problems=[f"MCP server '{server.name}' did not list its tools within {LIST_S:g} s"])
    except Exception as error:  # whatever the server said, it is only one of them
        return Rows(problems=[f"MCP server '{server.name}' did not list its tools: {clean(str(error), 200) or type(error).__name__}"])
    finally:
        link.close()


def rows_of(server: str, tools: Iterable[Any]) -> Rows:
    """A server's tools (as the protocol's package has them: name, description, input_schema) as rows; the bad ones as problems."""
    rows, size, seen = Rows(), 0, set()
    for count, tool in enumerate(tools):
        if count >= TOOLS_MAX:
            rows.problems.append(f"MCP server '{server}' has more than {TOOLS_MAX} tools: only the first {TOOLS_MAX} are taken")
            break
        try:
            agent = agent_of(server, tool.name, tool.description, tool.input_schema)
            if agent.name in seen:
                raise BadTool("there is another of this name before it, which stays")
        except (BadTool, RecursionError) as error:
            why = error if isinstance(error, BadTool) else "its input schema is too deep"
            rows.problems.append(f"MCP server '{server}': tool '{clean(tool.name, 60)}' is left out: {why}")
            continue
        size += len(msgspec.json.encode(agent))
        if size > BYTES_MAX:
            rows.problems.append(f"MCP server '{server}' says more than {BYTES_MAX} bytes of its tools: only the first {count} are taken")
            break
        seen.add(agent.name)
        rows.agents.append(agent)
        rows.implementations.append(_implementation(server, tool.name, agent.name))
    return rows


def agent_of(server: str, tool: str, about: object, schema: object) -> Agent:
    """Raises BadTool. Text parameters become inputs, so that they may come from the job's words or from any stage that gives text."""
    if not tool.strip() or len(tool) > 200:
        raise BadTool("a tool's name has 1 to 200 characters")
    flat = flat_schema(schema)
    _check(flat)
    name = agent_name(server, tool)
    texts = {p: part for p, part in flat["properties"].items() if is_text(part)}
    required = flat["required"]
    lines = [line for line in about[: 4 * DESCRIPTION_MAX].splitlines() if line.strip()] if isinstance(about, str) else []
    summary = clean(lines[0], SUMMARY_MAX) if lines else ""
    summary = summary or f"The tool {clean(tool, 60)} of the MCP server {server}."
    more = [f"{p}: {part['description']}" for p, part in texts.items() if part.get("description")]
    return Agent(
        name,
        summary,
        {p: Take("Text", optional=p not in required, literal=True) for p in texts},
        "ToolResult",
        args={
            "type": "object",
            "properties": {p: part for p, part in flat["properties"].items() if p not in texts},
            "required": [p for p in required if p not in texts],
            "additionalProperties": False,
        },
        description=clean(" ".join([clean(about, DESCRIPTION_MAX) or summary, *more]), DESCRIPTION_MAX),
        noun=name.partition(".")[2],
        only_asked=True,
    )


def is_text(part: Mapping[str, Any]) -> bool:
    """Whether a parameter is free text, perhaps one that may be null."""
    if "enum" in part or "const" in part:
        return False
    kinds = [part, *part["anyOf"]] if isinstance(part.get("anyOf"), list) else [part]
    said = [k.get("type") for k in kinds if "type" in k]
    flat = [t for s in said for t in (s if isinstance(s, list) else [s])]
    return "string" in flat and set(flat) <= {"string", "null"} and not any("enum" in k or "const" in k for k in kinds)


def _check(schema: Mapping[str, Any]) -> None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise BadTool(f"its input schema is none: {clean(error.message, 150)}") from None


def _implementation(server: str, tool: str, agent: str) -> Implementation:
    """Only names travel: the command, and secrets in its environment, stay with the host that was configured so."""
    return Implementation(
        f"mcp/{server}",
        agent,
        ENTRY,
        modules=("mcp",),
        variable=VARIABLE,
        options={"server": server, "tool": tool},
        slots=4,
        memory_mb=250,
        quality=1.0,
        quality_how="as the server does it",
        work_s=0.05,
        load_s=2.0,
        spawns=True,
    )


def main() -> None:
    out = os.dup(1)
    os.dup2(2, 1)  # what libraries print must not get into the answer
    data = msgspec.json.encode(look(os.environ))
    with os.fdopen(out, "wb") as file:
        file.write(data)


if __name__ == "__main__":
    main()
