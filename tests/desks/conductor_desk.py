"""A conductor on a desk: jobs to give it, what it has written, and what of its commands tests look at."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from murakkab.actors.conductor import Conductor
from murakkab.actors.core import Command, Errand, Event, Heard, Replayed, Resumed, Send, Write
from murakkab.bus.messages import (
    ArtifactRef,
    Choice,
    Edge,
    HostHeartbeat,
    Input,
    Instance,
    JobLog,
    Message,
    Plan,
    PlanMade,
    Record,
    Stage,
    SubmitJob,
    TaskDone,
    TaskFailed,
    TaskReady,
    TaskResults,
    Use,
    Workflow,
    WorkflowMade,
)

T = TypeVar("T")

ONE = Workflow((Stage("one", "Sleep"),), ("one",))
FAN = Workflow(
    (
        Stage("spread", "Spread", many=True),
        Stage("wait", "Sleep", (Edge("x", "spread"),), 1),
        Stage("gather", "Sleep", (Edge("after", "wait"),)),
    ),
    ("gather",),
)
VIDEO = Input("cats.mp4", ArtifactRef("0" * 64, 5, "video/mp4"))
JOB = SubmitJob(tenant="t", description="do it", inputs=(VIDEO,), job="j")


def plan_of(workflow: Workflow, timeout_s: float = 60.0) -> Plan:
    return Plan(workflow, tuple(Choice(s.name, s.agent.lower(), "cpu", 1.0, 0.0, 0.0, 1.0, timeout_s=timeout_s) for s in workflow.stages))


def beat(slots: int, pool: tuple[str, str] = ("Sleep", "sleep"), host: str = "h") -> HostHeartbeat:
    warm = Instance("i", pool[0], pool[1], "cpu", "warm", slots)
    return HostHeartbeat(host=host, at=0.0, instances=(warm,) if slots else ())


def done(stage: str, *index: int, output: Any = None, attempt: int = 1, job: str = "j") -> TaskDone:
    return TaskDone(job, stage, index, attempt, "i", output, Use(10.0, 11.0, cpu_s=0.5, energy_wh=0.25, cost_usd=0.125))


def failed(stage: str, *index: int, attempt: int = 1, error: str = "it broke", bad_input: bool = False, job: str = "j") -> TaskFailed:
    return TaskFailed(job, stage, index, attempt, "i", error, bad_input)


class TooLarge(Errand, frozen=True):
    """As the shell's, which says that a message could not be sent."""

    msg: Message


class Desk:
    """A conductor with everything that it has written, as its shell would have stored it."""

    def __init__(self) -> None:
        self.actor = Conductor()
        self.now = 100.0
        self.log: list[tuple[str, str, Record]] = []

    def on(self, event: Event) -> list[Command]:
        commands = list(self.actor.on(event, self.now))
        self.actor.check()
        self.log += [(c.tenant, c.job, c.record) for c in commands if isinstance(c, Write)]
        return commands

    def hear(self, msg: Message, key: str = "") -> list[Command]:
        return self.on(Heard(msg, key))

    def results(self, *results: TaskDone | TaskFailed, key: str = "r") -> list[Command]:
        return self.hear(TaskResults(host="h", results=results), key)

    def restarted(self, records: int | None = None) -> tuple[Desk, list[Command]]:
        """Another conductor that has read the first `records` of the log; and what it does first."""
        other = Desk()
        other.now, other.log = self.now, self.log[:records]
        for tenant, job, record in other.log:
            assert other.on(Replayed(JobLog(tenant=tenant, job=job, records=(record,)))) == []
        return other, other.on(Resumed())


def running(desk: Desk, workflow: Workflow = ONE, submit: SubmitJob = JOB) -> list[Command]:
    """Takes a job to where its first tasks are released; the commands of the last step."""
    desk.hear(submit)
    desk.hear(WorkflowMade(job=submit.job, workflow=workflow))
    return desk.hear(PlanMade(job=submit.job, plan=plan_of(workflow)))


def sent(commands: Iterable[Command], kind: type[T]) -> list[T]:
    return [c.msg for c in commands if isinstance(c, Send) and isinstance(c.msg, kind)]


def written(commands: Iterable[Command]) -> list[Record]:
    return [c.record for c in commands if isinstance(c, Write)]


def tasks(commands: Iterable[Command]) -> list[tuple[str, tuple[int, ...], int]]:
    return [(t.stage, t.index, t.attempt) for t in sent(commands, TaskReady)]
