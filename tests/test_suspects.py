"""Hosts that lie, share a name, flood, or have clocks of their own: contained, told, and nothing of it stays when it is over."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from murakkab.actors.clustermgr import ClusterManager
from murakkab.actors.core import Heard, Note, Resumed, Send, Woke
from murakkab.agents.library import Implementation
from murakkab.bus.messages import ClusterOutlook, Device, HostHeartbeat, Instance, Offer
from murakkab.bus.wire import decode, encode
from murakkab.client import status_pools
from murakkab.clustermgr.suspects import BEATS_MAX, FLOOD_S, SILENT_S, TOLD_S, VERSION_AHEAD_MS, Suspects, plausible

CPU = Device("cpu", "cpu", 16_000, 4_000)
GPU = Device("NVIDIA H100 80GB HBM3", "gpu", 81_559, 0, id="GPU-1")
WARM = Instance("hear-1", "Hear", "hear", "cpu", "warm", 2, busy=1)
NOW = 1_000.0


def beat(run: str = "a", **changes: object) -> HostHeartbeat:
    good = HostHeartbeat(host="h", at=NOW, devices=(CPU, GPU), instances=(WARM,), cores=8, run=run, version=5)
    return replace(good, **changes)


@pytest.mark.parametrize(
    ("changes", "fault", "used"),
    [
        pytest.param({"cores": -3}, "h says that it has -3 cores: taken as 1", {"cores": 1}, id="cores"),
        pytest.param({"cores": 10**9}, "h says that it has 1000000000 cores: taken as 4096", {"cores": 4096}, id="too many cores"),
        pytest.param(
            {"devices": (replace(CPU, memory_used_mb=17_000),)},
            "h says 17000 of 16000 MB in use on 'cpu': taken as full",
            {"devices": (replace(CPU, memory_used_mb=16_000),)},
            id="more used than there is",
        ),
        pytest.param(
            {"devices": (replace(CPU, memory_used_mb=-1_000),)},
            "h says -1000 of 16000 MB in use on 'cpu': taken as full",
            {"devices": (replace(CPU, memory_used_mb=16_000),)},
            id="more free than there is",
        ),
        pytest.param(
            {"devices": (replace(CPU, memory_mb=-5, memory_used_mb=0),)},
            "h says 0 of -5 MB in use on 'cpu': taken as full",
            {"devices": (replace(CPU, memory_mb=0, memory_used_mb=0),)},
            id="less than none",
        ),
        pytest.param(
            {"devices": (CPU, Device("Foo", "tpu", 1, 0, id="t"))},
            "h has a device 'Foo' of kind 'tpu', which nobody here knows (they are cpu, gpu): left alone",
            {"devices": (CPU,)},
            id="unknown kind",
        ),
        pytest.param(
            {"devices": (CPU, Device("Foo 9000", "gpu", 10, 0, id="f"))},
            "h has a 'Foo 9000', which is in no catalogue: a class of its own, 'foo-9000', without price or power",
            {},
            id="unknown make",
        ),
        pytest.param(
            {"devices": (CPU, GPU, GPU)}, "h names two devices alike: the first of each name is used", {"devices": (CPU, GPU)}, id="twins"
        ),
        pytest.param(
            {"instances": (WARM, replace(WARM, busy=0))},
            "h names two instances alike: the first of each name is used",
            {"instances": (WARM,)},
            id="twin instances",
        ),
        pytest.param(
            {"instances": (replace(WARM, busy=9),)},
            "h says that hear-1 does 9 tasks in 2 slots: taken as 2 in 2",
            {"instances": (replace(WARM, busy=2),)},
            id="more work than slots",
        ),
        pytest.param(
            {"instances": (replace(WARM, slots=10**12, busy=0),)},
            "h says that hear-1 does 0 tasks in 1000000000000 slots: taken as 0 in 10000",
            {"instances": (replace(WARM, slots=10_000, busy=0),)},
            id="slots without end",
        ),
        pytest.param(
            {"version": 2**62},
            f"h says that it was given version {2**62}, which nobody has said yet: restart it",
            {"version": int(NOW * 1000) + VERSION_AHEAD_MS},
            id="a version from the future",
        ),
        pytest.param(
            {"at": NOW + 3_600},
            "the clock of h is 3600 s ahead of ours: nothing here depends on it, its pictures and logs will be off",
            {},
            id="a clock an hour ahead",
        ),
        pytest.param(
            {"at": NOW - 3_600},
            "the clock of h is 3600 s behind ours: nothing here depends on it, its pictures and logs will be off",
            {},
            id="a clock an hour behind",
        ),
    ],
)
def test_what_cannot_be_true(changes: dict[str, Any], fault: str, used: dict[str, object]) -> None:
    suspects, said = Suspects(), beat(**changes)
    taken, new = suspects.check(said, NOW)
    assert (taken, new) == (replace(said, **used), [fault])
    assert suspects.check(replace(said, at=said.at + 1), NOW + 1)[1] == [], "the log has it once"
    assert suspects.told(NOW + 1) == (fault,)
    assert suspects.check(beat(at=NOW + 2), NOW + 2) == (beat(at=NOW + 2), [])
    assert suspects.told(NOW + 1 + TOLD_S) == (), "and when it is over it is told no more"


def test_a_good_host_is_not_touched() -> None:
    good, suspects = beat(), Suspects()
    assert suspects.check(good, NOW) == (good, [])
    assert plausible(good, NOW) is good
    assert suspects.told(NOW) == ()


def test_a_restarted_worker_has_its_name_at_once() -> None:
    suspects = Suspects()
    for n, run in enumerate("aabbcc"):
        taken, new = suspects.check(beat(run, at=NOW + n), NOW + n)
        assert (taken is not None, new) == (True, [])


def test_of_two_workers_with_one_name_the_first_keeps_it() -> None:
    suspects = Suspects()
    heard = {"a": 0, "b": 0}
    faults = []
    for n in range(60):
        now = NOW + n
        for run in "ab" if n >= 5 else "a":
            taken, new = suspects.check(beat(run, at=now), now)
            heard[run] += taken is not None
            faults += new
    assert heard["a"] == 60
    assert heard["b"] <= 1, "it may be a's next life, until a is heard again"
    assert faults == ["two workers call themselves h: b is ignored, for a was first; start it with another --host"]
    now = NOW + 60 + SILENT_S
    assert suspects.check(beat("b", at=now), now)[0] is not None, "the first one has gone: the name is free"


def test_a_worker_that_left_in_good_order_leaves_its_name() -> None:
    suspects = Suspects()
    suspects.check(beat("a"), NOW)
    suspects.check(beat("b"), NOW)
    suspects.forget("h")
    assert suspects.check(beat("a"), NOW)[0] is not None


def test_a_flood_is_looked_at_in_part_and_the_host_stays() -> None:
    suspects = Suspects()
    taken = sum(suspects.check(beat(at=NOW + n / 1000), NOW + n / 1000)[0] is not None for n in range(10_000))
    assert BEATS_MAX <= taken <= BEATS_MAX * (1 + 10 / FLOOD_S)
    assert any("more than" in t for t in suspects.told(NOW + 10))
    assert suspects.check(beat(leaving=True, at=NOW + 10), NOW + 10)[0] is not None, "that it leaves is heard in any case"


@given(
    st.builds(
        beat,
        cores=st.integers(-(2**62), 2**62),
        version=st.integers(-1, 2**62),
        devices=st.lists(
            st.builds(
                Device,
                st.text(max_size=9),
                st.sampled_from(["cpu", "gpu", "", "npu"]),
                st.integers(-(2**40), 2**62),
                st.integers(-(2**40), 2**62),
                id=st.sampled_from("xyz"),
            ),
            max_size=4,
        ).map(tuple),
        instances=st.lists(
            st.builds(replace, st.just(WARM), slots=st.integers(-9, 2**62), busy=st.integers(-9, 2**62), id=st.sampled_from("pq")),
            max_size=3,
        ).map(tuple),
    ),
    st.floats(0, 1e10),
)
def test_whatever_a_host_says_what_is_used_makes_sense(said: HostHeartbeat, now: float) -> None:
    used = plausible(said, now)
    assert plausible(used, now).cores == used.cores >= 1
    assert len({d.id for d in used.devices}) == len(used.devices)
    assert all(0 <= d.memory_used_mb <= d.memory_mb for d in used.devices)
    assert all(0 <= i.busy <= i.slots for i in used.instances)
    assert decode(encode(used)) == used


def test_the_cluster_manager_logs_and_shows_it_and_goes_on() -> None:
    row = Implementation("hear", "Hear", "m:C", memory_mb=300)
    actor = ClusterManager({("Hear", "hear"): row})
    list(actor.on(Resumed(), NOW))
    liar = beat(cores=0, offers=(Offer("Hear", "hear", "cpu"),))
    notes = [c.text for c in actor.on(Heard(liar), NOW) if isinstance(c, Note)]
    assert notes == ["h says that it has 0 cores: taken as 1"]
    twins = [c for run in "bab" for c in actor.on(Heard(beat(run, at=NOW)), NOW) if isinstance(c, Note)]
    assert len(twins) == 1
    assert actor.hosts["h"][1].run == "a"
    outlook = next(c.msg for c in actor.on(Woke("look"), NOW + 1) if isinstance(c, Send) and isinstance(c.msg, ClusterOutlook))
    shown = [line for line in status_pools.lines(outlook, NOW + 1) if line.startswith("SUSPECT")]
    assert shown == [f"SUSPECT  {text}" for text in outlook.faults]
    assert len(shown) == 2
