"""The whole system under faults, in virtual time: many seeds, the same promises. `docs/simulation.md` says how to repeat one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from murakkab.sim.run import Report, main, simulate

FRESH = {
    "swarm": 200,
    "video": 25,
    "wide": 20,
    "small-messages": 20,
    "calm": 10,
    "lossy": 25,
    "failing": 25,
    "search": 25,
    "observe": 50,
    "overtaken": 25,
    "moving": 75,
    "quiet-moving": 25,
    "gone": 25,
}
BATCH = 25
BASE = int(os.environ.get("MURAKKAB_SIM_SEED") or int.from_bytes(os.urandom(4), "big"))
"""First of the fresh seeds; MURAKKAB_SIM_SEED repeats a whole suite."""

FIXED = [
    ("calm", 1, "a task was released before the plan that made it ready was stored"),
    ("swarm", 14, "a doubled result was settled while the first one's record was still being written"),
    ("swarm", 17, "the same, for a second attempt"),
    ("swarm", 15, "a client that followed a job died of a connection that was lost while it subscribed"),
    ("swarm", 124, "the same"),
    ("lossy", 23, "what a host shall have was said once, lost, and never said again: no instance ever started"),
    ("lossy", 29, "the same, with two jobs that waited for ever"),
    ("small-messages", 656422984, "a host knew a newer version than the cluster manager that came back, and ignored it for ever"),
]


def _holds(report: Report) -> None:
    if report.error:
        pytest.fail(f"seed {report.seed}: {report.error}\nagain: {report.command}", pytrace=False)


@pytest.mark.parametrize(("scenario", "seed"), [(s, n) for s, n, _ in FIXED], ids=[f"{s}-{n}" for s, n, _ in FIXED])
def test_seeds_that_once_found_something(scenario: str, seed: int) -> None:
    _holds(simulate(seed, scenario))


@pytest.mark.parametrize(("scenario", "start"), [(s, n) for s, many in FRESH.items() for n in range(0, many, BATCH)])
def test_fresh_seeds(scenario: str, start: int) -> None:
    events = counted = 0
    for seed in range(BASE + start, BASE + min(start + BATCH, FRESH[scenario])):
        report = simulate(seed, scenario)
        _holds(report)
        events, counted = events + report.events, counted + report.tasks
    assert events > 0
    assert counted > 0, "no task was counted by any of these seeds: nothing was tried"


def test_faults_do_happen() -> None:
    """A simulator whose faults never strike would pass everything."""
    kills = retried = doubled = cancelled = 0
    for seed in range(40):
        report = simulate(seed)
        kills += report.kills
        retried += report.counts.get("Retried", 0)
        doubled += report.counts.get("stored RESULTS", 0) > report.tasks
        cancelled += "cancelled" in report.ends.values()
    assert kills > 20
    assert retried > 20
    assert doubled > 5
    assert cancelled > 0


def test_one_seed_is_one_story() -> None:
    stories: list[list[str]] = [[], []]
    digests = {simulate(11, told=story.append).digest for story in stories}
    assert len(stories[0]) > 100
    assert stories[0] == stories[1]
    assert len(digests) == 1


def test_a_story_does_not_hang_on_the_interpreter() -> None:
    """Another process with another hash seed tells the same; so the printed command repeats what a test saw."""
    told = []
    for hash_seed in ("1", "2"):
        command = [sys.executable, "-m", "murakkab.sim.run", "--seed", "11", "--scenario", "wide", "--trace"]
        told.append(subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONHASHSEED": hash_seed}))
    assert told[0].stderr == ""
    assert told[0].returncode == 0
    assert len(told[0].stdout) > 10_000
    assert told[0].stdout == told[1].stdout


def test_main_prints_what_came_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "5", "--scenario", "calm"]) == 0
    assert "all promises held" in capsys.readouterr().out
