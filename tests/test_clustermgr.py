"""The cluster manager: models are wanted before their stage starts, stay while they may be needed, and never flap."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from msgspec import structs

from murakkab.actors import clustermgr
from murakkab.actors.clustermgr import BLIND_S, DECIDE_EVERY_S, DECISIONS_KEPT, HOST_SILENT_S, LOOK_EVERY_S, ClusterManager
from murakkab.actors.core import ActorBug, Command, Event, Heard, Replayed, Resumed, Send, Wake, Woke
from murakkab.agents.library import Implementation
from murakkab.bus.messages import (
    Choice,
    ClusterLearnt,
    ClusterOutlook,
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
from murakkab.clustermgr.view import JOB_SILENT_S

VERSION = clustermgr._version

ROWS = [
    Implementation("split", "Split", "m:C", memory_mb=100),
    Implementation("hear", "Hear", "m:C", memory_mb=300, load_s=2.0),
    Implementation("write", "Write", "m:C", memory_mb=500, load_s=5.0),
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


def planned(job: str = "j", task_s: float = 1.0, **changes: dict[str, Any]) -> PlanMade:
    """Each stage has one task of `task_s`; `two={"width": 3}` changes the choice of that stage."""
    names = {"one": "split", "two": "hear", "three": "write"}
    choices = (Choice(s, i, "cpu", task_s, 0.0, 0.0, 1.0) for s, i in names.items())
    return PlanMade(job=job, plan=Plan(FLOW, tuple(structs.replace(c, **changes.get(c.stage, {})) for c in choices)))


def progress(
    one: tuple[int, int | None],
    two: tuple[int, int | None],
    three: tuple[int, int | None],
    job: str = "j",
    phase: str = "running",
    released: str = "",
) -> JobProgress:
    """(done, total) of each stage; one of them has a task that is released."""
    rows = [("one", "Split", "split", one), ("two", "Hear", "hear", two), ("three", "Write", "write", three)]
    stages = tuple(StageState(s, a, i, "cpu", done=d, released=int(s == released), total=t) for s, a, i, (d, t) in rows)
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
    """The actor, and its workers' heartbeats."""

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

    def outlook(self) -> ClusterOutlook:
        return next(c.msg for c in self.on(Woke("look")) if isinstance(c, Send) and isinstance(c.msg, ClusterOutlook))

    def wait(self, for_s: float, host: str = "h") -> list[str]:
        """The implementations that the host shall have, at each change, while time goes on and its heartbeats come."""
        seen = [" ".join(self.wants(host))]
        end = self.now + for_s
        while self.now < end:
            self.now += min(LOOK_EVERY_S, max(1e-3, end - self.now))
            self.on(Heard(structs.replace(beat(host), instances=self.instances(host))))
            self.on(Woke("look"))
            if (now := " ".join(self.wants(host))) != seen[-1]:
                seen.append(now)
        return seen

    def instances(self, host: str = "h", state: str = "warm") -> tuple[Instance, ...]:
        wanted = self.actor.wanted[host].instances if host in self.actor.wanted else ()
        return tuple(Instance(d.id, d.agent, d.implementation, d.hardware, state, 1) for d in wanted)  # type: ignore[arg-type]

    def wants(self, host: str = "h") -> list[str]:
        return sorted(d.implementation for d in self.actor.wanted[host].instances) if host in self.actor.wanted else []


@pytest.fixture
def manager() -> Manager:
    manager = Manager()
    assert manager.on(Resumed())[-1] == Wake(LOOK_EVERY_S, "look")
    assert manager.hear(beat()) == []
    return manager


def test_the_same_again_is_no_news(manager: Manager) -> None:
    manager.hear(planned())
    for _ in range(3):
        assert manager.hear(planned()) == []
        assert manager.hear(beat()) == []
        assert manager.look() == []
    assert manager.actor.wanted["h"].version == 1


@pytest.mark.parametrize("phase", ["done", "failed", "cancelled"])
def test_late_news_does_not_bring_an_ended_job_back(manager: Manager, phase: str) -> None:
    manager.hear(planned())
    manager.hear(progress((0, 1), (0, None), (0, 1), phase=phase))
    manager.hear(progress((0, 1), (0, None), (0, 1)))
    manager.hear(planned())
    assert not manager.actor.view.jobs


def test_progress_alone_is_enough_when_the_plan_was_missed(manager: Manager) -> None:
    manager.hear(progress((0, 1), (0, None), (0, 1)))
    assert manager.wants() == ["hear", "split", "write"]


def test_a_job_of_which_nothing_is_heard_is_forgotten(manager: Manager) -> None:
    manager.hear(planned())
    manager.now += JOB_SILENT_S + 1
    manager.look()
    assert not manager.actor.view.jobs


def test_a_host_that_was_silent_hears_again_what_is_wanted_of_it(manager: Manager) -> None:
    manager.hear(planned())
    wants = manager.actor.wanted["h"]
    manager.now += HOST_SILENT_S + 1
    manager.look()
    assert manager.hear(beat()) == [wants], "the same version again: it may have missed it"
    assert manager.hear(beat("new")) == [], "nothing more is wanted"


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


def test_a_reconnect_starts_no_second_clock(manager: Manager) -> None:
    assert manager.on(Resumed()) == []


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


# --- look-ahead -----------------------------------------------------------------------------------------------------------------


def test_a_stage_is_loaded_for_when_it_will_start_and_not_sooner(manager: Manager) -> None:
    """Its load takes 5 s; the stages before it take 100 s each."""
    (msg,) = manager.hear(planned(task_s=100.0))
    assert [d.implementation for d in msg.instances] == ["split"]
    assert [(d.verb, d.code, d.text) for d in msg.decisions] == [("start", "needed", "1 task of 1 job now")]
    assert msg.reasons == ("+ split for Split: 1 task of 1 job now",)
    manager.hear(progress((0, 1), (0, None), (0, 1), released="one"))
    seen = manager.wait(150.0)
    assert seen == ["split", "hear split"], "the second stage at the 10 % quantile of its start, the third not yet"
    assert manager.outlook().pools[-1].why.startswith("stage 'three' will need it in ")


def test_short_stages_need_all_at_once(manager: Manager) -> None:
    (msg,) = manager.hear(planned(task_s=0.5))
    assert sorted(d.implementation for d in msg.instances) == ["hear", "split", "write"]
    assert {d.code for d in msg.decisions} == {"needed", "needed-soon"}


def test_the_width_of_a_plan_is_there_when_its_stage_comes(manager: Manager) -> None:
    manager.hear(planned(task_s=0.5, two={"width": 3, "tasks": 12.0}))
    assert manager.wants() == ["hear", "hear", "hear", "split", "write"]
    manager.hear(progress((1, 1), (9, 12), (0, 1)))
    assert manager.wants().count("hear") == 3, "within a job it only grows"
    manager.hear(JobResult(tenant="t", job="j", status="done"))
    manager.hear(planned("k", task_s=0.5))
    assert manager.wants().count("hear") == 3, "what is warm stays for a while"


def test_far_more_tasks_than_planned_grow_a_pool_within_half_the_cores(manager: Manager) -> None:
    manager.hear(planned())
    manager.hear(progress((1, 1), (0, 1_000), (0, 1)))
    assert manager.wants().count("hear") == 4


def test_slots_and_power_of_a_plan_reach_the_instances(manager: Manager) -> None:
    (msg,) = manager.hear(planned(task_s=0.1, two={"slots": 3, "power_w": 250.0, "tasks": 7.0}))
    assert {(d.implementation, d.slots, d.power_w) for d in msg.instances} == {("hear", 3, 250.0), ("split", 0, None), ("write", 0, None)}


def test_a_stage_that_was_planned_again_counts_on_nothing_of_the_old_plan() -> None:
    """Progress names another implementation than the plan that was heard: its width and slots are not for this one."""
    manager = Manager()
    manager.on(Resumed())
    manager.hear(beat(offers=("wide",)))
    manager.hear(planned(task_s=0.1, two={"width": 3, "slots": 2, "tasks": 9.0}))
    manager.hear(JobProgress(tenant="t", job="j", phase="running", stages=(StageState("two", "Wide", "wide", "cpu", done=0, total=9),)))
    assert {(d.implementation, d.slots) for d in manager.actor.wanted["h"].instances} == {("wide", 0)}


def test_nothing_new_where_the_machine_will_be_taken_away(manager: Manager) -> None:
    ending = structs.replace(beat("ending"), revoked_at=1_100.0)
    manager.hear(ending)
    manager.hear(planned(task_s=0.5))
    assert manager.wants() == ["hear", "split", "write"]
    assert manager.wants("ending") == []
    manager.hear(structs.replace(beat(), revoked_at=1_100.0))
    manager.hear(progress((1, 1), (0, 1_000), (0, 1)))
    assert manager.wants() == ["hear", "split", "write"], "what is there finishes what it has"
    assert {d.code for d in manager.outlook().unmet} == {"revoked"}, "and why there is no more is said"


def test_what_nobody_needs_is_let_go_once_holding_has_cost_what_a_load_would(manager: Manager) -> None:
    """Whatever takes long to load is held for longer."""
    manager.hear(planned(task_s=0.5))
    manager.hear(JobResult(tenant="t", job="j", status="done"))
    assert manager.wait(1_000.0) == ["hear split write", "hear write", "write", ""]
    assert [d.code for d in manager.outlook().decisions][-3:] == ["idle"] * 3


def test_a_next_job_finds_them_warm(manager: Manager) -> None:
    manager.hear(planned(task_s=0.5))
    ids = {d.id for d in manager.actor.wanted["h"].instances}
    manager.hear(JobResult(tenant="t", job="j", status="done"))
    manager.wait(20.0)
    assert manager.hear(planned("k", task_s=0.5)) == []
    assert {d.id for d in manager.actor.wanted["h"].instances} == ids


def test_regular_jobs_find_their_models_loaded_again_just_in_time(manager: Manager) -> None:
    """One job every 20 minutes: too long to hold anything; so it is let go soon, and loaded again before the next one is likely."""
    due: list[float] = []
    for n in range(7):
        manager.hear(planned(f"j{n}", task_s=0.5))
        came = manager.now
        manager.hear(JobResult(tenant="t", job=f"j{n}", status="done"))
        states: dict[int, str] = {}
        while manager.now < came + 1_200.0:
            manager.wait(10.0)
            states[round(manager.now - came)] = " ".join(manager.wants())
        if n >= 4:
            due.append(sum(s == "" for s in states.values()) / len(states))
            assert "write" in list(states.values())[-1], "warm when the next one comes"
    assert min(due) > 0.5, "and gone for most of the time between"


def test_a_square_wave_does_not_make_it_flap(manager: Manager) -> None:
    """Demand that comes and goes faster than a load pays: nothing is ever loaded twice."""
    for n in range(30):
        manager.hear(planned(f"w{n}", task_s=0.5))
        manager.wait(5.0)
        manager.hear(JobResult(tenant="t", job=f"w{n}", status="done"))
        manager.wait(5.0)
    assert manager.actor.wanted["h"].version == 1


def test_when_nothing_is_heard_of_running_jobs_nothing_is_let_go(manager: Manager) -> None:
    manager.hear(planned(task_s=0.5))
    manager.hear(progress((1, 1), (0, 1), (0, 1)))
    manager.hear(JobResult(tenant="t", job="other", status="done"))
    manager.wait(BLIND_S + 200.0)
    assert manager.wants() == ["hear", "split", "write"]
    why = {p.implementation: p.why for p in manager.outlook().pools}
    assert why["split"].startswith("1 jobs run and nothing was heard of them for ")


def test_only_what_a_host_offers(manager: Manager) -> None:
    manager.hear(beat("other", offers=("hear",)))
    manager.hear(planned(task_s=0.5, two={"width": 8, "tasks": 12.0}))
    assert set(manager.wants("other")) == {"hear"}
    manager.hear(beat("other", offers=()))
    assert manager.wants("other") == []
    assert "- hear for Hear: the host no longer offers it" in manager.actor.wanted["other"].reasons


def test_a_lost_host_is_replaced_and_what_it_brings_back_is_let_go(manager: Manager) -> None:
    manager.hear(planned(task_s=0.5))
    has = manager.instances()
    manager.now += HOST_SILENT_S + 1
    manager.hear(beat("other"))
    manager.look()
    assert manager.outlook().silent == ("h",)
    assert manager.wants("other") == ["hear", "split", "write"]
    manager.hear(beat(instances=has))
    assert manager.outlook().silent == ()
    manager.hear(JobResult(tenant="t", job="j", status="done"))
    for _ in range(300):
        manager.now += LOOK_EVERY_S
        manager.hear(beat(instances=manager.instances()))
        manager.hear(beat("other", instances=manager.instances("other")))
        manager.look()
    assert (manager.wants(), manager.wants("other")) == ([], [])


def test_a_restart_is_no_reason_to_unload_anything(manager: Manager) -> None:
    manager.hear(planned(task_s=0.5))
    wants = manager.actor.wanted["h"]
    other = Manager()
    assert other.on(Replayed(wants)) == []
    assert other.on(Resumed())[-1] == Wake(LOOK_EVERY_S, "look")
    assert other.hear(beat()) == [wants]
    (msg,) = other.hear(progress((0, 1), (0, 30), (0, 1)))
    assert msg.version == wants.version + 1
    assert {d.id for d in wants.instances} <= {d.id for d in msg.instances}


def test_an_instance_that_loads_is_never_cut(manager: Manager) -> None:
    manager.hear(planned(task_s=0.5))
    loading = manager.instances(state="loading")
    manager.hear(beat(instances=loading))
    manager.hear(JobResult(tenant="t", job="j", status="cancelled"))
    for _ in range(300):
        manager.now += LOOK_EVERY_S
        manager.hear(beat(instances=loading))
        manager.look()
    assert manager.wants() == ["hear", "split", "write"]


def test_the_outlook_says_what_is_expected_and_how_good_that_was(manager: Manager) -> None:
    manager.hear(planned(task_s=10.0))
    manager.hear(progress((0, 1), (0, None), (0, 1), released="one"))
    (hear,) = (p for p in manager.outlook().pools if p.implementation == "hear")
    low, middle, high = hear.start_s
    assert 0 < low < middle < high
    assert manager.outlook().errors == ()
    manager.now += 12.0
    manager.hear(progress((1, 1), (0, 1), (0, 1), released="two"))
    manager.now += 1.0
    (both, hear_error) = manager.outlook().errors
    assert (both.agent, both.n, hear_error.agent, hear_error.n) == ("", 1, "Hear", 1)
    assert hear_error.within == 1.0
    assert hear_error.absolute_s == abs(hear_error.median_s) < 5.0


def test_the_last_decisions_are_kept(manager: Manager) -> None:
    for n in range(3):
        manager.hear(planned(f"j{n}", task_s=0.5))
        manager.hear(JobResult(tenant="t", job=f"j{n}", status="done"))
        manager.wait(900.0)
    told = manager.outlook().decisions
    assert len(told) == DECISIONS_KEPT
    assert [d.at for d in told] == sorted(d.at for d in told)
    assert all(d.text and d.code for d in told)


def test_what_was_learnt_outlives_a_restart(manager: Manager) -> None:
    for n in range(4):
        manager.hear(planned(f"j{n}"))
        manager.hear(progress((0, 1), (0, None), (0, None), job=f"j{n}", released="one"))
        manager.now += 3.0
        manager.hear(progress((1, 1), (0, 2), (0, None), job=f"j{n}"))
        manager.hear(structs.replace(beat(), instances=manager.instances(state="loading")))
        manager.hear(structs.replace(beat(), instances=manager.instances()))
        manager.hear(JobResult(tenant="t", job=f"j{n}", status="done"))
        manager.now += 60.0
    (kept,) = [c.msg for c in manager.on(Woke("look")) if isinstance(c, Send) and isinstance(c.msg, ClusterLearnt)]
    assert kept.ratios
    assert kept.loads
    assert [len(k.times) for k in kept.kinds] == [4]
    after = Manager()
    after.on(Replayed(kept))
    assert after.actor.view.learnt() == kept
    after.now = manager.now
    after.on(Resumed())
    assert not [c for c in after.on(Woke("look")) if isinstance(c, Send) and isinstance(c.msg, ClusterLearnt)], "it says only what is new"
