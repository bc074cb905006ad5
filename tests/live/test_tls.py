"""The way to NATS encrypted, with a certificate of one's own authority, as docs/cluster.md says."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from toys import fan

from murakkab.bus.messages import JobResult, SubmitJob
from murakkab.bus.roles import make_passwords, save
from murakkab.bus.server import NatsServer
from murakkab.client.session import Session
from murakkab.client.system import System

pytestmark = [pytest.mark.live, pytest.mark.anyio]


def _openssl(*args: str) -> None:
    subprocess.run(["openssl", *args], check=True, capture_output=True, timeout=60)


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """A folder with ca.crt, and a key and certificate of 127.0.0.1 by it."""
    if shutil.which("openssl") is None:
        pytest.skip("certificates are made with openssl, which is not there")
    d = tmp_path / "keys"
    d.mkdir()
    ec = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    _openssl("req", "-x509", *ec, "-keyout", f"{d}/ca.key", "-out", f"{d}/ca.crt", "-subj", "/CN=ours", "-days", "2")
    names = ("-subj", "/CN=nats", "-addext", "subjectAltName=IP:127.0.0.1")
    _openssl("req", *ec, "-keyout", f"{d}/nats.key", "-out", f"{d}/nats.csr", *names)
    by = ("-CA", f"{d}/ca.crt", "-CAkey", f"{d}/ca.key", "-CAcreateserial", "-copy_extensions", "copy", "-days", "2")
    _openssl("x509", "-req", "-in", f"{d}/nats.csr", "-out", f"{d}/nats.crt", *by)
    return d


@pytest.fixture
def server(authority: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NatsServer]:
    passwords = make_passwords()
    save(passwords, tmp_path / "credentials.json")
    monkeypatch.setenv("MURAKKAB_CREDENTIALS", str(tmp_path / "credentials.json"))
    monkeypatch.setenv("MURAKKAB_HOME", str(tmp_path))
    tls = ("--tls", "--tlscert", f"{authority}/nats.crt", "--tlskey", f"{authority}/nats.key")
    made = NatsServer(tmp_path / "nats", passwords, more=tls)
    made.start()
    yield made
    made.stop()


async def test_a_job_over_tls(server: NatsServer, authority: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.crt"))
    url = server.url.replace("nats://", "tls://")
    async with System(tmp_path / "system", url=url):
        session = await Session.open(url)
        try:
            job = await session.submit(SubmitJob(tenant="default", description="", workflow=fan(10, 10), job="secret"))
            async with asyncio.timeout(60):
                results = [n async for n in session.follow(job) if isinstance(n, JobResult)]
            assert [(r.status, r.error) for r in results] == [("done", "")]
        finally:
            await session.close()


async def test_a_server_of_an_unknown_authority_is_refused(server: NatsServer) -> None:
    argv = [sys.executable, "-m", "murakkab.client.cli", "status", "--nats", server.url.replace("nats://", "tls://")]
    environ = {k: v for k, v in os.environ.items() if k != "SSL_CERT_FILE"}
    process = await asyncio.create_subprocess_exec(*argv, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    async with asyncio.timeout(60):
        out, said = await process.communicate()
    assert process.returncode == 1, out
    assert "certificate verify failed" in said.decode()
    assert len(said.decode().splitlines()) == 1
