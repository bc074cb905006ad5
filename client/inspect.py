"""`murakkab doctor`: what this machine has, what is missing, and how to get it. Nothing is loaded."""

from __future__ import annotations

import json
import os
import platform
import sys

from ..agents import library as lib
from ..agents.devices import cpu_device, gpu_devices
from ..bus.server import NoServer, find_binary


def doctor(as_object: bool, nats: str) -> int:
    """Exit status 1 when the video job cannot run here."""
    cpu = cpu_device()
    gpus, note = gpu_devices()
    try:
        server, server_note = find_binary(os.environ), ""
    except NoServer as error:
        server, server_note = "", str(error)
    lib.with_mcp(os.environ)
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
        "package_problems": list(lib.problems()),
    }
    if as_object:
        print(json.dumps(facts))
    else:
        print(f"Python {facts['python']} at {sys.executable}\n{facts['cores']} cores, {cpu.memory_mb} MB of memory")
        print("\n".join(f"GPU {g.name}, {g.memory_mb} MB" for g in gpus) or note)
        print(f"nats-server: {server or server_note}")
        for name, reason in missing.items():
            print(f"  {'missing' if reason else 'ok':<8} {name}{': ' + reason if reason else ''}")
        for problem in lib.problems():
            print(f"  left out {problem}")
        every = "Every agent has an implementation here." if lib.agents() else "The library is empty: no job can be done here."
        print(every if not without else f"No implementation here for: {', '.join(without)}")
    return 1 if without or not lib.agents() or (not server and not nats) else 0
