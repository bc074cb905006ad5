"""Several hosts on one machine: Linux network namespaces, each with a cable to one switch, which can be pulled and plugged.

The switch is a bridge in a namespace of its own, so that nothing of this machine's own network is touched. Nothing leaves them.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

CLONE_NEWNET = 0x40000000
SUBNET = "10.91.0"


class NoNamespaces(RuntimeError):
    """Why this machine cannot play several hosts."""


class Net:
    """`hub` is the switch, at .1; the others are hosts, at .2 and so on. Close it whatever happens."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self.prefix = f"mk{os.getpid()}-"
        self.address = {name: f"{SUBNET}.{n}" for n, name in enumerate(("hub", *hosts), 1)}
        self._made: list[str] = []

    def open(self) -> None:
        """Raises NoNamespaces."""
        if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None:
            raise NoNamespaces("network namespaces need Linux, root, and iproute2's ip")
        _sweep()
        try:
            self._open()
        except subprocess.CalledProcessError as error:
            self.close()
            raise NoNamespaces(f"no network namespaces here: {error.stderr.decode().strip()}") from None

    def _open(self) -> None:
        for name in self.address:
            _ip("netns", "add", self.prefix + name)
            self._made.append(name)
            self._at(name, "link", "set", "lo", "up")
        self._at("hub", "link", "add", "switch", "type", "bridge")
        self._at("hub", "address", "add", f"{self.address['hub']}/24", "dev", "switch")
        self._at("hub", "link", "set", "switch", "up")
        for name, address in self.address.items():
            if name != "hub":
                self._at("hub", "link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", self.prefix + name)
                self._at("hub", "link", "set", f"to-{name}", "master", "switch", "up")
                self._at(name, "address", "add", f"{address}/24", "dev", "eth0")
                self._at(name, "link", "set", "eth0", "up")

    def close(self) -> None:
        while self._made:  # a namespace takes its devices with it, once no process is in it
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", self.prefix + self._made.pop())

    def cut(self, name: str) -> None:
        """As if the host's cable were pulled: neither side is told anything."""
        self._at("hub", "link", "set", f"to-{name}", "down")

    def mend(self, name: str) -> None:
        self._at("hub", "link", "set", f"to-{name}", "up")

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """This thread, and whatever it starts, is on that host: for setns(2), a namespace belongs to a thread."""
        with Path("/proc/thread-self/ns/net").open() as before, Path(f"/run/netns/{self.prefix}{name}").open() as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(before.fileno())

    def _at(self, name: str, *args: str) -> None:
        _ip("-netns", self.prefix + name, *args)


def _sweep() -> None:
    """Those of processes that were killed before they could clean up."""
    for left in Path("/run/netns").glob("mk*-*"):
        pid = left.name[2:].partition("-")[0]
        if pid.isdecimal() and not Path("/proc", pid).exists():
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", left.name)


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _ip(*args: str) -> None:
    subprocess.run(["ip", *args], check=True, capture_output=True, timeout=10)
