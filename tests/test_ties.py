"""Plans that are nearly equal: what a single goal's tolerance may cost, what decides between equals, and what is said of who lost."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from murakkab.agents.spec import Agent, Implementation, Take
from murakkab.bus.messages import Edge, Estimate, Line, MakePlan, Plan, Profile, RunnerUp, Stage, Workflow
from murakkab.optimizer.fleet import Fleet, HostView, Key, Warm
from murakkab.optimizer.goals import TOLERANCE, goals
from murakkab.optimizer.make import Infeasible, World, make_plan
from murakkab.optimizer.prices import Prices
from murakkab.optimizer.problem import values
from murakkab.optimizer.profiles import Profiles
from murakkab.optimizer.reasons import plain, runner_up
from murakkab.optimizer.schedule import timeline
from murakkab.optimizer.space import space
from murakkab.optimizer.workloads import Workloads

AGENTS = {"A": Agent("A", "a", {"x": Take("Text")}, "Text"), "B": Agent("B", "b", {"x": Take("Text")}, "Text")}
FLOW = Workflow((Stage("one", "A", (Edge("x"),)), Stage("two", "B", (Edge("x", "one"),))), ("two",))

Took = tuple[float, float]
"""Seconds and CPU-seconds of a task."""


def world(rows: dict[tuple[str, str], Took], cores: int = 4) -> World:
    """Everything is loaded, so that time and cost are those of the tasks."""
    library = {(agent, name): Implementation(name, agent, "m:C", quality=0.9) for agent, name in rows}
    profiles = [
        Profile(agent, name, "cpu", "measured", "a test", time=Line(time_s), cpu=Line(cpu_s), memory_mb=10, quality=0.9, samples=9)
        for (agent, name), (time_s, cpu_s) in rows.items()
    ]
    offers: frozenset[Key] = frozenset((agent, name, "cpu") for agent, name in rows)
    host = HostView("h", cores, 64_000, offers, warm={key: Warm(1, 1) for key in offers})
    return World(AGENTS, library, Fleet((host,), {}), Profiles(library, profiles), Workloads(AGENTS), Prices({}))


def ask(*wanted: str, explain: bool = False) -> MakePlan:
    return MakePlan(job="j", workflow=FLOW, inputs=1, constraints=wanted, explain=explain)


def picks(plan: Plan) -> str:
    return " ".join(c.implementation for c in plan.choices)


def everything(here: World, request: MakePlan) -> list[tuple[float, float]]:
    """Time by a run in thought, and cost, of each plan that there is."""
    where = space(here, FLOW, 1, {}, goals(request.constraints), {}, None)
    found = []
    for chosen in product(*(range(len(ways)) for ways in where.ways)):
        ways = {s.name: w[n] for s, w, n in zip(FLOW.stages, where.ways, chosen, strict=True)}
        line = timeline(FLOW, ways, where.expected, 1, here.fleet, here.hops)
        assert line is not None
        found.append((line.time_s, values(where.problem, chosen).cost))
    return found


NEARLY = world({("A", "a"): (1.0, 1.0), ("B", "quick"): (1.0, 3.9), ("B", "cheap"): (1.06, 1.06), ("B", "slow"): (1.5, 0.5)})


def test_an_only_goals_tolerance_goes_to_cost() -> None:
    assert picks(make_plan(NEARLY, ask("MIN_LATENCY"))) == "a cheap", "3 % slower for less than half of the money"
    assert picks(make_plan(NEARLY, ask("MIN_LATENCY:0"))) == "a quick"
    assert picks(make_plan(NEARLY, ask("MIN_LATENCY:2%"))) == "a quick"
    assert picks(make_plan(NEARLY, ask("MIN_LATENCY:40%"))) == "a slow"


def test_among_equals_of_the_same_cost_nothing_is_given_up() -> None:
    here = world({("A", "a"): (1.0, 1.0), ("B", "quick"): (1.0, 1.0), ("B", "slower"): (1.04, 1.0)})
    for goal in ("MIN_LATENCY", "MIN_COST", "MIN_ENERGY", "MAX_QUALITY"):
        assert picks(make_plan(here, ask(goal))) == "a quick"


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.1, 3.0), st.floats(0.1, 8.0)), min_size=1, max_size=4),
    st.lists(st.tuples(st.floats(0.1, 3.0), st.floats(0.1, 8.0)), min_size=1, max_size=4),
    st.sampled_from((0.0, 0.02, TOLERANCE, 0.5)),
)
def test_min_latency_is_within_its_tolerance_of_the_truly_fastest(first: list[Took], second: list[Took], tolerance: float) -> None:
    """Against every plan there is, each run in thought; and none that is as quick as the one taken costs less."""
    rows = {
        (agent, f"{agent}{n}"): (time_s, cpu_s) for agent, each in (("A", first), ("B", second)) for n, (time_s, cpu_s) in enumerate(each)
    }
    here = world(rows)
    request = ask(f"MIN_LATENCY:{tolerance}")
    plan, all_of_it = make_plan(here, request, limit_s=5.0), everything(here, request)
    fastest = min(time_s for time_s, _ in all_of_it)
    assert plan.time_s <= fastest * (1 + tolerance) + 1e-5
    if tolerance > 0:
        assert plan.cost_usd <= min(cost for time_s, cost in all_of_it if time_s <= fastest * (1 + 1e-6)) * (1 + 1e-2)


# --- what is said of who lost -------------------------------------------------------------------------------------------------


BEST = Estimate(1.03, 2e-5, 1e-3, 0.9)


def lost(theirs: Estimate, *wanted: str, best: Estimate = BEST) -> RunnerUp:
    return runner_up(("two: b instead of a",), theirs, best, {}, {}, goals(wanted))


@pytest.mark.parametrize(
    ("theirs", "wanted", "why", "turns"),
    [
        (  # quicker, but not by enough to pay for it
            replace(BEST, time_s=1.0, cost_usd=4e-5), ("MIN_LATENCY",),
            "better by MIN_LATENCY, but within its tolerance; then by cost: 40 µ$ against 20 µ$",
            "the tolerance of MIN_LATENCY were less than 3 %",
        ),
        (
            replace(BEST, quality=0.92, energy_wh=2e-3), ("MAX_QUALITY",),
            "better by MAX_QUALITY, but within its tolerance; then by energy: 2 mWh against 1 mWh",
            "the tolerance of MAX_QUALITY were less than 0.022",
        ),
        (replace(BEST), ("MIN_LATENCY",), "equal by every goal; and no worse otherwise", "nothing: the two are equal, and one was taken"),
        (replace(BEST, cost_usd=4e-5), ("MIN_LATENCY",), "equal by every goal; then by cost: 40 µ$ against 20 µ$", "nothing: it is no better at anything"),
        (  # the second goal decides between what ties by the first
            replace(BEST, cost_usd=2.04e-5, time_s=2.0), ("MIN_COST", "MIN_LATENCY"),
            "by MIN_LATENCY: 2 s against 1.03 s", "nothing: it is no better at anything",
        ),
        (replace(BEST, time_s=2.0, cost_usd=1e-5), ("MIN_LATENCY",), "by MIN_LATENCY: 2 s against 1.03 s", "the first goal were MIN_COST"),
    ],
)  # fmt: skip
def test_a_tie_is_said_to_be_one(theirs: Estimate, wanted: tuple[str, ...], why: str, turns: str) -> None:
    said = lost(theirs, *wanted)
    assert (said.lost, said.wins_if) == (why, turns)


def test_the_tolerance_that_it_says_makes_the_rival_win() -> None:
    plan = make_plan(NEARLY, ask("MIN_LATENCY", explain=True))
    [rival] = [r for r in plan.runners_up if any("quick" in c for c in r.changes) and "within its tolerance" in r.lost]
    said = re.search(r"the tolerance of MIN_LATENCY were less than ([\d.]+) %", rival.wins_if)
    assert said is not None, rival.wins_if
    assert picks(make_plan(NEARLY, ask(f"MIN_LATENCY:{float(said[1]) - 0.1}%"))) == "a quick"
    assert picks(make_plan(NEARLY, ask(f"MIN_LATENCY:{float(said[1]) + 0.1}%"))) == "a cheap"


@given(
    *(st.builds(Estimate, st.floats(0, 1e4), st.floats(0, 1e3), st.floats(0, 1e4), st.floats(0, 1)) for _ in range(2)),
    st.permutations(["MIN_COST", "MIN_LATENCY", "MIN_ENERGY", "MAX_QUALITY"]).flatmap(
        lambda g: st.integers(1, 4).map(lambda n: tuple(g[:n]))
    ),
)
def test_whatever_lost_something_is_said_of_it(theirs: Estimate, best: Estimate, wanted: tuple[str, ...]) -> None:
    said = lost(theirs, *wanted, best=best)
    assert said.lost
    assert said.wins_if
    assert "or nothing" not in said.wins_if


@given(st.floats(1e-12, 1e9))
def test_a_nearest_value_is_enough_and_can_be_typed(value: float) -> None:
    said = plain(value, up=True)
    assert re.fullmatch(r"\d+(\.\d+)?", said)
    assert value <= float(said) <= value * 1.011


def test_a_refusal_has_no_exponent() -> None:
    with pytest.raises(Infeasible, match=r"budget \$0\.00000001 cannot be met: the nearest is \$0\.0000\d+$"):
        make_plan(NEARLY, replace(ask("MIN_COST"), budget_usd=1e-8))
