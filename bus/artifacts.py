"""The artifact store: bytes by content hash, in a JetStream object-store bucket of each tenant.

Files stream through in chunks of 128 KB; nothing is ever held in memory whole. What a host has fetched once stays in its
folder under its hash, so stages on one host share it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from nats.js.api import ObjectMeta, ObjectStoreConfig
from nats.js.errors import APIError, NotFoundError

from .link import Link
from .messages import ArtifactRef

KEEP_S = 7 * 86_400.0
"""Artifacts go a week after they were stored, as job logs do."""


class ArtifactMissing(LookupError):
    """No such artifact in the tenant's bucket."""


def bucket(tenant: str) -> str:
    return f"artifacts_{tenant}"


async def make_bucket(link: Link, tenant: str, replicas: int = 1) -> None:
    """For whoever may create streams (the conductor). Raises NotMade."""
    await link.making(f"bucket {bucket(tenant)}", _make_bucket(link, tenant, replicas))


async def _make_bucket(link: Link, tenant: str, replicas: int) -> None:
    try:
        config = (await link.js.stream_info(f"OBJ_{bucket(tenant)}")).config
    except NotFoundError:
        await link.js.create_object_store(bucket(tenant), ObjectStoreConfig(ttl=KEEP_S, replicas=replicas))
        return
    if config.num_replicas != replicas:
        await link.js.update_stream(config, num_replicas=replicas)


def hash_file(path: Path) -> tuple[str, int]:
    """(lower-case hex SHA-256, size in bytes) of a file, read in blocks."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
            size += len(block)
    return digest.hexdigest(), size


def prune(folder: Path, now: float, *, bytes_max: int, keep_s: float = 3_600.0) -> int:
    """Deletes the files used longest ago until at most `bytes_max` are left; none used within `keep_s`. Returns bytes freed.

    They stay in the store; whoever needs one again fetches it again.
    """
    files = []
    for entry in os.scandir(folder):
        if entry.is_file(follow_symlinks=False):
            stat = entry.stat(follow_symlinks=False)
            files.append((stat.st_mtime, stat.st_size, entry.path))
    over, freed = sum(size for _, size, _ in files) - bytes_max, 0
    for used_at, size, path in sorted(files):
        if freed >= over or now - used_at < keep_s:
            break
        os.unlink(path)
        freed += size
    return freed


class Artifacts:
    """`folder`s given to `fetch` and `keep` must exist."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self._buckets: dict[str, Any] = {}
        self._stored: set[tuple[str, str]] = set()
        self._busy: dict[str, asyncio.Lock] = {}

    async def _bucket(self, tenant: str) -> Any:
        if tenant not in self._buckets:
            try:
                self._buckets[tenant] = await self.link.js.object_store(bucket(tenant))
            except (NotFoundError, APIError):
                raise ArtifactMissing(f"tenant '{tenant}' has no artifact store; is a conductor running?") from None
        return self._buckets[tenant]

    async def has(self, tenant: str, ref: ArtifactRef) -> bool:
        if (tenant, ref.sha256) in self._stored:
            return True
        try:
            await (await self._bucket(tenant)).get_info(ref.sha256)
        except NotFoundError:
            return False
        self._stored.add((tenant, ref.sha256))
        return True

    async def store(self, tenant: str, ref: ArtifactRef, path: Path) -> bool:
        """Takes a file to the store unless it is there; whether it took it."""
        async with self._busy.setdefault(ref.sha256, asyncio.Lock()):
            if await self.has(tenant, ref):
                return False
            with path.open("rb") as f:
                await (await self._bucket(tenant)).put(ref.sha256, f, ObjectMeta(name=ref.sha256, description=ref.media_type))
            self._stored.add((tenant, ref.sha256))
            return True

    async def fetch(self, tenant: str, ref: ArtifactRef, folder: Path) -> Path:
        """The artifact as `folder/<sha256>`, fetched if it is not there. Raises ArtifactMissing; OSError for a full disk."""
        path = folder / ref.sha256
        if path.exists():
            os.utime(path)  # in use: not among the first to go (`prune`)
            return path
        async with self._busy.setdefault(ref.sha256, asyncio.Lock()):
            if path.exists():
                return path
            part = folder / f".{ref.sha256[:16]}-{os.urandom(4).hex()}"
            try:
                await self._download(tenant, ref, part)
                part.rename(path)
            finally:
                part.unlink(missing_ok=True)
        return path

    async def _download(self, tenant: str, ref: ArtifactRef, part: Path) -> None:
        """Chunk by chunk, one in memory at a time: a slow disk slows the asking, and nothing piles up here."""
        try:
            info = await (await self._bucket(tenant)).get_info(ref.sha256)
        except NotFoundError:
            raise ArtifactMissing(f"artifact {ref.sha256[:12]} is not in the store") from None
        subject = f"$JS.API.DIRECT.GET.OBJ_{bucket(tenant)}"
        chunks = f"$O.{bucket(tenant)}.C.{info.nuid}"
        digest, size, sequence = hashlib.sha256(), 0, 1
        loop = asyncio.get_running_loop()
        with part.open("wb") as f:
            while size < ref.size:
                ask = json.dumps({"seq": sequence, "next_by_subj": chunks}).encode()
                msg = await self.link.request(subject, ask, 10.0)
                if not msg.headers or "Nats-Sequence" not in msg.headers:
                    break
                sequence = int(msg.headers["Nats-Sequence"]) + 1
                size += len(msg.data)
                digest.update(msg.data)
                await loop.run_in_executor(None, f.write, msg.data)
        if digest.hexdigest() != ref.sha256:
            raise ArtifactMissing(f"artifact {ref.sha256[:12]} in the store has other bytes than its name says ({size} of {ref.size})")

    @staticmethod
    def keep(data: bytes, folder: Path, media_type: str) -> ArtifactRef:
        """Small bytes as a local artifact."""
        ref = ArtifactRef(hashlib.sha256(data).hexdigest(), len(data), media_type)
        path = folder / ref.sha256
        if not path.exists():
            part = folder / f".{ref.sha256[:16]}-{os.urandom(4).hex()}"
            part.write_bytes(data)
            part.rename(path)
        return ref
