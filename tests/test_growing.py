"""Workflows that grow, from the conductor's side: which answers are taken, what is in the log before what, and that a conductor
that starts anew knows just what its predecessor had written."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from murakkab.actors.conductor import Conductor
from murakkab.actors.core import Command, Errand, Event, Heard, Outcome, Replayed, Resumed, Send, Wake, Woke, Write
from murakkab.actors.jobs import OBSERVE_MAX, Job, replay
from murakkab.actors.planning import NOTE_MAX
from murakkab.bus.messages import (
    CancelJob,
    Choice,
    Edge,
    Extended,
    HostHeartbeat,
    Instance,
    JobLog,
    JobProgress,
    JobResult,
    MakePlan,
    Message,
    Observed,
    Plan,
    PlanMade,
    PlanRefused,
    Record,
    Stage,
    SubmitJob,
    TaskDone,
    TaskReady,
    TaskResults,
    Use,
    Workflow,
    WorkflowExtended,
    WorkflowMade,
    WorkflowRefused,
)
from murakkab.planner.request import STAGES_MAX
from murakkab.sim.policy import RULE, answer_of, next_of

T = TypeVar("T")
WARM = tuple(Instance(a, a, a.lower(), "cpu", "warm", 8) for a in ("Sleep", "Spread"))


class TooLarge(Errand, frozen=True):
    msg: Message


class Desk:
    """A conductor and what it said; `log` is all that another one would find."""

    def __init__(self, log: Iterable[Record] = ()) -> None:
        self.actor, self.log, self.commands = Conductor(), list(log), list[Command]()
        self.now = 100.0
        for record in self.log:
            self.on(Replayed(JobLog(tenant="t", job="j", records=(record,))))
        self.on(Resumed())
        self.hear(HostHeartbeat(host="h", at=0.0, instances=WARM))

    def on(self, event: Event) -> list[Command]:
        commands = list(self.actor.on(event, self.now))
        self.actor.check()
        self.log += [c.record for c in commands if isinstance(c, Write)]
        self.commands += commands
        return commands

    def hear(self, msg: Message, key: str = "") -> list[Command]:
        return self.on(Heard(msg, key))

    def said(self, kind: type[T]) -> list[T]:
        return [c.msg for c in self.commands if isinstance(c, Send) and isinstance(c.msg, kind)]

    def last(self, kind: type[T]) -> T:
        return self.said(kind)[-1]

    def done(self, task: TaskReady, output: Any) -> list[Command]:
        done = TaskDone(task.job, task.stage, task.index, task.attempt, "i", output, Use(0.0, 1.0))
        return self.hear(TaskResults(host="h", results=(done,)), "k")

    def do(self, stage: str, output: Any = None) -> list[Command]:
        (task,) = [t for t in self.said(TaskReady) if t.stage == stage]
        return self.done(task, {"value": 1.0} if output is None else output)

    def planned(self) -> list[Command]:
        asked = self.last(MakePlan)
        return self.hear(PlanMade(job="j", plan=plan_of(asked)))


def plan_of(asked: MakePlan) -> Plan:
    new = asked.workflow.stages[len(asked.chosen) :]
    return Plan(asked.workflow, (*asked.chosen, *(Choice(s.name, s.agent.lower(), "cpu", 1.0, 0.0, 0.0, 1.0) for s in new)))


def look(name: str, *sources: str) -> Stage:
    return Stage(name, "Sleep", tuple(Edge(f"p{n}", s) for n, s in enumerate(sources)), observe=True)


def started(*stages: Stage, rest: str = "go on", deadline_s: float | None = None) -> Desk:
    desk = Desk()
    workflow = Workflow(stages, (stages[0].name,), rest=rest)
    desk.hear(SubmitJob(tenant="t", description="x", job="j", deadline_s=deadline_s), "key")
    desk.hear(WorkflowMade(job="j", workflow=workflow))
    desk.planned()
    return desk


def more(after: str, *names: str, seen: int = 0, note: str = "") -> WorkflowExtended:
    return WorkflowExtended(job="j", stage=after, stages=tuple(look(n, after) for n in names), seen=seen, note=note)


# --- which answers are taken ---------------------------------------------------------------------------------------------------------


def test_an_answer_for_the_workflow_before_is_not_taken() -> None:
    """A conductor asked about c and died; its successor asked about a first, and then about c with one stage more."""
    desk = started(look("a"), look("c"))
    desk.do("a")
    desk.do("c")
    desk.hear(more("a", "x2", seen=2))
    desk.planned()
    assert desk.last(Observed).stage == "c"
    assert desk.hear(more("c", "x2", seen=2)) == []
    desk.hear(more("c", "x3", seen=3))
    desk.planned()
    assert [e.stage for e in desk.log if isinstance(e, Extended)] == ["a", "c"]
    assert [s.name for s in desk.last(MakePlan).workflow.stages] == ["a", "c", "x2", "x3"]


def test_that_nothing_more_is_to_be_done_is_true_of_any_longer_workflow_too() -> None:
    desk = started(look("a"))
    desk.do("a")
    desk.hear(more("a", seen=77))
    assert desk.last(JobResult).status == "done"


@pytest.mark.parametrize(
    "late",
    [
        WorkflowRefused(job="j", error="of the words, which were planned after all"),
        WorkflowRefused(job="j", error="about another stage", stage="other"),
        WorkflowMade(job="j", workflow=Workflow((look("z"),), ("z",))),
        PlanMade(job="j", plan=Plan(Workflow((look("z"),), ("z",)), ())),
    ],
)
def test_late_answers_to_earlier_questions_do_nothing_while_it_observes(late: Message) -> None:
    desk = started(look("a"))
    desk.do("a")
    assert desk.hear(late) == []
    desk.hear(more("a", "b", seen=1))
    assert desk.hear(late) == []
    assert desk.last(MakePlan).workflow.stages[-1].name == "b"


def test_a_late_word_of_the_optimizer_about_the_shorter_workflow_does_not_fail_the_job() -> None:
    desk = started(look("a"))
    desk.do("a")
    desk.hear(more("a", "b", seen=1))
    assert desk.hear(PlanRefused(job="j", error="no quality", seen=1)) == []
    desk.hear(PlanRefused(job="j", error="no host", wait=True, seen=2))
    assert desk.actor.state.jobs["j"].note == "no host"
    desk.hear(PlanRefused(job="j", error="no quality", seen=2))
    end = desk.last(JobResult)
    assert (end.status, end.error, end.infeasible) == ("failed", "no quality", False)


def test_refused_after_an_observation() -> None:
    desk = started(look("a"))
    desk.do("a")
    desk.hear(WorkflowRefused(job="j", error="nobody can", stage="a"))
    assert (desk.last(JobResult).status, desk.last(JobResult).error) == ("failed", "nobody can")


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("end", [CancelJob(tenant="t", job="j"), Woke("deadline:j")])
def test_a_job_that_ends_in_between_does_not_grow(steps: int, end: CancelJob | Woke) -> None:
    desk = started(look("a"), deadline_s=60.0)
    desk.do("a")
    late: list[Message] = [more("a", "b")]
    if steps > 1:
        desk.hear(late[0])
        late.append(PlanMade(job="j", plan=plan_of(desk.last(MakePlan))))
    desk.on(end if isinstance(end, Woke) else Heard(end, "key"))
    over = len(desk.log)
    assert desk.last(JobResult).status in ("cancelled", "failed")
    assert [desk.hear(msg) for msg in late] == [[] for _ in late]
    assert desk.on(Woke("ask-observing:j")) == []
    assert len(desk.log) == over


# --- the log comes first -------------------------------------------------------------------------------------------------------------


def test_what_the_planner_is_shown_is_in_the_log_before() -> None:
    desk = started(look("a"))
    (asks,) = [c for c in desk.do("a") if isinstance(c, Send) and isinstance(c.msg, Observed)]
    assert asks.after_records == "j"


def test_what_follows_from_an_answer_comes_after_its_record() -> None:
    desk = started(look("a"))
    desk.do("a")
    desk.hear(more("a", "b"))
    commands = desk.planned()
    (at,) = [n for n, c in enumerate(commands) if isinstance(c, Write)]
    released = [(n, c) for n, c in enumerate(commands) if isinstance(c, Send)]
    assert [c.msg.stage for _, c in released if isinstance(c.msg, TaskReady)] == ["b"]
    assert all(n > at and c.after_records == "j" for n, c in released)


def test_each_question_has_its_own_clock() -> None:
    """Otherwise every answered observation would leave one more clock behind that asks about the next."""
    desk = started(*(look(n) for n in "abcd"))
    for name in "abcd":
        desk.do(name)
    keys: list[str] = []
    for name in "abcd":
        (key,) = {c.key for c in desk.commands if isinstance(c, Wake) and c.key.startswith("ask-observing")} - set(keys)
        keys.append(key)
        asks = desk.on(Woke(key))
        assert [c.msg.stage for c in asks if isinstance(c, Send) and isinstance(c.msg, Observed)] == [name]
        desk.hear(more(name))
        assert desk.on(Woke(key)) == []
    assert len(set(keys)) == 4


# --- bounds --------------------------------------------------------------------------------------------------------------------------


def test_answers_of_nothing_do_not_use_up_the_steps() -> None:
    names = [f"s{n}" for n in range(OBSERVE_MAX + 5)]
    desk = started(*(look(n) for n in names))
    for name in names:
        desk.do(name)
    for name in names:
        assert (desk.last(Observed).stage, desk.last(Observed).steps_left) == (name, OBSERVE_MAX)
        desk.hear(more(name))
    assert (desk.last(JobResult).status, desk.last(JobResult).note) == ("done", "")


def test_what_was_not_looked_at_for_want_of_steps_is_told() -> None:
    desk = started(look("s0"))
    for n in range(OBSERVE_MAX):
        desk.do(f"s{n}")
        assert desk.last(Observed).steps_left == OBSERVE_MAX - n
        desk.hear(more(f"s{n}", f"s{n + 1}", note=f"step {n}"))
        desk.planned()
    assert not desk.said(JobResult)
    desk.do(f"s{OBSERVE_MAX}")
    end = desk.last(JobResult)
    assert end.status == "done"
    assert end.note.startswith("step 0; step 1; ")
    assert end.note.endswith(f"what s{OBSERVE_MAX} gave was not looked at: a job grows {OBSERVE_MAX} times at most")
    assert Desk(desk.log).last(JobResult).note == end.note


def test_as_many_stages_as_any_job_may_have_and_no_more() -> None:
    desk = started(look("a"))
    desk.do("a")
    desk.hear(WorkflowExtended(job="j", stage="a", stages=tuple(Stage(f"b{n}", "Sleep") for n in range(STAGES_MAX - 1))))
    assert len(desk.last(MakePlan).workflow.stages) == STAGES_MAX


def test_a_note_that_is_no_note_is_cut() -> None:
    desk = started(look("a"))
    desk.do("a")
    desk.hear(more("a", note="two\nlines " * 10_000))
    (grown,) = [r for r in desk.log if isinstance(r, Extended)]
    assert len(grown.note) == NOTE_MAX
    assert "\n" not in grown.note


def test_an_observation_that_no_message_can_hold_fails_its_job_and_a_progress_does_not() -> None:
    desk = started(look("a"))
    desk.do("a")
    asked = desk.last(Observed)
    news = JobProgress(tenant="t", job="j", phase="running")
    assert desk.on(Outcome(TooLarge(news), error="a JobProgress of 2000000 bytes does not fit")) == []
    desk.on(Outcome(TooLarge(asked), error="a Observed of 2000000 bytes does not fit"))
    assert desk.last(JobResult).error == "stage a: a Observed of 2000000 bytes does not fit"


# --- replay --------------------------------------------------------------------------------------------------------------------------


def state_of(job: Job) -> dict[str, Any]:
    """All that must not depend on whether it was lived or replayed; what is asked just now is not among it."""
    assert job.run is not None
    run = job.run
    return {
        "plan": run.plan,
        "stages": {n: (s.axes, s.out, s.waits, s.output, s.done_under, s.complete, s.choice) for n, s in run.stages.items()},
        "open": run._open,
        "gathered": run._gathered,
        "looks": (job.observed, job.grown, job.found, job.to_observe()),
        "records": job.records,
    }


@st.composite
def beginnings(draw: st.DrawFn) -> Workflow:
    """Some stages, of which some are collections and some are looked at."""
    stages: list[Stage] = []
    for n in range(draw(st.integers(1, 4))):
        many = draw(st.booleans())
        args = {"n": draw(st.integers(0, 3))} if many else {"ms": draw(st.integers(0, 50))}
        source = draw(st.sampled_from([None, *stages]))
        edges = (Edge("p0", source.name),) if source else ()
        depth = draw(st.integers(0, 1)) if source is not None and source.many and source.depth == 0 else 0
        stages.append(Stage(f"n{n}", "Spread" if many else "Sleep", edges, depth, many, args, observe=draw(st.booleans())))
    return Workflow(tuple(stages), (stages[-1].name,), rest=RULE)


def output_of(task: TaskReady) -> Any:
    return [{"value": float(n)} for n in range(task.args["n"])] if task.agent == "Spread" else {"value": float(task.args["ms"])}


@given(beginnings(), st.integers(0, 2**32))
def test_whoever_starts_anew_knows_what_was_and_ends_it_rightly(workflow: Workflow, seed: int) -> None:
    """Tasks, answers of the planner and of the optimizer come in any order, some twice; the conductor dies now and then."""
    desk, dice = Desk(), Random(seed)
    desk.hear(SubmitJob(tenant="t", description="x", job="j", workflow=workflow), "key")
    desk.hear(WorkflowMade(job="j", workflow=workflow))
    desk.planned()
    ran: set[tuple[str, Any]] = set()
    answers: list[Message] = []
    for _ in range(3_000):
        if desk.said(JobResult):
            break
        answers += [next_of(m) for m in desk.said(Observed)[-1:]] + [PlanMade(job="j", plan=plan_of(m)) for m in desk.said(MakePlan)[-1:]]
        del answers[:-12]
        open_tasks = [t for t in desk.said(TaskReady) if (t.stage, t.index) not in ran]
        if dice.random() < 0.05:
            lived = desk.actor.state.jobs["j"]
            desk = Desk(desk.log)
            assert state_of(desk.actor.state.jobs["j"]) == state_of(lived)
        elif open_tasks and dice.random() < 0.6:
            task = dice.choice(open_tasks)
            ran.add((task.stage, task.index))
            desk.done(task, output_of(task))
        else:
            desk.hear(dice.choice(answers))
    end = desk.last(JobResult)
    assert (end.status, end.error) == ("done", "")
    assert end.plan is not None
    assert list(end.answer) == answer_of(end.plan.workflow)
    job = None
    for record in desk.log:
        job = replay(job, record)
    assert job is not None
    assert job.run is not None
    assert [s for s in job.run.observes if s not in job.observed] == [] or job.grown == OBSERVE_MAX
    assert end.stages == job.result().stages
