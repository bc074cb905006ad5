"""EXPLAIN: the tree of a workflow, the words and the object of a plan, its picture; and what a run's estimates were worth."""

from __future__ import annotations

import html
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from murakkab.agents.spec import Agent, Implementation, Take
from murakkab.bus.messages import (
    Choice,
    Edge,
    Estimate,
    JobResult,
    Line,
    MakePlan,
    Plan,
    Profile,
    RunnerUp,
    Stage,
    Workflow,
)
from murakkab.client import amounts
from murakkab.client.explain import as_json, draw
from murakkab.client.explain_points import points
from murakkab.client.explain_text import bound, lines
from murakkab.client.explain_tree import PREFIX_MAX, rows
from murakkab.client.frontier import frontier_html
from murakkab.client.frontier_plot import HEAT, Mark, Scale, heat, plot
from murakkab.optimizer.fleet import Fleet, HostView
from murakkab.optimizer.make import World, make_plan
from murakkab.optimizer.prices import Prices
from murakkab.optimizer.profiles import Profiles
from murakkab.optimizer.workloads import Workloads

# --- plans as the optimizer makes them ----------------------------------------------------------------------------------------

FLOW = Workflow(
    (
        Stage("scenes", "SceneSplitter", (Edge("video"),), 1, True, call='SceneSplitter(video="cats.mp4")'),
        Stage("audio", "AudioExtractor", (Edge("scene", "scenes"),), 2, call="AudioExtractor(scene=scenes[i][j])"),
        Stage("transcripts", "SpeechToText", (Edge("audio", "audio"),), 2, call='SpeechToText(audio=audio[i][j], language="en")'),
        Stage("frames", "FrameExtractor", (Edge("scene", "scenes"),), 2, call="FrameExtractor(scene=scenes[i][j], every_s=1)"),
        Stage("report", "ObjectLister", (Edge("transcripts", "transcripts"), Edge("frames", "frames")), 1, call="ObjectLister(…)"),
        Stage("index", "VectorIndexer", (Edge("transcripts", "transcripts"),), 1, call="VectorIndexer(…)"),
    ),
    ("report",),
    "Video to VideoReport",
    proposer="offline",
    repairs=("SceneSplitter put in, since FrameExtractor takes a Scene",),
)


def choice(stage: str, start_s: float, end_s: float, tasks: float = 6.0, **more: object) -> Choice:
    made = Choice(
        stage, f"{stage}-impl", "cpu", 0.44, 1e-5, 8e-4, 0.9, True, why=f"best by MIN_COST; lost: {stage}-other ($0.0002 against $6e-05)",
        tasks=tasks, units={"audio_s": 59.4}, start_s=start_s, end_s=end_s, total=Estimate(end_s - start_s, 1e-5 * tasks, 8e-4 * tasks, 0.9),
        how="measured",
    )  # fmt: skip
    return replace(made, **more)


PLAN = Plan(
    FLOW,
    (
        choice("scenes", 0.2, 0.9, 2.0),
        choice("audio", 0.5, 1.1),
        choice("transcripts", 1.7, 4.3, warm=False, load_s=1.0, width=2, slots=4, args={"parts": 3}, power_w=300.0, how="estimate",
               total=Estimate(2.6, 1e-5 * 6 + 4e-5, 8e-4 * 6 + 3e-3, 0.9)),
        choice("frames", 0.6, 2.0, how="published"),
        choice("report", 4.3, 4.5, 1.0, how="prior"),
        choice("index", 4.3, 4.6, 1.0),
    ),
    4.6, 2.6e-4, 0.0187, 0.53, ("scenes", "audio", "transcripts", "index"), "MIN_COST", 2.55e-4, 0.0196, "exact",
    (
        RunnerUp(("transcripts: big on cpu instead of transcripts-impl on cpu × 2",), Estimate(6.0, 4e-4, 0.03, 0.6),
                 "by MIN_COST: $0.0004 against $0.00026", "big was loaded already"),
        RunnerUp((), Estimate(4.7, 2.6e-4, 0.019, 0.53), "as good", "nothing: it is no better at anything"),
    ),
    (
        RunnerUp(("transcripts: tiny on h100-80gb instead of transcripts-impl on cpu × 2",), Estimate(1.1, 9e-3, 0.4, 0.53)),
        RunnerUp((), Estimate(4.6, 2.6e-4, 0.0187, 0.53)),
        RunnerUp(("frames: slow on cpu-spot instead of frames-impl on cpu",), Estimate(60.0, 1.1e-4, 0.012, 0.4)),
    ),
)  # fmt: skip


def result_of(plan: Plan | None, **more: object) -> JobResult:
    return replace(JobResult("acme", "job-1", "done", plan=plan, planning_s=0.25), **more)


def text_of(plan: Plan, width: int = 120, wanted: str = "") -> str:
    return "\n".join(lines(plan, 0.25, wanted, width))


# --- the tree -----------------------------------------------------------------------------------------------------------------


def test_the_answer_is_at_the_top_and_a_shared_stage_stands_once() -> None:
    drawn = rows(FLOW)
    assert [(r.stage, r.again) for r in drawn] == [
        ("report", False), ("transcripts", False), ("audio", False), ("scenes", False), ("frames", False), ("scenes", True),
        ("index", False), ("transcripts", True),
    ]  # fmt: skip
    assert [r.head for r in drawn[:6]] == ["", "├─ ", "│  └─ ", "│     └─ ", "└─ ", "   └─ "]


@st.composite
def workflows(draw: st.DrawFn) -> Workflow:
    """Any, and also such as no planner makes: cycles, edges from nowhere, answers that are none."""
    names = [f"s{n}" for n in range(draw(st.integers(1, 12)))]
    sources = st.sampled_from([*names, "", "nowhere"])
    stages = [Stage(n, "A", tuple(Edge(f"p{i}", s) for i, s in enumerate(draw(st.lists(sources, max_size=4))))) for n in names]
    return Workflow(tuple(stages), tuple(draw(st.lists(st.sampled_from([*names, "nowhere"]), max_size=3))))


@given(workflows(), st.integers(100, 140))
def test_any_workflow_prints_with_each_stage_once(flow: Workflow, width: int) -> None:
    drawn = rows(flow)
    assert sorted(r.stage for r in drawn if not r.again) == sorted(s.name for s in flow.stages)
    above: set[str] = set()
    for row in drawn:
        assert row.again == (row.stage in above)
        above.add(row.stage)
    chosen = tuple(choice(s.name, 0.0, 1.0) for s in flow.stages[1:])  # one has none: it says so
    said = lines(Plan(flow, chosen), 0.0, "MIN_COST", width)
    assert max(map(len, said)) <= width
    assert sum("nothing is chosen for it" in line for line in said) == 1


def test_a_chain_of_a_thousand_stages_prints() -> None:
    flow = Workflow(tuple(Stage(f"s{n}", "A", (Edge("x", f"s{n - 1}" if n else ""),)) for n in range(1_000)), ("s999",))
    drawn = rows(flow)
    assert len(drawn) == 1_000
    assert max(len(r.head) for r in drawn) <= PREFIX_MAX + 2
    assert len(lines(Plan(flow, ()), 0.0)) > 1_000


# --- the words ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [100, 120, 140])
def test_the_words_say_it_all(width: int) -> None:
    said = text_of(PLAN, width, "MIN_COST (within 5 %), then MIN_LATENCY; deadline 20 s")
    assert max(map(len, said.splitlines())) <= width
    flat = " ".join(re.sub(r"[│├└─]", " ", said).split())
    for part in (
        "workflow Video to VideoReport: 6 stages, proposed by the offline planner, planned in 250 ms",
        "goals MIN_COST (within 5 %), then MIN_LATENCY; deadline 20 s",
        "transcripts 6 2.60 s 1.70–4.30 s $0.00010 7.80 mWh 0.9 estimate",
        "transcripts-impl on cpu, cold: 1.00 s to load, 2 instances × 4 calls at a time, capped at 300 W, parts=3; 440 ms a task; 59.4 audio_s",
        'transcripts = SpeechToText(audio=audio[i][j], language="en")',
        "scenes-impl on cpu, warm, 1 instance",
        "best by MIN_COST; lost: report-other ($0.0002 against $6e-05)",
        "estimate 4.60 s, $0.00026, 18.7 mWh, quality 0.53, all modelled",
        "critical scenes → audio → transcripts → index",
        "bound cost $0.000260, no plan here can be below $0.000255: gap 2 %; as much as the goals' tolerance may be given up",
        "search exact",
        "measured: profiled or run here; estimate: carried over from other hardware by catalogue",
        "1. 6.00 s $0.00040 30.0 mWh 0.6 transcripts: big on cpu instead of transcripts-impl on cpu × 2",
        "lost by MIN_COST: $0.0004 against $0.00026 wins if big was loaded already",
        "would not win: it is no better at anything",
        "* 60.0 s $0.00011 12.0 mWh 0.4 cheapest, least energy; frames: slow on cpu-spot instead of frames-impl on cpu",
        "* 4.60 s $0.00026 18.7 mWh 0.53 chosen, highest quality",
        "mended SceneSplitter put in, since FrameExtractor takes a Scene",
    ):
        assert part in flat
    assert said.count("scenes  (stands above)") == 1


def test_a_plan_that_says_little_is_told_all_the_same() -> None:
    """As of a system that ran before there were such plans: no totals, no times, no bound."""
    plain = Plan(Workflow((Stage("a", "A"),), ("a",)), (Choice("a", "i", "cpu", 0.5, 1e-4, 0.1, 0.9),), 0.5, 1e-4, 0.1)
    said = text_of(plain)
    assert "nothing was to be chosen" in said
    assert "workflow as given: 1 stage, planned in 250 ms" in said
    assert "runners-up" not in said
    assert "frontier" not in said
    assert points(plain) == []
    made = as_json(result_of(plain))
    assert (made["bound"], made["gap"], made["runners_up"], made["frontier"]) == (None, None, [], [])


@pytest.mark.parametrize(
    ("goal", "least", "gap", "text"),
    [
        ("MIN_COST", 2.6e-4, 0.0, "cost $0.000260, no plan here can be below $0.000260: gap 0, it is optimal"),
        ("MIN_LATENCY", 4.0, 0.15, "time 4.60 s, no plan here can be below 4.00 s: gap 15 %"),
        ("MIN_ENERGY", 0.0186, 0.0054, "energy 18.7 mWh, no plan here can be below 18.6 mWh: gap 0.54 %"),
        ("MAX_QUALITY", 0.54, 0.0187, "quality 0.53, no plan here can be above 0.54: gap 1.9 %"),
    ],
)
def test_the_bound_in_words(goal: str, least: float, gap: float, text: str) -> None:
    assert bound(replace(PLAN, goal=goal, bound=least, gap=gap)) == text


def test_a_chosen_plan_that_the_frontier_leaves_out_is_in_it() -> None:
    better = RunnerUp(("a: b instead of c",), Estimate(4.0, 2e-4, 0.01, 0.4))
    found = points(replace(PLAN, frontier=(better,)))
    assert [(p.chosen, p.best) for p in found] == [(False, ("fastest", "cheapest", "least energy")), (True, ("highest quality",))]
    assert [p.words for p in found] == ["fastest, cheapest, least energy", "chosen, though beaten in all three, highest quality"]


finite = st.floats(0, 1e12)


@given(st.lists(st.tuples(finite, finite, finite, st.floats(0, 1)), min_size=1, max_size=8))
def test_each_goal_has_its_best_once(front: list[tuple[float, float, float, float]]) -> None:
    found = points(replace(PLAN, frontier=tuple(RunnerUp((f"c{n}",), Estimate(*e)) for n, e in enumerate(front))))
    assert sum(p.chosen for p in found) == 1
    assert sorted(w for p in found for w in p.best) == ["cheapest", "fastest", "highest quality", "least energy"]
    least = min(p.estimate.cost_usd for p in found)
    assert next(p for p in found if "cheapest" in p.best).estimate.cost_usd == pytest.approx(least, rel=1e-5, abs=1e-11)


def test_the_object_has_what_others_script_against() -> None:
    made = json.loads(json.dumps(as_json(result_of(PLAN), "p.html")))
    assert made.keys() >= {
        "job",
        "workflow",
        "calls",
        "plan",
        "bound",
        "gap",
        "runners_up",
        "frontier",
        "planning_s",
        "goal",
        "critical",
        "picture",
    }
    assert made["calls"]["frames"] == "FrameExtractor(scene=scenes[i][j], every_s=1)"
    assert (made["bound"], made["gap"], made["goal"]) == (2.55e-4, 0.0196, "MIN_COST")
    assert made["runners_up"][0]["wins_if"] == "big was loaded already"
    assert [(p["chosen"], p["best"]) for p in made["frontier"]] == [
        (False, ["fastest"]), (True, ["highest quality"]), (False, ["cheapest", "least energy"]),
    ]  # fmt: skip
    assert made["frontier"][0]["estimate"] == {"time_s": 1.1, "cost_usd": 9e-3, "energy_wh": 0.4, "quality": 0.53}
    assert msgspec.convert(made["plan"], Plan) == PLAN
    assert made["estimate"] == {"time_s": 4.6, "cost_usd": 2.6e-4, "energy_wh": 0.0187, "quality": 0.53}


# --- plans that the optimizer has made ------------------------------------------------------------------------------------------

AGENTS = {"Hear": Agent("Hear", "hear", {"x": Take("Video")}, "Text"), "Join": Agent("Join", "join", {"x": Take("Text")}, "Text")}
ROWS = [Implementation("cheap", "Hear", "m:C", quality=0.6), Implementation("good", "Hear", "m:C", quality=0.9),
        Implementation("join", "Join", "m:C", quality=1.0)]  # fmt: skip
LIBRARY = {(r.agent, r.name): r for r in ROWS}
PAIR = Workflow((Stage("hear", "Hear", (Edge("x"),), 1), Stage("join", "Join", (Edge("x", "hear"),), 1)), ("join",))


def planned(goals: tuple[str, ...], cheap_s: float, good_s: float, load_s: float, inputs: int = 2) -> Plan:
    times = {"cheap": cheap_s, "good": good_s, "join": 0.01}
    profiles = [
        Profile(r.agent, r.name, "cpu", "measured", cpu=Line(times[r.name]), time=Line(times[r.name]), load_s=load_s, load_cpu_s=load_s,
                quality=r.quality, samples=9)
        for r in ROWS
    ]  # fmt: skip
    host = HostView("h", 4, 64_000, frozenset((r.agent, r.name, "cpu") for r in ROWS))
    world = World(AGENTS, LIBRARY, Fleet((host,), {}), Profiles(LIBRARY, profiles), Workloads(AGENTS), Prices({}))
    return make_plan(world, MakePlan(job="j", workflow=PAIR, inputs=inputs, constraints=goals, explain=True))


@settings(max_examples=40, deadline=None)
@given(
    st.permutations(["MIN_COST", "MIN_LATENCY", "MIN_ENERGY", "MAX_QUALITY"]).flatmap(lambda g: st.integers(1, 4).map(lambda n: tuple(g[:n]))),
    st.floats(0.01, 9), st.floats(0.01, 9), st.floats(0, 9), st.integers(1, 4),
)  # fmt: skip
def test_what_the_optimizer_made_is_told_whole(goals: tuple[str, ...], cheap_s: float, good_s: float, load_s: float, inputs: int) -> None:
    plan = planned(goals, cheap_s, good_s, load_s, inputs)
    said = text_of(plan)
    assert max(map(len, said.splitlines())) <= 120
    for c in plan.choices:
        assert f"{c.implementation} on {c.hardware}, " in said
    for part in ("no plan here can be", "rests on measured", "all modelled", "frontier ", "chosen"):
        assert part in said
    assert len(re.findall(r"^     lost:? ", said, re.M)) == len(plan.runners_up[:3]) > 0
    made = as_json(result_of(plan))
    assert (made["goal"], made["bound"], made["gap"]) == (goals[0], plan.bound, plan.gap)
    assert made["bound"] is not None
    assert sum(p["chosen"] for p in made["frontier"]) == 1
    assert len(made["runners_up"]) == len(plan.runners_up)
    json.dumps(made, allow_nan=False)
    page = Page(frontier_html(result_of(plan)))
    assert len([a for t, a in page.tags if t == "circle"]) == len(made["frontier"]) + len(plan.runners_up[:3])


# --- amounts ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (amounts.seconds(0.0), "0 s"), (amounts.seconds(0.0123), "12 ms"), (amounts.seconds(0.9994), "999 ms"),
        (amounts.seconds(0.9996), "1.00 s"), (amounts.seconds(4.214), "4.21 s"), (amounts.seconds(125), "2 min 05 s"),
        (amounts.seconds(11_220), "3 h 07 min"), (amounts.seconds(math.nan), "?"),
        (amounts.usd(0.00123), "$0.0012"), (amounts.usd(6e-5), "60 µ$"), (amounts.usd(12.345), "$12.35"), (amounts.usd(0.0), "$0"),
        (amounts.energy(0.0123), "12.3 mWh"), (amounts.energy(1.234), "1.23 Wh"), (amounts.energy(7.7e-5), "77 µWh"),
        (amounts.energy(4321.0), "4.32 kWh"), (amounts.span(1.2, 4.8), "1.20–4.80 s"), (amounts.span(100.0, 200.0), "100 s–3 min 20 s"),
        (amounts.part(0.008), "0.8 %"), (amounts.part(0.25), "25 %"), (amounts.error(0.09), "+9 %"), (amounts.error(-0.004), "-0.4 %"),
        (amounts.error(None), "–"), (amounts.error(11.0), "12 ×"), (amounts.count(2.0), "2"), (amounts.count(5.94), "5.94"),
        (amounts.quality(0.5300001), "0.53"),
    ],
)  # fmt: skip
def test_amounts_for_people(said: str, text: str) -> None:
    assert said == text


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_no_amount_is_too_strange_to_be_said(value: float) -> None:
    for say in (amounts.seconds, amounts.usd, amounts.energy, amounts.quality, amounts.part, amounts.error, amounts.count):
        assert say(value)
    assert amounts.span(value, value)


# --- the picture --------------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Insists that every element is closed in order; collects tags, attributes, text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_picture_has_every_plan_and_every_stage(tmp_path: Path) -> None:
    file = tmp_path / "new" / "plan.html"
    assert draw(result_of(PLAN), "MIN_COST; deadline 20 s", file) == str(file)
    page = Page(file.read_text(encoding="utf-8"))
    circles = [a["class"] for t, a in page.tags if t == "circle"]
    assert sorted(c.rsplit(" ", 1)[0] for c in circles) == ["dot", "dot", "dot chosen", "rival", "rival"]
    assert {c for c in circles if c.endswith(" w4")} == {"dot w4"}  # of energy: 0.4 Wh against 0.03 and less
    assert "dot chosen w0" in circles
    bars = [a["class"] for t, a in page.tags if t == "rect"]
    assert len(bars) == 7
    assert sum("path" in b for b in bars) == 4
    assert bars.count("cold") == 1
    for word in (
        "fastest",
        "cheapest, least energy",
        "MIN_COST; deadline 20 s",
        "wins if big was loaded already",
        "transcripts-impl on cpu × 2",
    ):
        assert word in page.words


@pytest.mark.parametrize("evil", ['"><script>alert(1)</script>', "' onload='x", "</title><b>", "&lt;\x00\x1b[31m"])
def test_no_text_of_a_plan_breaks_out_of_the_picture(evil: str) -> None:
    stage = Stage("a", evil, call=evil)
    mine = choice("a", 0.0, 1.0, implementation=evil, hardware=evil, why=evil, how=evil, warm=False, load_s=1.0)
    rival = RunnerUp((evil,), Estimate(1.0, 1.0, 1.0, 1.0), evil, evil)
    plan = Plan(Workflow((stage,), ("a",), evil), (mine,), 1.0, 1.0, 1.0, 1.0, ("a",), evil, 1.0, 0.0, evil, (rival,), (rival,))
    page = frontier_html(result_of(plan, job=evil, tenant=evil), evil)
    known = {
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "main",
        "header",
        "div",
        "h1",
        "h2",
        "span",
        "p",
        "b",
        "i",
        "small",
        "svg",
        "line",
        "text",
    }
    known |= {"circle", "rect", "defs", "pattern", "table", "thead", "tbody", "tr", "th", "td", "details", "summary", "ul", "li"}
    seen = Page(page)
    assert {t for t, _ in seen.tags} <= known
    assert not [k for _, a in seen.tags for k in a if k.startswith("on")]
    assert "\x00" not in page
    assert "\x1b" not in page
    assert html.escape(evil.split("\x00")[0], quote=True) in page


def test_colours_go_from_the_least_energy_to_the_most() -> None:
    assert [heat(e, 10.0, 20.0) for e in (10.0, 11.9, 12.1, 15.0, 18.1, 20.0)] == [0, 0, 1, 2, 4, 4]
    assert heat(3.0, 3.0, 3.0) == 0
    assert heat(math.nan, 0.0, 1.0) == HEAT - 1


some = st.floats(0, 1e9) | st.sampled_from([0.0, 1e-12, math.inf, math.nan])


@given(st.lists(st.tuples(some, some, some), max_size=9))
def test_any_plans_are_drawn_within_the_picture(values: list[tuple[float, float, float]]) -> None:
    drawn = plot([Mark(t, c, e, "dot", f"plan {n}", "tip") for n, (t, c, e) in enumerate(values)])
    page = Page(drawn)
    dots = [a for t, a in page.tags if t == "circle"]
    assert len(dots) == len(values)
    for dot in dots:
        assert 0 <= float(dot["cx"]) <= 960
        assert 0 <= float(dot["cy"]) <= 440
        assert 0 < float(dot["r"]) < 20


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=9))
def test_scales_keep_the_order_and_have_ticks(values: list[float]) -> None:
    scale = Scale(values, 0.0, 100.0)
    places = [scale.at(v) for v in sorted(values)]
    assert places == sorted(places)
    assert 1 <= len(scale.ticks()) <= 12
