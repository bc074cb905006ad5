"""The worker, event by event: its host comes to match what is desired, and no task is lost or run beyond the slots."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worker_host import LIBRARY, OFFERS, POOL, Host, beats, errands, task, want

from murakkab.actors.core import Heard, Outcome, Replayed, Resumed, Send, Take, Wake, Woke
from murakkab.actors.errands import (
    Measure,
    Ran,
    Readings,
    Started,
    StartInstance,
    StopInstance,
    WatchInstance,
)
from murakkab.actors.results import RESULTS_MAX
from murakkab.actors.worker import BEAT_EVERY_S, BEAT_FIRST_S, DELIVERIES_MAX, Worker
from murakkab.agents.machine import Machine
from murakkab.bus.messages import (
    Desired,
    DesiredInstances,
    Device,
    HostHeartbeat,
    TaskDone,
    TaskFailed,
    TaskResults,
)
from murakkab.optimizer.prices import Prices


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
