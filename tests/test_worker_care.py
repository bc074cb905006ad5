"""How a worker looks after its instances: signs of life, drains, sleep, crashes, leaks; and whatever happens, every delivery is settled once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worker_host import POOL, Host, beats, errands, task, want

from murakkab.actors.core import ActorBug, Outcome, Resumed, Wake, Woke
from murakkab.actors.errands import (
    Checked,
    CheckInstance,
    Measure,
    Ran,
    Readings,
    RestInstance,
    Started,
    StartInstance,
    StopInstance,
    WatchInstance,
)
from murakkab.actors.keeper import CHECK_EVERY_S, DRAIN_S
from murakkab.actors.slots import CRASHES_MAX, QUARANTINE_S
from murakkab.actors.worker import LEAK_FACTOR
from murakkab.agents.machine import Machine
from murakkab.bus.messages import (
    Desired,
    DesiredInstances,
    TaskFailed,
    TaskResults,
)


@pytest.fixture
def host() -> Host:
    host = Host()
    host.on(Resumed())
    return host


@pytest.fixture
def warm(host: Host) -> Host:
    host.hear(want("x"))
    host.started("x")
    return host


# --- what it is asked, and how it is looked after -----------------------------------------------------------------------------


def checks(host: Host) -> list[CheckInstance]:
    host.now += CHECK_EVERY_S
    return errands(host.on(Woke("beat")), CheckInstance)


def test_a_warm_instance_is_asked_for_a_sign_of_life(warm: Host) -> None:
    assert errands(warm.on(Woke("beat")), CheckInstance) == [], "it has only just answered"
    (check,) = checks(warm)
    assert checks(warm) == [], "one question at a time"
    warm.on(Outcome(check, Checked({"running": 2.0})))
    (beat,) = beats(warm.on(Outcome(Measure(), Readings(()))))
    assert [i.load for i in beat.instances] == [{"running": 2.0}]
    (check,) = checks(warm)
    commands = warm.on(Outcome(check, None, "no answer"))
    assert errands(commands, StopInstance) == [StopInstance("x", check.run)]
    assert (warm.states(), warm.worker.instances["x"].error) == ({"x": "failed"}, "no answer")


def test_one_that_works_need_not_answer(warm: Host) -> None:
    (check,) = checks(warm)
    warm.give(0)
    assert errands(warm.on(Outcome(check, None, "no answer")), StopInstance) == []
    assert warm.states() == {"x": "warm"}


def test_news_of_an_earlier_process_is_none(warm: Host) -> None:
    (check,) = checks(warm)
    warm.exited("x")
    warm.on(Woke("restart:x"))
    warm.started("x")
    assert warm.on(Outcome(check, None, "no answer")) == []
    assert warm.states() == {"x": "warm"}
    assert errands(warm.on(Outcome(StartInstance(want("x").instances[0], check.run), Started(1, 0.5))), StopInstance) == [
        StopInstance("x", check.run)
    ]
    assert warm.states() == {"x": "warm"}


def test_a_late_failure_of_a_task_says_nothing_of_the_next_process(warm: Host) -> None:
    warm.give(0)
    warm.exited("x")
    warm.on(Woke("restart:x"))
    warm.started("x")
    assert errands(warm.ended(0, error="gone", lost=True), StopInstance) == []
    assert warm.states() == {"x": "warm"}


def test_a_crash_loop_is_quarantined_and_tried_again_after_a_long_pause(host: Host) -> None:
    host.hear(want("x"))
    for _ in range(CRASHES_MAX - 1):
        (wake,) = [c for c in host.started("x", "no weights") if isinstance(c, Wake)]
        host.now += wake.after_s
        host.on(Woke("restart:x"))
    commands = host.started("x", "no weights")
    assert [c for c in commands if isinstance(c, Wake)] == [Wake(QUARANTINE_S, "restart:x")]
    (instance,) = beats(commands)[-1].instances
    assert (instance.state, instance.failures) == ("quarantined", CRASHES_MAX)
    assert instance.error == "it ended 6 times within 15 s with no task done; the last time: no weights"
    assert errands(host.hear(want("x", version=2)), StartInstance) == []
    host.now += QUARANTINE_S
    assert errands(host.on(Woke("restart:x")), StartInstance)
    commands = host.started("x", "no weights")
    assert host.states() == {"x": "failed"}, "those ends are long ago"


def test_what_does_its_work_between_its_crashes_is_in_no_loop(host: Host) -> None:
    host.hear(want("x"))
    for n in range(2 * CRASHES_MAX):
        host.started("x")
        host.give(n)
        host.ended(n)
        host.exited("x")
        host.now += 60.0
        host.on(Woke("restart:x"))
    host.started("x")
    assert host.states() == {"x": "warm"}


def test_another_wish_for_the_same_name_is_another_process(warm: Host) -> None:
    warm.give(0)
    commands = warm.hear(DesiredInstances(host="h", version=2, instances=(Desired("x", "A", "two", "cpu", cores=(1,)),)))
    assert errands(commands, StartInstance) == []
    assert warm.states() == {"x": "draining"}
    commands = warm.ended(0)
    (stop,), (start,) = errands(commands, StopInstance), errands(commands, StartInstance)
    assert (stop.run, start.run, start.instance.cores) == (0, 1, (1,))
    assert warm.states() == {"x": "loading"}


def test_wanted_again_it_need_not_go(warm: Host) -> None:
    warm.give(0)
    warm.hear(want(version=2))
    warm.hear(want("x", version=3))
    assert (warm.states(), warm.take[POOL]) == ({"x": "warm"}, 4)
    warm.now += DRAIN_S
    assert errands(warm.on(Woke("drain:x")), StopInstance) == []


def test_a_drain_is_forced_after_its_grace(warm: Host) -> None:
    warm.give(0)
    assert Wake(DRAIN_S, "drain:x") in warm.hear(want(version=2))
    warm.now += DRAIN_S
    assert errands(warm.on(Woke("drain:x")), StopInstance) == [StopInstance("x")]
    assert (warm.states(), warm.returned) == ({}, ["k0"])


def test_tasks_that_nobody_here_will_do_go_back(warm: Host) -> None:
    for n in range(3):
        warm.give(n)
    warm.hear(want(version=2))
    assert warm.returned == ["k2"]
    warm.give(3)
    assert warm.returned == ["k2", "k3"], "a request of ours was still open"


def asleep(version: int, *, so: bool = True) -> DesiredInstances:
    return DesiredInstances(host="h", version=version, instances=(Desired("x", "A", "two", "cpu", asleep=so),))


def test_sleep_waits_for_its_tasks_and_takes_none(warm: Host) -> None:
    warm.give(0)
    assert errands(warm.hear(asleep(2)), RestInstance) == []
    (rest,) = errands(warm.ended(0), RestInstance)
    assert (rest, warm.take[POOL]) == (RestInstance("x", 0, asleep=True), 0)
    warm.on(Outcome(rest))
    assert (warm.states(), warm.take[POOL]) == ({"x": "asleep"}, 0)
    (wake,) = errands(warm.hear(asleep(3, so=False)), RestInstance)
    assert wake == RestInstance("x", 0, asleep=False)
    warm.give(1)
    assert warm.asked == []
    warm.on(Outcome(wake))
    assert (warm.states(), warm.take[POOL]) == ({"x": "warm"}, 4)
    assert [a.task.index for a in warm.asked] == [(1,)], "what came while it woke"


def test_one_that_does_not_wake_is_started_anew(warm: Host) -> None:
    (rest,) = errands(warm.hear(asleep(2)), RestInstance)
    warm.on(Outcome(rest))
    (wake,) = errands(warm.hear(asleep(3, so=False)), RestInstance)
    commands = warm.on(Outcome(wake, None, "no answer"))
    assert errands(commands, StopInstance) == [StopInstance("x")]
    assert warm.worker.instances["x"].error == "it did not wake: no answer"


def test_one_that_cannot_sleep_goes_on_working(warm: Host) -> None:
    (rest,) = errands(warm.hear(asleep(2)), RestInstance)
    commands = warm.on(Outcome(rest, None, "it has no sleep"))
    assert errands(commands, RestInstance) == [], "it is not asked again"
    assert (warm.states(), warm.take[POOL]) == ({"x": "warm"}, 4)
    assert [i.error for i in beats(commands)[-1].instances] == ["it stays awake: it has no sleep"]


# --- what goes wrong ------------------------------------------------------------------------------------------------------------


def test_a_crash_fails_its_tasks_and_starts_it_again_at_once(warm: Host) -> None:
    warm.give(0)
    warm.give(1)
    commands = warm.exited("x")
    assert Wake(0.0, "restart:x") in commands
    assert warm.take[POOL] == 0
    assert warm.states() == {"x": "failed"}
    warm.ended(0, error="its process ended", lost=True)
    warm.ended(1, error="its process ended", lost=True)
    (send,) = warm.report()
    assert send.settles == ("k0", "k1")
    assert errands(warm.on(Woke("restart:x")), StartInstance)
    warm.started("x")
    assert (warm.states(), warm.take[POOL]) == ({"x": "warm"}, 4)


def test_a_crash_that_its_task_reports_first(warm: Host) -> None:
    warm.give(0)
    pid = warm.worker.instances["x"].pid
    commands = warm.ended(0, error="its process ended", lost=True)
    assert errands(commands, StopInstance) == [StopInstance("x")]
    assert warm.states() == {"x": "failed"}
    assert warm.on(Outcome(WatchInstance("x", pid), -9)) == [], "the same death is not counted twice"


def test_tasks_that_wait_behind_a_crash_go_to_the_new_process(warm: Host) -> None:
    for n in range(3):
        warm.give(n)
    warm.exited("x")
    warm.ended(0, error="gone", lost=True)
    warm.ended(1, error="gone", lost=True)
    assert warm.asked == []
    warm.on(Woke("restart:x"))
    warm.started("x")
    assert [a.task.index for a in warm.asked] == [(2,)]


def test_a_start_that_fails_is_tried_again_after_growing_pauses(host: Host) -> None:
    host.hear(want("x"))
    pauses = []
    for _ in range(9):
        host.worker.instances["x"].ends.clear()  # that many in so short a time are a crash loop: see below
        (wake,) = [c for c in host.started("x", "no weights") if isinstance(c, Wake)]
        pauses.append(wake.after_s)
        if wake.after_s:
            host.now += wake.after_s / 2
            assert errands(host.on(Woke("restart:x")), StartInstance) == [], "too early"
            host.now += wake.after_s / 2
        assert errands(host.on(Woke("restart:x")), StartInstance)
    assert pauses == [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    host.worker.instances["x"].ends.clear()
    (instance,) = beats(host.started("x", "no weights"))[-1].instances
    assert (instance.state, instance.error) == ("failed", "no weights")
    host.now += 60.0
    host.on(Woke("restart:x"))
    (instance,) = beats(host.started("x"))[-1].instances
    assert (instance.state, instance.error) == ("warm", "")


def test_an_instance_that_worked_for_a_while_starts_over_with_no_pause(host: Host) -> None:
    host.hear(want("x"))
    for _ in range(6):
        host.started("x", "no weights")
        host.now += 60.0
        host.on(Woke("restart:x"))
    host.started("x")
    host.now += 61.0
    assert Wake(0.0, "restart:x") in host.exited("x")


def test_a_failed_instance_that_is_no_longer_wanted_goes(host: Host) -> None:
    host.hear(want("x"))
    host.started("x", "no weights")
    host.hear(want(version=2))
    assert host.states() == {}
    assert errands(host.on(Woke("restart:x")), StartInstance) == []


@pytest.mark.parametrize("exit_first", [True, False])
def test_a_crash_while_draining_still_answers_its_task(warm: Host, exit_first: bool) -> None:
    warm.give(0)
    warm.hear(want(version=2))
    if exit_first:
        warm.exited("x")
    warm.ended(0, error="its process ended", lost=True)
    assert warm.states() == {}
    (send,) = warm.report()
    assert send.settles == ("k0",)


def test_a_hung_task_costs_its_instance_and_nothing_else(warm: Host) -> None:
    """The host ends the process of a task that is over its time; the worker hears that it was lost."""
    warm.hear(want("x", "y", version=2))
    warm.started("y")
    for n in range(4):
        warm.give(n)
    hung = next(a for a in warm.asked if a.instance == "x")
    warm.ended(hung.task.index[0], error="it took longer than 120 s", lost=True)
    assert warm.states() == {"x": "failed", "y": "warm"}
    assert warm.take[POOL] == 4


def test_an_idle_instance_that_leaks_is_started_anew(warm: Host) -> None:
    much = LEAK_FACTOR * 100 + 501
    warm.give(0)
    assert errands(warm.on(Outcome(Measure(), Readings((), rss_mb={"x": much}))), StopInstance) == [], "not while it works"
    warm.ended(0)
    commands = warm.on(Outcome(Measure(), Readings((), rss_mb={"x": much})))
    assert errands(commands, StopInstance) == [StopInstance("x")]
    assert warm.states() == {"x": "failed"}
    warm.on(Woke("restart:x"))
    warm.started("x")
    assert warm.states() == {"x": "warm"}
    warm.on(Outcome(Measure(), Readings(())))
    assert warm.states() == {"x": "warm"}, "the old process's memory says nothing of the new one"


def test_an_errand_that_failed_without_a_reading_keeps_the_old_ones(warm: Host) -> None:
    assert warm.on(Outcome(Measure(), None, "psutil is ill")) == []
    warm.give(0)
    (errand,) = warm.asked
    warm.on(Outcome(errand, None, "the shell broke"))
    (send,) = warm.report()
    assert isinstance(send.msg, TaskResults)
    assert [r.error for r in send.msg.results if isinstance(r, TaskFailed)] == ["the shell broke"]


def test_check_sees_too_many_tasks(warm: Host) -> None:
    warm.worker.instances["x"].running = {str(n): task(n) for n in range(3)}
    with pytest.raises(ActorBug, match="runs 3 tasks in 2 slots"):
        warm.worker.check()


@given(st.data())
def test_whatever_happens_every_delivery_is_settled_once(data: st.DataObject) -> None:
    """Random news; then everything comes to rest: each task that was taken is reported with its key, exactly once."""
    host = Host()
    host.on(Resumed())
    version, given_out = 0, 0
    settled: list[str] = []

    def run_outcome() -> None:
        errand = host.asked[data.draw(st.integers(0, len(host.asked) - 1))]
        what = data.draw(st.sampled_from(["fine", "error", "lost"]))
        host.ended(errand.task.index[0], error="" if what == "fine" else what, lost=what == "lost")

    def start_outcomes(error: str = "") -> None:
        for name in [n for n, s in host.states().items() if s in ("loading", "draining") and not host.worker.instances[n].pid]:
            host.started(name, error)

    for _ in range(data.draw(st.integers(1, 25))):
        match data.draw(st.sampled_from(["want", "start", "fail", "give", "give", "end", "exit", "report", "wait"])):
            case "want":
                version += 1
                host.hear(want(*data.draw(st.sets(st.sampled_from("xyz"))), version=version))
            case "start":
                start_outcomes()
            case "fail":
                start_outcomes("no luck")
            case "give":
                host.give(given_out)
                given_out += 1
            case "end" if host.asked:
                run_outcome()
            case "exit":
                for name in [n for n, s in host.worker.instances.items() if s.pid][:1]:
                    host.exited(name)
            case "report":
                settled += [k for s in host.report() for k in s.settles]
            case "wait":
                host.now += 100.0
                host.on(Woke("restart:x"))
    host.hear(want("x", version=version + 1))
    for _ in range(200):
        host.now += 100.0
        host.on(Woke("restart:x"))
        start_outcomes()
        while host.asked:
            host.ended(host.asked[0].task.index[0])
        settled += [k for s in host.report() for k in s.settles]
        if len(settled) + len(host.returned) >= given_out and host.states() == {"x": "warm"}:
            break
    assert sorted([*settled, *host.returned]) == sorted(f"k{n}" for n in range(given_out)), "done here, or handed to others"
    assert host.states() == {"x": "warm"}


def test_a_machine_with_a_price_of_its_own_charges_it(warm: Host) -> None:
    warm.worker.machine = Machine(usd_per_hour=8.0)  # of four cores
    use = warm.worker._use(warm.worker.instances["x"], Ran(0.0, 1.0, cpu_s=3600.0), 0.0)
    assert use.cost_usd == pytest.approx(2.0)
