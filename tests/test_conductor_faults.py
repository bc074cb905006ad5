"""The conductor among faults: messages are dropped, doubled and reordered, stores are slow, the process dies at any moment.

`Bus` keeps the promises that NATS and the shell keep, and no more: a stored record stays; a queued result comes again until
it is settled, and it is settled when all its records are stored; a task is queued once for each message id; plain messages
may be lost. After the faults stop, every job must end, its effects counted once and its one answer right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from murakkab.actors.conductor import ATTEMPTS_MAX, Conductor
from murakkab.actors.core import Command, Event, Heard, Replayed, Reply, Resumed, Send, Settle, Wake, Woke, Write
from murakkab.bus.ids import message_id
from murakkab.bus.messages import (
    CancelJob,
    Choice,
    Counted,
    Edge,
    Ended,
    Extended,
    HostHeartbeat,
    Instance,
    JobAccepted,
    JobLog,
    JobResult,
    MakePlan,
    MakeWorkflow,
    Message,
    Observed,
    Plan,
    PlanMade,
    Planned,
    PlanRefused,
    Record,
    Stage,
    SubmitJob,
    Submitted,
    TaskDone,
    TaskFailed,
    TaskReady,
    TaskResults,
    Use,
    Workflow,
    WorkflowExtended,
    WorkflowMade,
)

TENANTS = ("a", "b")


def fan(width: int) -> Workflow:
    return Workflow(
        (
            Stage("spread", "Spread", many=True, args={"n": width}),
            Stage("wait", "Sleep", (Edge("x", "spread"),), 1),
            Stage("gather", "Join", (Edge("after", "wait"),)),
        ),
        ("gather",),
    )


def watched(width: int) -> Workflow:
    """Two stages that are looked at; what comes then, `next_of` says."""
    return Workflow(
        (Stage("spread", "Spread", many=True, args={"n": width}, observe=True), Stage("other", "Sleep", observe=True)),
        ("other",),
        rest="go on",
    )


def next_of(msg: Observed) -> WorkflowExtended:
    """A stage that takes what was observed, but after the second in a row; named so that two of them do not fit together."""
    stages, name = msg.workflow.stages, f"x{len(msg.workflow.stages)}"
    if msg.stage.startswith("x"):
        return WorkflowExtended(job=msg.job, stage=msg.stage)
    new = Stage(name, "Join", (Edge("after", msg.stage),), observe=msg.stage == "other")
    return WorkflowExtended(job=msg.job, stage=msg.stage, stages=(new,), answer=(*msg.workflow.answer, name), seen=len(stages))


def plan_of(workflow: Workflow) -> Plan:
    return Plan(workflow, tuple(Choice(s.name, "i", "cpu", 1.0, 0.0, 0.0, 1.0) for s in workflow.stages))


def outcome(task: TaskReady) -> object:
    """What a worker's model gives: the answer holds every element once, in order."""
    match task.stage:
        case "spread":
            return list(range(task.args["n"]))
        case "wait":
            return task.inputs["x"]
        case "other":
            return "seen"
    return task.inputs["after"]


@dataclass
class Unstored:
    """A record on its way to the stream, and what waits for it."""

    job: str
    record: Record
    settles: tuple[str, ...]
    after: list[Callable[[], None]] = field(default_factory=list)


class Bus:
    """One conductor and everything around it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.serial = count()
        self.tenant_of: dict[str, str] = {}
        self.log: dict[str, list[Record]] = {}
        self.flying: list[Unstored] = []
        self.holds: dict[str, int] = {}
        self.plain: list[Message] = []
        self.queue: list[TaskReady] = []
        self.seen_ids: set[str] = set()
        self.unsettled: dict[str, TaskResults] = {}
        self.settled: list[TaskResults] = []
        self.wakes: list[tuple[float, str]] = []
        self.accepted: set[str] = set()
        self.told: dict[str, list[JobResult]] = {}
        self.failures: dict[tuple[str, str, tuple[int, ...]], int] = {}
        self.actor = Conductor()
        self.on(Resumed())

    # --- what a shell does ----------------------------------------------------------------------------------------------------

    def on(self, event: Event) -> None:
        for command in self.actor.on(event, self.now):
            self._act(command)
        self.actor.check()

    def hear(self, msg: Message, key: str = "") -> None:
        self.on(Heard(msg, key))

    def _act(self, command: Command) -> None:
        match command:
            case Write(job=job, record=record, settles=settles):
                for key in settles:
                    self.holds[key] = self.holds.get(key, 0) + 1
                self.flying.append(Unstored(job, record, settles))
            case Send(msg=msg, after_records=job):
                self._after(job, lambda: self._publish(msg))
            case Reply(msg=JobAccepted(job=name), after_records=job):
                self._after(job, lambda: self._accept(name))
            case Settle(keys=keys, after_records=jobs):
                for key in keys:
                    self.holds[key] = self.holds.get(key, 0) + max(1, len(jobs))
                for job in jobs or ("",):
                    self._after(job, lambda: self._stored(keys))
            case Wake(after_s=after_s, key=key):
                self.wakes.append((self.now + after_s, key))

    def _after(self, job: str, then: Callable[[], None]) -> None:
        mine = [u for u in self.flying if u.job == job]
        if mine:
            mine[-1].after.append(then)
        else:
            then()

    def _accept(self, job: str) -> None:
        assert any(isinstance(r, Submitted) for r in self.log.get(job, ())), "accepted before it was stored"
        self.accepted.add(job)

    def _publish(self, msg: Message) -> None:
        match msg:
            case MakeWorkflow() | MakePlan():
                self.plain.append(msg)
            case Observed(job=job, workflow=workflow):
                shown = [r.plan.workflow for r in self.log[job] if isinstance(r, Planned | Extended) and r.plan is not None]
                assert workflow == shown[-1], "shown before it was stored"
                self.plain.append(msg)
            case TaskReady():
                if (name := message_id(msg, "")) not in self.seen_ids:
                    self.seen_ids.add(name)
                    self.queue.append(msg)
            case JobResult(job=job):
                assert isinstance(self.log[job][-1], Ended), "told before its end was stored"
                self.told.setdefault(job, []).append(msg)

    def _stored(self, keys: tuple[str, ...]) -> None:
        for key in keys:
            self.holds[key] -= 1
            if not self.holds[key] and key in self.unsettled:
                self.settled.append(self.unsettled.pop(key))

    def store(self, n: int) -> None:
        """The first n records reach the stream."""
        stored, self.flying = self.flying[:n], self.flying[n:]
        for u in stored:
            self.log.setdefault(u.job, []).append(u.record)
            self._stored(u.settles)
            for then in u.after:
                then()

    def die(self) -> None:
        """kill -9, and a new process."""
        self.flying, self.holds, self.wakes = [], {}, []
        self.actor = Conductor()
        for job, records in self.log.items():
            self.on(Replayed(JobLog(tenant=self.tenant_of[job], job=job, records=tuple(records))))
        self.on(Resumed())

    # --- what the others do ---------------------------------------------------------------------------------------------------

    def answer(self, n: int, refuse: bool = False) -> None:
        msg = self.plain.pop(n % len(self.plain))
        match msg:
            case MakeWorkflow(job=job, workflow=Workflow() as workflow):
                self.hear(WorkflowMade(job=job, workflow=workflow))
            case Observed():
                self.hear(next_of(msg))
            case MakePlan(job=job, workflow=workflow):
                self.hear(PlanRefused(job=job, error="no host yet", wait=True) if refuse else PlanMade(job=job, plan=plan_of(workflow)))

    def work(self, numbers: list[int], fail: bool = False) -> None:
        """A worker ends some tasks and reports them in one message."""
        taken = [self.queue.pop(n % len(self.queue)) for n in numbers if self.queue]
        results: list[TaskDone | TaskFailed] = []
        for t in taken:
            tries = self.failures.get((t.job, t.stage, t.index), 0)
            if fail and tries < ATTEMPTS_MAX - 1:  # every job can be done in the end
                self.failures[(t.job, t.stage, t.index)] = tries + 1
                results.append(TaskFailed(t.job, t.stage, t.index, t.attempt, "i", "it broke"))
            else:
                results.append(TaskDone(t.job, t.stage, t.index, t.attempt, "i", outcome(t), Use(0.0, 1.0)))
        if results:
            self.unsettled[f"r{next(self.serial)}"] = TaskResults(host="h", results=tuple(results))

    def beat(self, slots: int) -> None:
        warm = tuple(Instance(a, a, "i", "cpu", "warm", slots) for a in ("Spread", "Sleep", "Join"))
        self.hear(HostHeartbeat(host="h", at=self.now, instances=warm))

    def tick(self, seconds: float) -> None:
        self.now += seconds
        due = [k for at, k in self.wakes if at <= self.now]
        self.wakes = [(at, k) for at, k in self.wakes if at > self.now]
        for key in due:
            self.on(Woke(key))


class Faults(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.bus = Bus()
        self.wanted: dict[str, SubmitJob] = {}
        self.cancelled: set[str] = set()

    # --- news -----------------------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.wanted) < 3)
    @rule(width=st.integers(0, 12), tenant=st.sampled_from(TENANTS), grows=st.booleans())
    def submit(self, width: int, tenant: str, grows: bool) -> None:
        name = f"job{len(self.wanted)}"
        job = SubmitJob(tenant=tenant, description="", workflow=watched(width) if grows else fan(width), job=name)
        self.wanted[name] = job
        self.bus.tenant_of[name] = tenant
        self.bus.hear(job, f"reply-{name}")

    @precondition(lambda self: self.wanted)
    @rule(n=st.integers(0, 2))
    def submit_again(self, n: int) -> None:
        job = self.wanted[f"job{n % len(self.wanted)}"]
        self.bus.hear(job, f"again-{job.job}")

    @precondition(lambda self: self.wanted)
    @rule(n=st.integers(0, 20))
    def cancel(self, n: int) -> None:
        if n < len(self.wanted):  # seldom
            job = self.wanted[f"job{n}"]
            self.cancelled.add(job.job)
            self.bus.hear(CancelJob(tenant=job.tenant, job=job.job), "cancel")

    @precondition(lambda self: self.bus.plain)
    @rule(n=st.integers(0, 9), refuse=st.booleans())
    def planner_or_optimizer_answers(self, n: int, refuse: bool) -> None:
        self.bus.answer(n, refuse)

    @precondition(lambda self: self.bus.plain)
    @rule(n=st.integers(0, 9), twice=st.booleans())
    def a_question_is_lost_or_comes_twice(self, n: int, twice: bool) -> None:
        msg = self.bus.plain[n % len(self.bus.plain)]
        self.bus.plain.append(msg) if twice else self.bus.plain.remove(msg)

    @precondition(lambda self: self.bus.queue)
    @rule(numbers=st.lists(st.integers(0, 30), min_size=1, max_size=6), fail=st.booleans())
    def a_worker_reports(self, numbers: list[int], fail: bool) -> None:
        self.bus.work(numbers, fail)

    @precondition(lambda self: self.bus.queue)
    @rule(n=st.integers(0, 30))
    def a_task_is_run_twice(self, n: int) -> None:
        self.bus.queue.append(self.bus.queue[n % len(self.bus.queue)])

    @precondition(lambda self: self.bus.unsettled)
    @rule(n=st.integers(0, 30))
    def a_result_comes_perhaps_not_for_the_first_time(self, n: int) -> None:
        key = list(self.bus.unsettled)[n % len(self.bus.unsettled)]
        if not self.bus.holds.get(key):  # the server delivers again only what is not being worked on
            self.bus.hear(self.bus.unsettled[key], key)

    @rule(slots=st.integers(0, 3))
    def a_host_beats(self, slots: int) -> None:
        self.bus.beat(slots)

    @rule(seconds=st.sampled_from([0.2, 2.0, 120.0]))
    def time_passes(self, seconds: float) -> None:
        self.bus.tick(seconds)

    # --- storage and death ----------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.bus.flying)
    @rule(n=st.integers(1, 5))
    def records_are_stored(self, n: int) -> None:
        self.bus.store(n)

    @rule()
    def the_conductor_dies(self) -> None:
        self.bus.die()

    # --- promises -------------------------------------------------------------------------------------------------------------

    @invariant()
    def logs_are_whole(self) -> None:
        if not hasattr(self, "bus"):
            return
        for job, records in self.bus.log.items():
            assert isinstance(records[0], Submitted)
            assert sum(isinstance(r, Submitted) for r in records) == 1
            assert not any(isinstance(r, Ended) for r in records[:-1]), f"{job} goes on after its end"
            counted = [(r.done.stage, r.done.index) for r in records if isinstance(r, Counted)]
            assert len(counted) == len(set(counted)), f"{job} counted an effect twice"
            grown = [r.stage for r in records if isinstance(r, Extended)]
            assert len(grown) == len(set(grown)), f"{job} grew twice by one observation"

    @invariant()
    def nothing_is_settled_before_its_effect_is_stored(self) -> None:
        if not hasattr(self, "bus"):
            return
        for msg in self.bus.settled:
            for result in msg.results:
                records = self.bus.log.get(result.job, [])
                over = bool(records) and isinstance(records[-1], Ended)
                counted = any(isinstance(r, Counted) and (r.done.stage, r.done.index) == (result.stage, result.index) for r in records)
                if isinstance(result, TaskDone):
                    assert over or counted, f"{result} is lost"

    def teardown(self) -> None:
        """The faults stop: now everything must come to its one end."""
        if not hasattr(self, "bus"):
            return
        bus = self.bus
        bus.die()
        for job in self.wanted.values():  # a client asks until it is answered
            bus.hear(job, f"last-{job.job}")
        for _ in range(400):
            bus.store(len(bus.flying))
            bus.beat(2)
            while bus.plain:
                bus.answer(0)
            while bus.queue:
                bus.work([0])
            for key in list(bus.unsettled):
                bus.hear(bus.unsettled[key], key)
                bus.store(len(bus.flying))
            if not bus.actor.state.jobs and not bus.unsettled and not bus.flying:
                break
            bus.tick(2.0)
        assert not bus.actor.state.jobs, f"never ended: {[j.progress() for j in bus.actor.state.jobs.values()]}"
        assert not bus.unsettled
        self.logs_are_whole()
        for name, job in self.wanted.items():
            assert name in bus.accepted
            first, *others = [(r.status, r.answer) for r in bus.told[name]]
            assert all(other == first for other in others), f"{name} was answered in two ways"
            status, answer = first
            assert job.workflow is not None
            width = job.workflow.stages[0].args["n"]
            if status == "done" and job.workflow.rest:
                assert sorted(map(str, answer)) == sorted(map(str, ["seen", "seen", list(range(width))]))
            elif status == "done":
                assert answer == (list(range(width)),)
            elif status == "cancelled":
                assert name in self.cancelled
            else:
                (ended,) = [r for r in bus.log[name] if isinstance(r, Ended)]
                assert "nothing was heard" in ended.error, ended


Faults.TestCase.settings = settings(max_examples=250, stateful_step_count=50, deadline=None)
TestFaults = Faults.TestCase
