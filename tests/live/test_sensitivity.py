"""`murakkab profile --sensitivity` on a real job, by the command line; what it finds reaches the system's store."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest
from commands import LIST, clean_env, murakkab

from murakkab.bus.link import Link
from murakkab.bus.messages import SensitivityKept
from murakkab.bus.roles import CREDENTIALS, address, inbox
from murakkab.bus.subjects import wildcard
from murakkab.bus.wire import decode
from murakkab.client.locate import reach

pytestmark = [pytest.mark.live, pytest.mark.models]

VIDEO = Path(__file__).resolve().parents[2] / "samples" / "switchboard.mp4"


def test_a_finished_job_says_which_stage_moves_its_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CREDENTIALS, "")  # `reach` sets it; it is as it was after the test
    env = clean_env(tmp_path)
    ran = murakkab("run", LIST, VIDEO, "--json", env=env, limit_s=180)
    job = json.loads(ran.stdout)["job"]

    done = murakkab("profile", "--sensitivity", job, "--json", env=env, limit_s=240)
    assert done.returncode == 0, done.stderr
    stages = {s["agent"]: s for s in json.loads(done.stdout)["stages"]}
    assert stages["ObjectLister"]["value"] == pytest.approx(1.0), "it gives the answer itself"
    assert stages["VectorIndexer"]["value"] == 0.0, "it is no part of the answer"
    assert stages["SpeechToText"]["value"] > 0.2, "objects are mentioned"
    assert stages["FrameExtractor"]["value"] > 0.0, "with fewer pictures fewer objects are seen"
    assert stages["AudioExtractor"]["value"] is None, "there is no other way to take the sound out"
    assert all(s["usd"] > 0 for s in stages.values())
    assert asyncio.run(kept(tmp_path / "embedded")) == {a: s["value"] for a, s in stages.items() if s["value"] is not None}

    for wrong, says in (
        (["--sensitivity", "nosuchjob"], "nothing is known of job 'nosuchjob'"),
        (["--sensitivity", job, "sleep"], "leave out"),
    ):
        refused = murakkab("profile", *wrong, env=env)
        assert refused.returncode == 2
        assert says in refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 1

    elsewhere = murakkab("profile", "--sensitivity", job, env={**env, "MURAKKAB_SMOLLM2": str(tmp_path / "nothing")})
    assert elsewhere.returncode == 2
    assert "stage 'summaries' ran on smollm2" in elsewhere.stderr
    assert "cannot run here" in elsewhere.stderr

    asked = murakkab("run", "What does the speaker say about telemarketers?", VIDEO, "--json", env=env, limit_s=120)
    indexed = murakkab("profile", "--sensitivity", json.loads(asked.stdout)["job"], "--json", env=env, limit_s=120)
    assert indexed.returncode == 0, f"what was indexed by an earlier job is fetched too: {indexed.stderr}"
    assert {s["agent"] for s in json.loads(indexed.stdout)["stages"]} == {s["agent"] for s in json.loads(asked.stdout)["stages"]}


async def kept(data: Path) -> dict[str, float]:
    """What an ended system's store has, agent to sensitivity."""
    async with reach("", data, {}) as url:
        link = await Link.open(address(url, "observer", os.environ), "test", inbox=inbox("observer"))
        try:
            said = [decode(m.data) async for m in link.replay(SensitivityKept.stream, wildcard(SensitivityKept), newest_only=True)]
        finally:
            await link.close()
    return {s.agent: s.sensitivity for s in said if isinstance(s, SensitivityKept)}
