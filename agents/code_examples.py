"""Examples in words about a function: `>>> f(2)` with the value below, or `f(2) == 4`, `f(2) ➞ 4`, `f(2) should return 4`. Pure."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

GIVES = re.compile(r"\s*(?:==|=>|=|➞|→|->|should\s+(?:return|give|be|equal)|returns?|gives?|is)\s*", re.IGNORECASE)
AFTER = re.compile(r"\s*($|[.,;:#\"')}(])|\s+[a-zA-Z]")
"""What may follow a value; an operator may not, for then the value is only a part of what is meant."""
LINE_MAX = 400
"""A longer line is not an example that somebody wrote to be read."""


def examples(text: str, name: str = "") -> tuple[tuple[int, str, str], ...]:
    """(line, call, expected) of every example whose arguments and value are literals; of the function `name`, or of any when empty."""
    lines = text.splitlines()
    found: list[tuple[int, str, str]] = []
    for i, line in enumerate(lines):
        if len(line) > LINE_MAX or re.match(r"\s*(def|class|from|import)\b", line):
            continue
        for call, rest in _calls(line, name):
            if line.lstrip().startswith(">>>") and not rest.strip():
                expected = _below(lines[i + 1 :])
            else:
                gives = GIVES.match(rest)
                expected = _value(rest[gives.end() :]) if gives else ""
            if expected:
                found.append((i + 1, call, expected))
    return tuple(dict.fromkeys(found))


def called(found: tuple[tuple[int, str, str], ...]) -> str:
    """The one function that all examples call, else empty."""
    names = {call.partition("(")[0] for _, call, _ in found}
    return names.pop() if len(names) == 1 else ""


def _calls(line: str, name: str) -> Iterator[tuple[str, str]]:
    """Calls with literal arguments, each with the rest of its line."""
    named = re.escape(name) if name else r"[A-Za-z_]\w*"
    for start in re.finditer(rf"(?<![\w.]){named}\(", line):
        for end in (m.end() for m in re.finditer(r"\)", line) if m.end() > start.end()):
            call = line[start.start() : end]
            try:
                node = ast.parse(call, mode="eval").body
            except (SyntaxError, ValueError, MemoryError, RecursionError):
                continue
            if isinstance(node, ast.Call) and all(_literal(x) for x in [*node.args, *(k.value for k in node.keywords)]):
                yield call, line[end:]
            break


def _below(lines: list[str]) -> str:
    """What a doctest expects: the lines up to an empty one, the next example, or the docstring's end."""
    taken: list[str] = []
    for line in lines:
        if not line.strip() or line.lstrip().startswith((">>>", '"""', "'''")) or len(line) > LINE_MAX:
            break
        taken.append(line.strip())
    return "\n".join(taken)


def _literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def _value(text: str) -> str:
    """The longest literal that the text begins with, as it is written; empty when there is none."""
    for end in range(len(text), 0, -1):
        part = text[:end]
        if part.strip() != part or part.endswith(".") or not AFTER.match(text[end:]):
            continue
        try:
            node = ast.parse(part, mode="eval").body
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            continue
        bare = isinstance(node, ast.Tuple) and not part.startswith("(")  # `4, f(5) == 6`: the comma is the sentence's
        if bare or node.end_col_offset != len(part.encode(errors="replace")) or not _literal(node):
            continue
        return part
    return ""
