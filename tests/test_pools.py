"""Which waiting task is next: that of the tenant with the least share, slots set the limit, silent hosts count for nothing."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from murakkab.actors.core import ActorBug
from murakkab.actors.pools import AHEAD, Pools
from murakkab.bus.messages import HostHeartbeat, Instance

POOL = "A-i-cpu"


def beat(host: str, slots: int, state: str = "warm", leaving: bool = False) -> HostHeartbeat:
    return HostHeartbeat(host=host, at=0.0, instances=(Instance("x", "A", "i", "cpu", state, slots),), leaving=leaving)  # type: ignore[arg-type]


def released(pools: Pools) -> list[tuple[str, int]]:
    out = [(job, index[0]) for pool, job, (_, index) in pools.release() if pool == POOL]
    return out


def fill(pools: Pools, tenant: str, job: str, tasks: range) -> None:
    for n in tasks:
        pools.enqueue(POOL, tenant, job, ("s", (n,)))


def test_first_ready_first_released_within_a_tenant() -> None:
    pools = Pools()
    fill(pools, "t", "one", range(2))
    fill(pools, "t", "two", range(2))
    assert released(pools) == [("one", 0), ("one", 1), ("two", 0), ("two", 1)]


def test_next_is_who_has_less_released_however_much_one_has_waiting() -> None:
    pools = Pools()
    fill(pools, "big", "big", range(1_000))
    assert released(pools) == [("big", n) for n in range(AHEAD)]
    fill(pools, "small", "small", range(2))
    order = []
    for n in range(AHEAD):
        pools.done(POOL, "big", ("s", (n,)))
        order += released(pools)
    assert [job for job, _ in order] == ["small", "small", "big", "big"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 12)), min_size=1, max_size=6), st.integers(0, 4))
def test_turns_are_fair(waiting: list[tuple[str, int]], slots: int) -> None:
    """While two tenants both have something waiting, neither gets two releases more than the other."""
    pools = Pools()
    pools.beat(beat("h", slots), 0.0)
    left: Counter[str] = Counter()
    for number, (tenant, n) in enumerate(waiting):
        fill(pools, tenant, f"{tenant}{number}", range(n))
        left[tenant] += n
    got: Counter[str] = Counter()
    total = sum(left.values())
    while sum(got.values()) < total:
        batch = released(pools)
        assert batch, "there are slots and tasks, and nothing is released"
        for job, _ in batch:
            got[job[0]] += 1
            left[job[0]] -= 1
            both = [t for t in got | left if left[t] > 0]
            assert max((got[t] for t in both), default=0) - min((got[t] for t in both), default=0) <= 1
        assert len(pools.pools[POOL].released) <= AHEAD * max(slots, 1)
        for job, n in batch:
            pools.done(POOL, job, ("s", (n,)))


def test_the_limit_follows_the_slots_of_all_hosts() -> None:
    pools = Pools()
    pools.beat(beat("h1", 2), 0.0)
    pools.beat(beat("h2", 3), 0.0)
    fill(pools, "t", "j", range(100))
    assert len(released(pools)) == 5 * AHEAD
    pools.beat(beat("h3", 1), 1.0)
    assert len(released(pools)) == AHEAD
    assert pools.has_slots(POOL)
    assert not pools.has_slots("another")


@pytest.mark.parametrize("state", ["loading", "draining", "failed"])
def test_only_warm_instances_have_slots(state: str) -> None:
    pools = Pools()
    pools.beat(beat("h", 9, state), 0.0)
    fill(pools, "t", "j", range(100))
    assert len(released(pools)) == AHEAD
    assert not pools.has_slots(POOL)


def test_a_silent_host_and_one_that_leaves_count_for_nothing() -> None:
    pools = Pools()
    pools.beat(beat("silent", 2), 0.0)
    pools.beat(beat("leaving", 2), 20.0)
    fill(pools, "t", "j", range(100))
    assert len(released(pools)) == 4 * AHEAD
    pools.forget_silent(10.0)
    assert pools.pools[POOL].slots == 2
    pools.beat(beat("leaving", 2, leaving=True), 21.0)
    assert pools.pools[POOL].slots == 0
    assert not pools.has_slots(POOL)


def test_an_ended_job_leaves_nothing_behind() -> None:
    pools = Pools()
    fill(pools, "t", "gone", range(10))
    fill(pools, "t", "stays", range(2))
    released(pools)
    pools.drop("gone")
    assert released(pools) == [("stays", 0), ("stays", 1)]
    pools.check({"stays": {("s", (0,)): 0.0, ("s", (1,)): 0.0}})


def test_a_late_result_takes_its_task_out_of_the_waiting() -> None:
    pools = Pools()
    fill(pools, "t", "j", range(AHEAD + 1))
    released(pools)
    pools.done(POOL, "j", ("s", (AHEAD,)))
    pools.done(POOL, "j", ("s", (0,)))
    assert released(pools) == []
    fill(pools, "t", "j", range(50, 51))
    assert released(pools) == [("j", 50)]


def test_unknown_pools_and_tasks_do_no_harm() -> None:
    pools = Pools()
    pools.done("nowhere", "j", ("s", (0,)))
    fill(pools, "t", "j", range(1))
    pools.done(POOL, "other", ("s", (0,)))
    assert released(pools) == [("j", 0)]


def test_check_sees_a_disagreement() -> None:
    pools = Pools()
    fill(pools, "t", "j", range(1))
    released(pools)
    with pytest.raises(ActorBug, match="disagree on what is released"):
        pools.check({"j": {}})


def test_what_a_tenant_used_a_moment_ago_stays_free_for_it_within_its_part() -> None:
    pools = Pools(crowded=True)
    pools.beat(beat("h", 8), 0.0)
    for tenant in ("one", "flood"):
        fill(pools, tenant, tenant, range(3) if tenant == "one" else range(100))
    for pool in pools.pools.values():
        pool.task_s = 1.0
    assert Counter(job for job, _ in released(pools)) == {"one": 3, "flood": 5}
    for n in range(3):
        pools.done(POOL, "one", ("s", (n,)), 1.0)
    assert released(pools) == [], "its three slots wait for its next job"
    fill(pools, "one", "next", range(6))
    assert [job for job, _ in released(pools)] == ["next"] * 3, "at once; more than that by turns"
    for n in range(3):
        pools.done(POOL, "next", ("s", (n,)), 1.0)
    pools.drop("next")
    for now in (10.0, 20.0):
        assert released(pools) == []
        pools.look_again(now)
    assert [job for job, _ in released(pools)] == ["flood"] * 3, "two windows later they are anybody's"


def test_nothing_is_kept_free_of_the_last_slot_or_for_more_than_its_part() -> None:
    pools = Pools(crowded=True)
    pools.beat(beat("h", 1), 0.0)
    fill(pools, "one", "one", range(1))
    fill(pools, "two", "two", range(2))
    for pool in pools.pools.values():
        pool.task_s = 1.0
    assert len(released(pools)) == 1
    pools.done(POOL, "one", ("s", (0,)), 1.0)
    assert released(pools) == [("two", 0)]
