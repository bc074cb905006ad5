"""OpenTelemetry metrics, read off the messages that a process sends and takes in; actors know nothing of them.

Exported by OTLP over HTTP under the same standard variables as traces. Names and units:
`murakkab.tasks` {task}, `murakkab.tasks.in_flight` {task}, `murakkab.jobs` {job}, `murakkab.energy` J, `murakkab.cost` USD,
`murakkab.cold_start` s (that tasks waited), `murakkab.instances` {instance} by state, `murakkab.host.busy` 1 by device.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

from .messages import HostHeartbeat, JobResult, Message, TaskDone, TaskReady, TaskResults

JOULES_PER_WH = 3600.0

_instruments: dict[str, Any] = {}
_provider: Any = None


def setup(service: str, reader: Any = None) -> None:
    """Starts exporting if an OTLP endpoint is set; `reader` is for those who read metrics in another way."""
    global _provider
    if reader is None and not (os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")):
        return
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.resources import Resource

    if reader is None:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

        reader = PeriodicExportingMetricReader(OTLPMetricExporter(timeout=2))
    resource = Resource.create({"service.name": f"murakkab-{service}", "service.namespace": "murakkab"})
    _provider = MeterProvider([reader], resource, shutdown_on_exit=False)
    meter = _provider.get_meter("murakkab")
    _instruments.update(
        tasks=meter.create_counter("murakkab.tasks", "{task}", "tasks that ended on this host, by outcome"),
        in_flight=meter.create_up_down_counter("murakkab.tasks.in_flight", "{task}", "tasks released and not yet answered"),
        jobs=meter.create_counter("murakkab.jobs", "{job}", "jobs that ended, by status"),
        energy=meter.create_counter("murakkab.energy", "J", "energy of tasks, by how it was obtained"),
        cost=meter.create_counter("murakkab.cost", "USD", "cost of tasks, modelled"),
        cold=meter.create_counter("murakkab.cold_start", "s", "time that tasks waited for their model to load"),
        instances=meter.create_gauge("murakkab.instances", "{instance}", "instances, by state"),
        busy=meter.create_gauge("murakkab.host.busy", "1", "busy part of each device"),
    )


def sent(msg: Message) -> None:
    """This process says something."""
    if not _instruments:
        return
    match msg:
        case TaskReady():
            _instruments["in_flight"].add(1, {})
        case JobResult(status=status):
            _instruments["jobs"].add(1, {"murakkab.status": status})
        case TaskResults(host=host, results=results):
            for result in results:
                done = isinstance(result, TaskDone)
                labels = {"host.name": host, "murakkab.instance": result.instance}
                _instruments["tasks"].add(1, {**labels, "murakkab.outcome": "done" if done else "failed"})
                if isinstance(result, TaskDone):
                    use = result.use
                    _instruments["energy"].add(use.energy_wh * JOULES_PER_WH, {**labels, "murakkab.how": use.energy_how})
                    _instruments["cost"].add(use.cost_usd, labels)
                    _instruments["cold"].add(use.cold_s, labels)
        case HostHeartbeat(host=host, instances=instances, devices=devices):
            states = Counter(i.state for i in instances)
            for state in ("loading", "warm", "draining", "failed"):
                _instruments["instances"].set(states[state], {"host.name": host, "murakkab.state": state})
            for device in devices:
                if device.busy is not None:
                    _instruments["busy"].set(device.busy, {"host.name": host, "murakkab.device": device.kind})


def heard(msg: Message) -> None:
    """This process takes something from a work queue."""
    if _instruments and isinstance(msg, TaskResults):
        _instruments["in_flight"].add(-len(msg.results), {})


def shutdown() -> None:
    """Exports what is left."""
    global _provider
    _instruments.clear()
    if _provider is not None:
        _provider.shutdown(timeout_millis=2_000)
    _provider = None
