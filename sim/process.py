"""One process of the simulated world: the real actor, the real shell and the real link, on a simulated connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from ..actors.core import Actor, Command, Errand, Event
from ..actors.shell import Fenced, Shell
from ..bus.link import Link
from .clock import Loop
from .connection import Connection

Report = Callable[["Process", Event, list[Command]], None]


class ActorShell(Shell):
    """The real shell with virtual time, a name without dice, and no forgiveness for an actor that fails."""

    process: Process

    def deliver(self, event: Event, trace: str = "") -> None:
        self._trace = trace
        commands: list[Command] = []
        try:
            for command in self.actor.on(event, self.process.loop.clock.wall):
                commands.append(command)
                self._act(command)
        except Exception as error:
            self.process.fail(error)
        self._trace = ""
        self.process.report(self.process, event, commands)


class Process:
    """Lives from its start to its kill; a restart is a new one."""

    def __init__(
        self,
        name: str,
        role: str,
        loop: Loop,
        connection: Connection,
        fail: Callable[[BaseException], None],
        report: Report,
        exited: Callable[[Process, BaseException | None], None],
    ) -> None:
        self.name, self.role, self.loop, self.connection = name, role, loop, connection
        self.fail, self.report, self.exited = fail, report, exited
        self.actor: Actor | None = None
        self.link: Link | None = None
        self.shell: ActorShell | None = None

    def open(self) -> Link:
        """As Link.open, after the connection is there. Must run inside the process's loop."""
        link = self.link = Link(cast(Any, self.connection), self.connection.inbox)
        link._ack_prefix = self.connection.new_inbox()
        return link

    async def listen(self) -> None:
        link = self.link
        assert link is not None
        await link.subscribe(link._ack_prefix + ".*", link._on_stored)
        link.spawn(link._resend())

    async def run(self, actor: Actor, errands: dict[type[Errand], Any], lease_s: float) -> None:
        link = self.open()
        try:
            await self.listen()
        except TimeoutError as error:
            self.exited(self, error)
            return
        self.actor = actor
        shell = self.shell = ActorShell(actor, link, errands, lease_s=lease_s)
        shell.process = self
        shell.writer = shell.journal.writer = self.name
        try:
            await shell.run()
        except (Fenced, TimeoutError) as error:  # what main.py ends on, too
            self.exited(self, error)

    def reconnected(self) -> None:
        self.connection.mended()
        if self.link is not None:
            self.loop.run(self.link._reconnected())
