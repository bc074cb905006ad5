"""The optimizer: what each goal picks, what steers it, and what it says when nothing will do."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from murakkab.actors.core import ActorBug, Command, Do, Errand, Event, Heard, Outcome, Replayed, Resumed, Send, Wake, Woke
from murakkab.actors.optimizer import HOST_SILENT_S, SWEEP_EVERY_S, Optimize, Optimizer, optimized
from murakkab.agents.library import Implementation
from murakkab.bus.messages import (
    Choice,
    HostHeartbeat,
    Instance,
    JobResult,
    MakePlan,
    Offer,
    PlanMade,
    PlanRefused,
    PlansStale,
    ProfileKept,
    Stage,
    StageReport,
    Workflow,
)
from murakkab.bus.values import Line, Profile
from murakkab.optimizer.goals import AXIS
from murakkab.optimizer.prices import Prices, Rates

ROWS = [
    Implementation("cheap", "A", "m:C", work_s=1.0, load_s=10.0, quality=0.5, hardware="cpu"),
    Implementation("quick", "A", "m:C", work_s=0.1, load_s=0.5, quality=0.4, hardware="cpu-spot"),
    Implementation("good", "A", "m:C", work_s=9.0, load_s=10.0, quality=0.9, hardware="cpu"),
    Implementation("frugal", "A", "m:C", work_s=4.0, load_s=4.0, quality=0.3, hardware="cpu-harvest"),
]
LIBRARY = {(r.agent, r.name): r for r in ROWS}


class Fixed(Prices):
    """Other prices than the catalogue's."""

    def __init__(self, rates: dict[str, Rates]) -> None:
        super().__init__({})
        self.rates = rates

    def of(self, hardware: str) -> Rates:
        return self.rates[hardware]


RATES = Fixed({"cpu": Rates(10.0, 0.01), "cpu-spot": Rates(400.0, 9.0), "cpu-harvest": Rates(1.0, 1.0)})
FLOW = Workflow((Stage("s", "A"),), ("s",))


def beat(
    host: str = "h", names: Iterable[str] = ("cheap", "quick", "good", "frugal"), warm: str = "", leaving: bool = False
) -> HostHeartbeat:
    rows = [r for r in ROWS if r.name in names]
    return HostHeartbeat(
        host=host,
        at=0.0,
        offers=tuple(Offer(r.agent, r.name, r.hardware) for r in rows),
        instances=tuple(Instance(r.name, r.agent, r.name, r.hardware, "warm", 1) for r in rows if r.name == warm),
        leaving=leaving,
    )


def ailing(name: str, names: Iterable[str]) -> HostHeartbeat:
    """A host whose instance of `name` does not start."""
    (row,) = [r for r in ROWS if r.name == name]
    return structs.replace(beat(names=names), instances=(Instance(name, row.agent, name, row.hardware, "failed", 1, error="no weights"),))


def ask(*goals: str, floor: float | None = None, flow: Workflow = FLOW) -> MakePlan:
    return MakePlan(job="j", workflow=flow, inputs=1, constraints=goals, quality_floor=floor)


class Desk:
    def __init__(self, *beats: HostHeartbeat) -> None:
        self.actor = Optimizer({}, LIBRARY, RATES)
        self.now = 0.0
        self.on(Resumed())
        for b in beats:
            self.on(Heard(b))

    def on(self, event: Event) -> list[Command]:
        commands = list(self.actor.on(event, self.now))
        self.actor.check()
        return commands

    def answer(self, msg: MakePlan) -> PlanMade | PlanRefused:
        (send,) = self.on(Heard(msg))
        assert isinstance(send, Send)
        assert isinstance(send.msg, PlanMade | PlanRefused)
        assert send.msg.job == "j"
        return send.msg

    def choice(self, *goals: str, floor: float | None = None) -> Choice:
        msg = self.answer(ask(*goals, floor=floor))
        assert isinstance(msg, PlanMade)
        (choice,) = msg.plan.choices
        return choice


@pytest.mark.parametrize(
    ("goal", "name"), [("MIN_COST", "cheap"), ("MIN_LATENCY", "quick"), ("MIN_ENERGY", "frugal"), ("MAX_QUALITY", "good")]
)
def test_each_goal_picks_what_it_should(goal: str, name: str) -> None:
    choice = Desk(beat()).choice(goal)
    assert (choice.stage, choice.implementation) == ("s", name)
    assert choice.why.startswith(f"best by {goal}; lost: ")
    assert all(r.name in choice.why for r in ROWS if r.name != name)


def test_estimates_follow_from_profile_and_rates() -> None:
    choice = Desk(beat()).choice("MIN_COST")
    assert (choice.time_s, choice.load_s, choice.warm, choice.hardware, choice.quality) == (1.0, 10.0, False, "cpu", 0.5)
    assert choice.cost_usd == pytest.approx(0.01 / 3600), "a task, without loading"
    assert choice.total is not None
    assert choice.total.cost_usd == pytest.approx(11.0 * 0.01 / 3600)
    assert choice.total.energy_wh == pytest.approx(11.0 * 10.0 / 3600)
    assert (choice.timeout_s, choice.how) == (ROWS[0].timeout_s, "prior")


def test_a_plan_adds_its_stages_up() -> None:
    flow = Workflow((Stage("s", "A"), Stage("t", "A")), ("t",))
    msg = Desk(beat()).answer(ask("MIN_COST", flow=flow))
    assert isinstance(msg, PlanMade)
    assert msg.plan.workflow == flow
    assert [c.stage for c in msg.plan.choices] == ["s", "t"]
    totals = [c.total for c in msg.plan.choices if c.total is not None]
    assert msg.plan.cost_usd == pytest.approx(sum(t.cost_usd for t in totals))
    assert msg.plan.energy_wh == pytest.approx(sum(t.energy_wh for t in totals))


GROWN = Workflow((Stage("s", "A"), Stage("t", "A")), ("t",))


def test_what_was_chosen_before_stays_whatever_would_be_chosen_now() -> None:
    desk = Desk(beat())
    first = desk.answer(ask("MAX_QUALITY"))
    assert isinstance(first, PlanMade)
    desk.on(Heard(beat(names=("cheap",))))  # what was chosen is not offered any more
    later = desk.answer(structs.replace(ask("MAX_QUALITY", floor=0.4, flow=GROWN), chosen=first.plan.choices))
    assert isinstance(later, PlanMade)
    assert later.plan.workflow == GROWN
    assert later.plan.choices[0] == first.plan.choices[0]
    assert [c.implementation for c in later.plan.choices] == ["good", "cheap"]
    assert later.plan.time_s == pytest.approx(11.0), "what was chosen before runs already"


def test_what_was_chosen_before_counts_for_the_budget() -> None:
    desk = Desk(beat(names=("cheap", "good")))
    alone = desk.answer(ask("MAX_QUALITY"))
    assert isinstance(alone, PlanMade)
    cost = alone.plan.cost_usd
    again = structs.replace(ask("MAX_QUALITY", flow=GROWN), chosen=alone.plan.choices)
    dear = desk.answer(structs.replace(again, budget_usd=2 * cost * 1.01))
    assert isinstance(dear, PlanMade)
    assert [c.implementation for c in dear.plan.choices] == ["good", "good"]
    thrifty = desk.answer(structs.replace(again, budget_usd=2 * cost * 0.99))
    assert isinstance(thrifty, PlanMade)
    assert [c.implementation for c in thrifty.plan.choices] == ["good", "cheap"], "what runs stays; what comes is the cheapest"
    refused = desk.answer(structs.replace(again, budget_usd=cost * 1.01))
    assert isinstance(refused, PlanRefused)
    assert "budget" in refused.error
    assert refused.seen == 2


class TooLarge(Errand, frozen=True):
    msg: PlanMade


def test_a_plan_that_no_message_can_hold_is_refused_since_the_conductor_would_ask_for_ever() -> None:
    desk = Desk(beat())
    made = desk.answer(ask("MIN_COST"))
    assert isinstance(made, PlanMade)
    assert desk.on(Outcome(TooLarge(made), error="it does not fit")) == [Send(PlanRefused(job="j", error="it does not fit", seen=1))]


def test_what_is_warm_has_no_load_to_pay() -> None:
    assert Desk(beat(names=("cheap", "good"))).choice("MIN_LATENCY").implementation == "cheap"
    choice = Desk(beat(names=("cheap", "good"), warm="good")).choice("MIN_LATENCY")
    assert (choice.implementation, choice.warm, choice.time_s, choice.load_s) == ("good", True, 9.0, 0.0)
    assert "cheap (11 s against 9 s, cold)" in choice.why


def test_the_second_goal_decides_among_equals() -> None:
    rows = [
        Implementation("a", "A", "m:C", work_s=1.0, load_s=0.0, quality=0.2),
        Implementation("b", "A", "m:C", work_s=1.04, load_s=0.0, quality=0.8),
        Implementation("c", "A", "m:C", work_s=2.0, load_s=0.0, quality=1.0),
    ]
    actor = Optimizer({}, {(r.agent, r.name): r for r in rows}, RATES)
    list(actor.on(Heard(HostHeartbeat(host="h", at=0.0, offers=tuple(Offer("A", r.name, "cpu") for r in rows))), 0.0))
    (send,) = actor.on(Heard(ask("MIN_COST", "MAX_QUALITY")), 0.0)
    assert isinstance(send, Send)
    assert isinstance(send.msg, PlanMade)
    assert send.msg.plan.choices[0].implementation == "b"


def test_the_quality_floor_holds_first() -> None:
    assert Desk(beat()).choice("MIN_LATENCY", floor=0.5).implementation == "cheap"
    assert Desk(beat()).choice("MIN_LATENCY", floor=0.9).implementation == "good"


def test_a_floor_that_nothing_reaches_is_refused_with_the_nearest() -> None:
    assert Desk(beat()).answer(ask("MIN_COST", floor=0.95)) == PlanRefused(
        job="j", error="quality floor 0.95 cannot be met by stage 's' (A): the best here reaches 0.9", seen=1
    )


def test_no_host_is_a_reason_to_wait() -> None:
    refused = PlanRefused(job="j", error="no host can run A (stage 's'); see: murakkab doctor", wait=True, seen=1)
    assert Desk().answer(ask("MIN_COST")) == refused
    assert Desk(beat(names=())).answer(ask("MIN_COST")) == refused
    assert Desk(beat(), beat(leaving=True)).answer(ask("MIN_COST")) == refused
    desk = Desk(beat())
    desk.now = HOST_SILENT_S + 1
    stale, clock = desk.on(Woke("sweep"))
    assert isinstance(stale, Send)
    assert isinstance(stale.msg, PlansStale)
    assert clock == Wake(SWEEP_EVERY_S, "sweep")
    assert desk.answer(ask("MIN_COST")) == refused


def test_offers_of_all_hosts_and_of_nothing_that_we_know() -> None:
    unknown = HostHeartbeat(host="x", at=0.0, offers=(Offer("A", "from the future", "cpu"),))
    assert Desk(beat("a", ("good",)), beat("b", ("quick",)), unknown).choice("MIN_LATENCY").implementation == "quick"
    assert isinstance(Desk(unknown).answer(ask("MIN_COST")), PlanRefused)


def test_hardware_that_the_catalogue_lacks_counts_as_cpu() -> None:
    row = Implementation("x", "A", "m:C", work_s=3600.0, load_s=0.0, hardware="abacus")
    actor = Optimizer({}, {("A", "x"): row}, Prices({"MURAKKAB_WATTS_PER_CORE": "2", "MURAKKAB_USD_PER_CORE_HOUR": "3"}))
    actor.on(Heard(HostHeartbeat(host="h", at=0.0, offers=(Offer("A", "x", "abacus"),))), 0.0)
    (send,) = actor.on(Heard(ask("MIN_COST")), 0.0)
    assert isinstance(send, Send)
    assert isinstance(send.msg, PlanMade)
    assert (send.msg.plan.cost_usd, send.msg.plan.energy_wh) == pytest.approx((3.0, 2.0))


def result(name: str, tasks: int, cpu_s: float, units: dict[str, float] | None = None, moved: bool = False) -> JobResult:
    report = StageReport("s", "A", name, "cpu", tasks, 0.0, 1.0, 0.0, 0.0, cpu_s=cpu_s, units=units or {}, moved=moved)
    return JobResult(tenant="t", job="j", status="done", stages=(report,))


def test_it_learns_from_what_jobs_took() -> None:
    desk = Desk(beat(names=("cheap", "good")))
    assert desk.choice("MIN_COST").implementation == "cheap"
    for _ in range(20):
        desk.on(Heard(result("cheap", 10, 10 * 30.0)))
    profile = desk.actor.profiles.get("A", "cheap", "cpu")
    assert profile.cpu.base == pytest.approx(30.0, rel=0.05)
    assert profile.samples == 200
    assert desk.choice("MIN_COST").implementation == "good"


def test_one_job_moves_a_prior_and_does_not_replace_it() -> None:
    desk = Desk(beat())
    desk.on(Heard(result("cheap", 5, 5 * 3.0)))
    assert desk.actor.profiles.get("A", "cheap", "cpu").cpu.base == pytest.approx(2.0), "the prior counts as five tasks"


def test_reports_of_nothing_teach_nothing() -> None:
    desk = Desk(beat())
    assert desk.on(Heard(result("cheap", 0, 0.0))) == []
    assert desk.on(Heard(result("from the future", 3, 3.0))) == []
    assert desk.on(Heard(result("cheap", 3, 3.0, moved=True))) == [], "its tasks ran in several pools"
    assert desk.actor.profiles.all() == ()


def test_what_it_learnt_is_kept_a_little_later_and_the_newest_of_it() -> None:
    desk = Desk(beat())
    assert [type(c) for c in desk.on(Heard(result("cheap", 5, 15.0)))] == [Wake]
    assert desk.on(Heard(result("cheap", 5, 15.0))) == []
    (kept,) = desk.on(Woke("keep"))
    assert isinstance(kept, Send)
    assert isinstance(kept.msg, ProfileKept)
    assert kept.msg.profile == desk.actor.profiles.get("A", "cheap", "cpu")
    assert desk.on(Woke("keep")) == []
    other = Desk(beat())
    other.on(Replayed(kept.msg))
    assert other.actor.profiles.get("A", "cheap", "cpu") == kept.msg.profile


def test_a_measured_profile_counts_at_once_and_a_bad_one_never() -> None:
    desk = Desk(beat(names=("cheap", "good")))
    assert desk.choice("MIN_COST").implementation == "cheap"
    slow = Profile("A", "cheap", "cpu", "measured", "here", 5.0, Line(99.0), Line(99.0))
    desk.on(Heard(ProfileKept(pool="A-cheap-cpu", profile=structs.replace(slow, load_s=-1.0))))
    assert desk.choice("MIN_COST").implementation == "cheap"
    desk.on(Heard(ProfileKept(pool="A-cheap-cpu", profile=slow)))
    assert desk.choice("MIN_COST").implementation == "good"
    desk.on(Heard(ProfileKept(pool="A-cheap-cpu", profile=structs.replace(slow, at=4.0, cpu=Line(0.1)))))
    assert desk.choice("MIN_COST").implementation == "good", "that is older"


def test_a_measured_line_stays_and_drift_follows_what_jobs_take() -> None:
    desk = Desk(beat())
    line = Line(0.0, {"audio_s": 0.5})
    desk.on(Heard(ProfileKept(pool="A-cheap-cpu", profile=Profile("A", "cheap", "cpu", "measured", "here", 5.0, line, line))))
    said = [c for _ in range(30) for c in desk.on(Heard(result("cheap", 10, 100.0, {"audio_s": 100.0})))]
    profile = desk.actor.profiles.get("A", "cheap", "cpu")
    assert profile.cpu == line
    assert profile.drift == pytest.approx(2.0, rel=0.05)
    assert desk.actor.profiles.drifted() == (profile,)
    desk.now = 10.0
    said += desk.on(Heard(beat()))
    assert any(isinstance(c, Send) and isinstance(c.msg, PlansStale) and "cheap" in c.msg.why for c in said)


@given(st.lists(st.tuples(st.floats(0, 1e4), st.integers(1, 10_000)), max_size=20))
def test_a_prior_stays_between_what_it_has_seen(seen: list[tuple[float, int]]) -> None:
    desk = Desk(beat())
    for work_s, tasks in seen:
        desk.on(Heard(result("cheap", tasks, work_s * tasks)))
    values = [1.0, *(w for w, _ in seen)]
    profile = desk.actor.profiles.get("A", "cheap", "cpu")
    assert min(values) - 1e-6 <= profile.cpu.base <= max(values) + 1e-6
    assert profile.load_s == 10.0


def test_the_same_question_is_answered_from_memory_until_something_changes() -> None:
    desk = Desk(beat())
    first = desk.answer(ask("MIN_COST", flow=FLOW))
    desk.on(Heard(JobResult(tenant="t", job="j", status="done")))
    desk.actor.cache = {key: structs.replace(plan, search="remembered") for key, plan in desk.actor.cache.items()}
    again = desk.answer(ask("MIN_COST", flow=FLOW))
    assert isinstance(first, PlanMade)
    assert isinstance(again, PlanMade)
    assert again.plan.search == "remembered"
    desk.on(Heard(JobResult(tenant="t", job="j", status="done")))
    desk.on(Heard(beat(warm="cheap")))
    fresh = desk.answer(ask("MIN_COST", flow=FLOW))
    assert isinstance(fresh, PlanMade)
    assert fresh.plan.search != "remembered"


def test_a_long_search_is_done_beside_the_actor() -> None:
    desk = Desk(beat())
    flow = Workflow(tuple(Stage(f"s{n}", "A") for n in range(30)), ("s29",))
    (do,) = desk.on(Heard(ask("MIN_COST", flow=flow)))
    assert isinstance(do, Do)
    assert isinstance(do.errand, Optimize)
    (send,) = desk.on(Outcome(do.errand, optimized(do.errand)))
    assert isinstance(send, Send)
    assert isinstance(send.msg, PlanMade)
    assert len(send.msg.plan.choices) == 30
    (send,) = desk.on(Outcome(do.errand, error="it broke"))
    assert isinstance(send, Send)
    assert isinstance(send.msg, PlanRefused)
    assert "the search failed: it broke" in send.msg.error


@given(
    st.lists(st.sampled_from(list(AXIS)), min_size=1, max_size=4, unique=True), st.sets(st.sampled_from([r.name for r in ROWS]), min_size=1)
)
def test_any_goals_over_any_offers_pick_one_of_them(goals: list[str], names: set[str]) -> None:
    choice = Desk(beat(names=names)).choice(*goals)
    assert choice.implementation in names


def test_a_reconnect_starts_no_second_clock() -> None:
    assert Desk(beat()).on(Resumed()) == []


def test_check_sees_a_negative_profile() -> None:
    desk = Desk()
    desk.actor.profiles._known[("A", "cheap", "cpu")] = Profile("A", "cheap", "cpu", load_s=-1.0)
    with pytest.raises(ActorBug, match="negative"):
        desk.actor.check()


def test_what_fails_to_start_is_chosen_only_when_nothing_else_is_offered() -> None:
    def picked(*beats: HostHeartbeat) -> str:
        made = Desk(*beats).answer(ask("MAX_QUALITY"))
        assert isinstance(made, PlanMade)
        return made.plan.choices[0].implementation

    assert picked(beat(names=("good", "cheap"))) == "good"
    assert picked(ailing("good", ("good", "cheap"))) == "cheap"
    assert picked(ailing("good", ("good",))) == "good", "there is nothing else, and it may yet start"
    assert picked(ailing("good", ("good", "cheap")), structs.replace(beat(names=("good",)), host="other")) == "good", "another host has it"
