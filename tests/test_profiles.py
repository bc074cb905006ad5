"""The store of profiles: what is best known of a pool, and how finished tasks refine it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from murakkab.agents.spec import Implementation
from murakkab.bus.messages import Line, Profile, StageReport
from murakkab.optimizer.hosted import hosted_profiles
from murakkab.optimizer.learning import LEARNT, LEARNT_TASKS
from murakkab.optimizer.profiles import BadProfile, Profiles

ROW = Implementation("x", "A", "m:C", work_s=2.0, load_s=3.0, memory_mb=77, quality=0.8, quality_how="a bench")
HOSTED = Implementation("far", "A", "m:C", variable="MURAKKAB_LLM_URL", quality=0.7)
LIBRARY = {("A", "x"): ROW, ("A", "far"): HOSTED}
MEASURED = Profile("A", "x", "cpu", "measured", "this machine", 10.0, Line(0.1, {"audio_s": 0.5}), Line(0.1, {"audio_s": 0.5}), samples=20)


def report(tasks: int, cpu_s: float, units: dict[str, float] | None = None, busy_s: float = 0.0, hardware: str = "cpu") -> StageReport:
    return StageReport("s", "A", "x", hardware, tasks, 0.0, 1.0, 0.0, 0.0, cpu_s=cpu_s, busy_s=busy_s, units=units or {})


# --- what is known --------------------------------------------------------------------------------------------------------------


def test_a_row_gives_a_prior_and_nobody_gives_none() -> None:
    found = Profiles(LIBRARY).get("A", "x", "cpu")
    assert (found.how, found.cpu, found.load_s, found.memory_mb, found.quality) == ("prior", Line(2.0), 3.0, 77.0, 0.8)
    with pytest.raises(KeyError, match="no implementation 'y' of A"):
        Profiles(LIBRARY).get("A", "y", "cpu")
    assert Profiles(LIBRARY).all() == ()


def test_another_market_is_the_same_machine() -> None:
    it = Profiles(LIBRARY, [MEASURED])
    assert it.get("A", "x", "cpu-spot") == replace(MEASURED, hardware="cpu-spot")
    learnt = it.learn(report(5, 10.0, {"audio_s": 10.0}, hardware="cpu-harvest"), 11.0)
    assert learnt is not None
    assert learnt.hardware == "cpu"
    assert it.get("A", "x", "cpu") == learnt
    assert it.known(replace(MEASURED, hardware="cpu-spot")) == replace(learnt, hardware="cpu-spot")


def test_the_best_that_is_known_goes_first() -> None:
    it = Profiles(LIBRARY)
    assert it.get("A", "x", "h200").how == "prior"
    it.put(MEASURED)
    assert it.get("A", "x", "h200").how == "estimate"
    assert "cpu" in it.get("A", "x", "h200").source
    there = Profile("A", "x", "h200", "published", "a paper", time=Line(0.0, {"audio_s": 0.002}), quality_how="")
    it.put(there)
    found = it.get("A", "x", "h200")
    assert found.source == "a paper", "for this very class, before a guess from a CPU"
    assert (found.quality, found.load_s, found.memory_mb) == (0.8, 3.0, 77.0), "of the row, where the publication has none"
    assert Profiles(LIBRARY, [there]).get("A", "x", "cpu").how == "prior", "a guess for this kind of device, before one from another"
    assert it.get("A", "x", "b200").source.startswith("a paper; carried over from h200")
    it.put(replace(MEASURED, hardware="h100-80gb", source="a lab"))
    assert it.get("A", "x", "h200").source.startswith("a lab; carried over"), "what was measured on another GPU says more"
    it.put(replace(MEASURED, hardware="h200", source="a rack"))
    assert it.get("A", "x", "h200").source == "a rack"


def test_a_copy_learns_by_itself() -> None:
    it = Profiles(LIBRARY, [MEASURED])
    twin = it.copy()
    twin.learn(report(9, 90.0, {"audio_s": 9.0}), 1.0)
    assert it.get("A", "x", "cpu") == MEASURED
    assert twin.get("A", "x", "cpu") != MEASURED


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"agent": ""}, "must be named"),
        ({"implementation": ""}, "must be named"),
        ({"hardware": ""}, "must be named"),
        *[({field: value}, f"{field} is") for field in ("load_s", "memory_mb", "drift", "spread", "at") for value in (NAN, INF, -1.0)],
        ({"cpu": Line(NAN)}, "cpu.base is nan"),
        ({"time": Line(0.0, {"audio_s": -1.0})}, "time.per.audio_s is -1.0"),
        ({"energy": Line(INF)}, "energy.base is inf"),
        ({"usd": Line(-0.1)}, "usd.base is -0.1"),
        ({"crowd": {2: NAN}}, "crowd"),
        ({"paths": {3: -1.0}}, "paths"),
        ({"rate_per_s": NAN}, "rate_per_s is nan"),
        ({"idle_w": -3.0}, "idle_w is -3.0"),
        ({"quality": 1.5}, "quality is 1.5: it must be from 0 to 1"),
        ({"quality": -0.1}, "quality is -0.1"),
        ({"drift": 0.0}, "drift is 0.0: it must be over 0"),
    ],
)
def test_a_bad_profile_is_refused_and_nothing_is_lost(wrong: dict[str, object], says: str) -> None:
    it = Profiles(LIBRARY, [MEASURED])
    with pytest.raises(BadProfile, match=r"^profile of .* for .* on .*: ") as refused:
        it.put(replace(MEASURED, **wrong))
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert it.all() == (MEASURED,)


# --- learning -------------------------------------------------------------------------------------------------------------------


def test_a_prior_becomes_a_rate_once_tasks_say_how_much_they_are() -> None:
    it = Profiles(LIBRARY)
    first = it.learn(report(5, 5 * 2.0, {"audio_s": 50.0}), 1.0)
    assert first is not None
    assert first.cpu.base == 0.0
    assert first.cpu.per == {"audio_s": pytest.approx(0.2)}, "the same amount, as a rate"
    for n in range(30):
        it.learn(report(5, 5 * 0.3 * (n + 1), {"audio_s": 5.0 * (n + 1)}), 1.0)
    found = it.get("A", "x", "cpu")
    assert found.cpu.per["audio_s"] == pytest.approx(0.3, rel=0.05)
    assert found.cpu.at(1, {"audio_s": 100.0}) == pytest.approx(30.0, rel=0.05), "which holds for tasks of another length too"


def test_tokens_go_together() -> None:
    it = Profiles(LIBRARY)
    for _ in range(40):
        it.learn(report(5, 5.0, {"tokens_in": 1000.0, "tokens_out": 100.0}), 1.0)
    per = it.get("A", "x", "cpu").cpu.per
    assert per["tokens_in"] == pytest.approx(0.15 * per["tokens_out"])
    assert it.get("A", "x", "cpu").cpu.at(5, {"tokens_in": 1000.0, "tokens_out": 100.0}) == pytest.approx(5.0, rel=0.02)


def test_a_prior_is_no_guess_any_more_once_enough_tasks_ran() -> None:
    it = Profiles(LIBRARY)
    it.learn(report(LEARNT_TASKS - 1, 10.0), 1.0)
    assert it.get("A", "x", "cpu").how == "prior"
    it.learn(report(1, 1.0), 1.0)
    found = it.get("A", "x", "cpu")
    assert (found.how, found.source, found.samples) == ("measured", LEARNT, LEARNT_TASKS)
    before = found.cpu.base
    it.learn(report(50, 50 * before * 2), 1.0)
    assert it.get("A", "x", "cpu").cpu.base > before, "and goes on as a mean"
    assert it.get("A", "x", "cpu").drift == 1.0


def test_wall_time_counts_only_where_a_task_waits() -> None:
    crowded, waiting = Profiles(LIBRARY), Profiles(LIBRARY)
    for _ in range(80):
        crowded.learn(report(5, 10.0, busy_s=20.0), 1.0)
        waiting.learn(report(5, 0.5, busy_s=20.0), 1.0)
    assert crowded.get("A", "x", "cpu").time.base == pytest.approx(2.0, rel=0.05), "two instances shared a core"
    assert waiting.get("A", "x", "cpu").time.base == pytest.approx(4.0, rel=0.05)
    assert waiting.get("A", "x", "cpu").cpu.base == pytest.approx(0.1, rel=0.1)


def test_drift_follows_cpu_and_not_the_load_of_others() -> None:
    it = Profiles(LIBRARY, [MEASURED])
    for _ in range(40):
        it.learn(report(4, 4 * 5.1, {"audio_s": 40.0}, busy_s=400.0), 1.0)
    assert it.get("A", "x", "cpu").drift == pytest.approx(1.0, rel=0.01)
    assert it.drifted() == ()
    for _ in range(40):
        it.learn(report(4, 4 * 5.1 * 2, {"audio_s": 40.0}), 1.0)
    (found,) = it.drifted()
    assert found.drift == pytest.approx(2.0, rel=0.05)
    assert found.cpu == MEASURED.cpu


def test_where_a_device_does_the_work_wall_time_drifts() -> None:
    gpu = replace(MEASURED, hardware="h200", cpu=Line(0.01), time=Line(0.0, {"audio_s": 0.05}))
    it = Profiles(LIBRARY, [gpu])
    for _ in range(40):
        it.learn(report(4, 0.04, {"audio_s": 40.0}, busy_s=3.0, hardware="h200"), 1.0)
    assert it.get("A", "x", "h200").drift == pytest.approx(1.5, rel=0.05)


def test_on_a_device_the_thread_that_waits_for_it_says_nothing() -> None:
    published = replace(MEASURED, hardware="h200", how="published", cpu=Line(0.0, {"audio_s": 0.05}), time=Line(0.0, {"audio_s": 0.05}))
    it = Profiles(LIBRARY, [published])
    guessed = Profiles(LIBRARY)
    for _ in range(60):
        for one in (it, guessed):
            one.learn(report(4, 0.8, {"audio_s": 40.0}, busy_s=2.0, hardware="h200"), 1.0)
    assert it.get("A", "x", "h200").drift == pytest.approx(1.0, rel=0.02)
    assert guessed.get("A", "x", "h200").time.per["audio_s"] == pytest.approx(0.05, rel=0.05)
    assert guessed.get("A", "x", "h200").cpu.per["audio_s"] == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize(
    "nothing",
    [
        report(0, 1.0),
        report(3, NAN),
        report(3, INF),
        report(3, -1.0),
        report(3, 1.0, {"audio_s": NAN}),
        report(3, 1.0, {"audio_s": -2.0}),
        report(3, 1.0, busy_s=NAN),
        report(3, 0.0, {"audio_s": 3.0}),
        report(3, 3.0),
        replace(report(3, 3.0), implementation="from the future"),
    ],
)
def test_reports_of_nothing_teach_nothing(nothing: StageReport) -> None:
    it = Profiles(LIBRARY, [replace(MEASURED, cpu=Line(0.0, {"audio_s": 0.5}), time=Line(0.0, {"audio_s": 0.5}))])
    before = it.all()
    assert it.learn(nothing, 1.0) is None
    assert it.all() == before


@given(truth=st.floats(1e-3, 1e3), tasks=st.integers(1, 50), start=st.floats(0.0, 1e3), by_unit=st.booleans())
@settings(max_examples=60)
def test_a_prior_converges_to_a_constant_truth(truth: float, tasks: int, start: float, by_unit: bool) -> None:
    it = Profiles({("A", "x"): replace(ROW, work_s=start)})
    units = {"audio_s": 7.0 * tasks} if by_unit else {}
    for _ in range(500):
        it.learn(report(tasks, truth * tasks, units, busy_s=truth * tasks), 1.0)
    found = it.get("A", "x", "cpu")
    assert found.cpu.at(tasks, units) == pytest.approx(truth * tasks, rel=0.05)
    assert found.time.at(tasks, units) == pytest.approx(truth * tasks, rel=0.05)


@given(times=st.floats(0.05, 20.0), tasks=st.integers(1, 50), seconds=st.floats(10.0, 1000.0))
@settings(max_examples=60)
def test_drift_converges_to_a_constant_truth(times: float, tasks: int, seconds: float) -> None:
    it = Profiles(LIBRARY, [MEASURED])
    units = {"audio_s": seconds * tasks}
    cpu_s = times * MEASURED.cpu.at(tasks, units)
    for _ in range(500):
        it.learn(report(tasks, cpu_s, units), 1.0)
    found = it.get("A", "x", "cpu")
    assert found.drift * found.cpu.at(tasks, units) == pytest.approx(cpu_s, rel=0.06)


@given(factor=st.floats(1e-12, 1e12), tasks=st.integers(1, 1_000_000), by_unit=st.booleans())
def test_one_absurd_report_moves_nothing_out_of_reach(factor: float, tasks: int, by_unit: bool) -> None:
    units = {"audio_s": 10.0 * tasks}
    for given_profiles in ([], [MEASURED]):
        it = Profiles(LIBRARY, given_profiles)
        usual = it.get("A", "x", "cpu").cpu.at(1, {"audio_s": 10.0})
        it.learn(report(tasks, usual * tasks * factor, units if by_unit or given_profiles else {}), 1.0)
        found = it.get("A", "x", "cpu")
        now = found.cpu.at(1, {"audio_s": 10.0}) * found.drift
        assert usual / 8.1 <= now <= usual * 8.1


REPORTS = st.builds(
    report,
    st.integers(0, 10_000),
    st.floats(allow_nan=True),
    st.dictionaries(st.sampled_from(["audio_s", "images", "tokens_in", "tokens_out", "other"]), st.floats(allow_nan=True), max_size=3),
    st.floats(allow_nan=True),
    st.sampled_from(["cpu", "cpu-spot", "h200", "abacus"]),
)


@given(st.lists(REPORTS, max_size=20), st.booleans())
def test_whatever_is_reported_profiles_stay_good(reports: list[StageReport], measured: bool) -> None:
    it = Profiles(LIBRARY, [MEASURED] if measured else [])
    for one in reports:
        it.learn(one, 1.0)
    for found in it.all():
        Profiles(LIBRARY).put(found)


# --- hosted ---------------------------------------------------------------------------------------------------------------------


def test_hosted_models_have_prices_and_limits() -> None:
    said = {"MURAKKAB_LLM_USD_PER_MTOK_IN": "2", "MURAKKAB_LLM_USD_PER_MTOK_OUT": "10", "MURAKKAB_LLM_REQUESTS_PER_MIN": "90"}
    (found,) = hosted_profiles(said, LIBRARY)
    assert (found.implementation, found.rate_per_s, found.quality) == ("far", 1.5, 0.7)
    assert found.usd is not None
    assert found.usd.at(1, {"tokens_in": 1000.0, "tokens_out": 100.0}) == pytest.approx(0.003)
    assert hosted_profiles({}, LIBRARY) == ()


@pytest.mark.parametrize("name", ["MURAKKAB_LLM_USD_PER_MTOK_IN", "MURAKKAB_LLM_USD_PER_MTOK_OUT", "MURAKKAB_LLM_REQUESTS_PER_MIN"])
@pytest.mark.parametrize("bad", ["nan", "-1", "cheap", "inf"])
def test_bad_prices_name_their_variable(name: str, bad: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}={bad} is not a number of at least 0"):
        hosted_profiles({name: bad}, LIBRARY)


def test_the_latency_of_a_hosted_model_is_learnt_and_its_price_is_todays() -> None:
    def rows(usd: str) -> tuple[Profile, ...]:
        return hosted_profiles({"MURAKKAB_LLM_USD_PER_MTOK_OUT": usd}, LIBRARY)

    it = Profiles(LIBRARY, rows("10"))
    for _ in range(60):
        it.learn(replace(report(2, 0.02, {"tokens_in": 200.0, "tokens_out": 100.0}, busy_s=4.0), implementation="far"), 5.0)
    found = it.get("A", "far", "cpu")
    assert found.time.at(2, {"tokens_in": 200.0, "tokens_out": 100.0}) == pytest.approx(4.0, rel=0.05)
    assert found.usd == Line(0.0, {"tokens_in": 0.0, "tokens_out": 1e-5})
    later = Profiles(LIBRARY, rows("20"))
    later.put(found)
    assert later.get("A", "far", "cpu").usd == Line(0.0, {"tokens_in": 0.0, "tokens_out": 2e-5})
    assert later.get("A", "far", "cpu").time == found.time
