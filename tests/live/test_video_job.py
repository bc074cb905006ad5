"""The shipped videos through the command line, against `murakkab up`: the answer, what it cost, its trace, and questions."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import psutil
import pytest
from commands import CLI, HINTS, LIST, SAMPLES, Up, clean_env, end_all, left_behind, murakkab, ours, up
from media import padded, silent_film, sound_only

pytestmark = [pytest.mark.live, pytest.mark.models]

VIDEOS = sorted(SAMPLES.glob("*.mp4"))
WEASELS = "What does the speaker say about weasels?"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    home = tmp_path_factory.mktemp("home")
    with up(home) as running:
        yield running
        assert running.stop() == 0
        assert left_behind(home, 5) == []


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("picture") / "run.html"


@pytest.fixture(scope="module")
def said(system: Up, picture: Path) -> dict[str, Any]:
    """The object of `--json` for the job of the paper: list objects, with three hints."""
    done = system.run("run", LIST, *VIDEOS, *HINTS, "--json", "--trace", picture)
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


@pytest.fixture(scope="module")
def truth() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SAMPLES / "truth.json").read_text())
    return found


def _video(said: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [part for part in said["answer"] if part["name"] == name]
    return dict(found)


def test_the_json_object_has_the_fields_of_the_contract(said: dict[str, Any]) -> None:
    assert said["status"] == "done"
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,80}", said["job"])
    assert [part["name"] for part in said["answer"]] == [v.name for v in VIDEOS]
    for part in said["answer"]:
        assert {"objects_seen", "objects_mentioned", "transcript", "summary"} <= part.keys()
        assert all(o.keys() >= {"label", "start_s", "end_s", "score"} for o in part["objects_seen"])
        assert all(0 < o["score"] <= 1 and o["start_s"] < o["end_s"] for o in part["objects_seen"])
        assert all(o.keys() >= {"label", "quote", "start_s"} and o["quote"] for o in part["objects_mentioned"])
        assert all(line.keys() >= {"start_s", "end_s", "text"} for line in part["transcript"])
        assert part["summary"]
    for figure in (said["energy_wh"], said["cost_usd"]):
        assert figure.keys() == {"value", "how"}
        assert figure["value"] > 0
        assert figure["how"] in ("measured", "modelled")
    assert 0 < said["planning_s"] < said["time_s"]
    assert {c["stage"] for c in said["plan"]["choices"]} == {s["name"] for s in said["plan"]["workflow"]["stages"]}


def test_the_stages_add_up_to_the_job(said: dict[str, Any]) -> None:
    wanted = {"stage", "agent", "implementation", "hardware", "tasks", "start_s", "end_s", "energy_wh", "cost_usd"}
    stages = {s["stage"]: s for s in said["stages"]}
    for s in stages.values():
        assert wanted <= s.keys()
        assert 0 <= s["start_s"] <= s["end_s"] <= said["time_s"] + 0.5  # said by two processes
    assert sum(s["energy_wh"] for s in stages.values()) == pytest.approx(said["energy_wh"]["value"])
    assert sum(s["cost_usd"] for s in stages.values()) == pytest.approx(said["cost_usd"]["value"])
    tasks = {name: s["tasks"] for name, s in stages.items()}
    assert tasks["scenes"] == tasks["report"] == 2
    assert tasks["frames"] == tasks["audio"] == tasks["transcripts"] == tasks["detections"] == 6, "three scenes in each of two videos"
    assert {s["agent"] for s in stages.values()} >= {"SceneSplitter", "FrameExtractor", "SpeechToText", "ObjectDetector", "ObjectLister"}


@pytest.mark.parametrize(("label", "picture_name"), [("cat", "cat"), ("cup", "coffee"), ("person", "astronaut")])
def test_what_is_seen_is_seen_in_its_scene_and_in_no_other(
    said: dict[str, Any], truth: dict[str, Any], label: str, picture_name: str
) -> None:
    (scene,) = [s for s in truth["switchboard.mp4"]["scenes"] if s["picture"] == picture_name]
    seen = [o for o in _video(said, "switchboard.mp4")["objects_seen"] if o["label"] == label]
    assert seen
    for o in seen:
        assert scene["start_s"] - 1 <= o["start_s"] < o["end_s"] <= scene["end_s"] + 1
    (longest,) = sorted(seen, key=lambda o: o["end_s"] - o["start_s"])[-1:]
    assert longest["end_s"] - longest["start_s"] > (scene["end_s"] - scene["start_s"]) / 2


@pytest.mark.parametrize(("label", "quote", "clip"), [("desk", "not at their desk", "desk"), ("phone", "phone system", "weasels")])
def test_what_is_mentioned_has_its_words_and_its_time(
    said: dict[str, Any], truth: dict[str, Any], label: str, quote: str, clip: str
) -> None:
    (spoken,) = [u for s in truth["switchboard.mp4"]["scenes"] for u in s["said"] if u["clip"] == clip]
    (found,) = [o for o in _video(said, "switchboard.mp4")["objects_mentioned"] if o["label"] == label]
    assert quote in found["quote"]
    assert spoken["start_s"] - 1 <= found["start_s"] <= spoken["end_s"] + 1


def test_the_transcript_is_what_was_said(said: dict[str, Any]) -> None:
    text = " ".join(line["text"] for line in _video(said, "switchboard.mp4")["transcript"])
    assert "Weasels have eaten our phone system" in text
    assert "carried away by monkeys" in text


class _Links(HTMLParser):
    """Everything that a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.found += [
            v for k, v in attrs if k in ("src", "href", "xlink:href", "data", "action") and v and not v.startswith(("#", "data:"))
        ]


def test_the_picture_needs_no_other_file(said: dict[str, Any], picture: Path) -> None:
    page = picture.read_text(encoding="utf-8")
    links = _Links()
    links.feed(page)
    assert links.found == []
    assert "@import" not in page
    assert not re.search(r"url\((?!['\"]?(#|data:))", page)
    assert {"svg", "title"} <= links.tags
    for stage in said["stages"]:
        assert stage["stage"] in page
        assert stage["implementation"] in page


def test_trace_tells_the_same_in_three_ways(system: Up, said: dict[str, Any], tmp_path: Path) -> None:
    again = tmp_path / "again.html"
    told = system.run("trace", said["job"], "--json", "--html", again)
    assert (told.returncode, told.stderr) == (0, "")
    (line,) = told.stdout.splitlines()
    trace = json.loads(line)
    assert (trace["job"], trace["phase"]) == (said["job"], "done")
    assert len(trace["tasks"]) == sum(s["tasks"] for s in said["stages"])
    assert trace["result"]["time_s"] == said["time_s"]
    assert again.read_text(encoding="utf-8").startswith("<!doctype html>") or "<svg" in again.read_text(encoding="utf-8")
    words = system.run("trace", said["job"])
    assert (words.returncode, words.stderr) == (0, "")
    assert LIST in words.stdout
    assert "faster-whisper" in words.stdout


def test_status_shows_the_warm_models(system: Up, said: dict[str, Any]) -> None:
    told = json.loads(system.run("status", "--json").stdout)
    (host,) = told["hosts"]
    warm = {i["implementation"] for i in host["instances"] if i["state"] == "warm"}
    assert {s["implementation"] for s in said["stages"]} <= warm
    assert told["jobs"] == []
    words = system.run("status")
    assert words.returncode == 0
    assert re.search(r"warm\s+faster-whisper", words.stdout)
    assert "0 running jobs" in words.stdout


def test_an_ended_job_cannot_be_cancelled(system: Up, said: dict[str, Any]) -> None:
    refused = system.run("cancel", said["job"])
    assert refused.returncode == 2
    assert refused.stderr == f"murakkab: job {said['job']} has ended already\n"


def test_a_question_is_answered_from_the_index(system: Up, said: dict[str, Any]) -> None:
    asked = system.run("run", WEASELS, SAMPLES / "switchboard.mp4", "--json")
    assert (asked.returncode, asked.stderr) == (0, "")
    answer = json.loads(asked.stdout)
    assert [s["agent"] for s in answer["plan"]["workflow"]["stages"]] == ["VectorSearcher", "QuestionAnswerer"]
    assert "SceneSplitter" not in {s["agent"] for s in answer["stages"]}
    _about_weasels(answer)
    assert answer["cost_usd"]["value"] < said["cost_usd"]["value"] / 2, "nothing was processed again"


def test_a_question_about_a_new_video_processes_it_first(system: Up, tmp_path: Path) -> None:
    new = padded(tmp_path / "new.mp4", SAMPLES / "switchboard.mp4", 8)  # other bytes, the same film
    asked = system.run("run", WEASELS, new, "--json")
    assert (asked.returncode, asked.stderr) == (0, "")
    answer = json.loads(asked.stdout)
    assert {"SceneSplitter", "SpeechToText", "VectorIndexer", "QuestionAnswerer"} <= {s["agent"] for s in answer["stages"]}
    _about_weasels(answer, "new.mp4")


def _about_weasels(answer: dict[str, Any], name: str = "switchboard.mp4") -> None:
    (part,) = answer["answer"]
    assert part["question"] == WEASELS
    assert "phone system" in part["answer"]
    best = next(e for e in part["evidence"] if "eaten our phone system" in e["text"])
    assert best["name"] == name
    assert 22 <= best["start_s"] <= 26


def test_words_for_people(system: Up) -> None:
    """Without --json the same, to be read; the shown and said of one video."""
    done = system.run("run", "What does the speaker say about monkeys?", SAMPLES / "switchboard.mp4")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^plan +words to QuestionAnswer: 2 stages, proposed by the offline planner$", done.stdout, re.M)
    assert "carried away by monkeys" in done.stdout
    assert re.search(r"^energy +[\d.]+ mWh \((measured|modelled)\)$", done.stdout, re.M)
    (picture,) = re.findall(r"^picture +(.+)$", done.stdout, re.M)
    assert Path(picture).is_file()


def test_a_silent_film_can_be_looked_at(system: Up, tmp_path: Path) -> None:
    film = silent_film(tmp_path / "silent.mp4", SAMPLES / "switchboard.mp4")
    done = system.run("run", "List objects shown in the video", film, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    (part,) = json.loads(done.stdout)["answer"]
    assert {"cat", "cup"} <= {o["label"] for o in part["objects_seen"]}
    assert part["objects_mentioned"] == []
    assert part["transcript"] == []


def test_a_recording_can_be_listened_to(system: Up, tmp_path: Path) -> None:
    sound = sound_only(tmp_path / "call.m4a", SAMPLES / "switchboard.mp4")
    done = system.run("run", "List objects mentioned in the recording", sound, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    (part,) = json.loads(done.stdout)["answer"]
    assert {"desk", "phone"} <= {o["label"] for o in part["objects_mentioned"]}
    assert part["objects_seen"] == []


@pytest.mark.parametrize(
    ("make", "name", "wants", "says"),
    [(silent_film, "silent.mp4", "mentioned", "sound"), (sound_only, "call.m4a", "shown", "picture")],
)
def test_what_a_medium_does_not_have_cannot_be_asked_for(system: Up, tmp_path: Path, make: Any, name: str, wants: str, says: str) -> None:
    medium = make(tmp_path / name, SAMPLES / "switchboard.mp4")
    done = system.run("run", f"List objects {wants} in it", medium)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert name in line
    assert says in line
    assert done.stdout == ""


@pytest.mark.parametrize("stop", ["end", signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_of_its_own_leaves_nothing_behind(tmp_path: Path, stop: Any) -> None:
    """Without a running system one is started for the run; it goes with the run, however that ends."""
    env = clean_env(tmp_path)
    if stop == "end":
        done = murakkab("run", "List objects mentioned in the video", SAMPLES / "reading.mp4", env=env)
        assert (done.returncode, done.stderr) == (0, "")
        assert "woman" in done.stdout
        assert left_behind(tmp_path) == []
        return
    argv = [*CLI, "run", LIST, str(SAMPLES / "reading.mp4")]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background has it ignored, and what it starts inherits that
    process = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        _until_models(tmp_path)
        process.send_signal(stop)
        _, err = process.communicate(timeout=30)
        assert b"Traceback" not in err
        assert left_behind(tmp_path, 10) == []
        assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[stop]
    finally:
        process.kill()
        process.communicate(timeout=10)
        end_all(tmp_path)


def _until_models(home: Path) -> None:
    for _ in range(300):
        for process in ours(home):
            try:
                if "murakkab.agents.instance" in process.cmdline():
                    return
            except psutil.Error:
                continue
        time.sleep(0.1)
    raise TimeoutError("no model was started within 30 s")
