"""The worker, event by event: its host comes to match what is desired, and no task is lost or run beyond the slots."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from murakkab.actors.core import ActorBug, Command, Do, Event, Heard, Outcome, Replayed, Resumed, Return, Send, Take, Wake, Woke
from murakkab.actors.errands import (
    Checked,
    CheckInstance,
    Measure,
    Ran,
    Readings,
    RestInstance,
    RunTask,
    Started,
    StartInstance,
    StopInstance,
    WatchInstance,
)
from murakkab.actors.keeper import CHECK_EVERY_S, DRAIN_S
from murakkab.actors.results import RESULTS_MAX
from murakkab.actors.slots import CRASHES_MAX, QUARANTINE_S
from murakkab.actors.worker import BEAT_EVERY_S, BEAT_FIRST_S, DELIVERIES_MAX, LEAK_FACTOR, Worker
from murakkab.agents.library import Implementation
from murakkab.agents.machine import Machine
from murakkab.bus.messages import (
    Desired,
    DesiredInstances,
    Device,
    HostHeartbeat,
    Offer,
    TaskDone,
    TaskFailed,
    TaskReady,
    TaskResults,
)
from murakkab.optimizer.prices import Prices

LIBRARY = {
    ("A", "two"): Implementation("two", "A", "m:C", slots=2, memory_mb=100),
    ("A", "one"): Implementation("one", "A", "m:C", slots=1, memory_mb=100),
}
POOL = "A-two-cpu"
OFFERS = (Offer("A", "two", "cpu"),)


def want(*ids: str, version: int = 1, host: str = "h", implementation: str = "two") -> DesiredInstances:
    return DesiredInstances(host=host, version=version, instances=tuple(Desired(i, "A", implementation, "cpu") for i in ids))


def task(n: int, pool: str = POOL) -> TaskReady:
    return TaskReady(pool=pool, tenant="t", job="j", stage="s", index=(n,), attempt=1, agent="A", implementation="two")


class Host:
    """A worker and its shell: what runs, what is taken, what was told."""

    def __init__(self) -> None:
        self.worker = Worker("h", LIBRARY, OFFERS, Prices({"MURAKKAB_WATTS_PER_CORE": "3600", "MURAKKAB_USD_PER_CORE_HOUR": "3600"}), 4)
        self.now = 100.0
        self.processes: dict[str, int] = {}
        self.pids = 0
        self.asked: list[RunTask] = []
        self.take: dict[str, int] = {}
        self.returned: list[str] = []

    def on(self, event: Event) -> list[Command]:
        commands = list(self.worker.on(event, self.now))
        self.worker.check()
        self.asked += [c.errand for c in commands if isinstance(c, Do) and isinstance(c.errand, RunTask)]
        self.returned += [k for c in commands if isinstance(c, Return) for k in c.keys]
        self.take.update({c.pool: c.upto for c in commands if isinstance(c, Take)})
        return commands

    def hear(self, msg: DesiredInstances) -> list[Command]:
        return self.on(Heard(msg))

    def give(self, n: int, key: str = "", deliveries: int = 1) -> list[Command]:
        return self.on(Heard(task(n), key or f"k{n}", deliveries))

    def started(self, name: str, error: str = "") -> list[Command]:
        desired = self.worker.instances[name].desired if name in self.worker.instances else want(name).instances[0]
        run = self.worker.instances[name].run if name in self.worker.instances else 0
        self.pids += 1
        return self.on(Outcome(StartInstance(desired, run), None if error else Started(self.pids, 0.5), error))

    def ended(self, n: int, **what: Any) -> list[Command]:
        errand = next(a for a in self.asked if a.task.index == (n,))
        self.asked.remove(errand)
        return self.on(Outcome(errand, Ran(self.now - 1.0, self.now, **what)))

    def exited(self, name: str) -> list[Command]:
        slots = self.worker.instances[name]
        return self.on(Outcome(WatchInstance(name, slots.pid, slots.run), "killed by signal 9"))

    def report(self) -> list[Send]:
        return [c for c in self.on(Woke("results")) if isinstance(c, Send)]

    def states(self) -> dict[str, str]:
        return {name: s.state for name, s in self.worker.instances.items()}


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


def errands(commands: list[Command], kind: type) -> list[Any]:
    return [c.errand for c in commands if isinstance(c, Do) and isinstance(c.errand, kind)]


def beats(commands: list[Command]) -> list[HostHeartbeat]:
    return [c.msg for c in commands if isinstance(c, Send) and isinstance(c.msg, HostHeartbeat)]


# --- desired and actual -------------------------------------------------------------------------------------------------------


def test_an_instance_from_desired_to_warm(host: Host) -> None:
    commands = host.hear(want("x"))
    assert errands(commands, StartInstance) == [StartInstance(want("x").instances[0])]
    assert [i.state for b in beats(commands) for i in b.instances] == ["loading"]
    assert POOL not in host.take
    commands = host.started("x")
    assert errands(commands, WatchInstance) == [WatchInstance("x", 1)]
    assert host.take[POOL] == 4, "its two slots, and as many again so that none waits for the network"
    (beat,) = beats(commands)
    assert [(i.id, i.state, i.slots, i.pid) for i in beat.instances] == [("x", "warm", 2, 1)]
    assert (beat.offers, beat.cores, beat.leaving) == (OFFERS, 4, False)


@given(st.permutations(range(6)), st.lists(st.integers(0, 5), max_size=6))
def test_any_order_and_any_number_of_times_the_newest_wins(order: list[int], again: list[int]) -> None:
    versions = [want(*ids, version=n) for n, ids in enumerate(["", "x", "xy", "y", "", "yz"])]
    host = Host()
    host.on(Resumed())
    for n in [*order, *again]:
        host.hear(versions[n])
    assert {n for n, state in host.states().items() if state != "draining"} == {"y", "z"}
    for name in list(host.worker.instances):  # all of them still loading: what is not wanted goes when it has started
        host.started(name)
    assert host.states() == {"y": "warm", "z": "warm"}
    assert host.hear(versions[0]) == []
    assert host.hear(versions[5]) == []


def test_what_is_desired_of_other_hosts_is_not_ours(host: Host) -> None:
    assert host.hear(want("x", host="other", version=9)) == []
    assert errands(host.hear(want("x", version=1)), StartInstance)


def test_a_restarted_worker_knows_what_is_desired_from_the_bus() -> None:
    host = Host()
    assert host.on(Replayed(want("x", version=7))) == []
    commands = host.on(Resumed())
    assert errands(commands, StartInstance) == [StartInstance(want("x").instances[0])]
    assert errands(commands, Measure)
    assert Wake(BEAT_FIRST_S, "beat") in commands
    waits = [c.after_s for _ in range(8) for c in host.on(Woke("beat")) if isinstance(c, Wake) and c.key == "beat"]
    assert waits == [0.2, 0.4, 0.8, 1.6, *[BEAT_EVERY_S] * 4], "often at first: who starts at the same time may miss one"
    assert errands(host.on(Resumed()), Measure) == [], "a reconnect starts no second heartbeat"


def test_an_implementation_that_we_do_not_know_is_left_alone(host: Host) -> None:
    commands = host.hear(want("x", implementation="from the future"))
    assert errands(commands, StartInstance) == []
    assert host.states() == {}


def test_it_drains_before_it_stops(warm: Host) -> None:
    warm.give(0)
    commands = warm.hear(want(version=2))
    assert errands(commands, StopInstance) == []
    assert warm.take[POOL] == 0
    assert warm.states() == {"x": "draining"}
    assert [i.state for i in beats(commands)[-1].instances] == ["draining"]
    commands = warm.ended(0)
    assert errands(commands, StopInstance) == [StopInstance("x")]
    assert warm.states() == {}
    (send,) = warm.report()
    assert send.settles == ("k0",)


def test_an_idle_instance_stops_at_once(warm: Host) -> None:
    assert errands(warm.hear(want(version=2)), StopInstance) == [StopInstance("x")]
    assert warm.states() == {}


def test_no_longer_wanted_while_it_loads(host: Host) -> None:
    host.hear(want("x"))
    host.hear(want(version=2))
    assert StopInstance("x") in errands(host.started("x"), StopInstance)
    assert host.states() == {}
    assert not host.take.get(POOL)


def test_leaving_takes_nothing_more_and_says_so(warm: Host) -> None:
    commands = warm.on(Woke("leave"))
    assert warm.take[POOL] == 0
    assert beats(commands)[0].leaving
    warm.hear(want("x", "y", version=2))
    warm.started("y")
    assert warm.take[POOL] == 0


# --- tasks --------------------------------------------------------------------------------------------------------------------


def test_no_more_tasks_than_slots_and_the_rest_in_order(warm: Host) -> None:
    for n in range(5):
        warm.give(n)
    assert [a.task.index for a in warm.asked] == [(0,), (1,)]
    warm.ended(1)
    assert [a.task.index for a in warm.asked] == [(0,), (2,)]
    warm.ended(0)
    warm.ended(2)
    assert [a.task.index for a in warm.asked] == [(3,), (4,)]


def test_tasks_are_spread_over_instances(warm: Host) -> None:
    warm.hear(want("x", "y", version=2))
    warm.started("y")
    for n in range(4):
        warm.give(n)
    assert sorted(a.instance for a in warm.asked) == ["x", "x", "y", "y"]


def test_tasks_that_came_before_their_instance_wait_for_it(host: Host) -> None:
    host.hear(want("x"))
    assert host.give(0) == []
    host.now += 3.0
    host.started("x")
    (run,) = host.asked
    assert (run.key, run.waited_cold_s) == ("k0", 3.0)


def test_results_that_fall_together_are_one_message_settled_when_stored(warm: Host) -> None:
    warm.give(0)
    warm.give(1)
    assert Wake(0.0, "results") in warm.ended(0, output=7, cpu_s=2.0)
    assert not [c for c in warm.ended(1, error="it broke") if isinstance(c, Wake)]
    (send,) = warm.report()
    assert send.settles == ("k0", "k1")
    assert isinstance(send.msg, TaskResults)
    good, bad = send.msg.results
    assert isinstance(good, TaskDone)
    assert (good.index, good.output, good.instance) == ((0,), 7, "x")
    assert (good.use.energy_wh, good.use.energy_how, good.use.cost_usd) == (2.0, "modelled", 2.0)
    assert isinstance(bad, TaskFailed)
    assert (bad.index, bad.error, bad.bad_input) == ((1,), "it broke", False)
    assert warm.report() == []


def test_energy_that_was_measured_is_called_so(warm: Host) -> None:
    warm.give(0)
    warm.ended(0, cpu_s=2.0, energy_wh=0.5)
    ((result,),) = [s.msg.results for s in warm.report() if isinstance(s.msg, TaskResults)]
    assert isinstance(result, TaskDone)
    assert (result.use.energy_wh, result.use.energy_how) == (0.5, "measured")


def test_bad_input_is_passed_on(warm: Host) -> None:
    warm.give(0)
    warm.ended(0, error="cats.mp4 is empty", bad_input=True)
    ((result,),) = [s.msg.results for s in warm.report() if isinstance(s.msg, TaskResults)]
    assert isinstance(result, TaskFailed)
    assert result.bad_input


def test_many_results_are_several_messages_each_settled_by_itself(warm: Host) -> None:
    for n in range(RESULTS_MAX + 1):
        warm.give(n, deliveries=DELIVERIES_MAX + 1)
    sends = warm.report()
    assert [len(s.settles) for s in sends] == [RESULTS_MAX, 1]
    assert sorted(k for s in sends for k in s.settles) == sorted(f"k{n}" for n in range(RESULTS_MAX + 1))


def test_results_never_outgrow_a_message(warm: Host) -> None:
    """A large output is no fault of its neighbours; NATS takes no message of more than 1 MB."""
    for n in range(40):
        warm.give(n)
        warm.ended(n, output="x" * 60_000)
    sends = warm.report()
    assert max(len(msgspec.json.encode(s.msg)) for s in sends) < 1_000_000
    assert [k for s in sends for k in s.settles] == [f"k{n}" for n in range(40)]


def test_a_task_that_kills_workers_is_given_up(warm: Host) -> None:
    warm.give(0, deliveries=DELIVERIES_MAX)
    assert len(warm.asked) == 1
    warm.give(1, deliveries=DELIVERIES_MAX + 1)
    assert len(warm.asked) == 1
    (send,) = warm.report()
    assert isinstance(send.msg, TaskResults)
    assert send.settles == ("k1",)
    assert [(r.index, r.error) for r in send.msg.results if isinstance(r, TaskFailed)] == [
        ((1,), "it was delivered 5 times and never finished")
    ]


def test_an_outcome_of_a_run_that_we_forgot_is_ignored(warm: Host) -> None:
    warm.give(0)
    (errand,) = warm.asked
    warm.ended(0)
    assert warm.on(Outcome(errand, Ran(0.0, 1.0))) == []


# --- as the optimizer wants it ------------------------------------------------------------------------------------------------


def test_slots_are_those_of_the_plan(host: Host) -> None:
    host.hear(DesiredInstances(host="h", version=1, instances=(Desired("x", "A", "two", "cpu", slots=3),)))
    commands = host.started("x")
    assert [i.slots for b in beats(commands) for i in b.instances] == [3]
    assert host.take[POOL] == 6
    for n in range(4):
        host.give(n)
    assert len(host.asked) == 3


def test_a_gpu_counts_by_the_time_that_it_is_worked_on(host: Host) -> None:
    """Busy cores say little of a GPU, and no counter of the CPU's package sees it: seconds of one slot of two, at the catalogue's rates."""
    host.hear(DesiredInstances(host="h", version=1, instances=(Desired("x", "A", "two", "h100-80gb"),)))
    host.started("x")
    host.on(Heard(task(0, "A-two-h100-80gb"), "k0", 1))
    host.ended(0, cpu_s=0.3, energy_wh=0.5)
    (send,) = host.report()
    assert isinstance(send.msg, TaskResults)
    (result,) = send.msg.results
    assert isinstance(result, TaskDone)
    rates = Prices({}).of("h100-80gb")
    assert rates.device_busy_w > 0
    assert result.use.energy_wh == pytest.approx(rates.device_busy_w / 2 / 3600)
    assert result.use.cost_usd == pytest.approx(rates.usd_per_device_hour / 2 / 3600)
    assert result.use.energy_how == "modelled"


def test_a_machine_says_how_it_was_had() -> None:
    worker = Worker("h", LIBRARY, OFFERS, Prices({}), 4, machine=Machine("spot", 0.31))
    (said,) = [c.msg for c in worker.on(Outcome(Measure(), Readings(())), 0.0) if isinstance(c, Send)]
    assert isinstance(said, HostHeartbeat)
    assert (said.market, said.usd_per_hour, said.revoked_at) == ("spot", 0.31, None)


def test_a_machine_that_will_be_taken_away_takes_nothing_new(warm: Host) -> None:
    for n in range(3):
        warm.give(n)
    commands = warm.on(Outcome(Measure(), Readings((), revoked_in_s=90.0)))
    assert warm.take[POOL] == 0
    assert [b.revoked_at for b in beats(commands)] == [190.0]
    warm.now += 2
    commands = warm.on(Outcome(Measure(), Readings((), revoked_in_s=88.0)))
    assert [b.revoked_at for b in beats(commands)] == [190.0], "it beats on, and the end does not wander"
    assert not [c for c in commands if isinstance(c, Take)]
    warm.ended(0)
    warm.ended(1)
    warm.ended(2)
    (send,) = warm.report()
    assert send.settles == ("k0", "k1", "k2"), "what it has it finishes"
    warm.hear(want("x", "y", version=2))
    warm.started("y")
    assert warm.take[POOL] == 0, "an instance that was still being loaded takes nothing either"


def test_a_notice_that_is_withdrawn(warm: Host) -> None:
    warm.on(Outcome(Measure(), Readings((), revoked_in_s=90.0)))
    commands = warm.on(Outcome(Measure(), Readings(())))
    assert warm.take[POOL] == 4
    assert [b.revoked_at for b in beats(commands)] == [None]


def test_a_task_that_cannot_end_in_time_goes_to_others_at_once(warm: Host) -> None:
    """Tasks take 20 s here: of two that run, one began 15 s ago and the other just now; a third waits. 12 s are left, less a margin."""
    warm.give(9)
    warm.now += 20.0
    warm.ended(9)
    warm.give(0)
    warm.now += 15.0
    warm.give(1)
    warm.give(2)
    warm.on(Outcome(Measure(), Readings((), revoked_in_s=12.0)))
    assert warm.returned == ["k1", "k2"]
    assert list(warm.worker.instances["x"].running) == ["k0"]
    warm.give(3)
    assert warm.returned == ["k1", "k2", "k3"], "what was under way already comes back likewise"
    warm.now += 5.0
    warm.ended(0)
    (send,) = warm.report()
    assert send.settles == ("k9", "k0")


def test_what_is_not_done_shortly_before_the_end_goes_to_others(warm: Host) -> None:
    warm.give(0)
    commands = warm.on(Outcome(Measure(), Readings((), revoked_in_s=60.0)))
    assert [c for c in commands if isinstance(c, Wake)] == [Wake(55.0, "handback")]
    assert warm.returned == []
    warm.now += 54.0
    warm.on(Woke("handback"))
    assert warm.returned == [], "an older wake-up, of a notice that was withdrawn"
    warm.now += 1.0
    warm.on(Woke("handback"))
    assert warm.returned == ["k0"]
    assert warm.ended(0) == [], "its outcome is nobody's any more"
    assert warm.report() == []


def test_a_task_that_was_handed_back_takes_its_slot_until_it_ends(warm: Host) -> None:
    warm.give(0)
    warm.on(Outcome(Measure(), Readings((), revoked_in_s=4.0)))
    warm.now += 3.0
    warm.on(Woke("handback"))
    warm.on(Outcome(Measure(), Readings(())))
    warm.give(1)
    warm.give(2)
    assert [a.task.index for a in warm.asked] == [(0,), (1,)]
    warm.ended(0)
    assert [a.task.index for a in warm.asked] == [(1,), (2,)]
    assert warm.returned == ["k0"]


def test_leaving_hands_back_what_waits_and_in_the_end_what_runs(warm: Host) -> None:
    for n in range(3):
        warm.give(n)
    warm.on(Woke("leave"))
    assert warm.returned == ["k2"]
    warm.ended(0)
    warm.on(Woke("abandon"))
    assert warm.returned == ["k2", "k1"]


def test_a_declared_device_is_never_measured(host: Host) -> None:
    device = Device("toy-gpu", "gpu", 8000, 0, id="toy-gpu-0", declared=True)
    host.on(Outcome(Measure(), Readings((device,))))
    host.hear(DesiredInstances(host="h", version=1, instances=(Desired("x", "A", "two", "toy-gpu", device="toy-gpu-0"),)))
    slots = host.worker.instances["x"]
    host.on(Outcome(StartInstance(slots.desired, slots.run), Started(7, 0.5, "toy-gpu-0")))
    host.on(Heard(task(0, "A-two-toy-gpu"), "k0", 1))
    host.ended(0, cpu_s=0.3, energy_wh=0.5)
    ((result,),) = [s.msg.results for s in host.report() if isinstance(s.msg, TaskResults)]
    assert isinstance(result, TaskDone)
    assert result.use.energy_how == "modelled"


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
