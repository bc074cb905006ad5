"""Python inside what a language model wrote, and inside a task. Pure: the code is read, never run."""

from __future__ import annotations

import ast
import re
import textwrap
import warnings

FENCE = re.compile(r"```[\w+-]*[ \t]*\n(.*?)(^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)
START = re.compile(r"^(?:def |async def |class |import |from \w+ import|@\w)", re.MULTILINE)
CUT_LINES, PROSE_LINES = 15, 200
"""How many last lines may go: of a block that was cut off, for the statement that it was cut off in; of an answer without a block, for what
follows the code. A block with its end stays as it is: what is wrong in it is the model's mistake, to be seen and repaired."""
CODE_MAX = 50_000
"""Characters; a longer answer is cut."""


def parsed(code: str) -> ast.Module | None:
    """The syntax tree, or None. Warnings about odd code are not ours to give."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def functions(code: str) -> list[str]:
    """Names of the functions that the code defines at its top level, in order; none when it is not Python."""
    tree = parsed(code) or parsed(code.rstrip() + "\n    pass\n")
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)] if tree else []


def code_of(answer: str, prompt: str, entry_point: str) -> str:
    """The candidate in a model's answer to a task.

    A fenced block that defines the function is best, then any fenced block, then the answer from its first line of Python. What does not
    define the function is taken for its body. The prompt's imports and helpers go before it, and what was cut off at the end goes away.
    """
    answer = answer[:CODE_MAX].replace("\r\n", "\n")
    blocks = [(body, CUT_LINES if not end else 0) for body, end in FENCE.findall(answer) if body.strip()]
    text, loose = next((b for b in blocks if _defines(b[0], entry_point)), blocks[0] if blocks else (answer, PROSE_LINES))
    if not blocks and (start := START.search(text)):
        text = text[start.start() :]
    text = textwrap.dedent(text).strip("\n")
    if _defines(text, entry_point) or entry_point not in functions(prompt):
        return whole(f"{_before(prompt, entry_point)}{text}\n", entry_point, loose)
    return whole(f"{prompt.rstrip()}\n{textwrap.indent(text, '    ')}\n", entry_point, loose)


def whole(code: str, entry_point: str, most: int) -> str:
    """The code without its last lines, as few as make it Python that still defines the function; as it is when `most` are not enough."""
    lines = code.splitlines()
    for end in range(len(lines), max(0, len(lines) - most - 1), -1):
        part = "\n".join(lines[:end]) + "\n"
        if entry_point and not _defines(part, entry_point):
            break
        if parsed(part) is not None:
            return part
    return code


def _defines(code: str, name: str) -> bool:
    return bool(re.search(rf"^\s*(?:async )?def {re.escape(name)}\b" if name else r"^\s*(?:async )?def ", code, re.MULTILINE))


def _before(prompt: str, name: str) -> str:
    """What stands before the function in the prompt: imports and helpers."""
    tree = parsed(prompt) or parsed(prompt.rstrip() + "\n    pass\n")
    if tree is None or not name:
        return ""
    starts = [node.lineno for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name]
    return "".join(line + "\n" for line in prompt.splitlines()[: starts[0] - 1]).lstrip("\n") if starts else ""
