"""Three nats-servers as one, of the files that docs/cluster.md and the chart start, on free loopback ports."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from murakkab.bus.roles import make_passwords, save
from murakkab.bus.server import CONF, NatsServer

OURS = CONF.parent / "deploy" / "nats-cluster.conf"
NAMES = ("one", "two", "three")


class Cluster:
    def __init__(self, folder: Path, more: tuple[str, ...] = ()) -> None:
        folder.mkdir()
        for conf in (CONF, OURS):
            shutil.copy(conf, folder)
        passwords = make_passwords()
        self.credentials = folder / "credentials.json"
        save(passwords, self.credentials)
        with ExitStack() as held:
            ports = [held.enter_context(_free_port()) for _ in range(2 * len(NAMES))]
        routes = ", ".join(f"nats://routes:p0@127.0.0.1:{port}" for port in ports[:3])
        self.servers: dict[str, NatsServer] = {}
        for name, port, route in zip(NAMES, ports[3:], ports[:3], strict=True):
            server = NatsServer(folder / name, passwords, port=port, conf=folder / OURS.name, more=more)
            server.env |= {
                "MK_SERVER": name,
                "MK_PASSWORD_ROUTES": "p0",
                "MK_ROUTES": f"[{routes}]",
                "MK_CLUSTER_LISTEN": f"127.0.0.1:{route}",
            }
            self.servers[name] = server

    @property
    def url(self) -> str:
        return ",".join(server.url for server in self.servers.values())


@contextmanager
def _free_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@contextmanager
def cluster(folder: Path, more: tuple[str, ...] = ()) -> Iterator[Cluster]:
    made = Cluster(folder, more)
    with ExitStack() as stop:
        for server in made.servers.values():
            stop.callback(server.stop)
            server.start()
        yield made
