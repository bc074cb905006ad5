"""Dynamic workflows: what an observed stage found decides what comes next, within a budget, and survives a crash."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from murakkab.actors.conductor import Conductor
from murakkab.actors.core import Command, Do, Heard, Outcome, Replayed, Resumed, Send, Write
from murakkab.actors.jobs import OBSERVE_MAX, replay
from murakkab.actors.planner import Planner, Propose
from murakkab.agents import library as rows
from murakkab.agents.types import TYPES, Passage, Passages
from murakkab.bus.messages import (
    ArtifactRef,
    Choice,
    Edge,
    HostHeartbeat,
    Input,
    JobLog,
    JobResult,
    MakePlan,
    Observed,
    Plan,
    PlanMade,
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
from murakkab.planner.axes import shapes
from murakkab.planner.embed import Hashed
from murakkab.planner.lattice import of_classes
from murakkab.planner.library import Library
from murakkab.planner.proposers import Offline

LIBRARY = Library(rows.agents(), of_classes(TYPES.values()))
INPUTS = tuple(Input(f"{n}.mp4", ArtifactRef(str(n) * 64, 5, "video/mp4")) for n in range(2))


def observed(*found: Passage, rest: str = "look closer at what is shown there", steps_left: int = 3, results: Any = None) -> Observed:
    search = Stage("search", "VectorSearcher", given={"indexes": []}, args={"question": "cats"}, observe=True)
    answer = msgspec.to_builtins(Passages("cats", found))
    return Observed(
        tenant="t",
        job="j",
        description="Find cats, then look closer",
        workflow=Workflow((search,), ("search",), rest=rest),
        stage="search",
        results=(answer,) if results is None else results,
        inputs=INPUTS,
        steps_left=steps_left,
    )


def passage(name: str, start_s: float, end_s: float, score: float = 0.8) -> Passage:
    return Passage("cats are here", "transcript", name, start_s, end_s, score)


def next_of(msg: Observed) -> WorkflowExtended | WorkflowRefused:
    planner, offline = Planner(LIBRARY), Offline(Hashed())
    todo = list(planner.on(Heard(msg), 0.0))
    while isinstance(todo[0], Do):
        errand = todo[0].errand
        assert isinstance(errand, Propose)
        todo = list(planner.on(Outcome(errand, offline.propose(errand.request, errand.library)), 1.0))
    assert isinstance(todo[0], Send)
    assert isinstance(todo[0].msg, WorkflowExtended | WorkflowRefused)
    return todo[0].msg


# --- the planner's side ------------------------------------------------------------------------------------------------------------


def test_a_closer_look_is_taken_where_something_was_found() -> None:
    said = next_of(observed(passage("1.mp4", 12.0, 20.0)))
    assert isinstance(said, WorkflowExtended)
    cutter = said.stages[0]
    assert (cutter.agent, cutter.args["start_s"], cutter.args["end_s"], cutter.depth) == ("SectionCutter", 11.5, 20.5, 0)
    assert cutter.given["video"]["name"] == "1.mp4"
    assert cutter.call == 'SectionCutter(video="1.mp4", start_s=11.5, end_s=20.5)'
    assert [s.agent for s in said.stages] == ["SectionCutter", "FrameExtractor", "ObjectDetector", "Summarizer", "ObjectLister"]
    assert said.stages[1].args["every_s"] < 1, "closer than the first time"
    assert said.answer == ("search", said.stages[-1].name)
    before = observed().workflow
    shapes(Workflow((*before.stages, *said.stages), said.answer))


def test_passages_that_touch_are_one_section_and_each_section_is_looked_at() -> None:
    near = [passage("0.mp4", 1.0, 3.0), passage("0.mp4", 4.0, 6.0), passage("0.mp4", 60.0, 61.0), passage("1.mp4", 1.0, 2.0)]
    said = next_of(observed(*near))
    assert isinstance(said, WorkflowExtended)
    cuts = [(s.given["video"]["name"], s.args["start_s"], s.args["end_s"]) for s in said.stages if s.agent == "SectionCutter"]
    assert sorted(cuts) == [("0.mp4", 0.5, 6.5), ("0.mp4", 59.5, 61.5), ("1.mp4", 0.5, 2.5)]
    assert len({s.name for s in said.stages}) == len(said.stages)


def test_at_most_three_sections_the_best_ones() -> None:
    said = next_of(observed(*(passage("0.mp4", 100.0 * n, 100.0 * n + 1, 0.8 + n / 100) for n in range(6))))
    assert isinstance(said, WorkflowExtended)
    assert sorted(s.args["start_s"] for s in said.stages if s.agent == "SectionCutter") == [299.5, 399.5, 499.5]


@pytest.mark.parametrize(
    "msg",
    [
        observed(),
        observed(passage("0.mp4", 1.0, 2.0, 0.05)),
        observed(passage("strange.mp4", 1.0, 2.0)),
        observed(passage("0.mp4", 1.0, 2.0), rest=""),
        observed(passage("0.mp4", 1.0, 2.0), steps_left=0),
        observed(results=()),
        observed(results=({"$artifact": {}},)),
        observed(results=("nonsense", 5)),
    ],
)
def test_where_nothing_says_where_to_look_the_job_ends_as_it_is(msg: Observed) -> None:
    said = next_of(msg)
    assert isinstance(said, WorkflowExtended)
    assert said.stages == ()


def test_what_cannot_be_done_there_is_refused_with_the_reason() -> None:
    said = next_of(observed(passage("0.mp4", 1.0, 2.0), rest="order me a pizza"))
    assert isinstance(said, WorkflowRefused)
    assert (said.job, said.stage) == ("j", "search")
    assert "after search, 'order me a pizza' cannot be planned: no agent can do" in said.error


# --- the conductor's side -----------------------------------------------------------------------------------------------------------


class Bench:
    """A conductor, its log, and somebody who answers."""

    def __init__(self, log: list[JobLog] | None = None) -> None:
        self.conductor, self.log, self.said = Conductor(), log or [], list[Any]()
        for entry in self.log:
            list(self.conductor.on(Replayed(entry), 0.0))
        self.take(self.conductor.on(Resumed(), 0.0))
        beat = {"at": 0.0, "cores": 1}
        self.take(
            self.conductor.on(
                Heard(msgspec.convert({"host": "h", **beat, "type": "host_heartbeat", "instances": [INSTANCE]}, HostHeartbeat)), 0.0
            )
        )

    def take(self, commands: Any) -> None:
        todo: list[Command] = list(commands)
        self.conductor.check()
        for command in todo:
            if isinstance(command, Write):
                self.log.append(JobLog(tenant=command.tenant, job=command.job, records=(command.record,)))
            elif isinstance(command, Send):
                self.said.append(command.msg)

    def hear(self, msg: Any, key: str = "") -> None:
        self.take(self.conductor.on(Heard(msg, key), 1.0))

    def last(self, kind: type) -> Any:
        return next((m for m in reversed(self.said) if isinstance(m, kind)), None)

    def do(self, stage: str, value: float) -> None:
        use = Use(0.0, 1.0)
        self.hear(TaskResults(host="h", results=(TaskDone("j", stage, (), 1, "i", {"value": value}, use),)), "k")


INSTANCE = {"id": "i", "agent": "Sleep", "implementation": "sleep", "hardware": "cpu", "state": "warm", "slots": 8}


def look(name: str, *edges: Edge) -> Stage:
    return Stage(name, "Sleep", edges, observe=True)


def planned(workflow: Workflow, kept: tuple[Choice, ...] = ()) -> Plan:
    known = {c.stage for c in kept}
    new = tuple(Choice(s.name, "sleep", "cpu", 1.0, 0.0, 0.0, 1.0) for s in workflow.stages if s.name not in known)
    return Plan(workflow, (*kept, *new))


def started(*stages: Stage) -> Bench:
    bench = Bench()
    workflow = Workflow(stages, (stages[0].name,), rest="go on")
    bench.hear(SubmitJob(tenant="t", description="x", job="j", inputs=INPUTS), "key")
    bench.hear(WorkflowMade(job="j", workflow=workflow))
    bench.hear(PlanMade(job="j", plan=planned(workflow)))
    return bench


def test_a_job_is_not_over_before_its_observation_is_answered_and_grows_by_it() -> None:
    bench = started(look("a"))
    bench.do("a", 7.0)
    asked = bench.last(Observed)
    assert (asked.stage, asked.results, asked.steps_left) == ("a", ({"value": 7.0},), OBSERVE_MAX)
    assert bench.last(JobResult) is None
    bench.hear(WorkflowExtended(job="j", stage="a", stages=(Stage("b", "Sleep", (Edge("after", "a"),)),), answer=("b",), note="more"))
    wanted = bench.last(MakePlan)
    assert [c.stage for c in wanted.chosen] == ["a"]
    bench.hear(PlanMade(job="j", plan=planned(wanted.workflow, wanted.chosen)))
    ready = bench.last(TaskReady)
    assert (ready.stage, ready.inputs) == ("b", {"after": {"value": 7.0}})
    bench.do("b", 8.0)
    end = bench.last(JobResult)
    assert (end.status, end.answer, end.note) == ("done", ({"value": 8.0},), "more")
    assert [s.name for s in end.plan.workflow.stages] == ["a", "b"]


def test_an_answer_of_no_stages_ends_the_job_and_answers_that_come_twice_change_nothing() -> None:
    bench = started(look("a"))
    bench.do("a", 1.0)
    nothing = WorkflowExtended(job="j", stage="a", note="nothing found")
    bench.hear(WorkflowExtended(job="j", stage="other"))
    assert bench.last(JobResult) is None
    bench.hear(nothing)
    bench.hear(nothing)
    assert [m.note for m in bench.said if isinstance(m, JobResult)] == ["nothing found"]


@pytest.mark.parametrize(
    ("stages", "says"),
    [
        ((Stage("a", "Sleep"),), "twice"),
        ((Stage("b", "Sleep", (Edge("after", "zzz"),)),), "does not exist"),
        (tuple(Stage(f"s{n}", "Sleep") for n in range(1_001)), "at most 1000"),
    ],
)
def test_an_extension_that_cannot_run_fails_the_job_with_the_reason(stages: tuple[Stage, ...], says: str) -> None:
    bench = started(look("a"))
    bench.do("a", 1.0)
    bench.hear(WorkflowExtended(job="j", stage="a", stages=stages))
    end = bench.last(JobResult)
    assert end.status == "failed"
    assert says in end.error


def test_a_planner_that_never_has_enough_is_stopped() -> None:
    bench = started(look("s0"))
    for n in range(50):
        if bench.last(JobResult) is not None:
            break
        bench.do(f"s{n}", float(n))
        if bench.last(JobResult) is None:
            bench.hear(WorkflowExtended(job="j", stage=f"s{n}", stages=(look(f"s{n + 1}", Edge("after", f"s{n}")),), answer=(f"s{n + 1}",)))
            wanted = bench.last(MakePlan)
            bench.hear(PlanMade(job="j", plan=planned(wanted.workflow, wanted.chosen)))
    end = bench.last(JobResult)
    assert end.status == "done"
    assert len(end.plan.workflow.stages) == OBSERVE_MAX + 1


def test_a_conductor_that_died_asks_again_wherever_it_stood() -> None:
    bench = started(look("a"), look("c"))
    bench.do("a", 1.0)
    bench.do("c", 2.0)
    bench.hear(WorkflowExtended(job="j", stage="a", stages=(Stage("b", "Sleep", (Edge("after", "a"),)),)))
    wanted = bench.last(MakePlan)
    again = Bench(list(bench.log))  # the extension was on its way to the optimizer
    assert again.last(Observed).stage == "a"
    bench.hear(PlanMade(job="j", plan=planned(wanted.workflow, wanted.chosen)))
    assert bench.last(Observed).stage == "c"
    again = Bench(list(bench.log))
    assert again.last(Observed).stage == "c"
    assert [m.stage for m in again.said if isinstance(m, TaskReady)] == ["b"]
    job = None
    for entry in bench.log:
        for record in entry.records:
            job = replay(job, record)
    assert job is not None
    assert job.run is not None
    assert list(job.run.stages) == ["a", "c", "b"]
    assert job.observed == ["a"]
