"""A connection on which nothing moves any more, with much that is unsent: the link lets go of it, and closes in time."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats.errors
import pytest

from murakkab.bus.link import Link
from murakkab.bus.roles import address, inbox, make_passwords, save
from murakkab.bus.server import NatsServer

pytestmark = [pytest.mark.live, pytest.mark.anyio]


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[NatsServer]]:
    """Two that know nothing of each other, with the same users."""
    passwords = make_passwords()
    save(passwords, tmp_path / "credentials.json")
    made = [NatsServer(tmp_path / name, passwords) for name in ("one", "two")]
    try:
        for server in made:
            server.start()
        yield made
    finally:
        for server in made:
            server.kill()


async def _link(servers: list[NatsServer], tmp_path: Path) -> tuple[Link, NatsServer]:
    """A link, with megabytes on their way to a server that has stopped reading."""
    url = ",".join(server.url for server in servers)
    link = await Link.open(
        address(url, "worker", {"MURAKKAB_CREDENTIALS": str(tmp_path / "credentials.json")}), "test", inbox=inbox("worker")
    )
    ours = next(s for s in servers if link.nc.connected_url is not None and link.nc.connected_url.port == s.port)
    assert ours.process is not None
    ours.process.send_signal(signal.SIGSTOP)
    for _ in range(40):
        link.publish("mk.v1.host.far.beat", b" " * 500_000)
    await asyncio.sleep(0.1)
    transport: Any = link.nc._transport
    assert transport._io_writer.transport.get_write_buffer_size() > 1_000_000
    return link, ours


# the client library leaves the socket of an attempt that was never answered to the garbage collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_it_goes_on_with_another_server(servers: list[NatsServer], tmp_path: Path) -> None:
    link, ours = await _link(servers, tmp_path)
    try:
        await link.nc._process_op_err(nats.errors.StaleConnectionError())  # what two unanswered pings come to, half a minute later
        async with asyncio.timeout(20):
            while not (link.nc.is_connected and link.nc.connected_url is not None and link.nc.connected_url.port != ours.port):
                await asyncio.sleep(0.05)
    finally:
        await link.close()


async def test_it_closes_in_time(servers: list[NatsServer], tmp_path: Path) -> None:
    link, _ = await _link(servers, tmp_path)
    async with asyncio.timeout(15):
        await link.close()
