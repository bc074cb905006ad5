"""Every job is one trace, from the client through all processes to the model; seen by a real OTLP receiver."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from commands import SAMPLES, clean_env, left_behind, murakkab, observer
from otlp import Receiver, Span, receiver
from toys import fan

from murakkab.client.job import Job
from murakkab.client.system import System

pytestmark = [pytest.mark.live, pytest.mark.anyio]


def _tree(spans: list[Span]) -> dict[str, str]:
    """Checks that the spans are one tree; span id to the path of names that leads to it."""
    assert len({s.trace for s in spans}) == 1, "one trace a job"
    by_id = {s.id: s for s in spans}
    assert len(by_id) == len(spans)
    (root,) = [s for s in spans if not s.parent]
    assert (root.name, root.service) == ("murakkab: job", "murakkab-client")
    paths: dict[str, str] = {}
    for span in spans:
        names: list[str] = []
        at: Span | None = span
        while at is not None:
            names.insert(0, at.name)
            assert at.end_ns >= at.start_ns
            assert not at.parent or at.parent in by_id, f"the parent of '{at.name}' was never told"
            at = by_id[at.parent] if at.parent else None
            assert len(names) < 10
        paths[span.id] = " / ".join(names)
    return paths


def _services(spans: list[Span]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for s in spans:
        found.setdefault(s.name, set()).add(s.service)
    return found


async def test_a_job_is_one_trace_through_all_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anyio_backend: str) -> None:
    with receiver() as got:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", got.url)
        monkeypatch.setenv("MURAKKAB_HOME", str(tmp_path))
        monkeypatch.delenv("NATS_URL", raising=False)
        live = System(tmp_path / "system")
        headers: dict[str, str] = {}
        async with asyncio.timeout(60), live as url:
            monkeypatch.setenv("MURAKKAB_CREDENTIALS", live.env["MURAKKAB_CREDENTIALS"])

            async def heard(msg: Any) -> None:
                found = (msg.headers or {}).get("traceparent")
                if found:
                    headers[msg.subject] = found

            async with observer(live) as watch:
                for subject in ("mk.v1.plan.>", "mk.v1.optimize.>", "mk.v1.result.*", "mk.v1.job.>"):
                    await watch.subscribe(subject, cb=heard)
                await watch.flush()
                result = await Job("two", workflow=fan(4, 10)).run(url)
                other = await Job("other", workflow=fan(2, 10)).run(url)
        spans = got.of_job(result.job)
    paths = Counter(_tree(spans).values())
    conductor = "murakkab: job / conductor: accept job"
    assert paths == {
        "murakkab: job": 1,
        conductor: 1,
        f"{conductor} / planner: plan job": paths[f"{conductor} / planner: plan job"],
        f"{conductor} / optimizer: optimize job": paths[f"{conductor} / optimizer: optimize job"],
        f"{conductor} / worker: run Spread": 1,
        f"{conductor} / worker: run Spread / model: spread": 1,
        f"{conductor} / worker: run Sleep": 5,
        f"{conductor} / worker: run Sleep / model: sleep": 5,
    }
    assert paths[f"{conductor} / planner: plan job"] >= 1, "it is asked again until it answers"
    assert paths[f"{conductor} / optimizer: optimize job"] >= 1, "it is asked again until a host is known"
    assert {
        ("murakkab-worker", "murakkab.tasks"),
        ("murakkab-worker", "murakkab.energy"),
        ("murakkab-conductor", "murakkab.jobs"),
    } <= got.metrics
    assert _services(spans) == {
        "murakkab: job": {"murakkab-client"},
        "conductor: accept job": {"murakkab-conductor"},
        "planner: plan job": {"murakkab-planner"},
        "optimizer: optimize job": {"murakkab-optimizer"},
        "worker: run Spread": {"murakkab-worker"},
        "worker: run Sleep": {"murakkab-worker"},
        "model: spread": {"murakkab-instance-Spread"},
        "model: sleep": {"murakkab-instance-Sleep"},
    }
    assert {s.attributes["murakkab.job"] for s in spans if "murakkab.job" in s.attributes} == {result.job}
    trace = spans[0].trace
    assert got.of_job(other.job)[0].trace != trace
    assert {"mk.v1.plan.make", "mk.v1.plan.made", "mk.v1.optimize.make", f"mk.v1.job.default.{result.job}.result"} <= headers.keys()
    for subject, traceparent in headers.items():
        version, its_trace, its_span, flags = traceparent.split("-")
        assert version == "00"
        assert int(flags, 16) & 1, "it is sampled"
        (named,) = [s for s in got.spans if (s.trace, s.id) == (its_trace, its_span)]
        assert named.service == ("murakkab-planner" if subject == "mk.v1.plan.made" else named.service)
        assert named.service == ("murakkab-conductor" if subject.endswith(("make", "result")) else named.service)
    _no_gap(spans)


def _no_gap(spans: list[Span]) -> None:
    """A model's time lies inside the time of the worker that called it."""
    by_id = {s.id: s for s in spans}
    for s in spans:
        if s.name.startswith("model: "):
            assert by_id[s.parent].start_ns <= s.start_ns <= s.end_ns <= by_id[s.parent].end_ns


@pytest.mark.models
def test_a_video_job_by_the_command_line_is_one_trace(tmp_path: Path) -> None:
    with receiver() as got:
        env = clean_env(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=got.url)
        done = murakkab("run", "List objects shown/mentioned in the videos", SAMPLES / "switchboard.mp4", "--json", env=env)
        assert (done.returncode, done.stderr) == (0, "")
        said = json.loads(done.stdout)
        assert left_behind(tmp_path) == []
    spans = got.of_job(said["job"])
    paths = set(_tree(spans).values())
    tasks = Counter(s.name for s in spans)
    for stage in said["stages"]:
        assert tasks[f"worker: run {stage['agent']}"] == stage["tasks"]
        path = f"murakkab: job / conductor: accept job / worker: run {stage['agent']} / model: {stage['implementation']}"
        assert path in paths
    _no_gap(spans)


async def test_a_collector_that_is_away_harms_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anyio_backend: str) -> None:
    with receiver() as got:
        url = got.url
    env = clean_env(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=url)  # nobody listens there any more
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "MURAKKAB_HOME"):
        monkeypatch.setenv(name, env[name])
    monkeypatch.delenv("NATS_URL", raising=False)
    async with asyncio.timeout(60):
        result = await Job("", workflow=fan(2, 10)).run()
    assert result.message.status == "done"
    assert left_behind(tmp_path) == []


def test_the_receiver_reads_what_the_standard_exporter_sends() -> None:
    """The receiver itself, so that an empty list above would mean what it says."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    with receiver() as got:
        provider = TracerProvider(resource=Resource.create({"service.name": "me"}))
        provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{got.url}/v1/traces")))
        with provider.get_tracer("t").start_as_current_span("outer") as outer, provider.get_tracer("t").start_as_current_span("inner"):
            outer.set_attribute("murakkab.job", "j")
        provider.shutdown()
    assert isinstance(got, Receiver)
    inner, found = got.of_job("j")
    assert (inner.name, found.name, found.service, inner.parent) == ("inner", "outer", "me", found.id)
