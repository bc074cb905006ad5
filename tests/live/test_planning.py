"""Planning as a user meets it: the calls of a plan, explained without running; jobs that grow; parts of a medium; jobs from words alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import LIST, SAMPLES, Up, clean_env, murakkab, up

pytestmark = [pytest.mark.live, pytest.mark.models]

VIDEO = SAMPLES / "switchboard.mp4"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with up(tmp_path_factory.mktemp("home")) as running:
        yield running


def run(system: Up, command: str, *args: str | Path) -> dict[str, Any]:
    done = murakkab(command, *args, "--json", "--nats", system.url, env=system.env, limit_s=180)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def calls(said: dict[str, Any]) -> dict[str, str]:
    return {s["agent"]: s["call"] for s in said["plan"]["workflow"]["stages"]}


def test_explain_shows_the_plan_and_runs_nothing(system: Up) -> None:
    said = run(system, "explain", f"{LIST}, 10 frames a scene", VIDEO)
    assert {"workflow", "plan", "bound", "gap", "runners_up", "frontier"} <= said.keys()
    assert said["calls"]["frames"] == "FrameExtractor(scene=scenes[i][j], every_s=1, num_frames=10)"
    assert said["calls"]["scenes"].startswith('SceneSplitter(video="switchboard.mp4"')
    traced = murakkab("trace", said["job"], "--nats", system.url, env=system.env)
    assert "FrameExtractor(scene=scenes[i][j], every_s=1, num_frames=10)" in traced.stdout
    status = murakkab("status", "--json", "--nats", system.url, env=system.env)
    assert not [i for h in json.loads(status.stdout)["hosts"] for i in h.get("instances", ())], "nothing was loaded for it"


def test_explain_for_people_and_a_job_that_no_agent_can_do(system: Up) -> None:
    shown = murakkab("explain", LIST, VIDEO, "--nats", system.url, env=system.env)
    assert shown.returncode == 0
    assert "transcripts = SpeechToText(audio=audio[i][j]" in shown.stdout
    assert "lost:" in shown.stdout
    refused = murakkab("explain", "Order me a pizza", VIDEO, "--nats", system.url, env=system.env)
    assert refused.returncode == 1
    assert "no agent can do 'Order me a pizza'" in refused.stderr
    lonely = murakkab("run", LIST, "--nats", system.url, env=system.env)
    assert lonely.returncode == 1
    assert "the job has no inputs" in lonely.stderr


def test_a_job_that_cannot_be_planned_ahead(system: Up) -> None:
    said = run(system, "run", "Find the section about weasels, then look closer at what is shown there", VIDEO)
    assert said["note"].startswith("'weasels' was found in switchboard.mp4")
    cut = next(s for s in said["plan"]["workflow"]["stages"] if s["agent"] == "SectionCutter")
    assert 20 < cut["args"]["start_s"] < cut["args"]["end_s"] < 30.5
    assert cut["call"].startswith('SectionCutter(video="switchboard.mp4", start_s=2')
    passages, report = said["answer"]
    assert "Weasels" in passages["items"][0]["text"]
    assert all(cut["args"]["start_s"] <= o["start_s"] <= cut["args"]["end_s"] for o in report["objects_seen"])
    again = run(system, "run", "Find the section about quantum mechanics, then look closer at what is shown there", VIDEO)
    assert again["note"].startswith("nothing about 'quantum mechanics' was found")
    assert [s["agent"] for s in again["stages"]] == ["VectorSearcher"], "the video's index was there, and nothing was looked at"


def test_a_part_of_a_video_and_no_index_of_it(system: Up, tmp_path: Path) -> None:
    part = tmp_path / "reading.mp4"
    part.write_bytes((SAMPLES / "reading.mp4").read_bytes())
    said = run(system, "run", "List objects mentioned in the first 5 seconds", part)
    (report,) = said["answer"]
    assert all(s["start_s"] <= 5 for s in report["transcript"])
    asked = run(system, "explain", "What does the speaker say?", part)
    assert "SpeechToText" in calls(asked), "five seconds are no index of the whole"


def test_an_embedded_system_plans_in_a_hundredth_of_the_jobs_time(tmp_path: Path) -> None:
    """The share itself is a figure of docs/benchmarks.md; here only that planning is told apart and is there."""
    done = murakkab("run", LIST, VIDEO, "--json", env=clean_env(tmp_path), limit_s=180)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert 0 < said["planning_s"] < said["time_s"]
    assert said["plan"]["workflow"]["proposer"] == "offline"
