"""Plans made again while a job runs, from the conductor's side: who is asked when, what of an answer is taken, what is in the log
before what, and that a conductor that starts anew knows just what its predecessor had written."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from murakkab.actors import admission
from murakkab.actors.conductor import ATTEMPTS_MAX, SWEEP_EVERY_S, Conductor
from murakkab.actors.core import ActorBug, Command, Errand, Event, Heard, Outcome, Replayed, Resumed, Send, Wake, Woke, Write
from murakkab.actors.jobs import ORPHANED, Job, replay
from murakkab.actors.pools import AHEAD, Pools
from murakkab.actors.replanning import AGAIN_EVERY_S, ANSWER_S, ASKED_MAX, HOST_SILENT_S
from murakkab.actors.run import DagRun
from murakkab.bus.messages import (
    Choice,
    Counted,
    Edge,
    HostHeartbeat,
    Instance,
    JobLog,
    JobProgress,
    JobResult,
    MakePlan,
    Message,
    Offer,
    Plan,
    PlanMade,
    PlanRefused,
    PlansStale,
    Record,
    Replanned,
    Retried,
    Stage,
    SubmitJob,
    TaskDone,
    TaskFailed,
    TaskReady,
    TaskResults,
    Use,
    Workflow,
    WorkflowExtended,
    WorkflowMade,
)

T = TypeVar("T")
ROW = Workflow((Stage("a", "Sleep"), Stage("b", "Sleep", (Edge("x", "a"),)), Stage("c", "Sleep", (Edge("x", "b"),))), ("c",))
FAN = Workflow((Stage("a", "Spread", many=True), Stage("b", "Sleep", (Edge("x", "a"),), 1), Stage("c", "Sleep", (Edge("x", "b"),))), ("c",))
KINDS = ("one", "two", "three")


class TooLarge(Errand, frozen=True):
    msg: Message


def plan_of(workflow: Workflow, kinds: dict[str, str] | str = "one", **more: Any) -> Plan:
    """Every stage by the same implementation, or each by its own."""
    kind = kinds if isinstance(kinds, dict) else {s.name: kinds for s in workflow.stages}
    return Plan(workflow, tuple(Choice(s.name, kind[s.name], "cpu", 1.0, 0.0, 0.0, 1.0, **more) for s in workflow.stages))


def host(name: str, *kinds: str, slots: int = 1, busy: int = 0, **more: Any) -> HostHeartbeat:
    """A host that offers implementations of both agents, and has them warm."""
    both = [(agent, kind) for kind in kinds for agent in ("Sleep", "Spread")]
    return HostHeartbeat(
        host=name,
        at=0.0,
        instances=tuple(Instance(f"{a}-{k}", a, k, "cpu", "warm", slots, busy) for a, k in both),
        offers=tuple(Offer(a, k, "cpu") for a, k in both),
        **more,
    )


class Desk:
    """A conductor and what it said; `log` is all that another one would find."""

    def __init__(self, log: Iterable[tuple[str, Record]] = (), now: float = 100.0) -> None:
        self.actor, self.log, self.commands, self.now = Conductor(), list(log), list[Command](), now
        for job, record in self.log:
            self.on(Replayed(JobLog(tenant="t", job=job, records=(record,))))
        self.on(Resumed())

    def on(self, event: Event) -> list[Command]:
        commands = list(self.actor.on(event, self.now))
        self.actor.check()
        self.log += [(c.job, c.record) for c in commands if isinstance(c, Write)]
        self.commands += commands
        return commands

    def hear(self, msg: Message, key: str = "") -> list[Command]:
        return self.on(Heard(msg, key))

    def start(self, workflow: Workflow = ROW, job: str = "j", plan: Plan | None = None, **more: Any) -> None:
        self.hear(SubmitJob(tenant="t", description="d", job=job, workflow=workflow, **more))
        self.hear(WorkflowMade(job=job, workflow=workflow))
        self.hear(PlanMade(job=job, plan=plan or plan_of(workflow)))

    def done(self, stage: str, *index: int, output: Any = None, job: str = "j", attempt: int = 1) -> list[Command]:
        return self.hear(TaskResults(host="h", results=(TaskDone(job, stage, index, attempt, "i", output, Use(1.0, 2.0)),)), "k")

    def stale(self, after_s: float = 5.0) -> list[MakePlan]:
        """What is asked when plans are said to be stale, a while later."""
        self.now += after_s
        return sent(self.hear(PlansStale(why="other is there")), MakePlan)

    def again(self, plan: Plan, job: str = "j", why: str = "") -> list[Command]:
        return self.hear(PlanMade(job=job, plan=plan, again=True, why=why))

    def records(self, kind: type[T]) -> list[T]:
        return [r for _, r in self.log if isinstance(r, kind)]

    @property
    def job(self) -> Job:
        return self.actor.state.jobs["j"]

    @property
    def kinds(self) -> dict[str, str]:
        assert self.job.run is not None
        return {name: run.choice.implementation for name, run in self.job.run.stages.items()}


def sent(commands: Iterable[Command], kind: type[T]) -> list[T]:
    return [c.msg for c in commands if isinstance(c, Send) and isinstance(c.msg, kind)]


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.hear(host("h", *KINDS))
    return desk


# --- asking ---------------------------------------------------------------------------------------------------------------------


def test_what_has_not_started_is_asked_about(desk: Desk) -> None:
    desk.start(deadline_s=60.0)
    [ask] = desk.stale(5.0)
    assert (ask.again, ask.workflow, ask.deadline_s, ask.spent_s) == (True, ROW, 60.0, 5.0)
    assert [c.stage for c in ask.chosen] == ["a"]
    desk.done("a")
    desk.again(plan_of(ROW))
    [ask] = desk.stale()
    assert [c.stage for c in ask.chosen] == ["a", "b"]


def test_nothing_is_asked_where_nothing_is_open(desk: Desk) -> None:
    desk.start(Workflow(ROW.stages[:1], ("a",)))
    assert desk.stale() == []
    desk.hear(SubmitJob(tenant="t", description="d", job="planning", workflow=ROW))
    desk.start(job="explained", explain=True)
    assert desk.stale() == []


def test_one_question_at_a_time_and_one_a_second(desk: Desk) -> None:
    desk.start()
    assert len(desk.stale()) == 1
    assert desk.stale(0.1) == []
    assert sent(desk.again(plan_of(ROW)), MakePlan) == [], "what was stale meanwhile is asked about in its turn, not at once"
    desk.now += AGAIN_EVERY_S
    assert len(sent(desk.on(Woke("replan")), MakePlan)) == 1
    desk.again(plan_of(ROW))
    desk.now += AGAIN_EVERY_S
    assert desk.on(Woke("replan")) == []


def test_thousands_of_jobs_ask_as_fast_as_they_are_answered(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "ENOUGH", 1_000)
    for n in range(100):
        desk.start(job=f"j{n}")
    asked = [ask.job for ask in desk.stale()]
    assert len(asked) == ASKED_MAX
    for n in range(100):
        new = [ask.job for ask in sent(desk.again(plan_of(ROW), job=asked[n]), MakePlan)]
        asked += new
        assert len(desk.actor.state.asked) <= ASKED_MAX
    assert sorted(asked) == sorted(f"j{n}" for n in range(100))
    assert not desk.actor.state.stale


def test_a_lost_question_is_asked_again(desk: Desk) -> None:
    desk.start()
    assert len(desk.stale()) == 1
    desk.now += ANSWER_S - 1
    assert sent(desk.on(Woke("replan")), MakePlan) == []
    desk.now += 1
    assert len(sent(desk.on(Woke("replan")), MakePlan)) == 1


def test_waking_ends_when_there_is_nothing_to_ask(desk: Desk) -> None:
    desk.start()
    desk.stale()
    desk.again(plan_of(ROW))
    wakes = [c for c in desk.commands if isinstance(c, Wake) and c.key == "replan"]
    assert len(wakes) == 1
    assert desk.on(Woke("replan")) == []


def test_a_question_or_a_refusal_does_no_harm(desk: Desk) -> None:
    desk.start(deadline_s=500.0)
    [ask] = desk.stale()
    desk.hear(PlanRefused(job="j", error="deadline cannot be met", seen=3))
    assert desk.job.phase == "running"
    assert desk.again(plan_of(ROW, "two")) == [], "the question is answered"
    desk.on(Outcome(TooLarge(ask), None, "a MakePlan of 9 bytes does not fit"))
    assert desk.job.phase == "running"


# --- taking ---------------------------------------------------------------------------------------------------------------------


def test_only_what_has_not_started_is_taken_and_the_log_comes_first(desk: Desk) -> None:
    desk.start()
    desk.stale()
    commands = desk.again(plan_of(ROW, "two"), why="other is cheap")
    assert desk.kinds == {"a": "one", "b": "two", "c": "two"}
    [record] = desk.records(Replanned)
    assert isinstance(commands[0], Write)
    assert commands[0].record == record
    assert (record.at, record.why) == (105.0, "other is cheap")
    assert [c.implementation for c in record.plan.choices] == ["one", "two", "two"]
    [ready] = sent(desk.done("a"), TaskReady)
    assert (ready.pool, ready.implementation) == ("Sleep-two-cpu", "two")
    [progress] = sent(desk.on(Woke("progress:j")), JobProgress)
    assert [s.implementation for s in progress.stages] == ["one", "two", "two"]
    desk.done("b")
    desk.done("c")
    [result] = sent(desk.commands, JobResult)
    assert result.plan == record.plan
    assert [(r.implementation, r.moved) for r in result.stages] == [("one", False), ("two", False), ("two", False)]


def test_what_started_after_the_question_stays(desk: Desk) -> None:
    desk.start()
    desk.stale()
    desk.done("a")
    desk.again(plan_of(ROW, "two"))
    assert desk.kinds == {"a": "one", "b": "one", "c": "two"}


def test_the_reason_of_the_news_stands_in_where_the_answer_gives_none(desk: Desk) -> None:
    desk.start()
    desk.stale()
    desk.again(plan_of(ROW, "two"))
    assert desk.records(Replanned)[0].why == "other is there"
    assert desk.job.note == "planned again: other is there"


@pytest.mark.parametrize("plan", [plan_of(ROW), replace(plan_of(ROW), time_s=9.0)])
def test_nothing_is_logged_when_nothing_differs(desk: Desk, plan: Plan) -> None:
    desk.start()
    desk.stale()
    assert desk.again(plan) == []


@pytest.mark.parametrize("change", [{"width": 3}, {"slots": 2}, {"power_w": 300.0}])
def test_another_width_differs_too(desk: Desk, change: dict[str, Any]) -> None:
    desk.start()
    desk.stale()
    desk.again(plan_of(ROW, **change))
    [record] = desk.records(Replanned)
    assert [(c.width, c.slots, c.power_w) == (1, 0, None) for c in record.plan.choices] == [True, False, False]


def test_answers_that_nobody_asked_for_or_that_come_twice(desk: Desk) -> None:
    desk.start()
    assert desk.again(plan_of(ROW, "two")) == []
    desk.stale()
    desk.again(plan_of(ROW, "two"))
    assert desk.again(plan_of(ROW, "three")) == []
    assert desk.hear(PlanMade(job="j", plan=plan_of(ROW, "three"))) == []
    assert desk.again(plan_of(ROW, "three"), job="another") == []
    assert desk.kinds == {"a": "one", "b": "two", "c": "two"}


def test_another_workflow_is_not_taken(desk: Desk) -> None:
    desk.start()
    desk.stale()
    other = replace(ROW, stages=(*ROW.stages[:2], replace(ROW.stages[2], args={"ms": 1})))
    assert desk.again(plan_of(other, "two")) == []


def test_an_answer_for_a_job_that_has_ended(desk: Desk) -> None:
    desk.start()
    desk.stale()
    for stage in "abc":
        desk.done(stage)
    assert desk.again(plan_of(ROW, "two")) == []


def test_arguments_that_the_optimizer_had_set_stay(desk: Desk) -> None:
    desk.start(plan=plan_of(ROW, args={"paths": 3}))
    desk.stale()
    desk.again(plan_of(ROW, "two"))
    assert all(c.args == {"paths": 3} for c in desk.records(Replanned)[0].plan.choices)


def test_waiting_tasks_move_and_released_ones_hold_their_stage(desk: Desk) -> None:
    """Two jobs in one pool: of the second nothing was released, so it goes elsewhere at once."""
    desk.hear(host("h", *KINDS, slots=0))
    wide = Workflow((Stage("a", "Spread", many=True), Stage("b", "Sleep", (Edge("x", "a"),), 1)), ("b",))
    desk.start(wide, job="first")
    desk.done("a", job="first", output=[0] * (AHEAD + 3))
    desk.start(Workflow((Stage("b", "Sleep"),), ("b",)), job="j")
    assert [ask.job for ask in desk.stale()] == ["j"]
    [ready] = sent(desk.again(plan_of(Workflow((Stage("b", "Sleep"),), ("b",)), "two")), TaskReady)
    assert (ready.job, ready.pool) == ("j", "Sleep-two-cpu")
    assert list(desk.actor.state.pools.pools["Sleep-one-cpu"].waiting) == ["t"]


# --- growing and planning again -------------------------------------------------------------------------------------------------


def test_a_workflow_that_grows_keeps_what_was_chosen_since_the_question() -> None:
    desk = Desk()
    desk.hear(host("h", *KINDS))
    workflow = Workflow((replace(ROW.stages[0], observe=True), *ROW.stages[1:]), ("c",))
    desk.start(workflow)
    desk.stale()
    desk.done("a")  # b starts; a is looked at
    new = Stage("d", "Sleep", (Edge("x", "c"),))
    desk.hear(WorkflowExtended(job="j", stage="a", stages=(new,), answer=("d",), seen=3))
    longer = replace(workflow, stages=(*workflow.stages, new), answer=("d",))
    desk.again(plan_of(workflow, "two"))
    assert desk.kinds == {"a": "one", "b": "one", "c": "two"}
    desk.hear(PlanMade(job="j", plan=plan_of(longer, "one")))
    assert desk.kinds == {"a": "one", "b": "one", "c": "two", "d": "one"}
    assert Desk(desk.log).job.run is not None
    assert Desk(desk.log).kinds == desk.kinds


def test_a_refusal_is_told_from_that_of_a_longer_workflow() -> None:
    desk = Desk()
    desk.hear(host("h", *KINDS))
    workflow = Workflow((replace(ROW.stages[0], observe=True), *ROW.stages[1:]), ("c",))
    desk.start(workflow)
    desk.stale()
    desk.done("a")
    desk.hear(WorkflowExtended(job="j", stage="a", stages=(Stage("d", "Sleep"),), seen=3))
    desk.hear(PlanRefused(job="j", error="no", seen=3))
    assert desk.job.phase == "running"
    desk.hear(PlanRefused(job="j", error="no", seen=4))
    assert "j" in desk.actor.state.ended


# --- after a crash --------------------------------------------------------------------------------------------------------------


def test_another_conductor_finds_the_same_choices() -> None:
    desk = Desk()
    desk.hear(host("h", *KINDS))
    desk.start()
    desk.stale()
    desk.again(plan_of(ROW, {"a": "two", "b": "two", "c": "three"}))
    other = Desk(desk.log)
    assert other.kinds == desk.kinds == {"a": "one", "b": "two", "c": "three"}
    assert other.job.run is not None
    assert desk.job.run is not None
    assert other.job.run.plan == desk.job.run.plan


def test_what_a_predecessor_may_have_released_stays() -> None:
    """It cannot be known what was released; whatever was ready may have been."""
    desk = Desk()
    desk.start(FAN)
    desk.done("a", output=list(range(20)))
    desk.done("b", 0)
    other = Desk(desk.log)
    other.hear(host("h", *KINDS))
    [ask] = other.stale()
    assert [c.stage for c in ask.chosen] == ["a", "b"]
    other.again(plan_of(FAN, "two"))
    assert other.kinds == {"a": "one", "b": "one", "c": "two"}


# --- pools that nobody serves any more ------------------------------------------------------------------------------------------


def forsaken() -> Desk:
    """A conductor with a wide stage of which some tasks are released to a pool whose only host has fallen silent."""
    desk = Desk()
    desk.hear(host("mortal", "one"))
    desk.hear(host("other", "two"))
    desk.start(FAN)
    desk.done("a", output=list(range(6)))
    desk.done("b", 0)
    for _ in range(6):
        desk.now += SWEEP_EVERY_S
        desk.hear(host("other", "two"))
        desk.on(Woke("sweep"))
    return desk


def test_a_dead_pool_is_noticed_without_being_told() -> None:
    desk = forsaken()
    assert desk.job.note == "stage b: no host serves one on cpu any more"
    asks = sent(desk.commands, MakePlan)[1:]
    assert len(asks) == 1
    assert [c.stage for c in asks[0].chosen] == ["a"]


def test_the_rest_of_a_stage_goes_on_elsewhere_as_other_attempts() -> None:
    desk = forsaken()
    released = sorted(desk.job.released)
    assert len(released) == AHEAD
    commands = desk.again(plan_of(FAN, "two"))
    assert desk.kinds == {"a": "one", "b": "two", "c": "two"}
    given_up = [(r.stage, r.index) for r in desk.records(Retried)]
    assert sorted(given_up) == released
    ready = {r.index: (r.pool, r.attempt) for r in sent(desk.commands, TaskReady) if r.pool == "Sleep-two-cpu"}
    for n in range(1, 6):
        if (n,) not in ready:
            continue
        assert ready[(n,)] == ("Sleep-two-cpu", 2 if ("b", (n,)) in released else 1)
    kinds = [type(c.record) for c in commands if isinstance(c, Write)]
    assert kinds == [Replanned, *[Retried] * len(released)]
    assert Desk(desk.log).kinds == desk.kinds
    assert Desk(desk.log).job.attempt == desk.job.attempt


def test_each_task_counts_once_wherever_it_is_done() -> None:
    desk = forsaken()
    desk.again(plan_of(FAN, "two"))
    for n in range(1, 6):
        desk.done("b", n, attempt=1)  # from the host that was thought dead
        desk.done("b", n, attempt=2)
    assert len(desk.records(Counted)) == 7
    desk.done("c")
    [result] = sent(desk.commands, JobResult)
    assert result.status == "done"
    assert [(r.stage, r.implementation, r.moved) for r in result.stages] == [("a", "one", False), ("b", "two", True), ("c", "two", False)]


def test_attempts_that_died_with_their_pool_are_no_failures() -> None:
    desk = forsaken()
    desk.again(plan_of(FAN, "two"))
    task = sorted(desk.job.released)[0]
    for attempt in range(2, 2 + ATTEMPTS_MAX):
        assert "j" in desk.actor.state.jobs
        assert desk.job.attempt[task] == attempt
        other = Desk(desk.log)
        assert other.job.tries(task) == desk.job.tries(task) == attempt - 1
        desk.hear(TaskResults(host="h", results=(TaskFailed("j", *task, attempt, "i", "it broke"),)), "k")
    assert "j" in desk.actor.state.ended
    assert sent(desk.commands, JobResult)[0].error == f"stage b: it broke (attempt {ATTEMPTS_MAX} of {ATTEMPTS_MAX})"


def test_a_late_failure_in_the_dead_pool_is_nothing() -> None:
    desk = forsaken()
    desk.again(plan_of(FAN, "two"))
    before = len(desk.log)
    stage, index = sorted(desk.job.released)[0]
    desk.hear(TaskResults(host="h", results=(TaskFailed("j", stage, index, 1, "i", "it broke"),)), "k")
    assert len(desk.log) == before


def test_who_came_after_gives_up_all_that_may_be_in_the_dead_queue() -> None:
    """It knows not what its predecessor had released, so every task that was ready becomes another attempt, once."""
    desk = forsaken()
    other = Desk(desk.log, now=desk.now)
    for _ in range(8):
        other.now += SWEEP_EVERY_S
        other.hear(host("other", "two"))
        other.on(Woke("sweep"))
    before = len(other.records(Retried))
    other.again(plan_of(FAN, "two"))
    assert sorted(r.index for r in other.records(Retried)[before:]) == [(n,) for n in range(1, 6)]
    assert all(r.error == ORPHANED for r in other.records(Retried))


@pytest.mark.parametrize(
    ("beat", "serves"),
    [
        (host("mortal", "one"), True),
        (HostHeartbeat(host="mortal", at=0.0, offers=(Offer("Sleep", "one", "cpu"),)), True),
        (host("mortal", "one", busy=1, leaving=True), True),
        (host("mortal", "one", leaving=True), False),
        (host("mortal", "one", busy=1, revoked_at=500.0), True),
        (host("mortal", "one", revoked_at=500.0), False),
        (host("mortal", "two"), False),
    ],
)
def test_who_serves_a_pool(beat: HostHeartbeat, serves: bool) -> None:
    pools = Pools()
    pools.beat(beat, 0.0)
    assert pools.offered("Sleep-one-cpu") is serves
    pools.forget_silent(1.0)
    assert not pools.offered("Sleep-one-cpu")


def test_nobody_is_called_dead_by_who_has_just_begun_to_listen() -> None:
    desk = forsaken()
    desk.again(plan_of(FAN))  # no better plan
    other = Desk(desk.log, now=desk.now)
    other.hear(host("other", "two"))
    other.now += HOST_SILENT_S - 1
    other.hear(host("other", "two"))
    [ask] = other.stale(0.5)
    assert [c.stage for c in ask.chosen] == ["a", "b"]


def test_a_conductor_that_hears_no_host_at_all_asks_nothing() -> None:
    desk = Desk()
    desk.start(FAN)
    desk.now += 100
    desk.on(Woke("sweep"))
    assert len(sent(desk.commands, MakePlan)) == 1


def test_a_host_that_comes_back_before_the_answer_keeps_its_stage() -> None:
    desk = forsaken()
    desk.hear(host("mortal", "one"))
    desk.again(plan_of(FAN, "two"))
    assert desk.kinds == {"a": "one", "b": "one", "c": "two"}


# --- the parts ------------------------------------------------------------------------------------------------------------------


def test_only_the_same_workflow_can_be_chosen_anew() -> None:
    with pytest.raises(ActorBug, match="the same workflow"):
        DagRun(plan_of(ROW), ()).rechoose(plan_of(FAN))


def test_taking_out_of_a_pool_leaves_the_others_in_their_order() -> None:
    pools = Pools()
    for n in range(AHEAD + 6):
        pools.enqueue("p", "t", f"j{n % 2}", ("s" if n % 3 else "other", (n,)))
    list(pools.release())
    assert pools.take("p", "t", "j0", "s") == [("s", (4,)), ("s", (8,))]
    assert pools.take("nowhere", "t", "j0", "s") == pools.take("p", "nobody", "j0", "s") == pools.take("p", "t", "j9", "s") == []
    assert [index[0] for _, (_, (_, index)) in pools.held() if index[0] >= AHEAD] == [5, 6, 7, 9]


@given(st.integers(0, 10_000), st.integers(5, 60))
def test_whatever_comes_in_whatever_order_the_log_says_what_is(seed: int, steps: int) -> None:
    """Results, failures, news, answers that are late, doubled, or for nobody, hosts that come and go, and crashes; after each, a conductor
    that reads the log has the same choices, and no stage of which anything was released has another pool, unless each such task has
    another attempt."""
    dice = Random(seed)
    desk = Desk()
    desk.start(FAN, plan=plan_of(FAN, {s.name: dice.choice(KINDS) for s in FAN.stages}))
    late: list[Plan] = []
    released: dict[tuple[Any, ...], str] = {}
    seen = 0
    for _ in range(steps):
        if "j" not in desk.actor.state.jobs:
            break
        desk.now += dice.choice([0.0, 0.5, 3.0])
        open_tasks = [t for t, w in desk.job.run.tasks() if not w and not desk.job.is_done(t)] if desk.job.run else []
        match dice.randrange(8):
            case 0 | 1 if open_tasks:
                stage, index = dice.choice(open_tasks)
                desk.done(stage, *index, output=list(range(dice.randrange(9))) if stage == "a" else 1)
            case 2 if open_tasks:
                stage, index = dice.choice(open_tasks)
                desk.hear(
                    TaskResults(host="h", results=(TaskFailed("j", stage, index, desk.job.attempt.get((stage, index), 1), "i", "no"),))
                )
            case 3:
                desk.hear(host(dice.choice("xyz"), *dice.sample(KINDS, 2), slots=dice.randrange(3), leaving=dice.random() < 0.2))
            case 4:
                desk.hear(PlansStale(why="a whim"))
                late.append(plan_of(FAN, {s.name: dice.choice(KINDS) for s in FAN.stages}))
            case 5 if late:
                desk.again(dice.choice(late))
            case 6:
                desk.on(Woke(dice.choice(["sweep", "replan"])))
            case 7 if dice.random() < 0.3:
                desk = Desk(desk.log, desk.now)
                seen = 0
        for ready in sent(desk.commands[seen:], TaskReady):
            assert released.setdefault((ready.stage, ready.index, ready.attempt), ready.pool) == ready.pool, "one attempt in two pools"
        seen = len(desk.commands)
        job: Job | None = None
        for _, record in desk.log:
            job = replay(job, record)
        assert job is not None
        if "j" in desk.actor.state.jobs and job.run is not None and desk.job.run is not None:
            job.run.check()
            assert job.run.plan == desk.job.run.plan
            assert (job.attempt, job.orphaned, job.moved, job.rechosen) == (
                desk.job.attempt,
                desk.job.orphaned,
                desk.job.moved,
                desk.job.rechosen,
            )
