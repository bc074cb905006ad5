"""A receiver of traces as any collector is: OTLP over HTTP, protobuf, on a free port (opentelemetry.io/docs/specs/otlp)."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Span:
    """Ids in hex; `parent` is empty for a root."""

    trace: str
    id: str
    parent: str
    name: str
    service: str
    attributes: dict[str, str]
    start_ns: int
    end_ns: int


@dataclass
class Receiver:
    url: str = ""
    spans: list[Span] = field(default_factory=list)
    metrics: set[tuple[str, str]] = field(default_factory=set)
    """(service, name of the metric)"""

    def of_job(self, job: str) -> list[Span]:
        """All spans of the traces that speak of a job."""
        traces = {s.trace for s in self.spans if s.attributes.get("murakkab.job") == job}
        return [s for s in self.spans if s.trace in traces]


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Collects spans while the block lasts."""
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse

    kept = Receiver()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            found = []
            if self.path == "/v1/traces":
                request = ExportTraceServiceRequest.FromString(body)
                for resource in request.resource_spans:
                    service = next((a.value.string_value for a in resource.resource.attributes if a.key == "service.name"), "")
                    found += [
                        Span(
                            s.trace_id.hex(),
                            s.span_id.hex(),
                            s.parent_span_id.hex(),
                            s.name,
                            service,
                            {a.key: a.value.string_value for a in s.attributes},
                            s.start_time_unix_nano,
                            s.end_time_unix_nano,
                        )
                        for scope in resource.scope_spans
                        for s in scope.spans
                    ]
            measured = set()
            if self.path == "/v1/metrics":
                for metered in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                    service = next((a.value.string_value for a in metered.resource.attributes if a.key == "service.name"), "")
                    measured |= {(service, m.name) for part in metered.scope_metrics for m in part.metrics}
            with lock:
                kept.spans += found
                kept.metrics |= measured
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200 if self.path in ("/v1/traces", "/v1/metrics") else 404)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    kept.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield kept
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
