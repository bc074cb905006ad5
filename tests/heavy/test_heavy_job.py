"""The video job with the torch-based parts chosen by the optimizer: the worker starts vLLM and openai-whisper, and ends them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.heavy

VIDEO = Path(__file__).resolve().parents[2] / "samples" / "switchboard.mp4"


def test_max_quality_runs_on_vllm_and_openai_whisper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed; scripts/heavy-env installs it")
    pytest.importorskip("whisper", reason="openai-whisper is not installed; scripts/heavy-env installs it")
    from murakkab import MAX_QUALITY, Job
    from murakkab.client.system import System

    monkeypatch.setenv("MURAKKAB_HOME", str(tmp_path))
    monkeypatch.setenv("MURAKKAB_VLLM_MODEL", "smollm2-135m")
    job = Job("List objects shown/mentioned in the video", inputs=[VIDEO], constraints=MAX_QUALITY)

    async def run() -> object:
        # both engines of the same weights are about as good, as measured: the host has only one of them, or money decides
        without = ("--without", "faster-whisper/tiny.en/int8", "--without", "faster-whisper/base/int8")
        async with asyncio.timeout(400), System(tmp_path / "system", worker_args=without) as url:
            monkeypatch.setenv("MURAKKAB_CREDENTIALS", str(tmp_path / "system" / "credentials.json"))
            return await job.run(url)

    result = asyncio.run(run())
    used = {s.agent: s.implementation for s in result.message.stages}  # type: ignore[attr-defined]
    assert used["SpeechToText"] == "openai-whisper/base"
    assert used["Summarizer"] == "vllm"
    (report,) = result.answer  # type: ignore[attr-defined]
    assert {"person", "cup", "cat"} <= {o["label"] for o in report["objects_seen"]}
    assert "phone" in {o["label"] for o in report["objects_mentioned"]}
    by_stage = {s.agent: s for s in result.message.stages}  # type: ignore[attr-defined]
    assert by_stage["Summarizer"].cpu_s > 0, "vLLM's processes count too"
    assert not _left(tmp_path), "nothing of it runs on"


def _left(home: Path) -> list[str]:
    """Processes that still have this test's data folder in their environment."""
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get("MURAKKAB_HOME") == str(home):
                found.append(" ".join(process.cmdline())[:200])
        except psutil.Error:
            continue
    return found
