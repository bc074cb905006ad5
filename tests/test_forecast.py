"""Forecasts of stages' starts, of arrivals, and the windows to be warm in; the quantiles are quantiles."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from murakkab.bus.messages import Choice, Edge, JobProgress, Plan, PlanMade, Stage, StageState, Workflow
from murakkab.clustermgr import forecast
from murakkab.clustermgr.accuracy import Accuracy
from murakkab.clustermgr.arrivals import SPREAD, Arrivals, Stakes, window
from murakkab.clustermgr.forecast import JobView, Need
from murakkab.clustermgr.ratios import PRIOR, QUANTILES, Ratios, quantile

FLOW = Workflow(
    (
        Stage("split", "Split", (Edge("v"),), 1, many=True),
        Stage("hear", "Hear", (Edge("p", "split"),), 2),
        Stage("see", "See", (Edge("p", "split"),), 2),
        Stage("sum", "Sum", (Edge("t", "hear"), Edge("o", "see")), 1),
        Stage("all", "All", (Edge("s", "sum"),), 0),
    ),
    ("all",),
)
TASK_S = {"split": 4.0, "hear": 2.0, "see": 1.0, "sum": 3.0, "all": 1.0}
TASKS = {"split": 1.0, "hear": 5.0, "see": 5.0, "sum": 1.0, "all": 1.0}


def made(job: str = "j", flow: Workflow = FLOW) -> PlanMade:
    choices = tuple(Choice(s.name, s.agent.lower(), "cpu", TASK_S[s.name], 0.0, 0.0, 1.0, tasks=TASKS[s.name]) for s in flow.stages)
    return PlanMade(job=job, plan=Plan(flow, choices))


def progress(**stages: tuple[int, int, int | None]) -> JobProgress:
    """(done, released, total) by stage; the others have not begun."""
    rows = (
        StageState(s.name, s.agent, s.agent.lower(), "cpu", *stages.get(s.name, (0, 0, None if s.name in ("hear", "see") else 1)))
        for s in FLOW.stages
    )
    return JobProgress(tenant="t", job="j", phase="running", stages=tuple(rows))


class Exactly(Ratios):
    """Stages take what was planned."""

    def quantiles(self, agent: str) -> tuple[float, ...]:
        return (1.0, 1.0, 1.0)


def ahead(job: JobView, now: float, ratios: Ratios | None = None, cold: dict[forecast.Key, float] | None = None) -> dict[str, Need]:
    return {n.stage: n for n in forecast.needs("j", job, ratios or Exactly(), cold or {}, now)}


def test_a_plan_alone_says_when_its_stages_will_start() -> None:
    starts = {s: n.start[1] for s, n in ahead(forecast.planned(made(), 100.0), 100.0).items()}
    assert starts == {"split": 100.0, "hear": 104.0, "see": 104.0, "sum": 114.0, "all": 117.0}, "sum waits for five parts of 2 s"


def test_a_load_in_the_way_counts_for_what_comes_after_it() -> None:
    """Not for the stage itself: its inputs are there when they are there."""
    starts = {s: n.start[1] for s, n in ahead(forecast.planned(made(), 0.0), 0.0, cold={("Hear", "hear", "cpu"): 10.0}).items()}
    assert starts == {"split": 0.0, "hear": 4.0, "see": 4.0, "sum": 20.0, "all": 23.0}


def test_progress_moves_what_is_expected() -> None:
    job = forecast.planned(made(), 0.0)
    assert list(forecast.progressed(job, progress(split=(0, 1, 1)), 0.0)) == []
    assert ahead(job, 3.0)["hear"].start[1] == 4.0
    assert ahead(job, 10.0)["hear"].start[1] == pytest.approx(10 + 10 * 0.5 * 4 / 9), "it is over its time"
    assert ahead(job, 10.0)["hear"].start[0] == 10.0, "and may be done at any moment"
    assert list(forecast.progressed(job, progress(split=(1, 0, 1), hear=(0, 5, 10), see=(0, 5, 10)), 11.0)) == ["split"]
    now = ahead(job, 11.0)
    assert "split" not in now
    assert (now["hear"].tasks, now["hear"].ready, now["hear"].work_s) == (10, 5, 20.0), "twice the parts that were planned for"
    assert now["sum"].start[1] == 31.0
    list(forecast.progressed(job, progress(split=(1, 0, 1), hear=(5, 5, 10), see=(9, 1, 10)), 21.0))
    assert ahead(job, 21.0)["sum"].start[1] == pytest.approx(31.0)


def test_a_stage_that_was_planned_again_has_the_new_choice() -> None:
    job = forecast.planned(made(), 0.0)
    msg = made()
    other = tuple(Choice(c.stage, "better", "gpu", 0.5, 0.0, 0.0, 1.0, width=2, load_s=9.0) for c in msg.plan.choices if c.stage == "sum")
    forecast.again(job, PlanMade(job="j", plan=Plan(FLOW, (*(c for c in msg.plan.choices if c.stage != "sum"), *other)), again=True))
    assert ahead(job, 0.0)["sum"].key == ("Sum", "sum", "cpu"), "not yet: the conductor may not take it"
    rows = tuple(StageState("sum", "Sum", "better", "gpu", total=1) if s.stage == "sum" else s for s in progress().stages)
    list(forecast.progressed(job, JobProgress(tenant="t", job="j", phase="running", stages=rows), 1.0))
    need = ahead(job, 1.0)["sum"]
    assert (need.key, need.width, need.load_s, need.work_s) == (("Sum", "better", "gpu"), 2, 9.0, 0.5)


def test_a_stage_that_left_the_workflow_needs_nothing() -> None:
    job = forecast.planned(made(), 0.0)
    rows = tuple(s for s in progress().stages if s.stage != "see")
    list(forecast.progressed(job, JobProgress(tenant="t", job="j", phase="running", stages=rows), 1.0))
    assert "see" not in ahead(job, 1.0)


@given(st.lists(st.floats(0.05, 20.0), max_size=80), st.floats(0, 30))
def test_starts_are_ordered_by_quantile_and_never_past(ratios: list[float], now: float) -> None:
    seen = Ratios()
    for agent in ("Split", "Hear", "See", "Sum"):
        for ratio in ratios:
            seen.observe(agent, 1.0, ratio)
    job = forecast.planned(made(), 0.0)
    list(forecast.progressed(job, progress(split=(0, 1, 1)), 0.0))
    for need in ahead(job, now, seen).values():
        assert list(need.start) == sorted(need.start)
        assert need.stage == "split" or need.start[0] >= now
        assert need.tasks >= 1


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.floats(0, 1), st.floats(0, 1))
def test_quantiles_lie_within_and_rise(values: list[float], p: float, q: float) -> None:
    ordered = sorted(values)
    low, high = sorted((p, q))
    assert ordered[0] - 1e-3 <= quantile(ordered, low) <= quantile(ordered, high) + 1e-3 <= ordered[-1] + 2e-3


def test_ratios_start_from_a_prior_and_follow_what_is_seen() -> None:
    ratios = Ratios()
    assert ratios.quantiles("A")[1] == quantile(PRIOR, 0.5)
    for _ in range(60):
        ratios.observe("A", 2.0, 6.0)
    assert ratios.quantiles("A")[1] == 3.0
    assert ratios.quantiles("B")[1] == quantile(PRIOR, 0.5)
    ratios.observe("B", 0.0, 5.0)
    ratios.observe("B", 1.0, -1.0)
    assert "B" not in ratios.seen, "of nothing no ratio is learnt"


def test_accuracy_compares_the_first_word_with_what_came() -> None:
    it = Accuracy()
    it.say("j", "a", "A", (1.0, 2.0, 4.0))
    it.say("j", "a", "A", (9.0, 9.0, 9.0))
    it.came("j", "a", 3.0)
    it.came("j", "a", 8.0)
    it.say("j", "b", "A", (1.0, 2.0, 4.0))
    it.came("j", "b", 5.0)
    it.say("k", "b", "A", (1.0, 2.0, 4.0))
    it.forget("k")
    it.came("k", "b", 5.0)
    every, a = it.report()
    assert (a.agent, a.n, a.median_s, a.absolute_s, a.within) == ("A", 2, 2.0, 2.0, 0.5)
    assert (every.agent, every.n) == ("", 2)


# --- arrivals ---------------------------------------------------------------------------------------------------------------------

DEAR = Stakes(hold_usd_per_s=1.0, load_usd=10.0, cold_usd=100.0)


def every(gaps: list[float]) -> tuple[Arrivals, float]:
    it, now = Arrivals(), 0.0
    it.came(now)
    for gap in gaps:
        now += gap
        it.came(now)
    return it, now


def test_what_is_left_is_what_was_longer() -> None:
    it, now = every([10.0, 100.0, 100.0, 10.0])
    assert it.left(now)
    assert min(it.left(now + 20.0)) == pytest.approx(100 * (1 - SPREAD) - 20.0)
    assert it.left(now + 116.0) == [], "longer than any"
    low, middle, high = it.next(now + 20.0)
    assert middle == pytest.approx(80.0)
    assert low < middle < high


def test_one_gap_is_no_habit() -> None:
    it, now = every([100.0])
    assert it.left(now) == [] == list(it.next(now))


def test_without_habits_an_instance_is_held_for_what_its_absence_costs() -> None:
    assert DEAR.break_even_s == 110.0
    assert window((), 0.0, DEAR, warm=True).stop_s == 110.0
    assert window((), 100.0, DEAR, warm=True).now
    assert not window((), 111.0, DEAR, warm=True).now
    assert not window((), 0.0, DEAR, warm=False).now, "and none is loaded for it"


def test_what_comes_soon_is_waited_for_and_what_comes_late_is_loaded_for_again() -> None:
    it, now = every([8.0] * 5)
    assert window(it.left(now), 0.0, DEAR, warm=True).now
    it, now = every([500.0] * 5)
    again = window(it.left(now), 0.0, DEAR, warm=True, lead_s=20.0)
    assert not again.now
    assert 350.0 < again.start_s < 480.0
    later = window(it.left(now + again.start_s), again.start_s, DEAR, warm=False, lead_s=20.0)
    assert later.start_s == pytest.approx(0.0, abs=30.0), "it says the same when that time has come"
    nothing_at_stake = Stakes(1.0, 10.0, 0.0)
    assert window(it.left(now), 0.0, nothing_at_stake, warm=True).stop_s == 0.0


@given(
    st.lists(st.floats(0.1, 10_000), min_size=1, max_size=30),
    st.floats(0, 1_000),
    st.floats(0.001, 10),
    st.floats(0, 1_000),
    st.floats(0, 1_000),
    st.booleans(),
    st.floats(0, 100),
)
def test_a_window_is_never_worse_than_letting_go(
    left: list[float], idle_s: float, hold: float, load: float, cold: float, warm: bool, lead_s: float
) -> None:
    stakes = Stakes(hold, load, cold)
    best = window(sorted(left), idle_s, stakes, warm, lead_s)
    assert best.usd <= load + cold + 1e-9
    assert 0 <= best.start_s <= max(best.stop_s, 0.0)
    assert 0 <= best.need <= 1


@given(st.lists(st.floats(0.1, 1_000), min_size=1, max_size=20), st.floats(0.01, 10), st.floats(0, 100))
def test_dearer_waiting_never_lets_go_sooner(left: list[float], hold: float, cold: float) -> None:
    """Of what is warm: if it pays to hold it, it pays the more when an absence costs more."""
    cheap, dear = (window(sorted(left), 0.0, Stakes(hold, 1.0, c), warm=True) for c in (cold, 3 * cold + 1))
    assert not cheap.now or dear.now or dear.need >= cheap.need


def test_the_quantiles_are_those_of_the_messages() -> None:
    assert QUANTILES == (0.1, 0.5, 0.9)
