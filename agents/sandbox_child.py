"""The first file that a sandboxed interpreter runs: it makes the sandbox's modules importable there, and nothing else.

That interpreter is isolated (`-I -S`): it sees neither this package nor this folder, whose `types.py` would hide Python's own. So
the folder becomes a package named `box`, whose modules find each other by relative imports as they do here.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

if __name__ == "__main__":
    package = ModuleType("box")
    package.__path__ = [str(Path(__file__).resolve().parent)]
    sys.modules["box"] = package
    import_module("box.sandbox_launch").main()
