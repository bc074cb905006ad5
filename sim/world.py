"""The simulated world: the server, the processes of all roles, the clients, and whoever kills, cuts and restarts them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from msgspec import to_builtins

from ..actors.clustermgr import ClusterManager
from ..actors.conductor import Conductor
from ..actors.core import Actor, Command, Event, Woke
from ..actors.optimizer import Optimize, Optimizer, Refusal, optimized
from ..actors.pools import AHEAD, UNKNOWN_SLOTS
from ..actors.worker import Worker
from ..agents import library
from ..agents.library import Implementation
from ..agents.machine import Machine
from ..bus.messages import JobResult, LibraryOffered, Offer, Plan
from ..bus.subjects import pool as pool_name
from ..client.session import BadRequest, Session
from ..optimizer.prices import Prices
from ..planner.library import Library
from .bus import Server
from .clock import Clock, Loop
from .connection import Connection
from .errands import Host
from .faults import Faults
from .ledger import Broken, Ledger
from .moving import ByTurns, rows
from .planning import Planning
from .policy import PolicyPlanner
from .process import Process
from .scenarios import Ask, Scenario
from .story import Story

LEASE_S = 10.0
Makers = Mapping[str, Callable[..., Actor]]
"""Role to actor class: the real ones, or broken ones where a test wants to see the ledger bark."""


async def search_at_once(errand: Optimize, _: str) -> Plan | Refusal:
    """In no virtual time."""
    return optimized(errand)


ACTORS: Makers = {"conductor": Conductor, "planner": PolicyPlanner, "optimizer": Optimizer, "clustermgr": ClusterManager, "worker": Worker}
REVOKE_EVERY_S = 25.0
KNOWN_S = 15.0
MOVING: Makers = {"optimizer": ByTurns}
UNAVAILABLE = frozenset({"openai-whisper/tiny.en", "clip", "openai-compatible", "vllm", "llama.cpp-server"})
"""Implementations that simulated hosts do not offer: one of each agent is left."""
BROUGHT = Implementation("brought-sleep", "Sleep", "simulated:Brought", slots=8, memory_mb=30, quality=1.0, work_s=0.0, load_s=0.1)
"""What the first host brings along: nobody else knows it but by the bus. It loads faster than ours, so it is what is chosen."""


class World:
    """`broken` is the first promise that did not hold; then the run is over."""

    def __init__(
        self,
        dice: Random,
        faults: Faults,
        asks: list[list[Ask]],
        hosts: int,
        ledger: Ledger,
        story: Story,
        makers: Makers,
        rules: Scenario,
    ) -> None:
        self.dice, self.faults, self.ledger, self.story, self.makers, self.rules = dice, faults, ledger, story, makers, rules
        ledger.serves = self._serves
        self.clock = Clock()
        story.clock = self.clock
        self.server = Server(self.clock, dice, faults, ledger, story.note)
        self.library = library.implementations()
        self.broken: Broken | None = None
        self.processes: dict[str, Process] = {}
        self.hosts: dict[str, Host] = {}
        self.asks = asks
        self.heard: dict[str, JobResult] = {}
        """What the clients were told."""
        self.refused: dict[str, str] = {}
        self.chaos = True
        self.kills = self.events = 0
        self._lives = 0
        self._cut_until: dict[str, float] = {}
        self._up_since: dict[str, float] = {}
        self._leaving: set[str] = set()
        """Hosts that have said that they leave, or will be taken away."""
        self._offers: dict[str, frozenset[str]] = {}
        """Host to the pools that it offers."""
        self._spot = f"worker-{hosts - 1}"
        self._loses_news = bool(faults.drop or faults.late or faults.partition_every_s or faults.bus_restart_every_s)
        self._released: dict[str, int] = {}
        self.names = ["conductor", "planner", "optimizer", "clustermgr", *(f"worker-{n}" for n in range(hosts))]

    def begin(self) -> None:
        for name in self.names:
            self.clock.after(self.dice.random() * 0.2, self.start, name)
        for n in range(len(self.asks)):
            self.clock.after(0.0, self._start_client, n)
        for every_s, what in (
            (self.faults.crash_every_s, self._crash_some),
            (self.faults.bus_restart_every_s, self._restart_bus),
            (self.faults.partition_every_s, self._partition_some),
            (REVOKE_EVERY_S if self.rules.moving else 0.0, self._revoke),
        ):
            if every_s:
                self._again(every_s, what)

    def step(self) -> bool:
        """Runs one event; False when there is none, or a promise is broken."""
        try:
            return self.clock.step() and self.broken is None
        except Broken as error:
            self.break_(error)
            return False

    def break_(self, error: BaseException) -> None:
        if self.broken is None:
            broken = error if isinstance(error, Broken) else Broken(f"{type(error).__name__}: {error}")
            if broken is not error:
                broken.__cause__ = error
            self.broken = broken
            self.story.note("!", f"BROKEN: {broken}")

    # --- processes ----------------------------------------------------------------------------------------------------------------

    def start(self, name: str) -> None:
        if name in self.processes:
            return
        if not self.server.up:
            self.clock.after(0.2, self.start, name)
            return
        role = name.partition("-")[0]
        process = self._process(name, role)
        self._up_since[name] = self.clock.now
        self._leaving.discard(name)
        actor, errands = self._make(name, role)
        self.story.note(name, "starts")
        process.loop.run(process.run(actor, errands, LEASE_S))

    def _process(self, name: str, role: str) -> Process:
        self._lives += 1
        loop = Loop(self.clock, self.break_)
        connection = Connection(self.server, name, loop, f"_INBOX.{role}.{self._lives}", self.rules.max_payload)
        process = Process(f"{name}.{self._lives}", role, loop, connection, self.break_, self._after_event, self._exited)
        self.processes[name] = process
        return process

    def _make(self, name: str, role: str) -> tuple[Actor, Any]:
        make = self.makers[role]
        match role:
            case "conductor":
                self._released = {}
                return make(self.rules.tenants, self.library), {}
            case "planner":
                return make(Library(library.agents(), library.lattice())), Planning(self.dice).errands
            case "optimizer":
                return make(library.agents(), self.library, Prices({})), {Optimize: search_at_once}
            case "clustermgr":
                return make(self.library), {}
        number = int(name.partition("-")[2])
        more = rows(number) if self.rules.moving else (BROUGHT,) if number == 0 else ()
        known = {**self.library, **{(row.agent, row.name): row for row in more}}
        host = self.hosts[name] = Host(self.clock, self.dice, self.faults, known, 16_000)
        missing = UNAVAILABLE | ({"sleep", "spread"} if self.rules.moving and number else set())
        offers = tuple(Offer(a, n, row.hardware) for (a, n), row in known.items() if n not in missing)
        self._offers[name] = frozenset(pool_name(o.agent, o.implementation, o.hardware) for o in offers)
        brings = LibraryOffered(host=name, implementations=tuple(to_builtins(row) for row in more))
        machine = Machine("spot" if self.rules.moving and name == self._spot else "on-demand")
        return make(name, known, offers, Prices({}), 4, brings, machine, run=f"{name}/{self._lives}"), host.errands

    def kill(self, name: str) -> None:
        """As by kill -9; half of the time also what it had just written is lost."""
        process = self.processes.pop(name, None)
        if process is None:
            return
        self.kills += 1
        self.story.note(name, "is killed")
        process.connection.close(lose=self.dice.random() < 0.5)
        process.loop.kill()
        self.hosts.pop(name, None)

    def end(self) -> None:
        for process in self.processes.values():
            process.loop.kill()

    def _exited(self, process: Process, error: BaseException | None) -> None:
        """It ended by itself (fenced, or nobody answered); something starts it again."""
        name = process.connection.name
        self.story.note(name, f"ends: {type(error).__name__}: {error}")
        self.clock.after(0.0, self.kill, name)
        self.clock.after(0.5, self.start, name)

    def _after_event(self, process: Process, event: Event, commands: list[Command]) -> None:
        """Every actor's own promises, after each of its events."""
        self.events += 1
        self.story.event(process.connection.name, event, commands)
        actor = process.actor
        assert actor is not None
        try:
            actor.check()
            if isinstance(actor, Conductor):
                self._check_pools(actor)
            elif isinstance(actor, Worker) and process.connection.name in self.hosts:
                self._check_slots(process.connection.name)
        except Exception as error:
            self.break_(error)

    def _check_pools(self, conductor: Conductor) -> None:
        """Nothing is released to a pool beyond its limit."""
        for name, pool in conductor.state.pools.pools.items():
            before, self._released[name] = self._released.get(name, 0), len(pool.released)
            if before < len(pool.released) > AHEAD * max(pool.slots, UNKNOWN_SLOTS):
                raise Broken(f"{len(pool.released)} tasks are released to pool {name} with {pool.slots} slots")

    def _check_slots(self, name: str) -> None:
        for id_, held in self.hosts[name].instances.items():
            if len(held.tasks) > held.slots:
                raise Broken(f"instance {id_} of {name} runs {len(held.tasks)} tasks in {held.slots} slots")

    # --- clients ------------------------------------------------------------------------------------------------------------------

    def _start_client(self, n: int) -> None:
        process = self._process(f"client-{n}", "client")
        process.loop.run(self._client(process, self.asks[n]))

    async def _client(self, process: Process, asks: list[Ask]) -> None:
        link = process.open()
        await process.listen()
        for ask in asks:
            session = Session(link, ask.job.tenant)
            process.loop.call_later(ask.at_s, lambda s=session, a=ask: process.loop.run(self._ask(process, s, a)))

    async def _ask(self, process: Process, session: Session, ask: Ask) -> None:
        name = ask.job.job
        self.story.note(process.connection.name, f"submits {name}")
        while True:
            try:
                await session.submit(ask.job)
                break
            except BadRequest as error:
                if "nobody takes jobs" not in str(error):
                    self.refused[name] = str(error)
                    return
        self.story.note(process.connection.name, f"knows that {name} is accepted")
        if name not in self.ledger.accepted:
            raise Broken(f"a client was told that {name} is accepted, and it was not")
        if ask.cancel_after_s is not None:
            process.loop.call_later(ask.cancel_after_s, lambda: process.loop.run(self._cancel(session, name)))
        async for news in session.follow(name):
            if isinstance(news, JobResult):
                self.heard[name] = news
                self.story.note(process.connection.name, f"has the result of {name}: {news.status} {news.error}")
                if self.ledger.jobs[name].result != news:
                    raise Broken(f"a client was given another result of {name} than the stored one")

    async def _cancel(self, session: Session, name: str) -> None:
        try:
            await session.cancel(name)
        except BadRequest:
            return

    # --- faults -------------------------------------------------------------------------------------------------------------------

    def _again(self, every_s: float, what: Callable[[], None]) -> None:
        def due() -> None:
            if self.chaos:
                what()
                self._again(every_s, what)

        self.clock.after(self.dice.expovariate(1 / every_s), due)

    def _crash_some(self) -> None:
        name = self.dice.choice([*self.names, "conductor", "conductor"])
        process = self.processes.get(name)
        lasts_s = 0.0
        if process is not None and process.shell is not None and process.role == "worker" and self.dice.random() < 0.3:
            self.story.note(name, "is asked to leave")
            self.clock.at(self.clock.now, process.shell.deliver, Woke("leave"), loop=process.loop)
            self._leaving.add(name)
            lasts_s = self.dice.random()
        self.clock.after(lasts_s, self.kill, name)
        away_s = self.dice.choice([0.01, 0.5, 5.0, 15.0]) * self.dice.random()
        if self.rules.away_s and name.startswith("worker") and name != "worker-0" and self.dice.random() < 0.7:
            away_s = self.rules.away_s * self.dice.random()
        self.clock.after(lasts_s + away_s, self.start, name)

    def _revoke(self) -> None:
        """The owner of the machine on the spot market wants it back, and says so some time before."""
        if self._spot not in self.hosts or self._spot in self._leaving:
            return
        notice_s = self.dice.uniform(2.0, 20.0)
        self.story.note(self._spot, f"is revoked, in {notice_s:.3f} s")
        self._leaving.add(self._spot)
        self.hosts[self._spot].revoked_in_s = notice_s
        self.clock.after(notice_s, self.kill, self._spot)
        self.clock.after(notice_s + self.rules.away_s * self.dice.random(), self.start, self._spot)

    def _serves(self, name: str) -> bool:
        """Whether a pool is served by a host that everybody must know of: one that has been there for a while, where no news is lost."""
        return not self._loses_news and any(
            name in pools and host in self.processes and host not in self._leaving and self.clock.now - self._up_since[host] > KNOWN_S
            for host, pools in self._offers.items()
        )

    def _restart_bus(self) -> None:
        if not self.server.up:
            return
        self.story.note("bus", "stops")
        self.server.stop()
        down_s = self.dice.choice([0.1, 2.0, 12.0]) * self.dice.random()
        for name in list(self.processes):
            self._cut(name, down_s, 0.05)
        self.clock.after(down_s, self._bus_is_back)

    def _bus_is_back(self) -> None:
        self.story.note("bus", "starts")
        self.server.start()

    def _partition_some(self) -> None:
        name = self.dice.choice(list(self.processes))
        self._cut(name, self.faults.partition_s * self.dice.random(), 5.0)

    def _cut(self, name: str, for_s: float, notice_s: float) -> None:
        process = self.processes[name]
        waits = process.connection.is_cut
        self._cut_until[process.name] = max(self._cut_until.get(process.name, 0.0), self.clock.now + for_s)
        process.connection.cut()
        self.story.note(name, f"is cut off for {for_s:.3f} s")
        noticed_s = min(for_s, notice_s) * self.dice.random()
        self.clock.after(noticed_s, process.connection.noticed)
        if not waits:
            self.clock.after(for_s + 0.01, self._mend, name, process)

    def _mend(self, name: str, process: Process) -> None:
        if process.loop.dead:
            return
        if not self.server.up or self.clock.now < self._cut_until[process.name]:
            self.clock.after(0.1 + 0.1 * self.dice.random(), self._mend, name, process)
            return
        self.story.note(name, "is connected again")
        self.clock.at(self.clock.now, process.reconnected, loop=process.loop)
