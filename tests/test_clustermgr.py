"""The cluster manager: models are wanted before their stage starts, stay while they may be needed, and never flap."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from murakkab.actors import clustermgr
from murakkab.actors.clustermgr import DECIDE_EVERY_S, HOST_SILENT_S, JOB_SILENT_S, LOOK_EVERY_S, ClusterManager
from murakkab.actors.core import ActorBug, Command, Event, Heard, Replayed, Resumed, Send, Wake, Woke
from murakkab.agents.library import Implementation
from murakkab.bus.messages import (
    Choice,
    Desired,
    DesiredInstances,
    Device,
    Edge,
    HostHeartbeat,
    Instance,
    JobProgress,
    JobResult,
    Offer,
    Plan,
    PlanMade,
    Stage,
    StageState,
    Workflow,
)
from murakkab.clustermgr.desired import KEEP_WARM_S, MEMORY_SHARE, TASKS_PER_INSTANCE, Demand, desired

VERSION = clustermgr._version

ROWS = [
    Implementation("split", "Split", "m:C", memory_mb=100),
    Implementation("hear", "Hear", "m:C", memory_mb=300),
    Implementation("write", "Write", "m:C", memory_mb=500),
    Implementation("wide", "Wide", "m:C", memory_mb=100, slots=4, threads=2),
]
LIBRARY = {(r.agent, r.name): r for r in ROWS}
ALL = tuple(r.name for r in ROWS)
FLOW = Workflow(
    (
        Stage("one", "Split", (Edge("v"),), 1, many=True),
        Stage("two", "Hear", (Edge("p", "one"),), 2),
        Stage("three", "Write", (Edge("t", "two"),), 1),
    ),
    ("three",),
)


def beat(
    host: str = "h",
    memory_mb: int = 16_000,
    cores: int = 8,
    offers: Iterable[str] = ALL,
    leaving: bool = False,
    instances: tuple[Instance, ...] = (),
) -> HostHeartbeat:
    return HostHeartbeat(
        host=host,
        at=0.0,
        devices=(Device("cpu", "cpu", memory_mb, 0),),
        offers=tuple(Offer(r.agent, r.name, "cpu") for r in ROWS if r.name in offers),
        cores=cores,
        instances=instances,
        leaving=leaving,
    )


def planned(job: str = "j") -> PlanMade:
    names = {"one": "split", "two": "hear", "three": "write"}
    return PlanMade(job=job, plan=Plan(FLOW, tuple(Choice(s, i, "cpu", 1.0, 0.0, 0.0, 1.0) for s, i in names.items())))


def progress(
    one: tuple[int, int | None], two: tuple[int, int | None], three: tuple[int, int | None], job: str = "j", phase: str = "running"
) -> JobProgress:
    """(done, total) of each stage."""
    rows = [("one", "Split", "split", one), ("two", "Hear", "hear", two), ("three", "Write", "write", three)]
    stages = tuple(StageState(s, a, i, "cpu", done=d, total=t) for s, a, i, (d, t) in rows)
    return JobProgress(tenant="t", job=job, phase=phase, stages=stages)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def count_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions count from one here, so that tests can name them; the real rule has a test of its own."""
    monkeypatch.setattr(clustermgr, "_version", lambda last, now: last + 1)


def test_versions_only_rise_also_across_restarts() -> None:
    assert VERSION(5, 1_000.0) == 1_000_000
    assert VERSION(1_000_000, 1_000.0) == 1_000_001
    assert VERSION(7_000_000, 1_000.0) == 7_000_001, "a clock that was set back harms nothing"


class Manager:
    def __init__(self) -> None:
        self.actor = ClusterManager(LIBRARY)
        self.now = 1_000.0

    def on(self, event: Event) -> list[Command]:
        commands = list(self.actor.on(event, self.now))
        self.actor.check()
        return commands

    def hear(self, msg: HostHeartbeat | PlanMade | JobProgress | JobResult) -> list[DesiredInstances]:
        self.now += 2 * DECIDE_EVERY_S  # news that comes faster is decided on together
        return [c.msg for c in self.on(Heard(msg)) if isinstance(c, Send) and isinstance(c.msg, DesiredInstances)]

    def said_on_look(self) -> list[DesiredInstances]:
        return [c.msg for c in self.on(Woke("look")) if isinstance(c, Send) and isinstance(c.msg, DesiredInstances)]

    def look(self) -> list[DesiredInstances]:
        """Only what is new: nobody here plays the worker, so the same is said again and again."""
        before = {host: wants.version for host, wants in self.actor.wanted.items()}
        new = {(m.host, m.version): m for m in self.said_on_look() if m.version > before.get(m.host, 0)}
        return list(new.values())

    def wants(self, host: str = "h") -> list[str]:
        return sorted(d.implementation for d in self.actor.wanted[host].instances) if host in self.actor.wanted else []


@pytest.fixture
def manager() -> Manager:
    manager = Manager()
    assert manager.on(Resumed()) == [Wake(LOOK_EVERY_S, "look")]
    assert manager.hear(beat()) == []
    return manager


def test_everything_that_a_plan_needs_is_wanted_before_any_stage_starts(manager: Manager) -> None:
    (msg,) = manager.hear(planned())
    assert (msg.host, msg.version) == ("h", 1)
    assert sorted(d.implementation for d in msg.instances) == ["hear", "split", "write"]
    assert msg.reasons == (
        "+ split for Split: 1 tasks of 1 jobs",
        "+ hear for Hear: 1 tasks of 1 jobs",
        "+ write for Write: 1 tasks of 1 jobs",
    )


def test_the_same_again_is_no_news(manager: Manager) -> None:
    manager.hear(planned())
    for _ in range(3):
        assert manager.hear(planned()) == []
        assert manager.hear(beat()) == []
        assert manager.look() == []
    assert manager.actor.wanted["h"].version == 1


def test_it_grows_with_the_open_tasks_within_the_cores(manager: Manager) -> None:
    manager.hear(planned())
    manager.hear(progress((1, 1), (0, 2 * TASKS_PER_INSTANCE), (0, 1)))
    assert manager.wants() == ["hear", "hear", "split", "write"]
    manager.hear(progress((1, 1), (0, 1_000), (0, 1)))
    assert manager.wants().count("hear") == 4, "half the cores"
    manager.hear(progress((1, 1), (999, 1_000), (0, 1)))
    assert manager.wants().count("hear") == 4, "within a job it only grows"


def test_slots_and_threads_count() -> None:
    demand = {("Wide", "wide", "cpu"): Demand(4 * TASKS_PER_INSTANCE + 1, 1)}
    instances, _ = desired(beat(cores=8), (), demand, {}, LIBRARY, 0.0)
    assert len(instances) == 2
    instances, _ = desired(beat(cores=2), (), demand, {}, LIBRARY, 0.0)
    assert len(instances) == 1, "one always, however few cores"


def test_the_width_of_a_plan_is_there_before_its_tasks_are(manager: Manager) -> None:
    """A plan counts on it; so it is loaded while the stages before still run, though few tasks are known yet."""
    plan = planned().plan
    wide = {"two": structs.replace(plan.choices[1], width=3, tasks=12.0)}
    manager.hear(PlanMade(job="j", plan=structs.replace(plan, choices=tuple(wide.get(c.stage, c) for c in plan.choices))))
    assert manager.wants() == ["hear", "hear", "hear", "split", "write"]
    manager.hear(progress((1, 1), (9, 12), (0, 1)))
    assert manager.wants().count("hear") == 3, "within a job it only grows"
    manager.hear(JobResult(tenant="t", job="j", status="done"))
    manager.hear(planned("k"))
    assert manager.wants().count("hear") == 3, "what is warm stays"


@pytest.mark.parametrize(
    ("width", "tasks", "cores", "wanted"),
    [
        pytest.param(1, 100, 8, 4, id="demand alone: half the cores"),
        pytest.param(8, 100, 8, 8, id="a plan may count on all cores"),
        pytest.param(64, 100, 8, 8, id="never on more"),
        pytest.param(8, 2, 8, 2, id="never more than there are tasks"),
    ],
)
def test_width_within_cores_and_tasks(width: int, tasks: int, cores: int, wanted: int) -> None:
    instances, _ = desired(beat(cores=cores), (), {("Hear", "hear", "cpu"): Demand(tasks, 1, width)}, {}, LIBRARY, 0.0)
    assert len(instances) == wanted


def test_width_within_memory() -> None:
    instances, reasons = desired(beat(memory_mb=1_000), (), {("Hear", "hear", "cpu"): Demand(9, 1, 4)}, {}, LIBRARY, 0.0)
    assert len(instances) == 2
    assert reasons[-1] == "hear for Hear: 300 MB do not fit, 200 MB are left"


def test_slots_and_power_of_a_plan_reach_the_instances(manager: Manager) -> None:
    plan = planned().plan
    chosen = structs.replace(plan.choices[1], slots=3, power_w=250.0, tasks=7.0)
    choices = tuple(chosen if c.stage == "two" else c for c in plan.choices)
    (msg,) = manager.hear(PlanMade(job="j", plan=structs.replace(plan, choices=choices)))
    assert {(d.implementation, d.slots, d.power_w) for d in msg.instances} == {("hear", 3, 250.0), ("split", 0, None), ("write", 0, None)}


def test_a_stage_that_was_planned_again_counts_on_nothing_of_the_old_plan() -> None:
    """Progress names another implementation than the plan that was heard: its width and slots are not for this one."""
    manager = Manager()
    manager.on(Resumed())
    manager.hear(beat(offers=("wide",)))
    plan = planned().plan
    manager.hear(
        PlanMade(job="j", plan=structs.replace(plan, choices=tuple(structs.replace(c, width=3, slots=2, tasks=9.0) for c in plan.choices)))
    )
    manager.hear(JobProgress(tenant="t", job="j", phase="running", stages=(StageState("two", "Wide", "wide", "cpu", done=0, total=9),)))
    assert [(d.implementation, d.slots) for d in manager.actor.wanted["h"].instances] == [("wide", 0)]


def test_one_instance_a_gpu() -> None:
    gpu = Device("NVIDIA H100 80GB HBM3", "gpu", 81_559, 0)
    offer = Offer("Hear", "hear", "h100-80gb-spot")
    host = structs.replace(beat(), devices=(*beat().devices, gpu, gpu), offers=(offer,), market="spot")
    key = ("Hear", "hear", "h100-80gb-spot")
    for width, tasks, wanted in ((1, 1, 1), (2, 5, 2), (8, 5, 2), (1, 1_000, 2)):
        instances, _ = desired(host, (), {key: Demand(tasks, 1, width)}, {}, LIBRARY, 0.0)
        assert [d.hardware for d in instances] == ["h100-80gb-spot"] * wanted


def test_nothing_new_where_the_machine_will_be_taken_away(manager: Manager) -> None:
    ending = structs.replace(beat("ending"), revoked_at=1_100.0)
    manager.hear(ending)
    manager.hear(planned())
    assert manager.wants() == ["hear", "split", "write"]
    assert manager.wants("ending") == []
    manager.hear(structs.replace(beat(), revoked_at=1_100.0))
    manager.hear(progress((1, 1), (0, 1_000), (0, 1)))
    assert manager.wants() == ["hear", "split", "write"], "what is there finishes what it has"


def test_what_a_job_needs_no_more_stays_warm_for_a_while(manager: Manager) -> None:
    manager.hear(planned())
    manager.hear(JobResult(tenant="t", job="j", status="done"))
    manager.now += KEEP_WARM_S - 1
    manager.hear(beat())
    assert manager.look() == []
    assert manager.wants() == ["hear", "split", "write"]
    manager.now += 2
    (msg,) = manager.look()
    assert msg.instances == ()
    assert msg.version == 2
    assert sorted(msg.reasons) == [
        f"- {i} for {a}: not needed for 300 s" for a, i in [("Hear", "hear"), ("Split", "split"), ("Write", "write")]
    ]


def test_a_next_job_finds_them_warm(manager: Manager) -> None:
    manager.hear(planned())
    ids = {d.id for d in manager.actor.wanted["h"].instances}
    manager.hear(JobResult(tenant="t", job="j", status="done"))
    manager.now += KEEP_WARM_S - 1
    assert manager.hear(planned("k")) == []
    assert {d.id for d in manager.actor.wanted["h"].instances} == ids


def test_a_stage_that_is_done_needs_nothing(manager: Manager) -> None:
    manager.hear(planned())
    manager.hear(progress((2, 2), (0, 3), (0, 2)))
    assert manager.wants() == ["hear", "split", "write"], "it stays warm"
    manager.now += KEEP_WARM_S + 1
    manager.hear(beat())
    assert manager.wants() == ["hear", "write"]


@pytest.mark.parametrize("phase", ["done", "failed", "cancelled"])
def test_late_news_does_not_bring_an_ended_job_back(manager: Manager, phase: str) -> None:
    manager.hear(planned())
    manager.hear(progress((0, 1), (0, None), (0, 1), phase=phase))
    manager.hear(progress((0, 1), (0, None), (0, 1)))
    manager.hear(planned())
    assert not manager.actor.jobs


def test_progress_alone_is_enough_when_the_plan_was_missed(manager: Manager) -> None:
    manager.hear(progress((0, 1), (0, None), (0, 1)))
    assert manager.wants() == ["hear", "split", "write"]


def test_a_job_of_which_nothing_is_heard_is_forgotten(manager: Manager) -> None:
    manager.hear(planned())
    manager.now += JOB_SILENT_S + 1
    manager.look()
    assert not manager.actor.jobs


def test_memory_is_a_limit_and_the_reason_is_stated() -> None:
    demand = {("Hear", "hear", "cpu"): Demand(5, 1), ("Write", "write", "cpu"): Demand(1, 1)}
    small = beat(memory_mb=900)
    instances, reasons = desired(small, (), demand, {}, LIBRARY, 0.0)
    assert [d.implementation for d in instances] == ["hear"], "what most tasks wait for goes first"
    assert reasons == [
        "+ hear for Hear: 5 tasks of 1 jobs",
        f"write for Write: 500 MB do not fit, {MEMORY_SHARE * 900 - 300:.0f} MB are left",
    ]


def test_what_is_idle_makes_room_for_what_is_needed() -> None:
    idle = (Desired("hear-1", "Hear", "hear", "cpu"),)
    demand = {("Write", "write", "cpu"): Demand(1, 1)}
    instances, reasons = desired(beat(memory_mb=800), idle, demand, {("Hear", "hear", "cpu"): 0.0}, LIBRARY, 1.0)
    assert [d.implementation for d in instances] == ["write"]
    assert reasons == ["+ write for Write: 1 tasks of 1 jobs", "hear for Hear: 300 MB do not fit, 140 MB are left"]


def test_only_what_a_host_offers(manager: Manager) -> None:
    manager.hear(beat("other", offers=("hear",)))
    manager.hear(planned())
    assert manager.wants("other") == ["hear"]
    manager.hear(beat("other", offers=()))
    assert manager.wants("other") == []
    assert manager.actor.wanted["other"].reasons == ("- hear for Hear: the host no longer offers it",)


def test_a_host_that_was_silent_hears_again_what_is_wanted_of_it(manager: Manager) -> None:
    manager.hear(planned())
    wants = manager.actor.wanted["h"]
    manager.now += HOST_SILENT_S + 1
    manager.look()
    assert manager.hear(beat()) == [wants], "the same version again: it may have missed it"
    assert manager.hear(beat("new"))[0].version == 1


def test_what_a_host_does_not_show_is_said_again(manager: Manager) -> None:
    manager.hear(planned())
    wants = manager.actor.wanted["h"]
    assert manager.said_on_look() == [wants], "it may have been lost"
    has = tuple(Instance(d.id, d.agent, d.implementation, d.hardware, "loading", 1) for d in wants.instances)
    manager.hear(beat(instances=has))
    assert manager.said_on_look() == []


def test_a_host_that_leaves_in_good_order_shall_have_nothing(manager: Manager) -> None:
    manager.hear(planned())
    (msg,) = manager.hear(beat(leaving=True))
    assert (msg.version, msg.instances, msg.reasons) == (2, (), ("the host left",))
    assert manager.hear(beat(leaving=True)) == []
    (again,) = manager.hear(beat())
    assert again.version == 3
    assert manager.wants() == ["hear", "split", "write"], "the job still needs them"


def test_a_restart_is_no_reason_to_unload_anything(manager: Manager) -> None:
    manager.hear(planned())
    wants = manager.actor.wanted["h"]
    other = Manager()
    assert other.on(Replayed(wants)) == []
    assert other.on(Resumed()) == [Wake(LOOK_EVERY_S, "look")]
    assert other.hear(beat()) == [wants]
    (msg,) = other.hear(progress((0, 1), (0, 30), (0, 1)))
    assert msg.version == wants.version + 1
    assert {d.id for d in wants.instances} <= {d.id for d in msg.instances}


def test_a_reconnect_starts_no_second_clock(manager: Manager) -> None:
    assert manager.on(Resumed()) == []


KEYS = [(r.agent, r.name, "cpu") for r in ROWS]


@given(
    st.dictionaries(st.sampled_from(KEYS), st.integers(1, 200), max_size=4),
    st.lists(st.sampled_from(KEYS), max_size=6),
    st.integers(1, 4_000),
    st.integers(1, 16),
    st.floats(0, 1_000),
)
def test_it_converges_and_keeps_its_limits(
    tasks: dict[tuple[str, str, str], int], has: list[tuple[str, str, str]], memory_mb: int, cores: int, now: float
) -> None:
    host = beat(memory_mb=memory_mb, cores=cores)
    now_has = tuple(Desired(f"i{n}", *key) for n, key in enumerate(has))
    demand = {key: Demand(n, 1) for key, n in tasks.items()}
    needed_at = dict.fromkeys(demand, now)
    once, reasons = desired(host, now_has, demand, needed_at, LIBRARY, now)
    again, _ = desired(host, once, demand, needed_at, LIBRARY, now)
    assert {d.id for d in again} == {d.id for d in once}, "the same input again changes nothing"
    assert len({d.id for d in once}) == len(once)
    assert sum(LIBRARY[(d.agent, d.implementation)].memory_mb for d in once) <= MEMORY_SHARE * memory_mb
    for key in demand:  # what is needed is there, or its absence has a reason
        assert any((d.agent, d.implementation, d.hardware) == key for d in once) or any(f"{key[1]} for {key[0]}" in r for r in reasons)


def test_check_sees_twins(manager: Manager) -> None:
    manager.actor.wanted["h"] = DesiredInstances(host="h", version=1, instances=(Desired("x", "A", "i", "cpu"),) * 2)
    with pytest.raises(ActorBug, match="an instance twice"):
        manager.actor.check()


def test_a_host_that_knows_a_newer_version_is_overtaken() -> None:
    """What a predecessor said may be stored after its successor has replayed the table; the host would ignore the successor."""
    manager = Manager()
    manager.on(Replayed(DesiredInstances(host="h", version=1)))
    said = manager.hear(structs.replace(beat(), version=3))
    assert {(d.host, d.version) for d in said} == {("h", 4)}
    assert manager.hear(structs.replace(beat(), version=4)) == []
