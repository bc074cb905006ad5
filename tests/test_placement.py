"""Placement as a pure function: capacity, true reasons, determinism, what is monotone; fragmentation by hand; nodes from heartbeats."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from murakkab.agents.library import Implementation
from murakkab.bus.messages import Desired, Device, HostHeartbeat, Instance, Offer
from murakkab.clustermgr.forecast import Key
from murakkab.clustermgr.fragmentation import Fragmentation, Mix
from murakkab.clustermgr.free import Free
from murakkab.clustermgr.nodes import ask_of, nodes_of, pool_of
from murakkab.clustermgr.placement import Accelerator, Ask, Descent, Node, Outcome, Placed, Placer, Unplaced, place

SHARES = [0.0, 0.25, 0.5, 0.75, 1.0]
CLASSES = ["a", "b"]
MARKETS = ["on-demand", "spot"]

accelerators = st.builds(
    lambda hardware, total, part, share: Accelerator(hardware, total, total * part, share),
    st.sampled_from(CLASSES),
    st.sampled_from([0.0, 16_000.0, 80_000.0]),
    st.sampled_from(SHARES),
    st.sampled_from(SHARES),
)


@st.composite
def fleets(draw: st.DrawFn) -> list[Node]:
    nodes = []
    for n in range(draw(st.integers(0, 5))):
        cores, memory = draw(st.sampled_from([2.0, 8.0])), draw(st.sampled_from([4_000.0, 64_000.0]))
        nodes.append(
            Node(
                f"n{n}",
                cores,
                cores * draw(st.sampled_from(SHARES)),
                memory,
                memory * draw(st.sampled_from(SHARES)),
                tuple(draw(st.lists(accelerators, max_size=4))),
                market=draw(st.sampled_from(MARKETS)),
                artifacts=draw(st.frozensets(st.sampled_from("xy"))),
                group=draw(st.sampled_from(["", "zone"])),
                pools=draw(st.sampled_from([None, frozenset({"p"}), frozenset({"p", "q"})])),
                has=draw(st.dictionaries(st.sampled_from("pq"), st.integers(0, 2))),
            )
        )
    return nodes


@st.composite
def wanted(draw: st.DrawFn) -> Ask:
    return Ask(
        pool=draw(st.sampled_from("pq")),
        cores=draw(st.sampled_from([0.0, 1.0, 4.0, 16.0])),
        memory_mb=draw(st.sampled_from([0.0, 1_000.0, 8_000.0])),
        device=draw(st.sampled_from(["", *CLASSES])),
        device_mb=draw(st.sampled_from([0.0, 4_000.0, 16_000.0, 40_000.0])),
        share=draw(st.sampled_from(SHARES)),
        devices=draw(st.sampled_from([1, 1, 1, 2])),
        wants=draw(st.frozensets(st.sampled_from("xy"))),
        spread=draw(st.booleans()),
        market=draw(st.sampled_from(["", *MARKETS])),
    )


Scene = tuple[list[Ask], list[Node]]


def crowd(seed: int) -> Scene:
    """Few kinds of asks, many of each, large and small by turns, on few nodes that all may take them: room runs out in every way."""
    dice = random.Random(seed)
    nodes = []
    for n in range(dice.randint(2, 4)):
        devices = tuple(
            Accelerator(dice.choice("aab"), 80_000, 80_000 * dice.choice(SHARES[2:]), dice.choice(SHARES[1:]))
            for _ in range(dice.randint(0, 3))
        )
        cores, memory = dice.choice((8.0, 16.0)), dice.choice((8_000.0, 16_000.0))
        more = {
            "group": dice.choice(("", "zone")),
            "market": dice.choice(MARKETS),
            "artifacts": frozenset(dice.sample("xy", dice.randint(0, 2))),
        }
        nodes.append(Node(f"n{n}", 16, cores, 16_000, memory, devices, **more))  # type: ignore[arg-type]
    kinds = [
        Ask(
            dice.choice("pq"),
            dice.choice((0.0, 1.0, 2.0, 12.0)),
            dice.choice((500.0, 1_000.0, 9_000.0)),
            dice.choice(("", "a", "a", "b")),
            dice.choice((0.0, 10_000.0, 40_000.0)),
            dice.choice(SHARES),
            dice.choice((1, 1, 2)),
            frozenset(dice.sample("xy", dice.randint(0, 2))),
            dice.random() < 0.5,
        )
        for _ in range(dice.randint(2, 5))
    ]
    return [dice.choice(kinds) for _ in range(dice.randint(5, 30))], nodes


scenes = st.one_of(st.tuples(st.lists(wanted(), max_size=12), fleets()), st.integers(0, 1 << 30).map(crowd))


def used(outcomes: list[Outcome], host: str) -> tuple[float, float, Counter[int], Counter[int]]:
    """Cores and MB of a host; of its devices compute (in hundredths) and MB."""
    cores = memory = 0.0
    share, mb = Counter[int](), Counter[int]()
    for o in outcomes:
        if isinstance(o, Placed) and o.host == host:
            cores, memory = cores + o.ask.cores, memory + o.ask.memory_mb
            for d in o.devices:
                share[d] += round(100 * o.ask.share)
                mb[d] += round(o.ask.device_mb)
    return cores, memory, share, mb


def left(nodes: list[Node], outcomes: list[Outcome]) -> list[Node]:
    """The nodes as they are after those placings, reckoned anew."""
    found = []
    for n in nodes:
        cores, memory, share, mb = used(outcomes, n.host)
        devices = tuple(replace(d, share=d.share - share[i] / 100, free_mb=d.free_mb - mb[i]) for i, d in enumerate(n.devices))
        found.append(replace(n, cores_free=n.cores_free - cores, free_mb=n.free_mb - memory, devices=devices))
    return found


def fits(ask: Ask, node: Node, *, anywhere: bool = False) -> bool:
    """Room, in the plainest words; and permission, unless `anywhere`."""
    if not anywhere and (ask.market not in ("", node.market) or (node.pools is not None and ask.pool not in node.pools)):
        return False
    holding = [d for d in node.devices if d.hardware == ask.device and d.share >= ask.share and d.free_mb >= ask.device_mb]
    return node.cores_free >= ask.cores and node.free_mb >= ask.memory_mb and (not ask.device or len(holding) >= ask.devices)


@given(scenes)
def test_no_capacity_is_exceeded_and_none_is_where_it_may_not_be(scene: Scene) -> None:
    asks, nodes = scene
    outcomes = place(asks, nodes)
    assert [o.ask for o in outcomes] == asks
    by_host = {n.host: n for n in nodes}
    for host, node in by_host.items():
        cores, memory, share, mb = used(outcomes, host)
        assert cores <= node.cores_free
        assert memory <= node.free_mb
        for d, device in enumerate(node.devices):
            assert share[d] <= 100 * device.share
            assert mb[d] <= device.free_mb
    for o in outcomes:
        if isinstance(o, Placed):
            node = by_host[o.host]
            assert len(set(o.devices)) == len(o.devices) == o.ask.count
            assert all(node.devices[d].hardware == o.ask.device for d in o.devices)
            assert o.ask.market in ("", node.market)
            assert node.pools is None or o.ask.pool in node.pools


@given(scenes)
def test_who_has_no_place_is_told_why_and_it_is_true(scene: Scene) -> None:
    asks, nodes = scene
    outcomes = place(asks, nodes)
    for k, o in enumerate(outcomes):
        now = left(nodes, outcomes[:k])
        assert isinstance(o, Placed) == any(fits(o.ask, n) for n in now)
        if isinstance(o, Unplaced):
            check_reason(o, now)


def check_reason(o: Unplaced, nodes: list[Node]) -> None:
    ask = o.ask
    may = [n for n in nodes if n.pools is None or ask.pool in n.pools]
    had = [n for n in may if ask.market in ("", n.market)]
    able = [n for n in had if not ask.device or any(d.hardware == ask.device for d in n.devices)]
    empty = {
        n.host: replace(
            n, cores_free=n.cores, free_mb=n.memory_mb, devices=tuple(replace(d, free_mb=d.memory_mb, share=1.0) for d in n.devices)
        )
        for n in able
    }
    steps = [("no-nodes", nodes), ("no-offer", may), ("no-market", had), ("no-class", able)]
    if nothing := next((code for code, found in steps if not found), ""):
        assert (o.code, o.host, o.missing) == (nothing, "", {})
        return
    devices = [d for n in able for d in n.devices if d.hardware == ask.device]
    together = sum(n.cores_free for n in able) >= ask.cores and sum(n.free_mb for n in able) >= ask.memory_mb
    together &= sum(d.share for d in devices) >= ask.share * ask.count and sum(d.free_mb for d in devices) >= ask.device_mb * ask.count
    if not any(fits(ask, n) for n in empty.values()):
        assert o.code == "too-large"
    else:
        assert o.code == ("fragmented" if together else "full")
    node = empty[o.host] if o.code == "too-large" else next(n for n in able if n.host == o.host)
    assert o.missing
    assert o.host in o.text
    others = empty.values() if o.code == "too-large" else able
    assert distance(ask, node) <= min(distance(ask, n) for n in others) + 1e-6
    # with what is missing added, and not with less, it would fit
    assert fits(ask, mended(node, o, 1.0))
    assert not fits(ask, mended(node, o, 0.5))


def distance(ask: Ask, node: Node) -> float:
    """What the node lacks, in parts of what is asked for."""
    lack = [(ask.cores - node.cores_free, ask.cores), (ask.memory_mb - node.free_mb, ask.memory_mb)]
    far = sum(max(0.0, lacking) / whole for lacking, whole in lack if whole)
    ours = [d for d in node.devices if ask.device and d.hardware == ask.device]
    each = sorted(
        max(0.0, ask.share - d.share) / (ask.share or 1) + max(0.0, ask.device_mb - d.free_mb) / (ask.device_mb or 1) for d in ours
    )
    lone = max(0, ask.count - len(each))
    return far + sum(each[: ask.count]) / max(1, ask.count) + lone / max(1, ask.count)


def mended(node: Node, o: Unplaced, part: float) -> Node:
    """The node with a part of what it has too little of. The devices that come nearest get what each of them lacks."""
    ask, missing = o.ask, o.missing

    def short(d: Accelerator) -> tuple[float, float]:
        share, mb = max(0.0, ask.share - d.share), max(0.0, ask.device_mb - d.free_mb)
        return share / (ask.share or 1) + mb / (ask.device_mb or 1), mb  # of devices equally near, the one with more memory

    ours = sorted((i for i, d in enumerate(node.devices) if d.hardware == ask.device), key=lambda i: short(node.devices[i]))[: ask.count]
    share = sum(max(0.0, ask.share - node.devices[i].share) for i in ours)
    mb = sum(max(0.0, ask.device_mb - node.devices[i].free_mb) for i in ours)
    if ask.device:
        assert missing.get("share", 0.0) == pytest.approx(share)
        assert missing.get("device_mb", 0.0) == pytest.approx(mb)
    devices = list(node.devices)
    for i in ours:
        d = devices[i]
        devices[i] = replace(
            d, share=d.share + part * max(0, ask.share - d.share), free_mb=d.free_mb + part * max(0, ask.device_mb - d.free_mb)
        )
    devices += [Accelerator(ask.device, ask.device_mb, ask.device_mb)] * int(part * missing.get("devices", 0))
    cores, memory = missing.get("cores", 0.0), missing.get("memory_mb", 0.0)
    return replace(node, cores_free=node.cores_free + part * cores, free_mb=node.free_mb + part * memory, devices=tuple(devices))


@given(scenes, st.randoms(use_true_random=False))
def test_the_same_asks_have_the_same_places_however_the_nodes_are_told(scene: Scene, dice: object) -> None:
    asks, nodes = scene
    told = list(nodes)
    dice.shuffle(told)  # type: ignore[attr-defined]
    assert place(asks, nodes) == place(asks, nodes) == place(asks, told)


@given(scenes, st.integers(0, 30))
def test_an_ask_depends_on_earlier_ones_alone_and_on_none_that_had_no_place(scene: Scene, k: int) -> None:
    """What is monotone. (That fewer asks leave more room is not: an earlier one may take a place that is worse for the next.)"""
    asks, nodes = scene
    mix = Mix.of(asks)
    outcomes = place(asks, nodes, mix)
    assert place(asks[:k], nodes, mix) == outcomes[:k]
    had = [o for o in outcomes if isinstance(o, Placed)]
    assert place([o.ask for o in had], nodes, mix) == had


@given(scenes)
def test_what_finds_no_place_finds_none_later_nor_does_more(scene: Scene) -> None:
    asks, nodes = scene
    placer = Placer(nodes, Descent(Mix.of(asks)))
    refused: list[Ask] = []
    for ask in asks:
        outcome = placer.place(ask)
        for no in refused:
            assert isinstance(placer.place(no), Unplaced)
            assert isinstance(placer.place(replace(no, cores=no.cores + 1, memory_mb=no.memory_mb + 1, devices=no.devices + 1)), Unplaced)
        refused += [ask] * isinstance(outcome, Unplaced)


@given(scenes)
def test_placing_one_by_one_is_as_good_as_anew(scene: Scene) -> None:
    """What is remembered between asks changes nothing."""
    asks, nodes = scene
    mix = Mix.of(asks)
    outcomes = place(asks, nodes, mix)
    for k, ask in enumerate(asks):
        has = {n.host: Counter(n.has) for n in nodes}
        for o in outcomes[:k]:
            if isinstance(o, Placed):
                has[o.host][o.ask.pool] += 1
        now = [replace(n, has=has[n.host]) for n in left(nodes, outcomes[:k])]
        (fresh,) = place([ask], now, mix)
        if isinstance(fresh, Placed):
            assert isinstance(outcomes[k], Placed)
            assert (fresh.host, fresh.devices, fresh.score) == (outcomes[k].host, outcomes[k].devices, outcomes[k].score)  # type: ignore[union-attr]
        else:
            assert isinstance(outcomes[k], Unplaced)


def gpu_node(host: str, *shares: float, market: str = "on-demand", artifacts: str = "", total_mb: float = 80_000, **more: object) -> Node:
    devices = tuple(Accelerator("a", total_mb, total_mb * s, s) for s in shares)
    return Node(host, 32, 32, 64_000, 64_000, devices, market, frozenset(artifacts.split()), **more)  # type: ignore[arg-type]


def part(share: float, **more: object) -> Ask:
    return Ask("p", 1, 100, "a", 80_000 * share, share, **more)  # type: ignore[arg-type]


def hosts(outcomes: list[Outcome]) -> list[str]:
    return [o.host if isinstance(o, Placed) else o.code for o in outcomes]


def test_an_empty_cluster_takes_exactly_what_fits() -> None:
    outcomes = place([part(0.25)] * 9, [gpu_node("n", 1.0, 1.0)])
    assert hosts(outcomes) == ["n"] * 8 + ["full"]
    assert Counter(o.device for o in outcomes if isinstance(o, Placed)) == {0: 4, 1: 4}
    assert hosts(place([part(1.0, devices=2)] * 2, [gpu_node("n", 1.0, 1.0)])) == ["n", "full"]


def test_several_instances_share_a_device_by_memory_alone() -> None:
    whisper = Ask("p", 1, 0, "a", 30_000)
    assert hosts(place([whisper] * 3, [gpu_node("n", 1.0)])) == ["n", "n", "full"]


def test_what_asks_for_little_goes_where_something_is_broken_already() -> None:
    """Half a device goes to the half that is free, though the other node's cores would be fuller: a whole device is worth more."""
    nodes = [gpu_node("half", 0.5), replace(gpu_node("whole", 1.0), cores_free=2.0)]
    assert hosts(place([part(0.5)], nodes, Mix.of([part(0.5), part(1.0)]))) == ["half"]


def test_cores_that_devices_need_are_not_idled_beside() -> None:
    nodes = [gpu_node("a-gpu", 1.0), Node("b-cpu", 32, 32, 64_000, 64_000)]
    assert hosts(place([Ask("q", 4, 100)], nodes)) == ["b-cpu"]
    busy = Ask("q", 16, 100)
    assert hosts(place([busy] * 3, nodes, Mix.of([busy, part(1.0, spread=False)]))) == ["b-cpu", "b-cpu", "a-gpu"]


def test_fragmentation_by_hand() -> None:
    """A node with 0.5 and 0.25 of two devices free and 8 cores. Mix: half of it asks for 0.5, a quarter for 1.0, a quarter for no device."""
    free = Free(replace(gpu_node("n", 0.5, 0.25), cores_free=8.0))
    asks = [Ask("p", 4, 0, "a", 0, 0.5), Ask("p", 4, 0, "a", 0, 1.0), Ask("p", 4)]
    gauge = Fragmentation(Mix.weighted([(asks[0], 2), (asks[1], 1), (asks[2], 1)], cover=1.0))
    # for 0.5: the 0.25 that is too little; for 1.0 no place: 0.75; for none: 0.75
    assert gauge.of(free) == pytest.approx(0.5 * 0.25 + 0.25 * 0.75 + 0.25 * 0.75)
    # 6 of its cores gone: nobody has a place any more
    assert gauge.of(free, Ask("p", 6)) == pytest.approx(0.75)
    # the half device taken: nobody can use the quarter
    assert gauge.of(free, asks[0], (0,)) == pytest.approx(0.25)
    assert Descent(gauge.mix).score(free, asks[0], (0,)) == pytest.approx(0.25 - 0.5)


@given(scenes)
def test_fragments_are_between_nothing_and_all_that_is_free(scene: Scene) -> None:
    asks, nodes = scene
    gauge = Fragmentation(Mix.of(asks))
    for node in nodes:
        free = Free(node)
        amount = sum(free.amount(d) for d in range(len(node.devices)))
        assert -1e-9 <= gauge.of(free) <= amount + 1e-9
        # by the definition, ask by ask
        mean = 0.0
        for ask, p in gauge.mix.asks:
            holding = [d for d in range(len(node.devices)) if ask.device and free.holds(ask, d)]
            unusable = amount - sum(free.amount(d) for d in holding) if ask.device and fits(ask, node) else amount
            mean += p * unusable
        assert gauge.of(free) == pytest.approx(mean if gauge.mix.asks else amount)


def test_weights_that_are_there_decide_between_equals_and_a_small_difference() -> None:
    nodes = [gpu_node("n1", 1.0), gpu_node("n2", 1.0, artifacts="whisper"), gpu_node("n3", 1.0)]
    outcome = place([part(0.5, wants=frozenset({"whisper"}))], nodes)[0]
    assert isinstance(outcome, Placed)
    assert (outcome.host, outcome.why["missing_artifacts"]) == ("n2", 0.0)
    # but not against a whole device that would be broken
    nodes = [gpu_node("half", 0.5), gpu_node("whole", 1.0, artifacts="whisper")]
    mix = Mix.of([part(1.0), part(0.5)])
    assert hosts(place([part(0.5, wants=frozenset({"whisper"}))], nodes, mix)) == ["half"]


@given(st.integers(2, 12), st.integers(2, 6), st.booleans())
def test_no_revocation_takes_a_whole_pool(n: int, groups: int, spread: bool) -> None:
    nodes = [gpu_node(f"n{k}", 1.0, 1.0, 1.0, market="spot", group=f"z{k % groups}") for k in range(2 * groups)]
    outcomes = place([part(0.25, spread=spread)] * n, nodes)
    count = Counter(nodes[int(o.host[1:])].group for o in outcomes if isinstance(o, Placed))
    assert sum(count.values()) == n
    if spread:
        assert max(count.values()) <= max(1, -(-n // min(3, groups)))
    else:
        assert len(count) == 1  # it packs


def test_what_the_pool_has_already_counts_for_spreading() -> None:
    nodes = [gpu_node("n1", 0.5, market="spot", has={"p": 1}), gpu_node("n2", 1.0, market="spot")]
    assert hosts(place([part(0.5, spread=True)], nodes)) == ["n2"]
    assert hosts(place([part(0.5)], nodes)) == ["n1"]


def test_two_nodes_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two nodes are named n"):
        place([], [gpu_node("n", 1.0), gpu_node("n", 1.0)])


# --- nodes from heartbeats --------------------------------------------------------------------------------------------------------------

HEAR = Implementation("hear", "Hear", "m:C", memory_mb=3_000, threads=2, compute_share=0.25, weights="whisper", runs_on=("cpu", "gpu"))
LIBRARY = {("Hear", "hear"): HEAR}
CPU: Key = ("Hear", "hear", "cpu")
GPU: Key = ("Hear", "hear", "h100-80gb")


def beat(host: str = "h", at: float = 1.0, **more: object) -> HostHeartbeat:
    devices = (
        Device("cpu", "cpu", 10_000, 0),
        Device("NVIDIA H100 80GB HBM3", "gpu", 80_000, 0, id="g0"),
        Device("NVIDIA L4", "gpu", 24_000, 0, id="g1"),
    )
    return HostHeartbeat(**{"host": host, "at": at, "devices": devices, "offers": (Offer(*CPU), Offer(*GPU)), "cores": 8, **more})  # type: ignore[arg-type]


def test_nodes_are_hosts_less_what_they_shall_have() -> None:
    has = [Desired("i1", *CPU), Desired("i2", *GPU, device="g0"), Desired("i3", *GPU)]
    (node,) = nodes_of([beat()], {"h": has}, LIBRARY)
    assert (node.cores, node.cores_free, node.memory_mb, node.free_mb) == (8, 2, 8_000, 5_000)
    assert [(d.hardware, d.free_mb, d.share, d.id) for d in node.devices] == [("h100-80gb", 58_000, 0.5, "g0"), ("l4", 19_200, 1.0, "g1")]
    assert node.has == {pool_of(CPU): 1, pool_of(GPU): 2}
    assert node.pools == frozenset({pool_of(CPU), pool_of(GPU)})
    assert node.artifacts == {"whisper"}
    (warm,) = nodes_of([beat(instances=(Instance("i1", *CPU, "warm", 1),))], {}, LIBRARY)
    assert warm.artifacts == {"whisper", "loaded:Hear/hear"}


def test_an_instance_of_a_pool_finds_its_device_and_its_market() -> None:
    outcomes = place([ask_of(GPU, HEAR), ask_of(CPU, HEAR)], nodes_of([beat()], {}, LIBRARY))
    assert [(o.host, o.device) for o in outcomes if isinstance(o, Placed)] == [("h", 0), ("h", -1)]
    spot_key: Key = ("Hear", "hear", "cpu-spot")
    ask = ask_of(spot_key, HEAR)
    assert ask.spread
    assert hosts(place([ask], nodes_of([beat()], {}, LIBRARY))) == ["no-offer"]
    assert hosts(place([ask], nodes_of([beat(market="spot", offers=(Offer(*spot_key),))], {}, LIBRARY))) == ["h"]


def test_hosts_that_go_are_no_nodes_and_the_newest_word_counts() -> None:
    beats = [beat("h", 2.0, cores=4), beat("h", 1.0), beat("gone", leaving=True), beat("going", revoked_at=9.0)]
    assert [(n.host, n.cores) for n in nodes_of(beats, {}, LIBRARY)] == [("h", 4)]


def test_a_host_that_lies_has_nothing_left_and_never_less() -> None:
    liar = beat(devices=(Device("cpu", "cpu", -5, 99), Device("NVIDIA H100 80GB HBM3", "gpu", -1, 7)))
    (node,) = nodes_of(
        [liar], {"h": [Desired(f"i{n}", *GPU) for n in range(9)] + [Desired("x", "No", "such", "cpu", memory_mb=500)]}, LIBRARY
    )
    assert (node.cores_free, node.free_mb, node.devices[0].free_mb) == (0, 0, 0)
    assert hosts(place([ask_of(CPU, HEAR)], [node])) == ["too-large"]
