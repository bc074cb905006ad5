"""The checker can fail: actors with one planted fault each are caught, by the promise that they break, within a few seeds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from murakkab.actors.clustermgr import ClusterManager
from murakkab.actors.conductor import Conductor
from murakkab.actors.core import Actor, Command, Event, Heard, Reply, Send, Settle, Write
from murakkab.actors.jobs import Job
from murakkab.actors.pools import Pools
from murakkab.actors.run import Task
from murakkab.actors.worker import Worker
from murakkab.bus.messages import (
    Counted,
    DesiredInstances,
    Extended,
    JobResult,
    MakePlan,
    Observed,
    Plan,
    Planned,
    Replanned,
    Retried,
    TaskReady,
    TaskResults,
    WorkflowExtended,
)
from murakkab.sim import run
from murakkab.sim.scenarios import SCENARIOS
from murakkab.sim.world import ACTORS

SEEDS = 40


class SettlesAtOnce(Conductor):
    """Settles results before their effect is stored."""

    def on(self, event: Event, now: float) -> Iterable[Command]:
        for command in super().on(event, now):
            match command:
                case Write(settles=settles) if settles:
                    yield Settle(settles)
                    yield replace(command, settles=())
                case Settle(keys=keys):
                    yield Settle(keys)
                case _:
                    yield command


class NeverWrites(Conductor):
    """Settles results and writes nothing of them."""

    def on(self, event: Event, now: float) -> Iterable[Command]:
        for command in super().on(event, now):
            if isinstance(command, Write) and isinstance(command.record, Counted):
                yield Settle(command.settles)
            else:
                yield command


class CountsTwice(Conductor):
    def on(self, event: Event, now: float) -> Iterable[Command]:
        for command in super().on(event, now):
            yield command
            if isinstance(command, Write) and isinstance(command.record, Counted):
                yield replace(command, settles=())


class AcceptsTooEarly(Conductor):
    def on(self, event: Event, now: float) -> Iterable[Command]:
        return [replace(c, after_records="") if isinstance(c, Reply) else c for c in super().on(event, now)]


class ReleasesTooEarly(Conductor):
    def on(self, event: Event, now: float) -> Iterable[Command]:
        return [replace(c, after_records="") if isinstance(c, Send) and isinstance(c.msg, TaskReady) else c for c in super().on(event, now)]


class PlansUnwritten(Conductor):
    def on(self, event: Event, now: float) -> Iterable[Command]:
        return [c for c in super().on(event, now) if not (isinstance(c, Write) and isinstance(c.record, Planned))]


class TellsAnotherEnd(Conductor):
    def on(self, event: Event, now: float) -> Iterable[Command]:
        for command in super().on(event, now):
            if isinstance(command, Send) and isinstance(command.msg, JobResult):
                yield replace(command, msg=replace(command.msg, status="failed", error="all is lost"))
            else:
                yield command


class _NoLimit(Pools):
    def release(self) -> Iterator[tuple[str, str, Task]]:
        for name, pool in self.pools.items():
            for tenant, queue in pool.waiting.items():
                for (job, task), need in queue.items():
                    pool.released[(job, task)] = tenant, need
                    pool.headroom.took(tenant)
                    yield name, job, task
            pool.waiting.clear()
        self.dirty.clear()


class ReleasesAll(Conductor):
    def __init__(self, *known: Any) -> None:
        super().__init__(*known)
        self.state.pools = _NoLimit()

    def check(self) -> None:
        """Sees nothing wrong with that."""


class ForgetsWhatWasUnderWay(Conductor):
    """After a restart it asks for nothing again."""

    def check(self) -> None:
        """Sees nothing wrong with that."""

    def _resume(self, now: float) -> Iterator[Command]:
        first, self.state.live = not self.state.live, True
        if not first or not self.state.jobs:
            self.state.live = not first
            yield from super()._resume(now)


class NeverLooks(Conductor):
    """Ends jobs without showing the planner what it wanted to see."""

    def _go_on(self, job: Job, now: float) -> Iterator[Command]:
        if job.run is not None and job.run.finished:
            yield from self._end(job, "done", "", now)


class GrowsTwice(Conductor):
    def on(self, event: Event, now: float) -> Iterable[Command]:
        for command in super().on(event, now):
            yield command
            if isinstance(command, Write) and isinstance(command.record, Extended):
                yield replace(command, settles=())


class GrowsUnwritten(Conductor):
    def on(self, event: Event, now: float) -> Iterable[Command]:
        return [c for c in super().on(event, now) if not (isinstance(c, Write) and isinstance(c.record, Extended))]


class TakesLateAnswers(Conductor):
    """Does not ask for which workflow the planner's answer is."""

    def on(self, event: Event, now: float) -> Iterable[Command]:
        if isinstance(event, Heard) and isinstance(event.msg, WorkflowExtended):
            event = replace(event, msg=replace(event.msg, seen=0))
        return super().on(event, now)


class ShowsNotAll(Conductor):
    """Leaves the first result out of what the planner is to see."""

    def on(self, event: Event, now: float) -> Iterable[Command]:
        for command in super().on(event, now):
            match command:
                case Send(msg=Observed() as msg):
                    yield replace(command, msg=replace(msg, results=msg.results[1:]))
                case _:
                    yield command


class NeverHasEnough(Conductor):
    """Lets a job grow for ever."""

    def _go_on(self, job: Job, now: float) -> Iterator[Command]:
        job.grown = 0
        yield from super()._go_on(job, now)


class GrowsWithOtherChoices(Conductor):
    """Lets a plan of a longer workflow change the choices of stages that may be running."""

    def on(self, event: Event, now: float) -> Iterable[Command]:
        for command in super().on(event, now):
            if isinstance(command, Write) and isinstance(record := command.record, Extended) and record.plan is not None:
                first, *others = record.plan.choices
                command = replace(command, record=replace(record, plan=replace(record.plan, choices=(replace(first, width=9), *others))))
            yield command


class UndoesWhatStarted(Conductor):
    """Takes a plan that was made again for all that is not done."""

    def _question_again(self, job: Job, now: float) -> MakePlan | None:
        job.started.clear()
        return super()._question_again(job, now)

    def _take_again(self, job: Job, made: Plan, why: str, now: float) -> Iterator[Command]:
        job.started.clear()
        yield from super()._take_again(job, made, why, now)

    def check(self) -> None:
        """Sees nothing wrong with that."""


class ForgetsWhatHadStarted(Conductor):
    """After a restart it takes no stage for started of which nothing is done."""

    def _resume(self, now: float) -> Iterator[Command]:
        done = {name: set(job.started) for name, job in self.state.jobs.items()}
        commands = list(super()._resume(now))
        for name, job in self.state.jobs.items():
            job.started = done.get(name, set()) | {stage for stage, _ in job.released}
        yield from commands


class ReplansUnwritten(Conductor):
    def on(self, event: Event, now: float) -> Iterable[Command]:
        return [c for c in super().on(event, now) if not (isinstance(c, Write) and isinstance(c.record, Replanned))]


class MovesTheLiving(Conductor):
    """Takes every pool for dead."""

    def _lost(self, job: Job, now: float) -> set[str]:
        return {n for n, r in job.run.stages.items() if n in job.started and not r.complete} if job.run else set()


class MovesTheSameAttempt(Conductor):
    """What was in a dead pool's queue goes on elsewhere as if it had never been released."""

    def on(self, event: Event, now: float) -> Iterable[Command]:
        planned = False
        for command in super().on(event, now):
            planned |= isinstance(command, Write) and isinstance(command.record, Replanned)
            if not (planned and isinstance(command, Write) and isinstance(command.record, Retried)):
                yield command


class _Stays(Pools):
    def take(self, name: str, tenant: str, job: str, stage: str) -> list[Task]:
        return []


class LeavesThemInTheOldPool(Conductor):
    """Waiting tasks stay where they are when their stage goes to another pool."""

    def __init__(self, *known: Any) -> None:
        super().__init__(*known)
        self.state.pools = _Stays()

    def check(self) -> None:
        """Sees nothing wrong with that."""


class WaitsForTheDead(Conductor):
    """What started stays, whatever became of its pool, and no host ever brings it again."""

    def _lost(self, job: Job, now: float) -> set[str]:
        return set()


class NoSlots(Worker):
    """Runs whatever comes, and sees nothing wrong with that."""

    def _fill(self, pool: str, now: float) -> Iterator[Command]:
        for slots in self.instances.values():
            if slots.pool == pool and slots.state == "warm":
                slots.row = replace(slots.row, slots=1_000)
        yield from super()._fill(pool, now)


class SettlesTasksAtOnce(Worker):
    def on(self, event: Event, now: float) -> Iterable[Command]:
        yield from super().on(event, now)
        if isinstance(event, Heard) and isinstance(event.msg, TaskReady):
            yield Settle((event.key,))


class LosesResults(Worker):
    """Settles its tasks and tells nobody what they came to."""

    def on(self, event: Event, now: float) -> Iterable[Command]:
        for command in super().on(event, now):
            if isinstance(command, Send) and isinstance(command.msg, TaskResults):
                yield Settle(command.settles)
            else:
                yield command


class SaysItOnce(ClusterManager):
    """Says what a host shall have when it changes, and never again."""

    def on(self, event: Event, now: float) -> Iterable[Command]:
        said = {h: w.version for h, w in self.wanted.items()}
        for command in super().on(event, now):
            if not (isinstance(command, Send) and isinstance(msg := command.msg, DesiredInstances) and said.get(msg.host) == msg.version):
                yield command


def test_a_late_result_leaves_no_empty_queue() -> None:
    """Seed 83 of "video" found it: the result of a given-up attempt, while the next one waits to be released."""
    pools = Pools()
    pools.enqueue("pool", "ann", "job", ("stage", ()))
    pools.done("pool", "job", ("stage", ()))
    assert list(pools.release()) == []


@pytest.mark.parametrize(
    ("role", "actor", "scenario", "promise"),
    [
        ("conductor", SettlesAtOnce, "swarm", "settled before its effect was stored"),
        ("conductor", NeverWrites, "calm", "settled before its effect was stored"),
        ("conductor", CountsTwice, "calm", "counted twice"),
        ("conductor", AcceptsTooEarly, "swarm", "accepted before its submission was stored"),
        ("conductor", ReleasesTooEarly, "calm", "was released before"),
        ("conductor", PlansUnwritten, "calm", "was not ready"),
        ("conductor", TellsAnotherEnd, "calm", "does not agree with its log"),
        ("conductor", ReleasesAll, "wide", "tasks are released to pool"),
        ("conductor", ForgetsWhatWasUnderWay, "swarm", "not finished"),
        ("conductor", NeverLooks, "search", "was looked at"),
        ("conductor", GrowsTwice, "search", "is answered twice"),
        ("conductor", GrowsUnwritten, "observe", "was released before"),
        ("conductor", TakesLateAnswers, "overtaken", "an answer for another workflow was taken"),
        ("conductor", ShowsNotAll, "observe", "it should be"),
        ("conductor", NeverHasEnough, "observe", "grows for the 9th time"),
        ("conductor", GrowsWithOtherChoices, "observe", "what there was has changed"),
        ("conductor", UndoesWhatStarted, "moving", "are not given up"),
        ("conductor", ForgetsWhatHadStarted, "quiet-moving", "are not given up"),
        ("conductor", ReplansUnwritten, "moving", "and its choice is"),
        ("conductor", MovesTheLiving, "quiet-moving", "has started, and is to be done in another way"),
        ("conductor", MovesTheSameAttempt, "moving", "was released before its retry was stored"),
        ("conductor", LeavesThemInTheOldPool, "moving", "and its choice is"),
        ("conductor", WaitsForTheDead, "gone", "not finished"),
        ("worker", NoSlots, "wide", "tasks in 32 slots"),
        ("worker", SettlesTasksAtOnce, "calm", "settled before its result was stored"),
        ("worker", LosesResults, "calm", "settled before its result was stored"),
        ("clustermgr", SaysItOnce, "lossy", "not finished"),
    ],
)
def test_a_planted_fault_is_caught(role: str, actor: type[Actor], scenario: str, promise: str) -> None:
    rules = replace(SCENARIOS[scenario], early_release=actor is PlansUnwritten)
    errors = []
    for seed in range(SEEDS):
        report = run.simulate(seed, rules, makers={role: actor})
        errors.append(report.error)
        if promise in report.error:
            return
    pytest.fail(f"not caught by {SEEDS} seeds; what they said: {set(errors)}")


def test_a_caught_fault_ends_with_status_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(run, "ACTORS", {**ACTORS, "conductor": CountsTwice})
    assert run.main(["--seed", "1", "--seeds", "5", "--scenario", "calm"]) == 1
    out = capsys.readouterr().out
    assert "counted twice" in out
    assert "python -m murakkab.sim.run --seed" in out
