"""One client's conversation with a running Murakkab: upload, submit, follow, cancel. Everything goes by NATS subjects."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import mimetypes
import os
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ..bus import tracing
from ..bus.artifacts import Artifacts, hash_file
from ..bus.link import Link
from ..bus.messages import (
    ArtifactRef,
    CancelJob,
    Input,
    JobAccepted,
    JobLog,
    JobProgress,
    JobRefused,
    JobResult,
    Message,
    SubmitJob,
)
from ..bus.roles import address, inbox
from ..bus.subjects import subject_of, wildcard
from ..bus.wire import BadMessage, decode, encode
from .units import units_of

log = logging.getLogger("murakkab.client")

TENANT = "default"
ASK_EVERY_S = 3.0
LINES = {".jsonl": "application/jsonl", ".ndjson": "application/x-ndjson", ".md": "text/markdown"}
"""Files of text whose names the standard library does not know, or not everywhere."""
_JOB = re.compile(r"[A-Za-z0-9_-]{1,80}")


class BadRequest(ValueError):
    """The job cannot be submitted as it is: what is wrong, where, and what would be right."""


class Session:
    """Open with `Session.open`; one connection, many jobs."""

    def __init__(self, link: Link, tenant: str) -> None:
        self.link, self.tenant = link, tenant
        self.artifacts = Artifacts(link)

    @classmethod
    async def open(cls, url: str, *, tenant: str = TENANT, environ: Mapping[str, str] = os.environ) -> Session:
        """Raises Unreachable or BadAddress."""
        link = await Link.open(address(url, "client", environ), "murakkab-client", inbox=inbox("client"))
        return cls(link, tenant)

    async def close(self) -> None:
        await self.link.close()

    async def upload(self, path: Path) -> Input:
        """A file as an input of a job; its bytes go to the tenant's artifact store, in chunks. Raises BadRequest."""
        check_input(path)
        loop = asyncio.get_running_loop()
        digest, size = await loop.run_in_executor(None, hash_file, path)
        media_type = LINES.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        ref = ArtifactRef(digest, size, media_type)
        await self._until_ready(self.artifacts.store, ref, path)
        return Input(path.name, ref, await loop.run_in_executor(None, units_of, path))

    async def _until_ready(self, store: Any, ref: ArtifactRef, path: Path) -> None:
        """A system that has just been started may not have made the tenant's bucket yet."""
        end = self.link.loop.time() + 30
        while True:
            try:
                await store(self.tenant, ref, path)
                return
            except LookupError as error:
                if self.link.loop.time() > end:
                    raise BadRequest(str(error)) from None
                await asyncio.sleep(0.1)

    async def submit(self, job: SubmitJob, *, patience_s: float = 30.0) -> str:
        """The id of the accepted job. Asks again while nobody answers; the job's own id makes that harmless. Raises BadRequest."""
        data = encode(job)
        if len(data) > self.link.max_payload - 1_000:
            raise BadRequest(f"the job is {len(data)} bytes long; a message holds {self.link.max_payload}: give long material as an input")
        answer = await self._ask(job, patience_s)
        if isinstance(answer, JobAccepted):
            return answer.job
        raise BadRequest(answer.error if isinstance(answer, JobRefused) else f"strange answer: {answer}")

    async def cancel(self, job: str) -> None:
        """Raises BadRequest if there is no such job running."""
        check_job(job)
        answer = await self._ask(CancelJob(tenant=self.tenant, job=job), 10.0)
        if isinstance(answer, JobRefused):
            raise BadRequest(answer.error)

    async def _ask(self, msg: Message, patience_s: float) -> Message:
        end = self.link.loop.time() + patience_s
        headers = {tracing.HEADER: msg.traceparent} if isinstance(msg, SubmitJob) and msg.traceparent else None
        while True:
            try:
                return decode((await self.link.request(subject_of(msg), encode(msg), 5.0, headers)).data)
            except TimeoutError as error:
                if self.link.loop.time() > end:
                    raise BadRequest(f"nobody takes jobs here ({error}): is a conductor running?") from None
                await asyncio.sleep(0.2)

    async def follow(self, job: str) -> AsyncIterator[JobProgress | JobResult]:
        """Progress as it comes (some may be lost), and at last the result (never lost)."""
        queue: asyncio.Queue[JobProgress | JobResult] = asyncio.Queue()

        async def heard(msg: Any) -> None:
            with contextlib.suppress(BadMessage):
                news = decode(msg.data)
                if isinstance(news, JobProgress | JobResult):
                    queue.put_nowait(news)

        subs = [await self.link.subscribe(wildcard(kind, tenant=self.tenant, job=job), heard) for kind in (JobProgress, JobResult)]
        try:
            while True:
                stored = await self._stored_result(job)
                if stored is not None:
                    yield stored
                    return
                end = self.link.loop.time() + ASK_EVERY_S
                while (left := end - self.link.loop.time()) > 0:
                    try:
                        async with asyncio.timeout(left):  # never wait_for: before Python 3.12 it can lose a cancellation
                            news = await queue.get()
                    except TimeoutError:
                        break
                    yield news
                    if isinstance(news, JobResult):
                        return
        finally:
            for sub in subs:
                with contextlib.suppress(Exception):
                    await sub.unsubscribe()

    async def _stored_result(self, job: str) -> JobResult | None:
        """The result, if it was told while we were away."""
        try:
            found = await self.link.last(JobResult.stream, wildcard(JobResult, tenant=self.tenant, job=job))
        except TimeoutError:
            return None
        result = decode(found[1]) if found else None
        return result if isinstance(result, JobResult) else None

    async def unspill(self, value: Any, folder: Path) -> Any:
        """Outputs that were too large for a message, fetched."""
        if isinstance(value, dict) and "$artifact" in value:
            ref = msgspec.convert(value["$artifact"], ArtifactRef)
            return msgspec.json.decode((await self.artifacts.fetch(self.tenant, ref, folder)).read_bytes())
        return value

    async def log_of(self, job: str) -> list[JobLog]:
        """Everything that happened to a job. Empty if it is not known. Raises BadRequest for what is no job's id."""
        check_job(job)
        subject = wildcard(JobLog, tenant=self.tenant, job=job)
        return [m async for msg in self.link.replay(JobLog.stream, subject) if isinstance(m := decode(msg.data), JobLog)]


def check_job(name: str) -> None:
    """A job's id becomes part of a subject, where '*' and '>' would mean every job. Raises BadRequest."""
    if not _JOB.fullmatch(name):
        raise BadRequest(f"'{_short(name)}' is not the id of a job: 1 to 80 letters, digits, '-' and '_'")


def check_input(path: Path) -> None:
    """Raises BadRequest for a file that cannot be an input, before anything is started for it."""
    name = _short(str(path))
    try:
        if not path.exists():
            raise BadRequest(f"{name}: no such file")
        if not path.is_file():
            raise BadRequest(f"{name}: not a file")
        if path.stat().st_size == 0:
            raise BadRequest(f"{name}: the file is empty")
        with path.open("rb"):
            pass
    except OSError as error:
        raise BadRequest(f"{name}: {error.strerror or error}") from None


def _short(text: str) -> str:
    """For an error message; the end of a path says more than its start."""
    return text if len(text) <= 300 else f"...{text[-297:]}"
