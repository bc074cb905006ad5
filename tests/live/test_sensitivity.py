"""`murakkab profile --sensitivity` on a real job, by the command line; what it finds reaches the system's store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import LIST, clean_env, murakkab

pytestmark = [pytest.mark.live, pytest.mark.models]

VIDEO = Path(__file__).resolve().parents[2] / "samples" / "switchboard.mp4"


def test_a_finished_job_says_which_stage_moves_its_answer(tmp_path: Path) -> None:
    env = clean_env(tmp_path)
    ran = murakkab("run", LIST, VIDEO, "--json", env=env, limit_s=180)
    job = json.loads(ran.stdout)["job"]

    done = murakkab("profile", "--sensitivity", job, "--json", env=env, limit_s=240)
    assert done.returncode == 0, done.stderr
    stages = {s["agent"]: s for s in json.loads(done.stdout)["stages"]}
    assert stages["ObjectLister"]["value"] == pytest.approx(1.0), "it gives the answer itself"
    assert stages["VectorIndexer"]["value"] == 0.0, "it is no part of the answer"
    assert stages["SpeechToText"]["value"] > 0.2, "objects are mentioned"
    assert all(s["usd"] > 0 for s in stages.values())

    for wrong, says in (
        (["--sensitivity", "nosuchjob"], "nothing is known of job 'nosuchjob'"),
        (["--sensitivity", job, "sleep"], "leave out"),
    ):
        refused = murakkab("profile", *wrong, env=env)
        assert refused.returncode == 2
        assert says in refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 1
