"""The job logs as a shell writes them: group commit, one write in flight a job, fenced by the expected last sequence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..bus.link import HEADER_EXPECT, Link
from ..bus.messages import JobLog, Record
from ..bus.subjects import subject_of
from ..bus.wire import encode

RECORDS_MAX = 2_000
"""Records in one stored message; keeps it under NATS's usual 1 MB also with outputs of a few hundred bytes."""
BYTES_MAX = 600_000


@dataclass(slots=True)
class _Entry:
    record: Record
    settles: tuple[str, ...]
    after: list[Callable[[], None]] = field(default_factory=list)


@dataclass(slots=True)
class _Log:
    tenant: str
    last: int = 0
    waiting: list[_Entry] = field(default_factory=list)
    flying: list[_Entry] = field(default_factory=list)
    armed: bool = False


class Journal:
    """What waits while a write is in flight goes out together with the next one; so a burst costs few stored messages."""

    def __init__(self, link: Link, writer: str, settle: Callable[[tuple[str, ...]], None], fenced: Callable[[str], None]) -> None:
        self.link, self.writer, self.settle, self.fenced = link, writer, settle, fenced
        self._logs: dict[str, _Log] = {}

    def seen(self, tenant: str, job: str, sequence: int) -> None:
        """Replay found this job's log to end at `sequence`."""
        self._logs.setdefault(job, _Log(tenant)).last = sequence

    def forget(self, job: str) -> None:
        log = self._logs.get(job)
        if log is not None and not log.waiting and not log.flying:
            del self._logs[job]

    def write(self, tenant: str, job: str, record: Record, settles: tuple[str, ...]) -> None:
        log = self._logs.setdefault(job, _Log(tenant))
        log.waiting.append(_Entry(record, settles))
        if not log.armed and not log.flying:
            log.armed = True
            self.link.loop.call_soon(self._flush, job)

    def after(self, job: str, then: Callable[[], None]) -> None:
        """Calls `then` once every record of the job so far is stored; at once when all are."""
        log = self._logs.get(job)
        if log is not None and log.waiting:
            log.waiting[-1].after.append(then)
        elif log is not None and log.flying:
            log.flying[-1].after.append(then)
        else:
            then()

    def _flush(self, job: str) -> None:
        log = self._logs[job]
        log.armed = False
        if log.flying or not log.waiting:
            return
        count = min(len(log.waiting), RECORDS_MAX)
        while True:
            msg = JobLog(tenant=log.tenant, job=job, records=tuple(e.record for e in log.waiting[:count]))
            data = encode(msg)
            if len(data) <= min(BYTES_MAX, self.link.max_payload * 6 // 10) or count == 1:
                break
            count //= 2
        log.flying, log.waiting = log.waiting[:count], log.waiting[count:]
        # the id carries the writer, so that another writer's record at the same place is a conflict, never "my duplicate"
        headers = {"Nats-Msg-Id": f"{self.writer}/{job}/{log.last}", HEADER_EXPECT: str(log.last)}
        self.link.store(subject_of(msg), data, headers, lambda seq, error: self._stored(job, seq, error))

    def _stored(self, job: str, sequence: int, error: str) -> None:
        if error:
            self.fenced(f"log of job {job}: {error}")
            return
        log = self._logs[job]
        log.last = sequence
        flown, log.flying = log.flying, []
        self.settle(tuple(key for entry in flown for key in entry.settles))
        self._flush(job)
        for entry in flown:
            for then in entry.after:
                then()
