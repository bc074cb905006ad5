"""Message ids: what JetStream may take for the same message sent twice."""

from __future__ import annotations

from .messages import Index, JobResult, Message, TaskReady


def dotted(index: Index) -> str:
    """(1, 2) -> "1.2"; () -> "-"."""
    return ".".join(map(str, index)) or "-"


def message_id(msg: Message, unique: str) -> str:
    """Ids that follow from the content where a restart may say the same again; else `unique` to this publish."""
    match msg:
        case TaskReady():
            return f"{msg.job}/{msg.stage}/{dotted(msg.index)}/{msg.attempt}"
        case JobResult():
            return f"{msg.job}/result"
    return unique
