"""Scaling and placing as pure functions: limits, reasons, convergence, monotony; several policies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from murakkab.agents.library import Implementation
from murakkab.bus.messages import Desired, Device, HostHeartbeat, Instance, Offer
from murakkab.clustermgr import lookahead, scaling
from murakkab.clustermgr.arrivals import Stakes
from murakkab.clustermgr.forecast import Key, Need
from murakkab.clustermgr.nodes import MEMORY_SHARE
from murakkab.clustermgr.policy import policy, wait_usd_per_s
from murakkab.clustermgr.reactive import Reactive, always_on
from murakkab.clustermgr.scaling import Scaled, key_of, scale
from murakkab.clustermgr.state import Cluster, Host, Pool, Target

ROWS = [
    Implementation("split", "Split", "m:C", memory_mb=100),
    Implementation("hear", "Hear", "m:C", memory_mb=300, load_s=2.0),
    Implementation("write", "Write", "m:C", memory_mb=500, load_s=5.0),
    Implementation("wide", "Wide", "m:C", memory_mb=100, slots=4, threads=2),
]
LIBRARY = {(r.agent, r.name): r for r in ROWS}
KEYS: list[Key] = [(r.agent, r.name, "cpu") for r in ROWS]
SPLIT, HEAR, WRITE, WIDE = KEYS
STAKES = Stakes(0.001, 0.03, 0.005)
NOW = 1_000.0


def beat(
    host: str = "h", memory_mb: int = 16_000, cores: int = 8, offers: tuple[Key, ...] = tuple(KEYS), instances: tuple[Instance, ...] = ()
) -> HostHeartbeat:
    return HostHeartbeat(
        host=host,
        at=0.0,
        devices=(Device("cpu", "cpu", memory_mb, 0),),
        offers=tuple(Offer(*key) for key in offers),
        cores=cores,
        instances=instances,
    )


def need(
    key: Key, tasks: int = 1, *, at: float = NOW, work_s: float | None = None, width: int = 1, job: str = "j", planned: int = 1
) -> Need:
    return Need(job, "s", key, tasks, tasks, (at, at, at), float(tasks) if work_s is None else work_s, width, planned=planned)


def pool(key: Key, *needs: Need, have: int = 0, places: int = 8, **more: object) -> Pool:
    row = LIBRARY[key[:2]]
    given = {"load_s": row.load_s, "slots": row.slots, "stakes": STAKES, "wait_usd_per_s": 0.01, "spare": max(1, places // 2), **more}
    return structs.replace(Pool(key, have=have, places=places, needs=needs), **given)


def has(hosts: Mapping[str, tuple[Desired, ...]]) -> dict[str, list[str]]:
    return {h: sorted(d.implementation for d in instances) for h, instances in hosts.items()}


def scaled(targets: Mapping[Key, Target], *hosts: Host) -> Scaled:
    return scale(Cluster(hosts, LIBRARY, NOW), {key: pool(key) for key in targets}, targets)


def want(n: int, due: bool = True, code: str = "needed") -> Target:
    return Target(n, due, code, "because", {"start_s": 0.0})


# --- how many -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("needs", "places", "wanted"),
    [
        pytest.param([need(HEAR, 1)], 8, 1, id="one task"),
        pytest.param([need(HEAR, 100, width=8, planned=100)], 8, 8, id="a plan may count on all places"),
        pytest.param([need(HEAR, 100, width=64, planned=100)], 8, 8, id="never on more"),
        pytest.param([need(HEAR, 2, width=8)], 8, 2, id="never more than there are tasks"),
        pytest.param([need(HEAR, 100, planned=100)], 8, 1, id="what one job's plan weighed stands"),
        pytest.param([need(HEAR, 100)], 8, 4, id="what it did not foresee does not; half the places"),
        pytest.param([need(HEAR, 50, planned=50), need(HEAR, 50, planned=50, job="k")], 8, 4, id="several jobs' backlog"),
        pytest.param([need(HEAR, 1, work_s=0.1), need(HEAR, 1, work_s=0.1, job="k")], 8, 1, id="little work waits no longer than a load"),
        pytest.param([need(HEAR, 9)], 0, 0, id="nowhere"),
    ],
)
def test_how_many(needs: list[Need], places: int, wanted: int) -> None:
    target = lookahead.target(pool(HEAR, *needs, places=places), NOW)
    assert (target.n, target.due) == (wanted, True)


NEEDS = st.lists(
    st.builds(
        need,
        st.just(HEAR),
        st.integers(1, 200),
        work_s=st.floats(0, 500),
        width=st.integers(1, 12),
        job=st.sampled_from("jkl"),
        planned=st.integers(1, 50),
    ),
    max_size=5,
)


@given(NEEDS, NEEDS, st.integers(1, 16), st.floats(0, 1), st.floats(0, 1), st.floats(0, 30))
def test_more_demand_never_wants_fewer(
    some: list[Need], more: list[Need], places: int, wait: float, load_usd: float, load_s: float
) -> None:
    def n(needs: list[Need]) -> int:
        it = pool(HEAR, *needs, places=places, wait_usd_per_s=wait, stakes=Stakes(0.001, load_usd, wait * load_s), load_s=load_s)
        return lookahead.target(it, NOW).n

    assert n(some) <= n(some + more) <= places


@given(NEEDS, st.integers(0, 12), st.integers(1, 8), st.floats(0, 1_000), st.floats(0, 1_000))
def test_constant_demand_converges(needs: list[Need], have: int, places: int, idle_s: float, surplus_s: float) -> None:
    """Applied to its own outcome, a decision is the same."""
    once = lookahead.target(pool(HEAR, *needs, have=have, places=places, idle_s=idle_s, surplus_s=surplus_s), NOW)
    again = lookahead.target(pool(HEAR, *needs, have=once.n, places=places, idle_s=idle_s, surplus_s=surplus_s), NOW)
    assert again.n == once.n


@given(st.floats(1.0, 1_000.0), st.floats(0.1, 100.0))
def test_a_load_is_begun_in_time_and_not_before(start_s: float, load_s: float) -> None:
    it = pool(HEAR, need(HEAR, at=NOW + start_s), load_s=load_s)
    target = lookahead.target(it, NOW)
    if start_s <= load_s + lookahead.SLACK_S:
        assert (target.n, target.code) == (1, "needed-soon")
    else:
        assert (target.n, target.code) == (0, "deferred")
        assert target.look_s == pytest.approx(start_s - load_s - lookahead.SLACK_S)
        assert lookahead.target(it, NOW + target.look_s + 1e-6).n == 1


def test_dear_waiting_takes_the_early_quantile_and_dear_holding_the_late_one() -> None:
    spread = structs.replace(need(HEAR), start=(NOW + 10, NOW + 20, NOW + 30))
    for wait, hold, at in ((1.0, 0.0, 10.0), (1.0, 1.0, 20.0), (0.0, 1.0, 30.0), (1.0, 0.25, 12.5), (0.25, 1.0, 27.5)):
        it = pool(HEAR, spread, wait_usd_per_s=wait, stakes=Stakes(hold, 0.0, 0.0))
        assert lookahead.start_of(it, spread) - NOW == pytest.approx(at), (wait, hold)


def test_what_a_later_stage_needs_is_held_when_that_is_cheaper() -> None:
    soon, late = (pool(HEAR, need(HEAR, at=NOW + s), have=1) for s in (20.0, 1_000.0))
    assert (lookahead.target(soon, NOW).n, lookahead.target(soon, NOW).code) == (1, "held-for-stage")
    assert (lookahead.target(late, NOW).n, lookahead.target(late, NOW).code) == (0, "load-again")


def test_a_surplus_is_let_go_only_after_it_has_lasted() -> None:
    short, long = (pool(HEAR, need(HEAR), have=3, surplus_s=s) for s in (1.0, STAKES.break_even_s + 1))
    assert (lookahead.target(short, NOW).n, lookahead.target(short, NOW).code) == (3, "surplus-held")
    assert (lookahead.target(long, NOW).n, lookahead.target(long, NOW).code) == (1, "surplus")


def test_the_policies_to_compare_with() -> None:
    assert always_on(pool(HEAR, have=2)).n == 2
    assert always_on(pool(HEAR, need(HEAR, 9, width=3))).n == 3
    rule = Reactive(30.0, 300.0)
    assert rule.target(pool(HEAR, structs.replace(need(HEAR), ready=0))).n == 0, "it does not look ahead"
    assert rule.target(pool(HEAR, need(HEAR, 13))).n == 3
    assert rule.target(pool(HEAR, have=1, idle_s=299.0)).n == 1
    assert rule.target(pool(HEAR, have=1, idle_s=301.0)).n == 0


def test_a_polling_policy_looks_only_now_and_then() -> None:
    it = policy("reactive:30,300")
    assert it.target(pool(HEAR), 0.0).n == 0
    assert it.target(pool(HEAR, need(HEAR)), 29.0).n == 0
    assert it.target(pool(HEAR, need(HEAR)), 30.0).n == 1
    assert it.target(pool(WRITE, need(WRITE)), 31.0).n == 0, "what appears between two looks is seen at the next"
    assert it.target(pool(WRITE, need(WRITE)), 60.0).n == 1


@pytest.mark.parametrize("text", ["magic", "reactive:1", "reactive:0,5", "reactive:1,-5", "reactive:a,b", "reactive:nan,1", "look-ahead:3"])
def test_a_wrong_policy_says_what_would_be_right(text: str) -> None:
    with pytest.raises(ValueError, match=r"look-ahead|reactive|above 0 s"):
        policy(text)


def test_what_waiting_is_worth_can_be_said() -> None:
    assert wait_usd_per_s({}) == pytest.approx(0.001)
    assert wait_usd_per_s({"MURAKKAB_WAIT_USD_PER_HOUR": "36"}) == pytest.approx(0.01)
    for text in ("-1", "nan", "lots"):
        with pytest.raises(ValueError, match="finite number of dollars"):
            wait_usd_per_s({"MURAKKAB_WAIT_USD_PER_HOUR": text})


# --- where --------------------------------------------------------------------------------------------------------------------------


def test_instances_go_where_cores_are_free() -> None:
    done = scaled({HEAR: want(2), WRITE: want(1)}, Host(beat("a", cores=1)), Host(beat("b", cores=1)))
    assert has(done.hosts) == {"a": ["hear", "write"], "b": ["hear"]}


def test_memory_is_a_limit_and_the_reason_is_stated() -> None:
    done = scaled({HEAR: want(2), WRITE: want(1)}, Host(beat(memory_mb=1_000)))
    assert has(done.hosts) == {"h": ["hear", "hear"]}
    (why,) = done.unmet
    assert (why.implementation, why.code, why.text) == (
        "write",
        "full",
        "it takes 500 MB; nearest is h, which has too little by 300 MB",
    )


def test_what_is_idle_makes_room_for_what_is_needed() -> None:
    """Whisper's room goes to the LLM when no speech is expected."""
    warm = Instance("hear-1", "Hear", "hear", "cpu", "warm", 1)
    host = Host(beat(memory_mb=800, instances=(warm,)), (Desired("hear-1", *HEAR),))
    done = scaled({HEAR: want(1, due=False, code="kept"), WRITE: want(1)}, host)
    assert has(done.hosts) == {"h": ["write"]}
    assert {(d.verb, d.implementation, d.code) for d in done.decisions} == {("start", "write", "needed"), ("move", "hear", "room")}


@pytest.mark.parametrize(("state", "busy"), [("loading", 0), ("warm", 1)])
def test_what_loads_or_works_is_never_taken_away(state: str, busy: int) -> None:
    one = Instance("hear-1", "Hear", "hear", "cpu", state, 1, busy=busy)  # type: ignore[arg-type]
    host = Host(beat(instances=(one,)), (Desired("hear-1", *HEAR),))
    assert has(scaled({HEAR: want(0, due=False, code="idle")}, host).hosts) == {"h": ["hear"]}


def test_several_small_models_share_an_accelerator_by_memory() -> None:
    key: Key = ("Hear", "hear", "h100-80gb")
    gpu = Device("NVIDIA H100 80GB HBM3", "gpu", 700, 0, id="GPU-1")
    other: Key = ("Split", "split", "h100-80gb")
    host = Host(structs.replace(beat(offers=(key, other)), devices=(*beat().devices, gpu)))
    targets = {key: want(2), other: want(1)}
    done = scale(Cluster([host], LIBRARY, NOW), {k: pool((k[0], k[1], "cpu")) for k in targets}, targets)
    assert [(d.implementation, d.device) for d in done.hosts["h"]] == [("hear", "GPU-1"), ("split", "GPU-1")], "one of a pool a device"


def test_shares_of_a_devices_compute_are_a_limit_and_the_reason_is_stated() -> None:
    key: Key = ("Hear", "hear", "h100-80gb")
    other: Key = ("Write", "write", "h100-80gb")
    gpu = Device("NVIDIA H100 80GB HBM3", "gpu", 80_000, 0, id="GPU-1")
    host = Host(structs.replace(beat(offers=(key, other)), devices=(*beat().devices, gpu)))
    pools = {k: pool((k[0], k[1], "cpu")) for k in (key, other)}

    def placed(share: float) -> Scaled:
        library = {k: structs.replace(row, compute_share=share) for k, row in LIBRARY.items()}
        return scale(Cluster([host], library, NOW), pools, {key: want(1), other: want(1)})

    assert has(placed(0.5).hosts) == {"h": ["hear", "write"]}
    tight = placed(0.6)
    assert has(tight.hosts) == {"h": ["hear"]}
    assert "compute" in tight.unmet[0].text
    assert tight.unmet[0].figures["missing_share"] == pytest.approx(0.2)


def test_where_it_failed_it_is_not_tried_while_another_host_can() -> None:
    failed = Instance("hear-1", "Hear", "hear", "cpu", "failed", 1, error="no weights")
    ill, well = Host(beat("a", instances=(failed,))), Host(beat("b", cores=1))
    assert has(scaled({HEAR: want(1)}, ill, well).hosts) == {"a": [], "b": ["hear"]}
    alone = scaled({HEAR: want(1)}, ill)
    assert has(alone.hosts) == {"a": ["hear"]}, "but where it is the only one, again"


def test_a_host_that_is_being_taken_away_gets_nothing_and_keeps_what_it_has() -> None:
    going = structs.replace(beat("a"), revoked_at=NOW + 30)
    done = scaled({HEAR: want(1)}, Host(going, (Desired("x", *HEAR),)), Host(beat("b")))
    assert has(done.hosts) == {"a": ["hear"], "b": ["hear"]}
    assert scaled({HEAR: want(1)}, Host(going)).unmet[0].code == "revoked"


def test_what_a_host_offers_counts_and_not_how_it_was_had() -> None:
    spot = structs.replace(beat(), market="spot")
    assert has(scaled({HEAR: want(1)}, Host(spot)).hosts) == {"h": ["hear"]}


def test_a_spot_pool_is_spread() -> None:
    key: Key = ("Hear", "hear", "cpu-spot")
    on = [Host(structs.replace(beat(f"h{n}", offers=(key,)), market="spot")) for n in range(3)]
    done = scale(Cluster(on, LIBRARY, NOW), {key: pool(HEAR)}, {key: want(3)})
    assert [len(done.hosts[h.beat.host]) for h in on] == [1, 1, 1]


def test_a_pool_keeps_to_one_host_where_that_leaves_whole_machines_free() -> None:
    """What takes two devices of one host can still be placed: the other host is not begun."""
    key: Key = ("Hear", "hear", "h100-80gb")
    gpus = tuple(Device("NVIDIA H100 80GB HBM3", "gpu", 80_000, 0, id=f"GPU-{n}") for n in range(2))
    on = [Host(structs.replace(beat(f"h{n}", offers=(key,)), devices=(*beat().devices, *gpus))) for n in range(2)]
    done = scale(Cluster(on, LIBRARY, NOW), {key: pool(HEAR)}, {key: want(2)})
    assert [[d.device for d in done.hosts[h.beat.host]] for h in on] == [["GPU-0", "GPU-1"], []]


def test_many_starts_are_several_decisions() -> None:
    many = scaling.STARTS_MAX + 5
    on = [Host(beat(f"h{n}", cores=1)) for n in range(many)]
    done = scaled({HEAR: want(many), WRITE: want(1)}, *on)
    assert sum(len(i) for i in done.hosts.values()) == scaling.STARTS_MAX
    assert done.more
    assert [u.code for u in done.unmet] == ["next"]
    again = scaled({HEAR: want(many), WRITE: want(1)}, *(Host(h.beat, done.hosts[h.beat.host]) for h in on))
    assert sum(len(i) for i in again.hosts.values()) == many + 1
    assert (again.more, again.unmet) == (False, ())


KEY = st.sampled_from(KEYS)
STATES: list[Literal["loading", "warm", "failed", "draining"]] = ["loading", "warm", "failed", "draining"]


@st.composite
def hosts(draw: st.DrawFn) -> list[Host]:
    """Any hosts with anything on them, in any state."""
    found = []
    for n in range(draw(st.integers(0, 4))):
        had = draw(st.lists(KEY, max_size=5))
        instances = tuple(
            Instance(f"i{m}", key[0], key[1], key[2], draw(st.sampled_from(STATES)), 1, busy=draw(st.integers(0, 1)))
            for m, key in enumerate(had)
            if draw(st.booleans())
        )
        it = beat(f"h{n}", draw(st.integers(1, 4_000)), draw(st.integers(1, 16)), tuple(draw(st.sets(KEY))), instances)
        found.append(Host(it, tuple(Desired(f"i{m}", *key) for m, key in enumerate(had))))
    return found


HOSTS = hosts()
TARGETS = st.dictionaries(KEY, st.builds(want, st.integers(0, 6), st.booleans()), max_size=4)


@given(HOSTS, TARGETS)
def test_no_decision_exceeds_capacity_and_every_unmet_demand_has_a_reason(hosts: list[Host], targets: dict[Key, Target]) -> None:
    done = scaled(targets, *hosts)
    assert set(done.hosts) == {h.beat.host for h in hosts}
    for host in hosts:
        mine = done.hosts[host.beat.host]
        assert len({d.id for d in mine}) == len(mine)
        pinned = [h.desired for h in host.held if h.key in targets and h.key in host.offers and h.pinned]
        assert {d.id for d in pinned} <= {d.id for d in mine}, "what loads or works is never taken away"
        fixed_mb = sum(LIBRARY[d.agent, d.implementation].memory_mb for d in pinned)
        assert sum(LIBRARY[d.agent, d.implementation].memory_mb for d in mine) <= max(
            fixed_mb, MEMORY_SHARE * host.beat.devices[0].memory_mb
        )
        for d in mine:
            assert key_of(d) in {(o.agent, o.implementation, o.hardware) for o in host.beat.offers}
    for key, target in targets.items():
        n = sum(key_of(d) == key for mine in done.hosts.values() for d in mine)
        if target.due and target.n and not n:
            assert any((u.agent, u.implementation, u.hardware) == key and u.code and u.text for u in done.unmet)
    changed = {(d.host, (d.agent, d.implementation, d.hardware)) for d in done.decisions}
    for host in hosts:
        before, after = list(map(key_of, host.has)), list(map(key_of, done.hosts[host.beat.host]))
        for key in {*before, *after}:
            if before.count(key) != after.count(key) and key in targets:
                assert (host.beat.host, key) in changed, "every change has a decision that says why"


@given(HOSTS, TARGETS)
def test_placing_again_changes_nothing(hosts: list[Host], targets: dict[Key, Target]) -> None:
    once = scaled(targets, *hosts)
    again = scaled(targets, *(Host(h.beat, once.hosts[h.beat.host]) for h in hosts))
    assert {h: {d.id for d in i} for h, i in again.hosts.items()} == {h: {d.id for d in i} for h, i in once.hosts.items()}


@given(st.data())
def test_what_is_kept_of_a_host_is_what_would_be_found_anew(data: st.DataObject) -> None:
    """`Host.now` after any change of heartbeat and of what it shall have."""
    host = None
    for _ in range(data.draw(st.integers(2, 4))):
        fresh = data.draw(HOSTS.filter(bool))[0]
        if host is None:
            host = fresh
        else:
            beat_, has_ = data.draw(st.sampled_from([fresh.beat, host.beat])), data.draw(st.sampled_from([fresh.has, host.has]))
            host, fresh = host.now(beat_, has_), Host(beat_, has_)
        assert (host.held, host.count, host.states, host.ailing) == (fresh.held, fresh.count, fresh.states, fresh.ailing)
        assert (host.offers, host.make, host.node(LIBRARY)) == (fresh.offers, fresh.make, fresh.node(LIBRARY))


def test_an_instance_may_take_far_more_than_it_declares_and_not_without_end() -> None:
    (d,) = scaled({HEAR: want(1)}, Host(beat())).hosts["h"]
    assert d.memory_mb == scaling.MEMORY_FACTOR * 300 + scaling.MEMORY_BASE_MB
    assert scaling.limit_mb(structs.replace(LIBRARY[HEAR[:2]], spawns=True)) == 0
