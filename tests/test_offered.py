"""The library on the bus: a worker tells what it brings, and whoever plans, chooses and loads comes to know it, however it starts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from murakkab.actors.clustermgr import ClusterManager
from murakkab.actors.core import Command, Event, Heard, Replayed, Resumed, Send, Wake, Woke
from murakkab.actors.optimizer import Optimizer
from murakkab.actors.planner import Planner
from murakkab.actors.shell import Shell
from murakkab.actors.worker import TELL_MAX_S, Worker
from murakkab.agents.spec import Agent, Implementation, Take
from murakkab.bus.messages import (
    Choice,
    DesiredInstances,
    Device,
    HostHeartbeat,
    JobResult,
    LibraryOffered,
    MakePlan,
    MakeWorkflow,
    Message,
    Offer,
    Plan,
    PlanMade,
    PlanRefused,
    Stage,
    StageReport,
    Workflow,
    WorkflowMade,
    WorkflowRefused,
)
from murakkab.bus.subjects import subject_of, wildcard
from murakkab.bus.wire import encode
from murakkab.optimizer.prices import Prices
from murakkab.planner.lattice import Lattice
from murakkab.planner.library import Library

PRICES = Prices({})
AGENT = Agent("Translator", "Translate a text.", {"text": Take("Text")}, "Translation")
ROW = Implementation("dictionary", "Translator", "translator:Dictionary", memory_mb=70, timeout_s=33.0)
FLOW = Workflow((Stage("it", "Translator", given={"text": {"text": "hello"}}),), ("it",))
OFFERS = (Offer("Translator", "dictionary", "cpu"),)


def brings(host: str = "h", agent: Agent = AGENT, row: Implementation = ROW) -> LibraryOffered:
    rows = (msgspec.to_builtins(row),)
    return LibraryOffered(host=host, agents=(msgspec.to_builtins(agent),), implementations=rows, types={"Translation": ("Text",)})


def beat(host: str = "h") -> HostHeartbeat:
    return HostHeartbeat(host=host, at=0.0, devices=(Device("cpu", "cpu", 8_000, 0),), offers=OFFERS, cores=4)


def sent(commands: Any, kind: type[Message]) -> list[Any]:
    return [c.msg for c in commands if isinstance(c, Send) and isinstance(c.msg, kind)]


# --- the worker ------------------------------------------------------------------------------------------------------------------


def worker(what: LibraryOffered | None) -> Worker:
    return Worker("h", {("Translator", "dictionary"): ROW}, OFFERS, PRICES, 4, what)


def test_a_worker_tells_what_it_brings_when_it_starts_and_ever_more_rarely_after() -> None:
    it = worker(brings())
    commands = list(it.on(Resumed(), 0.0))
    pauses = []
    for _ in range(12):
        assert sent(commands, LibraryOffered) == [brings()]
        (wake,) = [c for c in commands if isinstance(c, Wake) and c.key == "tell"]
        pauses.append(wake.after_s)
        commands = list(it.on(Woke("tell"), 0.0))
    assert pauses[:4] == [1.0, 2.0, 4.0, 8.0]
    assert pauses[-1] == TELL_MAX_S


def test_a_worker_that_brings_nothing_says_so_once_in_case_it_did_before() -> None:
    commands: list[Command] = list(worker(None).on(Resumed(), 0.0))
    assert sent(commands, LibraryOffered) == [LibraryOffered(host="h")]
    assert not [c for c in commands if isinstance(c, Wake) and c.key == "tell"]


def test_a_reconnect_starts_no_second_telling() -> None:
    it = worker(brings())
    list(it.on(Resumed(), 0.0))
    assert sent(it.on(Resumed(), 1.0), LibraryOffered) == []


# --- whoever listens -------------------------------------------------------------------------------------------------------------

HOW = [Heard(brings()), Replayed(brings())]


@pytest.mark.parametrize("news", HOW, ids=["heard", "replayed"])
def test_the_planner_plans_with_it(news: Event) -> None:
    it = Planner(Library([], Lattice({"Text": ()})))
    ask = Heard(MakeWorkflow(tenant="t", job="j", description="", workflow=FLOW))
    (refused,) = sent(it.on(ask, 0.0), WorkflowRefused)
    assert "there is no agent 'Translator'" in refused.error
    it.on(news, 0.0)
    (made,) = sent(it.on(ask, 0.0), WorkflowMade)
    assert made.workflow.stages[0].agent == "Translator"


@pytest.mark.parametrize("news", HOW, ids=["heard", "replayed"])
def test_the_optimizer_chooses_it_where_it_is_offered(news: Event) -> None:
    it = Optimizer({}, {}, PRICES)
    ask = Heard(MakePlan(job="j", workflow=FLOW, inputs=1, constraints=("MIN_COST",)))
    it.on(Heard(beat()), 0.0)
    (refused,) = sent(it.on(ask, 0.0), PlanRefused)
    assert refused.wait
    it.on(news, 0.0)
    (made,) = sent(it.on(ask, 0.0), PlanMade)
    (choice,) = made.plan.choices
    assert (choice.implementation, choice.timeout_s) == ("dictionary", 33.0)
    it.on(Heard(JobResult(tenant="t", job="j", status="done", stages=(StageReport("it", "Translator", "dictionary", "cpu", 5, 0, 1, 0, 0, 10.0),))), 0.0)  # fmt: skip
    assert it.profiles.get("Translator", "dictionary", "cpu").cpu.base > ROW.work_s, "and learns what it takes"
    it.on(Heard(msgspec.structs.replace(beat(), leaving=True)), 0.0)
    (refused,) = sent(it.on(ask, 0.0), PlanRefused)
    assert refused.wait, "known, but nobody offers it"


def test_what_a_host_understands_differently_is_not_chosen_for_it() -> None:
    it = Optimizer({}, {}, PRICES)
    other = msgspec.structs.replace(AGENT, takes={"words": Take("Text")})
    for event in (Heard(brings("first")), Heard(brings("second", other)), Heard(beat("second"))):
        it.on(event, 0.0)
    ask = Heard(MakePlan(job="j", workflow=FLOW, inputs=1, constraints=("MIN_COST",)))
    assert sent(it.on(ask, 0.0), PlanRefused)
    it.on(Heard(beat("first")), 0.0)
    assert sent(it.on(ask, 0.0), PlanMade)


@pytest.mark.parametrize("before", [True, False], ids=["known before the plan", "known after the plan"])
def test_the_cluster_manager_wants_it_where_it_is_offered(before: bool) -> None:
    it = ClusterManager({})
    plan = Plan(FLOW, (Choice("it", "dictionary", "cpu", 1.0, 0.0, 0.0, 0.5),))
    events: list[Event] = [Heard(beat()), Heard(PlanMade(job="j", plan=plan))]
    events.insert(0 if before else 2, Heard(brings()))
    wants: list[DesiredInstances] = []
    for n, event in enumerate(events):
        wants += sent(list(it.on(event, 100.0 + n)), DesiredInstances)
        it.check()
    assert [(d.agent, d.implementation) for d in wants[-1].instances] == [("Translator", "dictionary")]


def test_a_restarted_cluster_manager_unloads_nothing_that_a_host_brought() -> None:
    it = ClusterManager({})
    other = ClusterManager({})
    plan = Plan(FLOW, (Choice("it", "dictionary", "cpu", 1.0, 0.0, 0.0, 0.5),))
    for msg in (brings(), beat(), PlanMade(job="j", plan=plan)):
        said = sent(list(it.on(Heard(msg), 100.0)), DesiredInstances)
    after: list[Event] = [Replayed(said[0]), Replayed(brings()), Resumed(), Heard(beat())]
    for event in after:
        again = sent(list(other.on(event, 101.0)), DesiredInstances)
    assert [m.instances for m in again] == [said[0].instances], "said again to a host that was not heard of yet, unchanged"


# --- the shell: nothing that is said while an actor starts is missed -------------------------------------------------------------------


class Wire:
    """Stands where the link is: one stored message, and another that is published while it is being replayed."""

    def __init__(self, stored: Message, meanwhile: Message) -> None:
        self.loop = asyncio.get_running_loop()
        self.stored, self.meanwhile = stored, meanwhile
        self.heard: dict[str, Callable[[Any], Awaitable[None]]] = {}
        self.on_reconnect: list[Any] = []

    async def subscribe(self, subject: str, on: Callable[[Any], Awaitable[None]], queue: str = "") -> None:
        self.heard[subject] = on

    async def replay(self, stream: str, subject: str, *, newest_only: bool = False) -> AsyncIterator[Any]:
        if subject == wildcard(type(self.stored)):
            yield _msg(self.stored)
            if subject in self.heard:  # the server sends it to whoever listens
                await self.heard[subject](_msg(self.meanwhile))


def _msg(msg: Message) -> Any:
    return SimpleNamespace(data=encode(msg), subject=subject_of(msg), reply="", headers=None)


def test_what_is_said_during_the_replay_is_heard_after_it() -> None:
    async def start() -> Planner:
        planner = Planner(Library([], Lattice({"Text": ()})))
        wire: Any = Wire(LibraryOffered(host="h"), brings("late"))
        await Shell(planner, wire).start()
        return planner

    assert "Translator" in asyncio.run(start()).library.agents
