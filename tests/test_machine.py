"""What a host is: what its owner says of it, what it offers on which hardware, and which device an instance gets."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from murakkab.actors.main import classes, look_around
from murakkab.agents import host as host_module
from murakkab.agents import library, power
from murakkab.agents.check import agent_problem, implementation_problem
from murakkab.agents.devices import cpu_device, freest, gpu_devices
from murakkab.agents.host import Instances
from murakkab.agents.library import Implementation
from murakkab.agents.machine import BadSetting, Machine, machine
from murakkab.agents.spec import Agent, Take
from murakkab.bus.artifacts import Artifacts
from murakkab.bus.messages import Desired, Device

H100, L4 = "NVIDIA H100 80GB HBM3", "NVIDIA L4"


def gpu(name: str, used_mb: int = 0, memory_mb: int = 80_000) -> Device:
    return Device(name, "gpu", memory_mb, used_mb)


# --- its owner's word -------------------------------------------------------------------------------------------------------------


def test_nothing_said_is_on_demand() -> None:
    assert machine({}) == Machine("on-demand", None, None)
    assert machine({"MURAKKAB_MARKET": "", "MURAKKAB_USD_PER_HOUR": "", "MURAKKAB_REVOCATION_FILE": ""}) == Machine()


def test_what_is_said() -> None:
    said = {"MURAKKAB_MARKET": "harvest", "MURAKKAB_USD_PER_HOUR": "0.07", "MURAKKAB_REVOCATION_FILE": "notice"}
    assert machine(said) == Machine("harvest", 0.07, Path("notice"))


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"MURAKKAB_MARKET": "Spot"}, "MURAKKAB_MARKET=Spot: it is one of on-demand, spot, harvest"),
        ({"MURAKKAB_USD_PER_HOUR": "cheap"}, "MURAKKAB_USD_PER_HOUR=cheap is not a number of at least 0"),
        ({"MURAKKAB_USD_PER_HOUR": "-1"}, "MURAKKAB_USD_PER_HOUR=-1 is not a number of at least 0"),
        ({"MURAKKAB_USD_PER_HOUR": "nan"}, "MURAKKAB_USD_PER_HOUR=nan is not a number of at least 0"),
        ({"MURAKKAB_MEMORY_MB": "much"}, "MURAKKAB_MEMORY_MB=much is not a whole number of megabytes above 0"),
        ({"MURAKKAB_MEMORY_MB": "0"}, "MURAKKAB_MEMORY_MB=0 is not a whole number of megabytes above 0"),
    ],
)
def test_what_cannot_be_meant(environ: Mapping[str, str], says: str) -> None:
    with pytest.raises(BadSetting, match=f"^{re.escape(says)}$"):
        machine(environ)


def test_memory_that_may_be_counted_on() -> None:
    assert machine({"MURAKKAB_MEMORY_MB": "700"}).memory_mb == 700
    assert cpu_device(700).memory_mb == 700
    assert cpu_device(1 << 40).memory_mb == cpu_device().memory_mb, "never more than there is"


def test_a_notice_is_a_file(tmp_path: Path) -> None:
    notice = tmp_path / "notice"
    mine = Machine("spot", notice=notice)
    assert mine.revoked_in_s() is None
    for text, seconds in (("30\n", 30.0), ("", 120.0), ("2.5", 2.5), ("-4", 0.0), ("soon", 120.0), ("nan", 120.0), ("inf", 120.0)):
        notice.write_text(text)
        assert mine.revoked_in_s() == seconds
    notice.write_bytes(b"\xff\xfe\x00")
    assert mine.revoked_in_s() == 120.0
    notice.unlink()
    assert mine.revoked_in_s() is None
    assert Machine().revoked_in_s() is None


# --- what it offers ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "gpus", "expected"),
    [
        ({}, (), ("cpu",)),
        ({}, ("h200",), ("cpu",)),
        ({"runs_on": ("cpu", "gpu")}, (), ("cpu",)),
        ({"runs_on": ("cpu", "gpu")}, ("h200", "l4"), ("cpu", "h200", "l4")),
        ({"runs_on": ("gpu",)}, ("l4",), ("l4",)),
        ({"runs_on": ("gpu",)}, (), ()),
        ({"hardware": "gpu"}, ("l4",), ("l4",)),
    ],
)
def test_classes_of_a_row(row: dict[str, Any], gpus: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert classes(Implementation("i", "A", "m:C", **row), gpus) == expected


def test_ours_that_run_on_either() -> None:
    both = {row.name for row in library.implementations().values() if set(row.runs_on) == {"cpu", "gpu"}}
    assert both == {"openai-whisper/tiny.en", "openai-whisper/base", "openai-whisper/own", "clip", "vllm"}


@pytest.mark.parametrize(("market", "hardware"), [("on-demand", "cpu"), ("spot", "cpu-spot"), ("harvest", "cpu-harvest")])
def test_a_market_is_a_class_of_its_own(market: str, hardware: str) -> None:
    offers = look_around("h", (), {}, market).offers
    assert ("Sleep", "sleep", hardware) in {(o.agent, o.implementation, o.hardware) for o in offers}
    if not gpu_devices()[0]:
        assert {o.hardware for o in offers} == {hardware}


def test_a_worker_on_no_market_says_so_and_does_not_start(tmp_path: Path) -> None:
    """Before it looks for a server, so it needs none."""
    argv = [sys.executable, "-m", "murakkab.client.cli", "worker", "--nats", "nats://127.0.0.1:9", "--data", str(tmp_path)]
    done = subprocess.run(argv, env={"MURAKKAB_MARKET": "flea", "PATH": ""}, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == ["murakkab: MURAKKAB_MARKET=flea: it is one of on-demand, spot, harvest"]


# --- which device -----------------------------------------------------------------------------------------------------------------


def test_the_freest_gpu_of_its_class() -> None:
    gpus = [gpu(L4), gpu(H100, used_mb=500), gpu(H100, used_mb=100), gpu(H100, used_mb=40_000)]

    def h100(name: str) -> bool:
        return name == H100

    taken: list[int] = []
    for expected in (2, 1, 3, 2, 1, 3):  # one each first, whatever memory shows by then
        found = freest(gpus, h100, taken)
        assert found == expected
        taken.append(found)
    assert freest(gpus, lambda name: name == "T4", []) is None
    assert freest([], h100, []) is None


ROWS = {
    ("A", "either"): Implementation("either", "A", "m:C", runs_on=("cpu", "gpu")),
    ("A", "plain"): Implementation("plain", "A", "m:C"),
}


@pytest.fixture
def instances(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Instances:
    """On a machine with one L4 and two H100."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(host_module, "gpu_devices", lambda: ((gpu(L4), gpu(H100), gpu(H100, used_mb=9)), ""))
    return Instances(ROWS, tmp_path / "a", tmp_path / "logs", cast(Artifacts, None), {})


def seen(instances: Instances, name: str, hardware: str, power_w: float | None = None, row: str = "either") -> dict[str, str]:
    return instances._device_of(Desired(name, "A", row, hardware, power_w=power_w))


def test_an_instance_sees_the_device_of_its_class_alone(instances: Instances) -> None:
    def device(n: int) -> dict[str, str]:
        return {"CUDA_VISIBLE_DEVICES": str(n), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}

    assert seen(instances, "a", "cpu") == {"CUDA_VISIBLE_DEVICES": ""}
    assert seen(instances, "b", "cpu-spot") == {"CUDA_VISIBLE_DEVICES": ""}
    assert seen(instances, "c", "h100-80gb") == device(1)
    assert seen(instances, "d", "h100-80gb-spot") == device(2)
    assert seen(instances, "e", "l4") == device(0)
    assert seen(instances, "f", "cpu", row="plain") == {}, "what knows of no GPUs is left alone"
    assert seen(instances, "g", "t4") == {}


def test_a_device_is_free_again(instances: Instances) -> None:
    assert seen(instances, "c", "h100-80gb")["CUDA_VISIBLE_DEVICES"] == "1"
    assert seen(instances, "c", "h100-80gb")["CUDA_VISIBLE_DEVICES"] == "1", "started anew it does not stand in its own way"


def test_the_owners_choice_of_devices_stays(instances: Instances, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    assert seen(instances, "a", "h100-80gb") == {}
    assert seen(instances, "b", "cpu") == {"CUDA_VISIBLE_DEVICES": ""}


def test_a_cap_that_cannot_be_set_is_logged_and_the_instance_starts(instances: Instances, caplog: pytest.LogCaptureFixture) -> None:
    if gpu_devices()[0]:
        pytest.skip("this machine has a GPU, whose limit is not ours to set")
    assert seen(instances, "x", "h100-80gb", power_w=300.0)["CUDA_VISIBLE_DEVICES"] == "1"
    (record,) = caplog.records
    assert record.getMessage().startswith("x: no GPU")


class Nvml:
    """What the calls of NVML look like to us: limits of 200 to 700 W in milliwatts; `error` is what setting raises."""

    class NVMLError(Exception):
        pass

    def __init__(self, error: str = "") -> None:
        self.error = error
        self.set: list[tuple[str, int]] = []

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        return f"handle {index}"

    def nvmlDeviceGetPowerManagementLimit(self, handle: str) -> int:
        return dict(self.set).get(handle, 650_000)

    def nvmlDeviceGetPowerManagementLimitConstraints(self, handle: str) -> Sequence[int]:
        return [200_000, 700_000]

    def nvmlDeviceSetPowerManagementLimit(self, handle: str, milliwatts: int) -> None:
        if self.error:
            raise self.NVMLError(self.error)
        self.set.append((handle, milliwatts))


@pytest.mark.parametrize(("watts", "set_mw"), [(350.0, 350_000), (50.0, 200_000), (9_000.0, 700_000)])
def test_a_cap_is_within_what_the_device_allows(monkeypatch: pytest.MonkeyPatch, watts: float, set_mw: int) -> None:
    nvml = Nvml()
    monkeypatch.setattr(power, "nvml", lambda: (nvml, ""))
    assert power.cap(1, watts) == ""
    assert nvml.set == [("handle 1", set_mw)]


def test_a_cap_ends_with_the_last_instance_on_its_device(instances: Instances, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = Nvml()
    monkeypatch.setattr(power, "nvml", lambda: (nvml, ""))
    for name in "abcd":  # two on each H100
        seen(instances, name, "h100-80gb", power_w=300.0 if name != "d" else None)
    assert nvml.set == [("handle 1", 300_000), ("handle 2", 300_000), ("handle 1", 300_000)]
    before = len(nvml.set)
    instances._leave_device("a")
    instances._leave_device("d")
    assert len(nvml.set) == before, "others are there still"
    instances._leave_device("b")
    instances._leave_device("c")
    instances._leave_device("c")
    assert nvml.set[before:] == [("handle 2", 650_000), ("handle 1", 650_000)]


def test_a_cap_that_is_not_permitted_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "nvml", lambda: (Nvml("Insufficient Permissions"), ""))
    assert power.cap(0, 300.0) == "GPU 0 keeps its power limit: Insufficient Permissions"


# --- rows of strangers ----------------------------------------------------------------------------------------------------------

ARGS = {"type": "object", "properties": {"k": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"parts": ("S", "J"), "levers": {"k": (1, 4)}, "lever_quality": {"B": "vote"}}, ""),
        ({"parts": ("S",)}, "its parts are not the names of two agents: one that cuts, one that joins"),
        ({"parts": ("S", "")}, "its parts are not the names of two agents: one that cuts, one that joins"),
        ({"levers": {"n": (1, 2)}}, "its lever 'n' is none of its arguments"),
        ({"levers": {"k": ()}}, "its lever 'k' has no values, or values below 1"),
        ({"levers": {"k": (0, 2)}}, "its lever 'k' has no values, or values below 1"),
        ({"lever_quality": {"B": "best"}}, "quality follows by 'best'; it is one of vote, any"),
    ],
)
def test_levers_of_a_row(more: dict[str, Any], says: str) -> None:
    assert agent_problem(Agent("A", "", {"x": Take("X")}, "X", args=ARGS, **more)) == says


def test_where_a_row_runs() -> None:
    assert implementation_problem(Implementation("i", "A", "m:C", runs_on=("cpu", "gpu"))) == ""
    assert implementation_problem(Implementation("i", "A", "m:C", runs_on=("tpu",))) == "it runs on 'tpu'; that is one of cpu, gpu"


def test_our_own_rows_are_in_order() -> None:
    agents = library.agents()
    for row in agents.values():
        assert agent_problem(row) == ""
        assert set(row.parts) <= set(agents)
        assert set(row.lever_quality) <= set(agents)
    for way in library.implementations().values():
        assert implementation_problem(way) == ""
