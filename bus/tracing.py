"""OpenTelemetry spans, one trace a job across all processes; costs nothing until a standard OTEL_* endpoint is set.

`span` takes and gives a W3C traceparent as text (www.w3.org/TR/trace-context), which travels in the NATS header of that
name, so that neither actors nor messages know of OpenTelemetry's context objects.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

_tracer: Any = None
_provider: Any = None

HEADER = "traceparent"


def setup(service: str) -> None:
    """Starts exporting by OTLP over HTTP if OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set."""
    global _tracer, _provider
    if not (os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")):
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({"service.name": f"murakkab-{service}", "service.namespace": "murakkab"})
    _provider = TracerProvider(resource=resource)
    # a burst of 20,000 short spans overflowed the default queue of 2,048
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=_limit_s()), max_queue_size=65_536, schedule_delay_millis=500))
    _tracer = _provider.get_tracer("murakkab")


def _limit_s() -> float:
    """The standard's own default of 10 s would hold up the end of every process while a collector is away."""
    return float(os.environ.get("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT") or os.environ.get("OTEL_EXPORTER_OTLP_TIMEOUT") or 2.0)


def shutdown() -> None:
    """Exports what is left."""
    global _tracer, _provider
    if _provider is not None:
        _provider.shutdown()
    _tracer = _provider = None


@contextmanager
def span(name: str, parent: str = "", kind: str = "internal", attributes: Mapping[str, Any] | None = None) -> Iterator[str]:
    """A span around a block; yields its traceparent (the parent's own when nothing is exported)."""
    if _tracer is None:
        yield parent
        return
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    propagator = TraceContextTextMapPropagator()
    context = propagator.extract({HEADER: parent}) if parent else None
    with _tracer.start_as_current_span(
        name, context=context, kind=trace.SpanKind[kind.upper()], attributes=dict(attributes or {})
    ) as current:
        carrier: dict[str, str] = {}
        propagator.inject(carrier, trace.set_span_in_context(current))
        yield carrier.get(HEADER, parent)
