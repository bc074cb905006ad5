"""Inside the sandbox, on the side of the strange code: it is run, and its functions are called for whoever examines it.

Everything that this side says is the strange code's word: it may have replaced any of this. Standard library only.
"""

from __future__ import annotations

import linecache
import os
import sys
import traceback
from types import ModuleType
from typing import Any

from .sandbox_plain import NotPlain, dumps, loads

NAME = "solution"
"""The module that strange code finds itself in."""
ERROR_MAX = 300


def load(code: str) -> dict[str, Any]:
    """Runs the code as a module and gives its names. Whatever it raises goes on."""
    module = ModuleType(NAME)
    sys.modules[NAME] = module
    file = f"<{NAME}>"
    linecache.cache[file] = (len(code), None, code.splitlines(True), file)  # so that inspect finds the source
    exec(compile(code, file, "exec"), module.__dict__)
    return module.__dict__


def said(error: BaseException, file: str = f"<{NAME}>") -> str:
    """An error in one line, with the last line of the code that it came through."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: {type(error).__name__}: {error.msg}"[:ERROR_MAX]
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    text = " ".join(str(error).split())
    return f"{f'line {lines[-1]}: ' if lines else ''}{type(error).__name__}{': ' if text else ''}{text}"[:ERROR_MAX]


def run(settings: dict[str, Any]) -> int:
    """The role `run`: one program, to its end. What it prints is all that comes of it."""
    try:
        load(settings["code"])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException as error:
        sys.stderr.write(said(error) + "\n")
        return 1
    return 0


def serve(settings: dict[str, Any]) -> int:
    """The role `serve`: runs the code, then answers calls until there are no more. Lines: {"ready"} or {"error"}; then for each call
    {"call", "of"} either {"value"} or {"raised", "error"}; values are written by `sandbox_plain`."""
    calls, answers = (os.fdopen(fd, mode, buffering=1) for fd, mode in zip(settings["pipes"], ("r", "w"), strict=True))

    def say(what: str, value: object, **more: str) -> None:
        answers.write(f"{dumps([what, value, more.get('error', '')])}\n")
        answers.flush()

    try:
        names = load(settings["code"])
    except BaseException as error:
        say("error", None, error=said(error))
        return 1
    say("ready", None)
    for line in calls:
        name, args, kwargs = loads(line)
        try:
            if name not in names:
                raise NameError(f"the code defines no '{name}'")
            value = names[name](*args, **kwargs)
            say("value", value)
        except NotPlain as error:
            say("raised", "TypeError", error=f"it gives {error}")
        except BaseException as error:
            say("raised", type(error).__name__, error=said(error))
    return 0
