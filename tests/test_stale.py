"""When running plans are called stale: every rule by itself, and that nothing is said without a reason or too often."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from murakkab.bus.messages import HostHeartbeat, Instance, Offer, Profile
from murakkab.optimizer.stale import REASONS_MAX, SAY_EVERY_S, SETTLE_S, Watch

OFFERS = (Offer("Sleep", "sleep", "cpu"), Offer("Spread", "spread", "cpu"))
PROFILE = Profile("Sleep", "sleep", "cpu")


def beat(host: str = "h", **more: Any) -> HostHeartbeat:
    return HostHeartbeat(**{"host": host, "at": 0.0, "offers": OFFERS, "cores": 8, **more})


def instance(state: str, implementation: str = "sleep") -> Instance:
    return Instance("i", "Sleep", implementation, "cpu", state, 4)  # type: ignore[arg-type]


@pytest.fixture
def watch() -> Watch:
    """Knows one host, and has said so."""
    watch = Watch()
    assert watch.beat(beat(), 0.0) == ""
    assert watch.beat(beat(), SETTLE_S) == "h is there"
    return watch


def test_the_first_hosts_are_one_piece_of_news() -> None:
    watch = Watch()
    said = [watch.beat(beat(f"h{n}"), 0.1 * n) for n in range(3)]
    assert said == ["", "", ""]
    assert watch.beat(beat("h0"), SETTLE_S) == "h0 is there; h1 is there; h2 is there"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"revoked_at": 99.0}, "h is revoked"),
        ({"leaving": True}, "h leaves"),
        ({"market": "spot"}, "h is spot now"),
        ({"offers": (*OFFERS, Offer("Sleep", "sleep", "h100-80gb"))}, "h offers sleep on h100-80gb"),
        ({"offers": OFFERS[:1]}, "h no longer offers spread on cpu"),
        ({"offers": ()}, "h no longer offers sleep on cpu, spread on cpu"),
        ({"cores": 4}, "h has 4 cores instead of 8"),
        ({"usd_per_hour": 1.0}, "h has another price"),
        ({"instances": (instance("failed"),)}, "sleep on cpu fails on h"),
    ],
)
def test_a_host_that_changes(watch: Watch, change: dict[str, Any], why: str) -> None:
    assert watch.beat(beat(**change), 10.0) == why
    assert watch.beat(beat(**change), 20.0) == "", "it is said once"


def test_hosts_come_and_go(watch: Watch) -> None:
    assert watch.beat(beat("other", market="spot"), 10.0) == "other is there (spot)"
    assert watch.gone("other", 20.0) == "other is silent"
    assert watch.gone("other", 30.0) == ""
    assert watch.gone("never-heard-of", 40.0) == ""
    assert watch.beat(beat("other"), 50.0) == "other is there"


def test_a_revocation_that_is_taken_back(watch: Watch) -> None:
    watch.beat(beat(revoked_at=99.0), 10.0)
    assert watch.beat(beat(), 20.0) == "h stays after all"


@pytest.mark.parametrize("state", ["loading", "warm", "draining"])
def test_what_is_warm_or_loading_or_busy_is_no_reason(watch: Watch, state: str) -> None:
    changes: list[dict[str, Any]] = [
        {"instances": (instance(state),)},
        {},
        {"instances": (replace(instance(state), busy=4),)},
        {"version": 7},
    ]
    for n, change in enumerate(changes):
        assert watch.beat(beat(**change), 10.0 * (n + 1)) == ""


def test_a_pool_is_ill_until_it_works() -> None:
    watch = Watch()
    watch.beat(beat(), 0.0)
    watch.beat(beat(), SETTLE_S)
    states = ["failed", "loading", "failed", "loading", "warm", "warm"]
    said = [watch.beat(beat(instances=(instance(s),)), 10.0 * (n + 1)) for n, s in enumerate(states)]
    assert said == ["sleep on cpu fails on h", "", "", "", "sleep on cpu no longer fails on h", ""]


def test_many_small_steps_are_a_large_one(watch: Watch) -> None:
    said = [watch.beat(beat(cores=cores), 10.0 * (8 - cores)) for cores in (7, 6, 5)]
    assert said == ["", "h has 6 cores instead of 8", ""]


def test_what_comes_too_soon_is_said_later(watch: Watch) -> None:
    assert watch.beat(beat("a"), 10.0) == "a is there"
    assert watch.gone("a", 10.5) == ""
    assert watch.beat(beat("b"), 11.0) == ""
    assert watch.beat(beat(), 10.0 + SAY_EVERY_S) == "a is silent; b is there"


def test_of_very_many_reasons_the_number_is_said(watch: Watch) -> None:
    watch.beat(beat("a"), 10.0)
    for n in range(50):
        watch.beat(beat(f"n{n}"), 10.1)
    said = watch.beat(beat(), 20.0)
    assert said.endswith("; and 46 more")
    assert said.count(";") == REASONS_MAX


def test_a_profile_drifts_once_per_crossing(watch: Watch) -> None:
    watch.beat(beat(), 10.0)
    said = []
    for n, drift in enumerate([1.0, 1.1, 1.3, 1.25, 1.35, 1.5, 1.7, 1.6, 1.0, 0.9]):
        watch.beat(beat(), 10.0 * (n + 2))
        said.append(watch.profile(replace(PROFILE, drift=drift)))
    name = "sleep on cpu takes"
    assert said == [
        "",
        "",
        f"{name} 1.30 times its profile",
        "",
        "",
        "",
        f"{name} 1.70 times its profile",
        "",
        f"{name} 1.00 times its profile",
        "",
    ]


def test_a_profile_that_is_measured_is_another_one(watch: Watch) -> None:
    assert watch.profile(PROFILE) == ""
    watch.beat(beat(), 10.0)
    assert watch.profile(replace(PROFILE, how="measured")) == "sleep on cpu has another profile (measured)"
    watch.beat(beat(), 20.0)
    assert watch.profile(replace(PROFILE, how="measured", samples=9)) == ""
    assert watch.profile(replace(PROFILE, how="measured", quality=0.9)) == "sleep on cpu has another profile (measured)"


BEATS = st.builds(
    beat,
    st.sampled_from("abc"),
    cores=st.integers(0, 16),
    leaving=st.booleans(),
    revoked_at=st.sampled_from([None, 9.0]),
    usd_per_hour=st.sampled_from([None, 0.0, 1.0, 2.0]),
    offers=st.lists(st.sampled_from(OFFERS)).map(tuple),
    instances=st.lists(st.sampled_from(["loading", "warm", "failed", "draining"]).map(instance), max_size=2).map(tuple),
)


@given(st.lists(st.tuples(st.floats(0.0, 3.0), BEATS | st.sampled_from("abc"))))
def test_never_too_often_and_silent_in_the_end(events: list[tuple[float, HostHeartbeat | str]]) -> None:
    watch, now, said = Watch(), 0.0, []
    for after_s, event in events:
        now += after_s
        why = watch.gone(event, now) if isinstance(event, str) else watch.beat(event, now)
        said += [now] if why else []
    assert all(b - a >= SAY_EVERY_S - 1e-9 for a, b in pairwise(said))
    last = beat("z")
    watch.beat(last, now + 10)
    watch.beat(last, now + 20)
    assert watch.beat(last, now + 30) == ""
    assert not watch.reasons
