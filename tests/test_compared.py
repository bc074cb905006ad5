"""Estimated beside actual, of a run and of a job's log; and what was changed of a plan while its job ran."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from murakkab.bus.messages import (
    ArtifactRef,
    Choice,
    Counted,
    Edge,
    Ended,
    Estimate,
    Figure,
    Input,
    JobLog,
    JobResult,
    Lowered,
    Plan,
    Planned,
    Replanned,
    Stage,
    StageReport,
    SubmitJob,
    Submitted,
    TaskDone,
    Use,
    Workflow,
)
from murakkab.client import trace
from murakkab.client.compared import compare, pair
from murakkab.client.compared_text import print_changes, print_stages, print_whole
from murakkab.client.history import history

SMALL = Workflow((Stage("a", "A", (Edge("x"),), 1), Stage("b", "B", (Edge("x", "a"),), 1)), ("b",))


def small(hardware: str = "cpu") -> Plan:
    a = Choice("a", "ai", "cpu", 1.0, 1e-4, 0.01, 0.9, start_s=0.0, end_s=2.0, total=Estimate(2.0, 3e-4, 0.03, 0.9), tasks=2.0, load_s=1.0)
    b = Choice("b", "bi", hardware, 0.5, 1e-5, 0.001, 0.9, start_s=1.0, end_s=3.0, total=Estimate(2.0, 2e-5, 0.002, 0.9), tasks=2.0)
    return Plan(SMALL, (a, b), 3.0, 3.2e-4, 0.032)


def log(*records: object) -> list[JobLog]:
    return [JobLog(tenant="t", job="j", records=(r,)) for r in records]  # type: ignore[arg-type]


def counted(stage: str, index: int, start: float, end: float) -> Counted:
    return Counted("h", TaskDone("j", stage, (index,), 1, "i", 1, Use(start, end, (end - start) / 2, 0.008, "modelled", 1.2e-4)))


def records(*, end: bool = True) -> list[JobLog]:
    video = Input("v", ArtifactRef("a" * 64, 1, "video/mp4"))
    job = SubmitJob(tenant="t", description="Do it", inputs=(video, video), job="j")
    return log(
        Submitted(job, 100.0),
        Lowered(SMALL, 100.1),
        Planned(small(), 100.5),
        counted("a", 0, 100.6, 102.6),
        Replanned(small("cpu-spot"), 102.0, "spot capacity appeared"),
        counted("a", 1, 100.6, 103.1),
        *([counted("b", 0, 103.2, 103.8), counted("b", 1, 103.2, 104.2), Ended("done", "", 104.5)] if end else []),
    )


def test_a_run_beside_what_was_estimated() -> None:
    past = history(records())
    assert past.job is not None
    made = compare(past.job.result(), past.first)
    assert made is not None
    a, b = made.stages
    assert (a.time_s.estimate, a.time_s.actual, a.time_s.error) == (2.0, 2.5, -0.2)
    assert (a.tasks.estimate, a.tasks.actual) == (2.0, 2.0)
    assert a.energy_wh.estimate == pytest.approx(0.02)  # of its tasks: 0.01 more is of loading
    assert a.energy_wh.error == pytest.approx(0.25)
    assert a.cpu_s == pytest.approx(2.25)
    assert b.hardware == "cpu-spot"
    assert b.time_s.actual == pytest.approx(1.0)
    assert made.loading.energy_wh == pytest.approx(0.01)
    assert made.loading.cost_usd == pytest.approx(1e-4)
    assert made.time_s.estimate == 3.0
    assert made.time_s.actual == pytest.approx(4.0)
    assert made.time_s.error == pytest.approx(-0.25)
    assert made.cost_usd.estimate == pytest.approx(2.2e-4)
    assert made.cost_usd.actual == pytest.approx(4.8e-4)


def test_why_and_when_the_plan_was_changed() -> None:
    past = history(records())
    (change,) = past.changes
    assert (change.at_s, change.why, change.stages) == (2.0, "spot capacity appeared", ("b: bi on cpu → bi on cpu-spot",))
    out = io.StringIO()
    print_changes(past.changes, out)
    assert out.getvalue() == "changed  at t=2.00 s because spot capacity appeared\n           b: bi on cpu → bi on cpu-spot\n"


def test_trace_shows_both_in_words_and_as_an_object() -> None:
    past = history(records())
    assert past.job is not None
    out = io.StringIO()
    trace.show(past.job, past, out)
    flat = " ".join(out.getvalue().split())
    for part in (
        "changed at t=2.00 s because spot capacity appeared",
        "a 2 2.00 s 2.50 s -20 % 20.0 mWh 16.0 mWh +25 % $0.00020 $0.00024 -17 % 2.25",
        "estimate time 3.00 s, was 4.00 s (-25 %)",
        "besides 10.0 mWh and $0.00010 for models that load or idle",
        "bi on cpu-spot",
    ):
        assert part in flat
    made = json.loads(json.dumps(trace.as_json(past.job, past)))
    assert made["estimate"]["time_s"] == {"estimate": 3.0, "actual": 4.0, "error": -0.25}
    assert [s["stage"] for s in made["estimate"]["stages"]] == ["a", "b"]
    assert made["changes"][0]["why"] == "spot capacity appeared"
    assert (made["phase"], len(made["tasks"])) == ("done", 4)


def test_of_a_job_that_runs_only_finished_stages_are_compared() -> None:
    past = history(records(end=False))
    assert past.job is not None
    made = trace.as_json(past.job, past)
    assert [s["stage"] for s in made["estimate"]["stages"]] == ["a"]
    assert made["result"] is None
    out = io.StringIO()
    trace.show(past.job, past, out)
    assert "estimate time" not in out.getvalue()


def test_what_cannot_be_compared_is_not() -> None:
    report = StageReport("a", "A", "ai", "cpu", 1, 0.0, 1.0, 0.1, 0.1)
    used = Figure(0.1, "modelled")
    done = JobResult("t", "j", "done", plan=small(), stages=(report,), time_s=2.0, planning_s=0.25, energy_wh=used, cost_usd=used)
    assert compare(replace(done, status="failed"), None) is None
    assert compare(replace(done, plan=None), None) is None
    assert compare(replace(done, stages=()), None) is None
    grown = compare(done, Plan(Workflow(SMALL.stages[:1], ("a",)), small().choices[:1], 1.0))
    assert grown is not None
    assert (grown.time_s.estimate, grown.time_s.error) == (None, None)
    old = replace(small(), choices=tuple(replace(c, total=None) for c in small().choices))
    made = compare(replace(done, plan=old), None)
    assert made is not None
    assert (made.stages[0].time_s.estimate, made.cost_usd.estimate, made.time_s.estimate) == (None, None, None)
    out = io.StringIO()
    print_stages(made.stages, out)
    print_whole(made, out)
    assert "–" in out.getvalue()
    assert "estimate " not in out.getvalue().replace("  estimate   actual", "")
    assert history([]) == history(log())
    assert history([]).job is None


@given(st.floats(0, 1e12), st.floats(0, 1e12))
def test_errors_have_the_right_sign(estimate: float, actual: float) -> None:
    error = pair(estimate, actual).error
    if error is not None and error != 0:
        assert (error > 0) == (estimate > actual)
