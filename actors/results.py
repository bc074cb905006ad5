"""Results of tasks in messages that a server takes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from ..bus.messages import TaskDone, TaskFailed

RESULTS_MAX = 256
"""Results in one message."""
BYTES_MAX = 600_000
"""Bytes of results in one message; NATS takes none over 1 MB."""
Result = tuple[str, TaskDone | TaskFailed]
"""The key of a task's delivery, and what the task came to."""


def parts(results: Iterable[Result]) -> Iterator[list[Result]]:
    """In order, as many in a part as fit; one that is too large for any is alone in its own."""
    part: list[Result] = []
    size = 0
    for key, result in results:
        more = len(msgspec.json.encode(result))
        if part and (len(part) >= RESULTS_MAX or size + more > BYTES_MAX):
            yield part
            part, size = [], 0
        part.append((key, result))
        size += more
    if part:
        yield part
