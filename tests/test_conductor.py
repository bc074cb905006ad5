"""The conductor, event by event: what goes in, and exactly which commands come out."""

from __future__ import annotations

from typing import Any

import pytest
from conductor_desk import FAN, JOB, ONE, VIDEO, Desk, beat, done, failed, plan_of, running, sent, tasks, written

from murakkab.actors.conductor import ATTEMPTS_MAX, GRACE_S, SWEEP_EVERY_S
from murakkab.actors.core import Reply, Resumed, Send, Settle, Wake, Woke, Write
from murakkab.actors.planning import ASK_AGAIN_S, ASK_FIRST_S, ASKS_SOON
from murakkab.actors.pools import AHEAD
from murakkab.actors.running import PROGRESS_EVERY_S
from murakkab.bus.messages import (
    CancelJob,
    Counted,
    Ended,
    Indexed,
    JobAccepted,
    JobList,
    JobProgress,
    JobRefused,
    JobResult,
    ListJobs,
    Lowered,
    MakePlan,
    MakeWorkflow,
    Message,
    PlanMade,
    Planned,
    PlanRefused,
    Retried,
    Stage,
    SubmitJob,
    Submitted,
    TaskDone,
    TaskFailed,
    TaskReady,
    TenantsState,
    Workflow,
    WorkflowMade,
    WorkflowRefused,
)
from murakkab.planner import request


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.on(Resumed())
    return desk


# --- submission ---------------------------------------------------------------------------------------------------------------


def test_a_submission_is_written_before_it_is_accepted(desk: Desk) -> None:
    assert desk.hear(JOB, "reply") == [
        Write("t", "j", Submitted(JOB, 100.0)),
        Reply("reply", JobAccepted(tenant="t", job="j"), after_records="j"),
        Send(MakeWorkflow(tenant="t", job="j", description="do it", inputs=(VIDEO,))),
        Wake(ASK_FIRST_S, "ask-planning:j"),
    ]


def test_a_deadline_is_watched_from_the_start(desk: Desk) -> None:
    commands = desk.hear(SubmitJob(tenant="t", description="d", inputs=(VIDEO,), job="j", deadline_s=7.0))
    assert Wake(7.0, "deadline:j") in commands


def test_the_same_submission_again_starts_nothing(desk: Desk) -> None:
    desk.hear(JOB, "first")
    again = Reply("second", JobAccepted(tenant="t", job="j"), after_records="j")
    assert desk.hear(JOB, "second") == [again]
    desk.hear(CancelJob(tenant="t", job="j"))
    assert desk.hear(JOB, "second") == [again], "also when the job has ended"


def test_another_tenant_cannot_have_the_same_id(desk: Desk) -> None:
    desk.hear(JOB)
    other = SubmitJob(tenant="u", description="d", inputs=(VIDEO,), job="j")
    refused = Reply("k", JobRefused(error="job id 'j' is taken"))
    assert desk.hear(other, "k") == [refused]
    desk.hear(CancelJob(tenant="t", job="j"))
    assert desk.hear(other, "k") == [refused]


def test_the_conductor_chooses_an_id_for_a_client_that_has_none(desk: Desk) -> None:
    ids = set()
    for key in ("a", "b"):
        (reply,) = [c for c in desk.hear(SubmitJob(tenant="t", description="d", inputs=(VIDEO,)), key) if isinstance(c, Reply)]
        assert isinstance(reply.msg, JobAccepted)
        ids.add(reply.msg.job)
    assert len(ids) == 2
    assert ids == set(desk.actor.state.jobs)


GOALS = "MIN_COST, MIN_LATENCY, MIN_ENERGY, MAX_QUALITY"
BAD: list[tuple[dict[str, Any], str]] = [
    ({"job": "a b"}, "job id 'a b' is not made of 1 to 80 letters, digits, '-' and '_'"),
    ({"job": "j\n"}, "job id 'j\n' is not made of 1 to 80 letters, digits, '-' and '_'"),
    ({"job": "x" * 81}, f"job id '{'x' * 80}' is not made of 1 to 80 letters, digits, '-' and '_'"),
    ({"constraints": ("FAST",)}, f"unknown constraint 'FAST': it is one of {GOALS}, with a tolerance where wanted (MIN_COST:0.1)"),
    ({"constraints": ()}, f"no constraint: name at least one of {GOALS}"),
    ({"deadline_s": 0.0}, "deadline_s=0 is not a positive number"),
    ({"deadline_s": -1.5}, "deadline_s=-1.5 is not a positive number"),
    ({"deadline_s": float("nan")}, "deadline_s=nan is not a positive number"),
    ({"deadline_s": float("inf")}, "deadline_s=inf is not a positive number"),
    ({"budget_usd": 0.0}, "budget_usd=0 is not a positive number"),
    ({"energy_budget_wh": -1.0}, "energy_budget_wh=-1 is not a positive number"),
    ({"quality_floor": 1.5}, "quality_floor=1.5 is not between 0 and 1"),
    ({"quality_floor": float("nan")}, "quality_floor=nan is not between 0 and 1"),
    ({"inputs": (VIDEO,) * (request.INPUTS_MAX + 1)}, "1001 inputs: at most 1000 fit into one job"),
    ({"workflow": Workflow((), ())}, "the given workflow has no stages"),
    (
        {"workflow": Workflow((Stage("a", "A"),), ("b",))},
        "the given workflow cannot run: the answer is to come from stage 'b', which does not exist",
    ),
    (
        {"description": " \n"},
        'the description is empty: say what you want in words, for example "List objects shown/mentioned in the videos"',
    ),
    (
        {"description": "x" * 8_001},
        "the description has 8001 characters: at most 8000 are read; give long material as an input",
    ),
    ({"tasks": ("t",) * 51}, "51 hints: at most 50 are read"),
    ({"tasks": (" ",)}, "hint ' ' is empty or longer than 8000 characters"),
    ({"tasks": ("y" * 8_001,)}, f"hint '{'y' * 60}' is empty or longer than 8000 characters"),
]


@pytest.mark.parametrize(("change", "text"), BAD, ids=lambda x: x[:40] if isinstance(x, str) else None)
def test_a_bad_submission_is_refused_and_leaves_nothing(desk: Desk, change: dict[str, Any], text: str) -> None:
    fields: dict[str, Any] = {"tenant": "t", "description": "d", "inputs": (VIDEO,), "job": "j", **change}
    assert desk.hear(SubmitJob(**fields), "k") == [Reply("k", JobRefused(error=text))]
    assert not desk.actor.state.jobs


def test_limits_themselves_are_fine(desk: Desk) -> None:
    job = SubmitJob(
        tenant="t", description="x" * 8_000, inputs=(VIDEO,) * 1_000, tasks=("h" * 8_000,) * 50, quality_floor=1.0, job="j" * 80
    )
    assert request.refusal(job) == ""


# --- planning -----------------------------------------------------------------------------------------------------------------


def test_planning_step_by_step(desk: Desk) -> None:
    desk.hear(JOB)
    assert desk.hear(WorkflowMade(job="j", workflow=ONE)) == [
        Write("t", "j", Lowered(ONE, 100.0)),
        Send(MakePlan(job="j", workflow=ONE, inputs=1, constraints=("MIN_COST",))),
        Wake(ASK_FIRST_S, "ask-optimizing:j"),
    ]
    plan = plan_of(ONE)
    assert desk.hear(PlanMade(job="j", plan=plan)) == [
        Write("t", "j", Planned(plan, 100.0)),
        Wake(PROGRESS_EVERY_S, "progress:j"),
        Send(
            TaskReady(
                pool="Sleep-sleep-cpu",
                tenant="t",
                job="j",
                stage="one",
                index=(),
                attempt=1,
                agent="Sleep",
                implementation="sleep",
                timeout_s=60.0,
                inline_max=100_000,
            ),
            after_records="j",  # a result must never meet a new conductor that does not know of the task
        ),
    ]


def test_it_asks_again_until_it_is_answered(desk: Desk) -> None:
    desk.hear(JOB)
    pauses = []
    for _ in range(ASKS_SOON + 2):
        commands = desk.on(Woke("ask-planning:j"))
        assert [type(m) for m in sent(commands, Message)] == [MakeWorkflow]
        pauses += [c.after_s for c in commands if isinstance(c, Wake)]
    assert pauses == [ASK_FIRST_S] * (ASKS_SOON - 1) + [ASK_AGAIN_S] * 3
    desk.hear(WorkflowMade(job="j", workflow=ONE))
    assert desk.on(Woke("ask-planning:j")) == [], "what was asked before is answered"
    assert [type(m) for m in sent(desk.on(Woke("ask-optimizing:j")), Message)] == [MakePlan]
    desk.hear(PlanMade(job="j", plan=plan_of(ONE)))
    assert desk.on(Woke("ask-optimizing:j")) == []


def test_answers_that_come_twice_late_or_for_nobody_do_nothing(desk: Desk) -> None:
    running(desk)
    for late in (
        WorkflowMade(job="j", workflow=FAN),
        WorkflowRefused(job="j", error="no"),
        PlanMade(job="j", plan=plan_of(ONE)),
        PlanRefused(job="j", error="no"),
        WorkflowMade(job="other", workflow=ONE),
        PlanMade(job="other", plan=plan_of(ONE)),
    ):
        assert desk.hear(late) == []


def test_refused_by_the_planner(desk: Desk) -> None:
    desk.hear(JOB)
    commands = desk.hear(WorkflowRefused(job="j", error="no agent can do that"))
    assert written(commands) == [Ended("failed", "no agent can do that", 100.0)]
    (result,) = sent(commands, JobResult)
    assert (result.status, result.error, result.plan) == ("failed", "no agent can do that", None)


def test_refused_by_the_optimizer(desk: Desk) -> None:
    desk.hear(JOB)
    desk.hear(WorkflowMade(job="j", workflow=ONE))
    commands = desk.hear(PlanRefused(job="j", error="quality floor"))
    assert written(commands) == [Ended("failed", "quality floor", 100.0, infeasible=True)]


def test_it_waits_while_a_host_may_still_appear_and_says_so(desk: Desk) -> None:
    desk.hear(JOB)
    desk.hear(WorkflowMade(job="j", workflow=ONE))
    assert desk.hear(PlanRefused(job="j", error="no host yet", wait=True)) == [Wake(PROGRESS_EVERY_S, "progress:j")]
    (progress,) = sent(desk.on(Woke("progress:j")), JobProgress)
    assert (progress.phase, progress.note) == ("optimizing", "no host yet")
    (planned,) = sent(desk.hear(PlanMade(job="j", plan=plan_of(ONE))), TaskReady)
    assert planned.stage == "one"
    (progress,) = sent(desk.on(Woke("progress:j")), JobProgress)
    assert (progress.phase, progress.note) == ("running", "")


def test_it_does_not_wait_for_a_host_for_ever(desk: Desk) -> None:
    desk.hear(JOB)
    desk.hear(WorkflowMade(job="j", workflow=ONE))
    for _ in range(2_000):
        commands = desk.hear(PlanRefused(job="j", error="no host can run Sleep", wait=True))
        if written(commands):
            break
        desk.on(Woke("ask-optimizing:j"))
    assert written(commands) == [Ended("failed", "no host can run Sleep", 100.0)]


# --- tasks --------------------------------------------------------------------------------------------------------------------


def test_no_more_is_released_than_slots_call_for(desk: Desk) -> None:
    running(desk, FAN)
    commands = desk.results(done("spread", output=list(range(20))))
    assert tasks(commands) == [("wait", (i,), 1) for i in range(AHEAD)], "nobody serves the pool: a few, so that a worker finds work"
    assert tasks(desk.hear(beat(3))) == [("wait", (i,), 1) for i in range(AHEAD, 3 * AHEAD)]
    assert tasks(desk.hear(beat(3))) == []
    assert tasks(desk.results(done("wait", 0), done("wait", 1))) == [("wait", (12,), 1), ("wait", (13,), 1)]
    assert tasks(desk.hear(beat(0))) == []
    assert tasks(desk.hear(beat(1))) == [], "what is out is out; it only releases no more"


def test_a_task_carries_its_inputs(desk: Desk) -> None:
    running(desk, FAN)
    (one,) = sent(desk.results(done("spread", output=["x"])), TaskReady)
    assert (one.inputs, one.pool) == ({"x": "x"}, "Sleep-sleep-cpu")
    (last,) = sent(desk.results(done("wait", 0, output="y")), TaskReady)
    assert (last.stage, last.inputs) == ("gather", {"after": ["y"]})


def test_a_result_is_settled_with_its_record_and_never_alone(desk: Desk) -> None:
    running(desk)
    result = done("one", output="answer")
    commands = desk.results(result)
    assert commands[0] == Write("t", "j", Counted("h", result), settles=("r",))
    assert [c for c in commands if isinstance(c, Settle)] == [Settle(("r",), after_records=("j",))]


def test_the_end_of_a_job(desk: Desk) -> None:
    running(desk)
    desk.now = 111.0
    commands = desk.results(done("one", output="answer"))
    assert written(commands)[-1] == Ended("done", "", 111.0)
    told = [c for c in commands if isinstance(c, Send)]
    assert [type(c.msg) for c in told] == [JobProgress, JobResult]
    assert all(c.after_records == "j" for c in told), "told only when its end is stored"
    (result,) = sent(commands, JobResult)
    assert (result.status, result.answer, result.time_s, result.planning_s) == ("done", ("answer",), 11.0, 0.0)
    assert (result.energy_wh.value, result.energy_wh.how, result.cost_usd.value) == (0.25, "modelled", 0.125)
    (stage,) = result.stages
    assert (stage.stage, stage.tasks, stage.attempts, stage.cpu_s, stage.start_s, stage.end_s) == ("one", 1, 1, 0.5, -90.0, -89.0)
    assert not desk.actor.state.jobs


def test_a_result_counts_once(desk: Desk) -> None:
    running(desk, FAN)
    desk.results(done("spread", output=[1, 2]))
    first = desk.results(done("wait", 0), done("wait", 0), key="a")
    assert len(written(first)) == 1
    assert desk.results(done("wait", 0), key="b") == [Settle(("b",), after_records=("j",))]
    assert desk.results(done("wait", 0, attempt=2), key="c") == [Settle(("c",), after_records=("j",))]
    assert desk.results(failed("wait", 0), key="d") == [Settle(("d",), after_records=("j",))]


@pytest.mark.parametrize(
    "result", [done("one", job="gone"), done("nothing"), done("one", 5), failed("one", job="gone"), failed("nothing"), done("gather")]
)
def test_results_of_nothing_that_we_know_are_settled(desk: Desk, result: TaskDone | TaskFailed) -> None:
    running(desk, FAN)
    assert desk.results(result) == [Settle(("r",), after_records=(result.job,))]


def test_late_results_of_an_ended_job_are_settled(desk: Desk) -> None:
    running(desk, FAN)
    desk.hear(CancelJob(tenant="t", job="j"))
    assert desk.results(done("spread", output=[1])) == [Settle(("r",), after_records=("j",))]


def test_one_message_with_news_for_many_jobs_is_settled_by_all_its_records(desk: Desk) -> None:
    other = SubmitJob(tenant="u", description="d", inputs=(VIDEO,), job="k")
    running(desk)
    running(desk, ONE, other)
    commands = desk.results(done("one"), failed("one", job="k"), done("one", job="gone"))
    writes = [c for c in commands if isinstance(c, Write)]
    assert [(c.job, type(c.record), c.settles) for c in writes] == [
        ("j", Counted, ("r",)),
        ("k", Retried, ("r",)),
        ("j", Ended, ()),
    ]


def test_empty_news_is_settled(desk: Desk) -> None:
    assert desk.results() == [Settle(("r",))]


def test_an_output_that_is_no_list_fails_the_job_clearly(desk: Desk) -> None:
    running(desk, FAN)
    commands = desk.results(done("spread", output=3))
    (write,) = [c for c in commands if isinstance(c, Write)]
    assert write == Write("t", "j", Ended("failed", "stage spread was to give a list and gave int", 100.0), settles=("r",))


# --- retries ------------------------------------------------------------------------------------------------------------------


def test_a_failed_task_is_tried_again_up_to_the_limit(desk: Desk) -> None:
    running(desk)
    for attempt in range(1, ATTEMPTS_MAX):
        commands = desk.results(failed("one", attempt=attempt))
        assert commands[0] == Write("t", "j", Retried("one", (), attempt + 1, "it broke"), settles=("r",))
        assert tasks(commands) == [("one", (), attempt + 1)]
    commands = desk.results(failed("one", attempt=ATTEMPTS_MAX))
    assert written(commands) == [Ended("failed", "stage one: it broke (attempt 3 of 3)", 100.0)]
    assert [c.settles for c in commands if isinstance(c, Write)] == [("r",)]


def test_a_failure_of_an_attempt_that_was_given_up_is_old_news(desk: Desk) -> None:
    running(desk)
    desk.results(failed("one"))
    assert desk.results(failed("one"), key="again") == [Settle(("again",), after_records=("j",))]


def test_a_late_success_of_an_attempt_that_was_given_up_counts(desk: Desk) -> None:
    running(desk)
    desk.results(failed("one"))
    assert [type(r) for r in written(desk.results(done("one", output="late")))] == [Counted, Ended]


def test_bad_input_fails_at_once_and_in_its_own_words(desk: Desk) -> None:
    running(desk)
    commands = desk.results(failed("one", error="cats.mp4: the file is empty", bad_input=True))
    assert written(commands) == [Ended("failed", "cats.mp4: the file is empty", 100.0)]


def test_a_job_that_fails_takes_its_waiting_tasks_along(desk: Desk) -> None:
    running(desk, FAN)
    desk.results(done("spread", output=list(range(50))))
    desk.results(failed("wait", 0, bad_input=True))
    assert tasks(desk.hear(beat(100))) == []


def test_the_sweep_gives_up_what_nothing_is_heard_of(desk: Desk) -> None:
    running(desk)
    limit = 60.0 + GRACE_S
    desk.now += limit + 1
    assert [c for c in desk.on(Woke("sweep")) if not isinstance(c, Send) or not isinstance(c.msg, TenantsState)] == [
        Wake(SWEEP_EVERY_S, "sweep")
    ], "nobody serves the pool: it is simply not its turn"
    for attempt in range(2, ATTEMPTS_MAX + 1):
        desk.hear(beat(1))
        commands = desk.on(Woke("sweep"))
        assert [(r.attempt, r.error) for r in written(commands) if isinstance(r, Retried)] == [
            (attempt, "nothing was heard of it for 91 s")
        ]
        assert tasks(commands) == [("one", (), attempt)]
        assert written(desk.on(Woke("sweep"))) == []
        desk.now += limit + 1
    desk.hear(beat(1))
    assert written(desk.on(Woke("sweep"))) == [Ended("failed", "stage one, task (): nothing was heard of it for 91 s", desk.now)]


# --- cancellation, deadline, questions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_cancel_in_every_phase(desk: Desk, steps: int) -> None:
    news = [JOB, WorkflowMade(job="j", workflow=FAN), PlanMade(job="j", plan=plan_of(FAN))]
    for msg in news[: steps + 1]:
        desk.hear(msg)
    commands = desk.hear(CancelJob(tenant="t", job="j"), "k")
    assert written(commands) == [Ended("cancelled", "cancelled by its tenant", 100.0)]
    assert commands[-1] == Reply("k", JobAccepted(tenant="t", job="j"), after_records="j")
    assert [r.status for r in sent(commands, JobResult)] == ["cancelled"]
    assert desk.hear(CancelJob(tenant="t", job="j"), "k") == [Reply("k", JobRefused(error="job j has ended already"))]


def test_nobody_cancels_or_sees_the_job_of_another_tenant(desk: Desk) -> None:
    desk.hear(JOB)
    assert desk.hear(CancelJob(tenant="u", job="j"), "k") == [Reply("k", JobRefused(error="job j is not known here"))]
    assert desk.hear(ListJobs(tenant="u"), "k") == [Reply("k", JobList(jobs=()))]
    (reply,) = desk.hear(ListJobs(tenant="t"), "k")
    assert isinstance(reply, Reply)
    assert isinstance(reply.msg, JobList)
    assert [(p.job, p.phase) for p in reply.msg.jobs] == [("j", "planning")]


def test_a_deadline_ends_a_job_and_a_stale_one_does_not(desk: Desk) -> None:
    running(desk, FAN, SubmitJob(tenant="t", description="d", inputs=(VIDEO,), job="j", deadline_s=7.5))
    assert written(desk.on(Woke("deadline:j"))) == [Ended("failed", "not done within its deadline of 7.5 s", 100.0)]
    assert desk.on(Woke("deadline:j")) == []


def test_progress_is_told_a_few_times_a_second_at_most(desk: Desk) -> None:
    running(desk, FAN)
    commands = desk.results(done("spread", output=[1, 2, 3]))
    assert not [c for c in commands if isinstance(c, Wake)], "one is due already"
    (progress,) = sent(desk.on(Woke("progress:j")), JobProgress)
    assert [(s.stage, s.done, s.released, s.total) for s in progress.stages] == [
        ("spread", 1, 0, 1),
        ("wait", 0, 3, 3),
        ("gather", 0, 0, 1),
    ]
    assert Wake(PROGRESS_EVERY_S, "progress:j") in desk.results(done("wait", 0))


def test_wake_ups_that_nobody_knows_are_ignored(desk: Desk) -> None:
    for key in ("ask-planning:gone", "progress:gone", "deadline:gone", "", "nonsense"):
        assert desk.on(Woke(key)) == []


def test_the_index_of_a_video_is_told_when_its_job_is_done(desk: Desk) -> None:
    running(desk, Workflow((Stage("index", "VectorIndexer"),), ("index",)))
    index = {"store": {}, "media_hash": "abc", "passages": 3}
    commands = desk.results(done("index", output=index))
    assert sent(commands, Indexed) == [Indexed(tenant="t", media_hash="abc", index=index)]
