"""Metrics are what messages say, in the SDK's own terms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from murakkab.bus import metrics
from murakkab.bus.messages import Device, HostHeartbeat, Instance, JobResult, TaskDone, TaskFailed, TaskReady, TaskResults, Use


@pytest.fixture
def reader() -> Iterator[Any]:
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    memory = InMemoryMetricReader()
    metrics.setup("test", memory)
    yield memory
    metrics.shutdown()


def _values(reader: Any) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    data = reader.get_metrics_data()
    return {
        m.name: {tuple(sorted(p.attributes.items())): p.value for p in m.data.data_points}
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for m in scope.metrics
    }


def _done(energy_wh: float, cold_s: float = 0.0) -> TaskDone:
    return TaskDone("j", "s", (0,), 1, "i1", None, Use(0.0, 1.0, 1.0, energy_wh, "modelled", 0.25, cold_s))


def test_tasks_energy_cost_and_cold_starts(reader: Any) -> None:
    metrics.sent(TaskReady(pool="p", tenant="t", job="j", stage="s", index=(0,), attempt=1, agent="A", implementation="i"))
    metrics.sent(TaskReady(pool="p", tenant="t", job="j", stage="s", index=(1,), attempt=1, agent="A", implementation="i"))
    results = TaskResults(host="h", results=(_done(0.5, 2.0), TaskFailed("j", "s", (1,), 1, "i1", "broken")))
    metrics.sent(results)
    assert _values(reader)["murakkab.tasks.in_flight"] == {(): 2}
    metrics.heard(results)
    values = _values(reader)
    assert values["murakkab.tasks.in_flight"] == {(): 0}
    where = (("host.name", "h"), ("murakkab.instance", "i1"))
    assert values["murakkab.tasks"] == {(*where, ("murakkab.outcome", "done")): 1, (*where, ("murakkab.outcome", "failed")): 1}
    assert values["murakkab.energy"] == {(where[0], ("murakkab.how", "modelled"), where[1]): 1800.0}
    assert values["murakkab.cost"] == {where: 0.25}
    assert values["murakkab.cold_start"] == {where: 2.0}


def test_instances_devices_and_jobs(reader: Any) -> None:
    instances = tuple(Instance(str(n), "A", "i", "cpu", state, 1) for n, state in enumerate(("warm", "warm", "loading")))  # type: ignore[arg-type]
    metrics.sent(HostHeartbeat(host="h", at=0.0, instances=instances, devices=(Device("x", "cpu", 100, 50, busy=0.5),)))
    metrics.sent(JobResult(tenant="t", job="j", status="done"))
    values = _values(reader)
    host = ("host.name", "h")
    assert values["murakkab.instances"] == {
        (host, ("murakkab.state", s)): n for s, n in (("warm", 2), ("loading", 1), ("draining", 0), ("failed", 0))
    }
    assert values["murakkab.host.busy"] == {(host, ("murakkab.device", "cpu")): 0.5}
    assert values["murakkab.jobs"] == {(("murakkab.status", "done"),): 1}


def test_nothing_is_counted_where_nothing_is_exported() -> None:
    metrics.sent(JobResult(tenant="t", job="j", status="done"))
    metrics.heard(TaskResults(host="h", results=()))
    metrics.shutdown()
