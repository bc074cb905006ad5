"""`murakkab library` and `murakkab doctor`: what there is, what is missing, and how to get it. Nothing is loaded."""

from __future__ import annotations

import json
import os
import platform
import sys

from ..agents import library as lib
from ..agents.devices import cpu_device, gpu_devices
from ..bus.server import NoServer, find_binary


def library(as_object: bool) -> int:
    agents, rows = lib.agents(), lib.implementations()
    if as_object:
        print(json.dumps([_agent_object(a, rows) for a in agents.values()]))
        return 0
    for agent in agents.values():
        takes = ", ".join(f"{p}: {t.type}{'…' if t.many else ''}{'?' if t.optional else ''}" for p, t in agent.takes.items())
        print(f"{agent.name}({takes}) -> {agent.gives}{'…' if agent.many else ''}\n    {agent.summary}")
        for row in rows.values():
            if row.agent == agent.name:
                reason = lib.missing(row, os.environ)
                print(f"    {'-' if reason else '*'} {row.name} on {row.hardware}{': ' + reason if reason else ''}")
    print("\n* can run here   - cannot, with the reason   … a collection   ? optional")
    return 0


def _agent_object(agent: lib.Agent, rows: dict[tuple[str, str], lib.Implementation]) -> dict[str, object]:
    return {
        "agent": agent.name,
        "summary": agent.summary,
        "takes": {p: {"type": t.type, "many": t.many, "optional": t.optional} for p, t in agent.takes.items()},
        "gives": agent.gives,
        "many": agent.many,
        "args": dict(agent.args),
        "implementations": [
            {"name": r.name, "hardware": r.hardware, "slots": r.slots, "quality": r.quality, "missing": lib.missing(r, os.environ)}
            for r in rows.values()
            if r.agent == agent.name
        ],
    }


def doctor(as_object: bool, nats: str) -> int:
    """Exit status 1 when the video job cannot run here."""
    cpu = cpu_device()
    gpus, note = gpu_devices()
    try:
        server, server_note = find_binary(os.environ), ""
    except NoServer as error:
        server, server_note = "", str(error)
    rows = lib.implementations()
    missing = {f"{a} by {n}": lib.missing(r, os.environ) for (a, n), r in rows.items()}
    able = {a for (a, n), r in rows.items() if not lib.missing(r, os.environ)}
    without = [a for a in lib.agents() if a not in able]
    facts = {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "memory_mb": cpu.memory_mb,
        "gpus": [g.name for g in gpus],
        "gpu_note": note,
        "nats_server": server,
        "nats_note": server_note,
        "agents_without_implementation": without,
        "missing": {k: v for k, v in missing.items() if v},
    }
    if as_object:
        print(json.dumps(facts))
    else:
        print(f"Python {facts['python']} at {sys.executable}\n{facts['cores']} cores, {cpu.memory_mb} MB of memory")
        print("\n".join(f"GPU {g.name}, {g.memory_mb} MB" for g in gpus) or note)
        print(f"nats-server: {server or server_note}")
        for name, reason in missing.items():
            print(f"  {'missing' if reason else 'ok':<8} {name}{': ' + reason if reason else ''}")
        print("Every agent has an implementation here." if not without else f"No implementation here for: {', '.join(without)}")
    return 1 if without or (not server and not nats) else 0
