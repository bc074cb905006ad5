"""The conductor after a restart: what another one makes of the log, and what it says again."""

from __future__ import annotations

import pytest
from conductor_desk import FAN, JOB, ONE, VIDEO, Desk, TooLarge, beat, done, failed, plan_of, running, sent, tasks, written

from murakkab.actors.conductor import SWEEP_EVERY_S, Conductor
from murakkab.actors.core import Command, Outcome, Replayed, Reply, Resumed, Send, Settle, Wake, Write
from murakkab.actors.pools import AHEAD
from murakkab.bus.messages import (
    Counted,
    Ended,
    JobAccepted,
    JobLog,
    JobResult,
    Lowered,
    MakePlan,
    MakeWorkflow,
    PlanMade,
    Planned,
    Retried,
    SubmitJob,
    TakenOver,
    TaskDone,
    TaskReady,
    Use,
    WorkflowMade,
)


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.on(Resumed())
    return desk


def whole_job(desk: Desk) -> None:
    desk.hear(JOB)
    desk.hear(WorkflowMade(job="j", workflow=FAN))
    desk.hear(PlanMade(job="j", plan=plan_of(FAN)))
    desk.results(done("spread", output=[1, 2]))
    desk.results(failed("wait", 1))
    desk.results(done("wait", 1, attempt=2, output="b"))
    desk.results(done("wait", 0, output="a"))
    desk.results(done("gather", output="end"))


def finish(desk: Desk, commands: list[Command]) -> list[JobResult]:
    """Plays planner, optimizer and workers until the conductor wants nothing more."""
    results: list[JobResult] = []
    outputs = {"spread": [1, 2], "gather": "end"}
    todo = list(commands)
    while todo:
        match todo.pop(0):
            case Send(msg=MakeWorkflow(job=job)):
                todo += desk.hear(WorkflowMade(job=job, workflow=FAN))
            case Send(msg=MakePlan(job=job, workflow=workflow)):
                todo += desk.hear(PlanMade(job=job, plan=plan_of(workflow)))
            case Send(msg=TaskReady() as t):
                result = TaskDone(
                    t.job, t.stage, t.index, t.attempt, "i", outputs.get(t.stage, "ab"[t.index[0]] if t.index else ""), Use(0, 1)
                )
                todo += desk.results(result)
            case Send(msg=JobResult() as result):
                results.append(result)
    return results


@pytest.mark.parametrize("records", range(9))
def test_a_new_conductor_finishes_from_any_prefix_of_the_log(desk: Desk, records: int) -> None:
    whole_job(desk)
    assert [type(r).__name__ for _, _, r in desk.log] == [
        "Submitted",
        "Lowered",
        "Planned",
        "Counted",
        "Retried",
        "Counted",
        "Counted",
        "Counted",
        "Ended",
    ]
    other, commands = desk.restarted(records + 1)
    (result,) = finish(other, commands)
    assert (result.status, result.answer) == ("done", ("end",))
    counted = [(r.done.stage, r.done.index) for _, _, r in other.log if isinstance(r, Counted)]
    assert sorted(counted) == [("gather", ()), ("spread", ()), ("wait", (0,)), ("wait", (1,))]


def test_a_log_is_closed_to_who_wrote_it_before_anything_is_released_by_it(desk: Desk) -> None:
    """A choice that a dead conductor made may be on its way to the log still; then the log would say another pool than the tasks are in."""
    whole_job(desk)
    _, commands = desk.restarted(5)
    wrote = next(n for n, c in enumerate(commands) if isinstance(c, Write) and isinstance(c.record, TakenOver))
    assert wrote < min(n for n, c in enumerate(commands) if isinstance(c, Send) and isinstance(c.msg, TaskReady))
    assert all(c.after_records == c.msg.job for c in commands if isinstance(c, Send) and isinstance(c.msg, TaskReady))
    assert desk.on(Resumed()) == [], "but not after each reconnect"


def test_open_tasks_are_asked_for_again_with_the_attempt_that_they_are_at(desk: Desk) -> None:
    whole_job(desk)
    _, commands = desk.restarted(5)
    assert sorted(tasks(commands)) == [("wait", (0,), 1), ("wait", (1,), 2)]


def test_a_deadline_goes_on_counting_over_a_restart(desk: Desk) -> None:
    desk.hear(SubmitJob(tenant="t", description="d", inputs=(VIDEO,), job="j", deadline_s=10.0))
    desk.now += 4.0
    assert Wake(6.0, "deadline:j") in desk.restarted()[1]
    desk.now += 100.0
    assert Wake(0.0, "deadline:j") in desk.restarted()[1]


def test_after_a_restart_a_late_result_finds_its_task_still_waiting(desk: Desk) -> None:
    """More is open than may be released; a result comes for a task that has not been released again."""
    running(desk, FAN)
    desk.hear(beat(3))
    desk.results(done("spread", output=list(range(12))))
    other, commands = desk.restarted()
    assert len(tasks(commands)) == AHEAD
    assert tasks(other.results(done("wait", 11, output="late"))) == []
    assert tasks(other.hear(beat(3))) == [("wait", (i,), 1) for i in range(AHEAD, 11)]


def test_results_before_the_first_heartbeat_leave_nothing_waiting(desk: Desk) -> None:
    """As above, down to the last waiting task of the tenant."""
    running(desk, FAN)
    desk.hear(beat(2))
    desk.results(done("spread", output=list(range(5))))
    other, commands = desk.restarted()
    assert tasks(commands) == [("wait", (i,), 1) for i in range(4)]
    assert len(written(other.results(done("wait", 4)))) == 1
    for index in range(3):
        assert tasks(other.results(done("wait", index))) == []
    assert tasks(other.results(done("wait", 3))) == [("gather", (), 1)]


def test_an_ended_job_is_told_again_and_takes_no_more_results(desk: Desk) -> None:
    whole_job(desk)
    other, commands = desk.restarted()
    assert [r.status for r in sent(commands, JobResult)] == ["done"]
    assert not other.actor.state.jobs
    assert other.results(done("gather")) == [Settle(("r",), after_records=("j",))]
    assert other.hear(JOB, "k") == [Reply("k", JobAccepted(tenant="t", job="j"), after_records="j")]


def test_a_reconnect_changes_nothing(desk: Desk) -> None:
    running(desk, FAN)
    assert desk.on(Resumed()) == []


def test_a_result_that_is_in_the_stream_is_not_told_again(desk: Desk) -> None:
    """Else every restart would tell every client, and teach the optimizer, the results of a whole week once more."""
    whole_job(desk)
    (result,) = sent(desk.restarted()[1], JobResult)
    other = Desk()
    other.on(Replayed(JobLog(tenant="t", job="j", records=tuple(r for _, _, r in desk.log))))
    assert JobResult in Conductor.replays
    other.on(Replayed(result))
    assert other.on(Resumed()) == [Wake(SWEEP_EVERY_S, "sweep")]


def test_a_result_that_no_message_can_hold_is_told_without_its_answer(desk: Desk) -> None:
    running(desk)
    (result,) = sent(desk.results(done("one", output="x")), JobResult)
    (send,) = desk.on(Outcome(TooLarge(result), error="a JobResult of 2000000 bytes does not fit"))
    assert isinstance(send, Send)
    assert isinstance(send.msg, JobResult)
    assert (send.msg.status, send.msg.answer, send.msg.error) == ("failed", (), "a JobResult of 2000000 bytes does not fit")
    assert desk.on(Outcome(TooLarge(send.msg), error="still")) == [], "there is nothing left to leave out"


def test_a_task_that_no_message_can_hold_fails_its_job(desk: Desk) -> None:
    (task,) = sent(running(desk), TaskReady)
    commands = desk.on(Outcome(TooLarge(task), error="a TaskReady of 2000000 bytes does not fit"))
    assert written(commands) == [Ended("failed", "stage one: a TaskReady of 2000000 bytes does not fit", 100.0)]


def test_a_log_that_starts_in_the_middle_is_left_alone() -> None:
    desk = Desk()
    for record in (
        Lowered(ONE, 1.0),
        Planned(plan_of(ONE), 1.0),
        Counted("h", done("one")),
        Retried("one", (), 2, "e"),
        Ended("done", "", 2.0),
    ):
        assert desk.on(Replayed(JobLog(tenant="t", job="j", records=(record,)))) == []
    assert desk.on(Resumed()) == [Wake(SWEEP_EVERY_S, "sweep")]
