"""The hardware catalogue, prices by market, and profiles carried over between classes."""

from __future__ import annotations

import csv
from importlib.resources import files
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from murakkab.bus.messages import Line, Profile
from murakkab.optimizer.hardware import HardwareClass, catalogue, hardware_of, joined, known, split
from murakkab.optimizer.prices import HARVEST_SHARE, Prices
from murakkab.optimizer.published import as_agent, cold_start_s, published
from murakkab.optimizer.transfer import transfer


def rows(name: str) -> list[dict[str, str]]:
    text = files("murakkab.optimizer").joinpath(f"data/{name}").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def test_every_value_says_where_it_comes_from_and_when() -> None:
    for row in rows("hardware.csv"):
        assert row["field"] == "kind" or (row["source"] and row["unit"] and row["date"]), row
    for found in rows("published.csv"):
        assert all((found["source"], found["date"], float(found["seconds_per_unit"]) > 0)), found
    for device in catalogue().values():
        assert {"memory_gb", "bandwidth_gb_s", "tflops", "tdp_w"} <= device.source.keys()
        assert ("usd_per_hour" in device.source) == (device.usd_per_hour is not None)


def test_the_cpu_is_the_one_that_all_modelled_figures_rest_on() -> None:
    rates = Prices({}).of("cpu")
    assert rates.watts_per_core == 300 / 64
    assert rates.usd_per_core_hour == pytest.approx(5.6952 / 96, rel=1e-12)
    assert rates.usd_per_device_hour == 0


@pytest.mark.parametrize("name", [n for n, d in catalogue().items() if d.kind == "gpu"])
def test_a_class_is_plausible(name: str) -> None:
    device = catalogue()[name]
    assert device.usd_per_hour is None or 0.2 < device.usd_per_hour < 20
    assert device.spot_usd_per_hour is None or (device.usd_per_hour is not None and device.spot_usd_per_hour < device.usd_per_hour)
    assert device.idle_w is None or device.idle_w < device.tdp_w / 3
    assert not device.power_caps_w or device.power_caps_w[0] < device.power_caps_w[1] <= device.tdp_w
    assert hardware_of(name) == name or name.count("-") >= 1


@pytest.mark.parametrize(
    ("device", "hardware"),
    [
        ("NVIDIA H200", "h200"),
        ("NVIDIA A100-SXM4-80GB", "a100-80gb"),
        ("NVIDIA A100 80GB PCIe", "a100-pcie-80gb"),
        ("NVIDIA H100 80GB HBM3", "h100-80gb"),
        ("NVIDIA H100 PCIe", "h100-pcie-80gb"),
        ("NVIDIA B200", "b200"),
        ("Tesla T4", "t4"),
        ("Tesla V100-SXM2-16GB", "v100-16gb"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("NVIDIA A10G", "a10g"),
        ("NVIDIA H200 NVL", "h200-nvl"),
        ("NVIDIA H200 MIG 1g.18gb", "h200-mig-1g-18gb"),
        ("Strange spot", "strange-spot-gpu"),
        ("CPU", "cpu-gpu"),
        ("", "gpu"),
    ],
)
def test_device_names(device: str, hardware: str) -> None:
    assert hardware_of(device) == hardware


@given(st.text())
def test_any_device_name_gives_one_token_that_is_no_market_and_no_cpu(device: str) -> None:
    name = hardware_of(device)
    assert name not in ("", "cpu")
    assert split(name) == (name, "on-demand")
    assert all(c.isascii() and (c.isalnum() or c == "-") for c in name)


@given(st.sampled_from(sorted(catalogue())), st.sampled_from(["on-demand", "spot", "harvest"]))
def test_market_suffixes(base: str, market: str) -> None:
    assert split(joined(base, market)) == (base, market)
    usd = {m: Prices({}).of(joined(base, m)) for m in ("on-demand", "spot", "harvest")}
    dear, spot, harvest = (r.usd_per_core_hour + r.usd_per_device_hour for r in usd.values())
    assert harvest == pytest.approx(HARVEST_SHARE * dear)
    assert harvest < spot <= dear
    assert len({r.watts_per_core for r in usd.values()}) == 1


def test_the_environment_goes_first_and_markets_keep_their_discount() -> None:
    usual, own = Prices({}), Prices({"MURAKKAB_WATTS_PER_CORE": "2", "MURAKKAB_USD_PER_CORE_HOUR": "3"})
    assert (own.of("cpu").watts_per_core, own.of("cpu").usd_per_core_hour) == (2.0, 3.0)
    discount = usual.of("cpu-spot").usd_per_core_hour / usual.of("cpu").usd_per_core_hour
    assert own.of("cpu-spot").usd_per_core_hour == pytest.approx(3 * discount)


@pytest.mark.parametrize("bad", ["nan", "-1", "inf", "much"])
@pytest.mark.parametrize("name", ["MURAKKAB_WATTS_PER_CORE", "MURAKKAB_USD_PER_CORE_HOUR"])
def test_rates_that_are_none_are_refused(name: str, bad: str) -> None:
    with pytest.raises(ValueError, match="MURAKKAB_WATTS_PER_CORE and MURAKKAB_USD_PER_CORE_HOUR are numbers"):
        Prices({name: bad})


def test_what_is_guessed_says_so() -> None:
    assert "not in the hardware catalogue" in Prices({}).of("abacus").note
    assert "guessed" in Prices({}).of("mi300x").note
    assert Prices({}).of("mi300x").usd_per_device_hour > 0
    assert Prices({}).of("h200").note == ""


def test_several_devices_are_as_many_times_everything() -> None:
    one, eight = Prices({}).of("h100-80gb"), Prices({}).of("h100-80gb-x8")
    assert eight.usd_per_device_hour == pytest.approx(8 * one.usd_per_device_hour)
    assert eight.device_idle_w == pytest.approx(8 * one.device_idle_w)
    assert known("cpu-x8") is None
    assert known("abacus-x8") is None


# --- carried over ---------------------------------------------------------------------------------------------------------------

LINE = Line(0.1, {"tokens_in": 0.001, "tokens_out": 0.02, "images": 0.05})


def profile(hardware: str, energy: Line | None = None, how: str = "measured") -> Profile:
    return Profile("A", "x", hardware, how, "here", cpu=LINE, time=LINE, energy=energy, quality=0.7, memory_mb=9.0, samples=30)  # type: ignore[arg-type]


def carried(one: Profile, to: str) -> Profile:
    return transfer(one, to, known(one.hardware), known(to))


def test_what_is_carried_over_says_so_and_keeps_its_quality() -> None:
    there = carried(profile("a100-80gb", Line(0.0, {"images": 1.0})), "h100-80gb")
    assert (there.how, there.hardware, there.quality, there.memory_mb, there.samples) == ("estimate", "h100-80gb", 0.7, 9.0, 0)
    assert "here; carried over from a100-80gb" in there.source
    assert there.time.base == LINE.base
    assert all(there.time.per[u] < LINE.per[u] for u in LINE.per)
    assert there.energy is not None
    assert there.energy.per["images"] < 1.0
    assert carried(profile("cpu", how="prior"), "h200").how == "prior", "a guess carried over is a guess"


def test_cpus_are_alike_and_unknown_classes_are_taken_as_they_are() -> None:
    assert carried(profile("cpu"), "cpu").time == LINE
    assert carried(profile("cpu"), "abacus").time == LINE
    assert carried(profile("cpu", Line(1.0)), "h200").energy is None, "a host's counter says nothing of a device"


GPUS = [d for d in catalogue().values() if d.kind == "gpu"]


@given(st.sampled_from(GPUS), st.sampled_from(GPUS), st.sampled_from(GPUS))
def test_a_better_device_is_never_slower_and_there_and_back_is_the_same(origin: HardwareClass, a: HardwareClass, b: HardwareClass) -> None:
    start = profile(origin.name)
    on_a, on_b = carried(start, a.name), carried(start, b.name)
    if a.tflops <= b.tflops:
        assert on_b.time.per["images"] <= on_a.time.per["images"] * (1 + 1e-9)
    if a.bandwidth_gb_s <= b.bandwidth_gb_s:
        assert on_b.time.per["tokens_out"] <= on_a.time.per["tokens_out"] * (1 + 1e-9)
    back = carried(on_a, origin.name)
    assert all(back.time.per[u] == pytest.approx(LINE.per[u]) for u in LINE.per)


@given(st.sampled_from(GPUS))
def test_every_gpu_is_faster_than_a_core_but_not_beyond_reason(gpu: HardwareClass) -> None:
    there = carried(profile("cpu"), gpu.name)
    assert 2 <= LINE.per["images"] / there.time.per["images"] <= 50 + 1e-9
    alone = transfer(Profile("A", "x", "cpu", cpu=Line(1.0), time=Line(1.0)), gpu.name, known("cpu"), gpu)
    assert alone.time.base <= 0.5, "a line with nothing but a base is all work"


def test_the_rule_comes_within_a_third_of_what_was_published() -> None:
    """Time a written token: the rule's figure from the older device, against the published one of the newer."""
    found = {(p.implementation, p.hardware): p for p in published()}
    for name, old, new in (
        ("llama2-70b/fp16", "a100-80gb-x8", "h100-80gb-x8"),
        ("bloom-176b/fp16", "a100-80gb-x8", "h100-80gb-x8"),
        ("meta-llama/llama-3.1-8b-instruct/bf16", "h100-80gb", "b200"),
        ("qwen/qwen3-14b/bf16", "h100-80gb", "b200"),
    ):
        rule = carried(found[name, old], new).time.per["tokens_out"]
        assert rule == pytest.approx(found[name, new].time.per["tokens_out"], rel=1 / 3), name


# --- published ------------------------------------------------------------------------------------------------------------------


def test_published_profiles_have_sources_and_finite_lines() -> None:
    found = published()
    assert len({(p.agent, p.implementation, p.hardware) for p in found}) == len(found) >= 30
    for p in found:
        assert p.how == "published"
        assert p.source
        assert all(rate > 0 for rate in p.time.per.values())
        assert known(p.hardware) is not None
        assert all(a[1] <= b[1] for a, b in pairwise(sorted(p.crowd.items()))), "more calls at a time take no less each"


def test_whisper_rates_are_those_of_the_table() -> None:
    tiny = next(p for p in published() if p.implementation == "openai/whisper-tiny.en/batched")
    assert tiny.time.at(1, {"audio_s": 348.12}) == pytest.approx(1.0, rel=1e-4)
    assert tiny.quality == pytest.approx(1 - 0.1281)


def test_a_language_model_serves_any_agent() -> None:
    llama = next(p for p in published() if p.implementation.startswith("meta-llama") and p.hardware == "h100-80gb")
    mine = as_agent(llama, "MathReasoner", "vllm")
    assert (mine.agent, mine.implementation, mine.how, mine.time) == ("MathReasoner", "vllm", "published", llama.time)
    assert mine.energy is not None
    assert mine.energy.at(1, {"tokens_out": 1e6}) == pytest.approx(0.11858 * 1e6 / 3600, rel=1e-3)


def test_bigger_models_start_later() -> None:
    assert cold_start_s(1.2) == pytest.approx(21.0, rel=0.02)
    assert cold_start_s(61) == pytest.approx(47.4, rel=0.02)
    assert cold_start_s(-1) == cold_start_s(0)
