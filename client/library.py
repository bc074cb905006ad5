"""`murakkab library`: agents and implementations, with what they take, give and accept; of this machine, and of a system's hosts."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from ..agents import library as lib
from ..agents.installed import OURS
from ..agents.spec import Agent, Implementation, Take
from ..bus.link import Link, Unreachable
from ..bus.messages import HostHeartbeat, LibraryOffered, Message
from ..bus.roles import BadAddress, address, inbox
from ..bus.subjects import wildcard
from ..bus.wire import decode
from ..planner.shelf import Shelf
from .locate import running_here

LISTEN_S = 2.5
"""A little more than the workers' beat."""
Key = tuple[str, str]


class System(Struct, frozen=True):
    """What the hosts of a running system say of themselves."""

    brings: tuple[LibraryOffered, ...] = ()
    beats: tuple[HostHeartbeat, ...] = ()


async def library(args: argparse.Namespace) -> int:
    """Problems go to standard error, so that the list stays what it is."""
    lib.with_mcp(os.environ)
    shelf = Shelf(lib.agents(), lib.implementations(), lib.lattice())
    system, notes = await _system(args)
    packages: dict[str, str] = {}
    for said in system.brings:
        shelf.offered(said)
        packages |= {name: f"{package} on host {said.host}" for name, package in said.packages.items() if name not in packages}
        notes += [f"host {said.host}: {problem}" for problem in said.problems]
    shown = [_agent(agent, shelf.implementations, system.beats, packages) for agent in shelf.library.agents.values()]
    print(json.dumps(shown) if args.json else "\n".join(_lines(shown)))
    if not shown:
        notes.append("the library is empty: no job can be done")
    for note in (*lib.problems(), *shelf.problems, *notes):
        print(f"murakkab: {note}", file=sys.stderr)
    return 0


async def _system(args: argparse.Namespace) -> tuple[System, list[str]]:
    """The system that is named, or that runs here; nothing, with a note, when one that nobody named on this command does not answer."""
    url = args.nats or os.environ.get("NATS_URL", "") or running_here(args.data, os.environ)
    if not url:
        return System(), []
    try:
        return await _ask(url), []
    except (Unreachable, BadAddress, TimeoutError) as error:
        if args.nats:
            raise
        return System(), [f"the system at {url} is not shown: {' '.join(str(error).split())}"]


async def _ask(url: str) -> System:
    link = await Link.open(address(url, "observer", os.environ), "murakkab-library", inbox=inbox("observer"))
    beats: dict[str, HostHeartbeat] = {}

    async def heard(msg: Any) -> None:
        beat = decode(msg.data)
        if isinstance(beat, HostHeartbeat):
            beats[beat.host] = beat

    try:
        await link.subscribe(wildcard(HostHeartbeat), heard)
        await asyncio.sleep(LISTEN_S)
        brings: list[Message] = []
        with contextlib.suppress(LookupError):  # the system is just starting: nobody has said anything yet
            brings = [decode(m.data) async for m in link.replay(LibraryOffered.stream, wildcard(LibraryOffered), newest_only=True)]
    finally:
        await link.close()
    here = tuple(b for b in beats.values() if not b.leaving)
    return System(tuple(b for b in brings if isinstance(b, LibraryOffered)), here)


# --- as an object ---------------------------------------------------------------------------------------------------------------


def _agent(agent: Agent, rows: Mapping[Key, Implementation], beats: Iterable[HostHeartbeat], packages: Mapping[str, str]) -> dict[str, Any]:
    return {
        "agent": agent.name,
        "summary": agent.summary,
        "description": agent.description or agent.summary,
        "package": lib.package_of(agent.name) or packages.get(agent.name, ""),
        "takes": {p: _take(t) for p, t in agent.takes.items()},
        "gives": agent.gives,
        "many": agent.many,
        "args": dict(agent.args),
        "implementations": [_implementation(r, beats, packages) for r in rows.values() if r.agent == agent.name],
    }


def _take(take: Take) -> dict[str, Any]:
    return {"type": take.type, "many": take.many, "optional": take.optional, "literal": take.literal}


def _implementation(row: Implementation, beats: Iterable[HostHeartbeat], packages: Mapping[str, str]) -> dict[str, Any]:
    key = (row.agent, row.name)
    here = lib.implementations().get(key)
    return {
        "name": row.name,
        "hardware": row.hardware,
        "slots": row.slots,
        "quality": row.quality,
        "package": lib.package_of(key) or packages.get("/".join(key), ""),
        "missing": lib.missing(here, os.environ) if here else "its package is not installed here",
        "hosts": sorted({b.host for b in beats if any((o.agent, o.implementation) == key for o in b.offers)}),
    }


# --- for people -----------------------------------------------------------------------------------------------------------------


def _lines(shown: Iterable[dict[str, Any]]) -> Iterable[str]:
    for agent in shown:
        takes = ", ".join(f"{p}: {t['type']}{_marks(t)}" for p, t in agent["takes"].items())
        package = "" if agent["package"] == OURS else f"   [{agent['package']}]"
        yield f"{agent['agent']}({takes}) -> {agent['gives']}{'…' if agent['many'] else ''}{package}"
        yield f"    {agent['description']}"
        required = agent["args"].get("required", ())
        for name, part in agent["args"].get("properties", {}).items():
            yield f"    {name}: {_argument(part, name in required)}"
        for row in agent["implementations"]:
            yield f"    {_way(row, agent['package'])}"
    yield "\n* can run here   - cannot, with the reason   … a collection   ? optional   ' may be the job's own words"


def _marks(take: Mapping[str, Any]) -> str:
    return "".join(mark for mark, name in (("…", "many"), ("?", "optional"), ("'", "literal")) if take[name])


def _argument(part: Mapping[str, Any], required: bool) -> str:
    kinds = [part, *part.get("anyOf", ())]
    kind = " or ".join(str(k["type"]) for k in kinds if "type" in k) or "any"
    if any(k.get("enum") for k in kinds):
        kind = " | ".join(json.dumps(v) for k in kinds for v in k.get("enum", ()))
    default = f" = {json.dumps(part['default'])}" if "default" in part else ""
    about = next((str(k["description"]) for k in kinds if "description" in k), "")
    return f"{kind}{default}{' (required)' if required else ''}{f'   {about}' if about else ''}"


def _way(row: Mapping[str, Any], of: str) -> str:
    line = f"{'-' if row['missing'] else '*'} {row['name']} on {row['hardware']}"
    line += f"   [{row['package']}]" if row["package"] != of else ""
    line += f": {row['missing']}" if row["missing"] else ""
    return line + (f"; offered by {', '.join(row['hosts'])}" if row["hosts"] else "")
