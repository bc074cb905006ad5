"""What lies between and around tasks: what finished jobs teach of it, and what it adds to a schedule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from murakkab.agents.spec import Agent, Implementation, Take
from murakkab.bus.messages import Choice, Edge, JobResult, Line, MakePlan, Plan, Profile, Stage, StageReport, Workflow, Workload
from murakkab.optimizer.fleet import Fleet, HostView, Warm
from murakkab.optimizer.hops import GAP_MAX_S, MOVE_S, MOVE_S_PER_MB, MOVED_MB, MOVED_S, MOVES, SLOW_MAX, Hops, gaps
from murakkab.optimizer.learning import learnt
from murakkab.optimizer.make import World, make_plan
from murakkab.optimizer.prices import Prices
from murakkab.optimizer.profiles import Profiles
from murakkab.optimizer.workloads import Workloads

PAIR = Workflow((Stage("cut", "Cut", (Edge("x"),), 1), Stage("hear", "Hear", (Edge("x", "cut"),), 1)), ("hear",))
LINKS = 10
CHAIN = Workflow(
    tuple(Stage(f"s{n}", "Hear" if n else "Cut", (Edge("x", f"s{n - 1}" if n else ""),), 1) for n in range(LINKS)), (f"s{LINKS - 1}",)
)
AGENTS = {"Cut": Agent("Cut", "cut", {"x": Take("Video")}, "Scene"), "Hear": Agent("Hear", "hear", {"x": Take("Scene")}, "Scene")}
ROWS = {(a, a.lower()): Implementation(a.lower(), a, "m:C", quality=1.0) for a in AGENTS}
WARM = {(agent, name, "cpu"): Warm(1, 1) for agent, name in ROWS}


def world(hops: Hops, *, cores: int = 4, loads: tuple[Workload, ...] = ()) -> World:
    known = [
        Profile(agent, name, "cpu", "measured", "a test", cpu=Line(0.1), time=Line(0.1), load_s=9, quality=1.0, memory_mb=10, samples=9)
        for agent, name in ROWS
    ]
    workloads = Workloads(AGENTS)
    for load in loads:
        assert workloads.put(load)
    host = HostView("h", cores, 64_000, frozenset(WARM), warm=WARM)
    return World(AGENTS, ROWS, Fleet((host,)), Profiles(ROWS, known), workloads, Prices({}), hops)


def plan(of: World, workflow: Workflow = PAIR, inputs: int = 1) -> Plan:
    return make_plan(of, MakePlan(job="j", workflow=workflow, inputs=inputs, constraints=("MIN_COST",)))


NOTHING = Hops(hand_over_s=0.0, next_s=0.0)


def result(
    gap_s: float = 0.003, units: dict[str, float] | None = None, tasks: int = 1, *, warm: bool = True, moved: bool = False
) -> JobResult:
    choices = tuple(Choice(s.name, s.agent.lower(), "cpu", 0.1, 0.0, 0.0, 1.0, warm=warm) for s in PAIR.stages)
    stages = (
        StageReport("cut", "Cut", "cut", "cpu", 1, 0.1, 1.0, 0.0, 0.0, cpu_s=0.5, attempts=1, busy_s=0.9, units=units or {}),
        StageReport("hear", "Hear", "hear", "cpu", tasks, 1.0 + gap_s, 2.0, 0.0, 0.0, cpu_s=0.5, attempts=tasks, busy_s=0.9, moved=moved),
    )
    return JobResult(tenant="t", job="j", status="done", plan=Plan(PAIR, choices), stages=stages)


# --- what it adds to a schedule -----------------------------------------------------------------------------------------------


def test_every_stage_of_a_chain_is_handed_over_once() -> None:
    bare = plan(world(NOTHING), CHAIN).time_s
    assert bare == pytest.approx(LINKS * 0.1)
    assert plan(world(Hops(hand_over_s=0.05, next_s=0.0)), CHAIN).time_s == pytest.approx(bare + LINKS * 0.05)


def test_tasks_that_wait_for_a_slot_come_without_a_hand_over() -> None:
    """Of ten inputs through one slot a stage only the first waits for the network, and the last one on its way to the second stage."""
    bare, later = (plan(world(h), inputs=10).time_s for h in (NOTHING, Hops(hand_over_s=0.05, next_s=0.0)))
    assert bare == pytest.approx(1.1)
    assert later == pytest.approx(bare + 2 * 0.05)
    assert plan(world(Hops(hand_over_s=0.0, next_s=0.01)), inputs=10).time_s == pytest.approx(bare + 11 * 0.01)


def test_what_tasks_move_takes_time_and_is_said() -> None:
    load = Workload("Cut", units={MOVES: 1.0, MOVED_MB: 10.0}, samples=1)
    bare, moving, slow = (plan(world(h, loads=(load,))) for h in (replace(NOTHING, slow=1e-9), NOTHING, replace(NOTHING, slow=20.0)))
    took_s = MOVE_S + 10 * MOVE_S_PER_MB
    assert moving.time_s == pytest.approx(bare.time_s + took_s, abs=1e-6)
    assert slow.time_s == pytest.approx(bare.time_s + 20 * took_s, abs=1e-6)
    cut, hear = moving.choices
    assert cut.time_s == pytest.approx(0.1 + took_s)
    assert "move 10 MB" in cut.why
    assert "MB" not in hear.why
    assert "MB" not in bare.choices[0].why
    assert moving.energy_wh == pytest.approx(bare.energy_wh)  # nobody computes meanwhile


def test_moving_leaves_the_cores_to_others() -> None:
    """One task follows on another while bytes of a third move: of 2 s of moving only a part is to be waited for."""
    load = Workload("Cut", units={MOVES: 0.0, MOVED_MB: 0.1 / MOVE_S_PER_MB}, samples=1)
    bare = plan(world(replace(NOTHING, slow=1e-9), cores=1, loads=(load,)), inputs=20).time_s
    moving = plan(world(NOTHING, cores=1, loads=(load,)), inputs=20).time_s
    assert bare == pytest.approx(4.0)
    assert bare < moving < bare + 0.75 * 20 * 0.1


def test_a_bound_stays_below_the_schedule() -> None:
    made = plan(world(Hops(hand_over_s=0.2)), CHAIN)
    quick = make_plan(world(Hops(hand_over_s=0.2)), MakePlan(job="j", workflow=CHAIN, inputs=1, constraints=("MIN_LATENCY",)))
    assert quick.time_s <= made.time_s + 1e-9
    assert quick.bound is None or quick.bound <= quick.time_s


# --- what jobs teach ----------------------------------------------------------------------------------------------------------


def test_a_slower_network_is_learnt_from_jobs() -> None:
    hops = Hops()
    for _ in range(200):
        hops = hops.learnt(result(0.030))
    assert hops.hand_over_s == pytest.approx(0.030, rel=0.05)
    assert hops.gaps == 200
    assert hops.slow == 1.0


def test_slow_moving_is_learnt_from_jobs() -> None:
    units = {MOVES: 2.0, MOVED_MB: 50.0, MOVED_S: 10.0 * (2 * MOVE_S + 50 * MOVE_S_PER_MB)}
    hops = Hops()
    for _ in range(200):
        hops = hops.learnt(result(units=units))
    assert hops.slow == pytest.approx(10.0, rel=0.05)
    assert hops.moving_s({MOVED_MB: 1.0}) == pytest.approx(10.0 * MOVE_S_PER_MB, rel=0.05)


def test_one_job_moves_little() -> None:
    after = Hops().learnt(result(0.19, {MOVES: 1.0, MOVED_MB: 10.0, MOVED_S: 1e6}))
    assert after.hand_over_s < 1.3 * Hops().hand_over_s
    assert after.slow < 1.3


@pytest.mark.parametrize(
    "job",
    [
        result(GAP_MAX_S * 1.01),
        result(0.0),
        result(-0.5),
        result(warm=False),
        result(tasks=2),
        result(moved=True),
        replace(result(), status="failed"),
        replace(result(), plan=None),
        replace(result(), stages=result().stages[1:]),
    ],
    ids=["it waited", "no gap", "clocks differ", "it loaded", "several tasks", "moved pools", "failed", "no plan", "no source"],
)
def test_what_is_no_hand_over_teaches_nothing(job: JobResult) -> None:
    assert list(gaps(job)) == []
    assert Hops().learnt(job) == Hops()


@given(
    st.lists(
        st.tuples(
            st.floats(-1, 1),
            st.dictionaries(st.sampled_from([MOVES, MOVED_MB, MOVED_S, "frames"]), st.floats(0, 1e9, allow_subnormal=False)),
        ),
        max_size=30,
    )
)
def test_whatever_jobs_say_hops_stay_sensible(jobs: list[tuple[float, dict[str, float]]]) -> None:
    hops = Hops()
    for gap_s, units in jobs:
        hops = hops.learnt(result(gap_s, units))
    assert 0 < hops.hand_over_s <= GAP_MAX_S
    assert 1 / SLOW_MAX <= hops.slow <= SLOW_MAX
    assert hops.next_s == Hops().next_s


def test_moving_is_no_work_of_an_implementation() -> None:
    """A task that mostly waits is judged by its wall time: what its artifacts took to move is left out of that."""
    waits = Profile("A", "a", "cpu", "measured", cpu=Line(0.01), time=Line(1.0), quality=1.0, samples=20)
    report = StageReport(
        "s", "A", "a", "cpu", 10, 0.0, 40.0, 0.0, 0.0, cpu_s=0.1, attempts=10, busy_s=40.0, units={MOVES: 10.0, MOVED_S: 30.0}
    )
    still = learnt(waits, report, 1.0)
    assert still is not None
    assert still.drift == pytest.approx(1.0, rel=1e-3)
    slower = learnt(waits, replace(report, units={}), 1.0)
    assert slower is not None
    assert slower.drift > 1.2


def test_what_moves_is_learnt_and_how_long_it_took_is_not() -> None:
    loads = Workloads(AGENTS)
    report = StageReport("cut", "Cut", "cut", "cpu", 4, 0.0, 1.0, 0.0, 0.0, busy_s=1.0, units={MOVES: 8.0, MOVED_MB: 40.0, MOVED_S: 0.3})
    loads.learn(PAIR.stages[0], report, {})
    assert loads.get("Cut", {}).units == {MOVES: 2.0, MOVED_MB: 10.0}
    assert loads.expect(PAIR, 3, {})["cut"].units == {MOVES: 6.0, MOVED_MB: 30.0}
