"""The picture of a job: its geometry, and that its page stays whole and safe whatever the names and numbers in it."""

from __future__ import annotations

import math
import re
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from murakkab.bus.messages import (
    Choice,
    Figure,
    HostHeartbeat,
    Instance,
    JobResult,
    Plan,
    Stage,
    StageReport,
    TaskRecord,
    Use,
    Workflow,
)
from murakkab.client.gantt import digits, gantt_html, seconds, usd
from murakkab.client.gantt_layout import BARS_MAX, ROWS_MAX, Task, cold_spans, lay_out, over_time, readable, rows_of
from murakkab.client.gantt_style import COLOURS

T0 = 1_800_000_000.0
VOID = {"meta", "rect", "line", "path", "br"}
"""Elements that the page writes without an end tag, or closes at once."""


class Tree(HTMLParser):
    """Counts elements, collects attributes and text, and insists that every element is closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.count: Counter[str] = Counter()
        self.attributes: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] += 1
        named = {name: value or "" for name, value in attrs}
        assert len(named) == len(attrs), f"an attribute twice in <{tag}>"
        self.attributes.append((tag, named))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def rects(self) -> list[dict[str, str]]:
        return [a for tag, a in self.attributes if tag == "rect"]


def task(
    stage: str,
    start_s: float,
    end_s: float,
    instance: str = "i1",
    cold_s: float = 0.0,
    host: str = "h1",
    index: tuple[int, ...] = (),
    attempt: int = 1,
) -> TaskRecord:
    use = Use(T0 + start_s, T0 + end_s, (end_s - start_s) / 2, 0.001, "modelled", 1e-5, cold_s)
    return TaskRecord(stage, index, attempt, host, instance, use)


def result(stages: dict[str, str], time_s: float = 10.0, planning_s: float = 0.5, error: str = "", name: str = "plain") -> JobResult:
    workflow = Workflow(tuple(Stage(s, a) for s, a in stages.items()), tuple(stages)[-1:], name)
    choices = tuple(Choice(s, f"{name}-impl", "cpu", 1.25, 2e-5, 0.002, 0.9, why=f"{name} why") for s in stages)
    reports = tuple(StageReport(s, a, f"{name}-impl", "cpu", 2, 1.0, 3.0, 0.01, 4e-5, 1.0, 3) for s, a in stages.items())
    return JobResult(
        "acme", "job-1", "failed" if error else "done", (), error, Plan(workflow, choices, 8.0, 1e-4, 0.02), reports, time_s, planning_s,
        Figure(0.02, "measured"), Figure(8e-5, "modelled"),
    )  # fmt: skip


def bars_within(tree: Tree) -> None:
    for rect in tree.rects():
        x, width = float(rect["x"].removesuffix("%")), float(rect["width"].removesuffix("%"))
        assert x >= 0
        assert width > 0
        assert x + width <= 100.002  # both ends are rounded to a thousandth


def test_a_page_has_its_lanes_bars_figures_and_promises() -> None:
    tasks = [task("cut", 1, 2, "a"), task("hear", 3, 6, "b", cold_s=1.5, index=(0, 1), attempt=2), task("hear", 6, 7, "b")]
    hosts = (HostHeartbeat("h1", 0.0, instances=(Instance("b", "SpeechToText", "whisper", "cpu", "warm", 1),), cores=4),)
    page = gantt_html(result({"cut": "SceneSplitter", "hear": "SpeechToText"}), tasks, T0, hosts)
    tree = Tree(page)
    assert (tree.count["html"], tree.count["script"], tree.count["style"], tree.count["h2"]) == (1, 1, 1, 3)
    classes = Counter(rect["class"] for rect in tree.rects())
    assert classes == {"b plan": 1, "b c0": 1, "b c1": 2, "cold": 1}
    tips = "\n".join(rect["data-t"] for rect in tree.rects())
    assert "hear[0][1] · SpeechToText" in tips
    assert "attempt 2 on h1 / b" in tips
    assert "waited 1.50 s for a cold start" in tips
    for word in (
        "10.0 s",
        "20.0 mWh",
        "measured; planned 20.0 mWh",
        "1 retried",
        "whisper",
        "busy cores of 4, peak 0.5",
        "hear",
        "plain why",
    ):
        assert word in " ".join(tree.words) + page
    cells = [w for w in tree.words if w in ("1.25 s", "2.00 s", "2.00 mWh", "5.00 mWh")]
    assert cells == ["1.25 s", "2.00 mWh", "5.00 mWh", "1.25 s", "2.00 s", "2.00 mWh", "5.00 mWh"]
    bars_within(tree)


@pytest.mark.parametrize(
    "evil",
    ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "' onload='x", "</style></svg></script>", "a\x00b\ud800c", "&lt;b&gt;"],
)
def test_hostile_names_stay_text(evil: str) -> None:
    clean = Tree(gantt_html(result({"s": "A"}, error="boom"), [task("s", 1, 9)], T0))
    tasks = [TaskRecord(evil, (1,), 1, evil, evil, Use(T0 + 1, T0 + 9, 1.0))]
    job = result({evil: evil}, error=evil, name=evil)
    page = gantt_html(job, tasks, T0, (HostHeartbeat(evil, 0.0, instances=(Instance(evil, evil, evil, evil, "warm", 1),)),))
    page.encode()  # a lone surrogate cannot be written
    tree = Tree(page)
    assert tree.count == clean.count
    assert {(tag, *a) for tag, a in tree.attributes} <= {(tag, *a) for tag, a in clean.attributes}
    assert "\x00" not in page


def test_nothing_is_loaded_from_anywhere() -> None:
    page = gantt_html(result({"s": "A"}), [task("s", 1, 2, cold_s=1)], T0)
    assert not re.search(r"https?:|//[a-z]|@import|\bsrc=|\bhref=|fetch\(|import\(", page)
    assert set(re.findall(r"url\(([^)]*)\)", page)) == {"#hatch"}
    assert "default-src 'none'" in page


def test_thousands_of_tasks_stay_few_elements_and_the_page_says_so() -> None:
    tasks = [task(f"s{k % 3}", k * 0.011, k * 0.011 + 0.01 * (1 + k % 7), f"i{k % 90}") for k in range(9000)]
    page = gantt_html(result({"s0": "A", "s1": "B", "s2": "C"}, time_s=100), tasks, T0)
    tree = Tree(page)
    assert len(tree.rects()) <= BARS_MAX + 100
    assert sum(tree.count.values()) < 6000
    assert len(page.encode()) < 2_000_000
    assert "9,000 tasks are drawn as" in page
    assert "30 less busy instances are not drawn" in page
    bars_within(tree)


def test_no_tasks_and_no_plan_still_make_a_page() -> None:
    page = gantt_html(JobResult("t", "j", "failed", error="no host can run it"), [], T0)
    assert "No task of this job has counted." in page
    assert "no host can run it" in page
    Tree(page)


def test_times_that_are_no_numbers_are_left_out_and_counted() -> None:
    bad = TaskRecord("s", (), 1, "h", "i", Use(math.nan, T0))
    far = TaskRecord("s", (), 1, "h", "i", Use(-1e300, 1e300))
    page = gantt_html(result({"s": "A"}), [bad, far, task("s", 1, 2)], T0)
    assert "2 tasks are left out" in page
    assert len([r for r in Tree(page).rects() if r["class"] == "b c0"]) == 1


number = st.floats(allow_nan=True, allow_infinity=True) | st.floats(-5, 500)
records = st.builds(
    TaskRecord,
    stage=st.sampled_from(["a", "b", "<c>"]) | st.text(max_size=8),
    index=st.lists(st.integers(0, 9), max_size=2).map(tuple),
    attempt=st.integers(1, 3),
    host=st.sampled_from(["h1", "h2"]) | st.text(max_size=4),
    instance=st.sampled_from(["i1", "i2", '"'] ) | st.text(max_size=4),
    use=st.builds(Use, start=number, end=number, cpu_s=number, energy_wh=number, cost_usd=number, cold_s=number),
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(tasks=st.lists(records, max_size=25), at=st.floats(-100, 100), time_s=number, planning_s=number)
def test_any_tasks_give_a_whole_page_with_bars_inside_the_plot(
    tasks: list[TaskRecord], at: float, time_s: float, planning_s: float
) -> None:
    page = gantt_html(result({"a": "A", "b": "B"}, time_s, planning_s), tasks, at)
    page.encode()
    bars_within(Tree(page))
    assert "nan%" not in page


spans = st.lists(st.tuples(st.floats(0, 50), st.floats(0, 10)), max_size=40)


@given(spans)
def test_bars_of_one_row_never_overlap_below_the_cap(found: list[tuple[float, float]]) -> None:
    tasks = readable([task("s", a, a + length) for a, length in found], T0)
    rows, at_once = rows_of(tasks)
    assert max(rows, default=-1) < ROWS_MAX
    if at_once <= ROWS_MAX:
        for row in set(rows):
            mine = [t for t, r in zip(tasks, rows, strict=True) if r == row]
            assert all(x.end_s <= y.start_s for x, y in pairwise(mine))


@given(spans)
def test_no_task_is_lost_by_merging(found: list[tuple[float, float]]) -> None:
    layout = lay_out([task("s", a, a + length * 1e-3) for a, length in found], T0, 60.0)
    drawn = [t for lane in layout.lanes for bar in lane.bars for t in bar.tasks]
    assert sorted(drawn, key=id) == sorted(layout.tasks, key=id)
    for lane in layout.lanes:
        for bar in lane.bars:
            assert bar.start_s <= min(t.start_s for t in bar.tasks)
            assert bar.end_s >= max(t.end_s for t in bar.tasks)


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0, 10), st.floats(0, 100)), max_size=30), st.integers(1, 50))
def test_work_over_time_is_neither_lost_nor_made(parts: list[tuple[float, float, float]], bins: int) -> None:
    values = over_time(((a, a + d, w) for a, d, w in parts), 0.0, 60.0, bins)
    assert math.fsum(values) * 60.0 / bins == pytest.approx(math.fsum(w for _, _, w in parts), abs=1e-5)


def test_work_over_time_is_where_it_was_done() -> None:
    assert over_time([(1.0, 3.0, 4.0)], 0.0, 4.0, 4) == pytest.approx([0, 2, 2, 0])
    assert over_time([(0.5, 1.5, 1.0), (3.2, 3.2, 1.0)], 0.0, 4.0, 4) == pytest.approx([0.5, 0.5, 0, 1])


def test_a_cold_start_ends_where_its_first_task_starts() -> None:
    def line(*found: tuple[float, float, float]) -> list[Task]:
        return readable([task("s", a, b, cold_s=c) for a, b, c in found], T0)

    # the second waited for the same load, then for the slot
    assert cold_spans(line((2, 3, 1.5), (3, 4, 1.2))) == ((0.5, 2.0),)
    assert cold_spans(line((1, 2, 0.0), (5, 6, 2.0))) == ((3.0, 5.0),)
    assert cold_spans(line((1, 2, 0.0))) == ()


def luminance(colour: str) -> float:
    """Relative luminance of `#rrggbb` by WCAG 2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("pair", COLOURS)
def test_labels_on_bars_can_be_read_in_both_themes(pair: tuple[str, str]) -> None:
    assert (1.05) / (luminance(pair[0]) + 0.05) >= 4.5
    assert (luminance(pair[1]) + 0.05) / (luminance("#0b0f14") + 0.05) >= 4.5


def test_numbers_are_for_people() -> None:
    assert [digits(v, "Wh") for v in (0, 12.34, 0.0123, 5e-7, -2, math.inf)] == [
        "0 Wh",
        "12.3 Wh",
        "12.3 mWh",
        "0.50 µWh",
        "-2.00 Wh",
        "? Wh",
    ]
    assert [seconds(v) for v in (1.5, 119, 125, 7260)] == ["1.50 s", "119 s", "2 min 05 s", "2 h 01 min"]
    assert [usd(v) for v in (0, 1234.5, 0.0123, 1.5e-5)] == ["$0.00", "$1,234.50", "$0.0123", "15 µ$"]
