"""A job whose speech is heard in chunks, through a whole system: the conductor knows nothing of it, and the answer is what it was."""

from __future__ import annotations

import asyncio
import difflib
import re
from pathlib import Path

import pytest

from murakkab.agents import library
from murakkab.bus.messages import Edge, JobResult, Stage, SubmitJob, Workflow
from murakkab.client.session import Session
from murakkab.optimizer.rewrite import split_stage

pytestmark = [pytest.mark.live, pytest.mark.models, pytest.mark.anyio]

SAMPLE = Path(__file__).parents[2] / "samples" / "reading.mp4"
WHOLE = Workflow(
    (
        Stage("section", "SectionCutter", (Edge("video", "", "Video"),), 1, args={"start_s": 0.0, "end_s": 24.0}),
        Stage("audio", "AudioExtractor", (Edge("scene", "section", "Scene"),), 1),
        Stage("transcripts", "SpeechToText", (Edge("audio", "audio", "Audio"),), 1),
    ),
    ("transcripts",),
)


async def _run(session: Session, workflow: Workflow, job: str) -> JobResult:
    given = await session.upload(SAMPLE)
    await session.submit(SubmitJob(tenant="default", description="", workflow=workflow, inputs=(given,), job=job))
    async with asyncio.timeout(120):
        async for news in session.follow(job):
            if isinstance(news, JobResult):
                return news
    raise AssertionError("the job has no result")


def _words(result: JobResult) -> list[str]:
    assert (result.status, result.error) == ("done", "")
    (transcript,) = result.answer
    starts = [s["start_s"] for s in transcript["segments"]]
    assert starts == sorted(starts)
    assert (transcript["scene"]["start_s"], transcript["scene"]["end_s"]) == (0.0, 24.0)
    return re.findall(r"[a-z']+", " ".join(s["text"] for s in transcript["segments"]).lower())


async def test_speech_in_three_chunks(session: Session) -> None:
    pytest.importorskip("faster_whisper")
    whole = await _run(session, WHOLE, "whole")
    parts = await _run(session, split_stage(WHOLE, "transcripts", 3, library.agents()), "parts")
    a, b = _words(whole), _words(parts)
    assert len(a) > 30
    assert difflib.SequenceMatcher(None, a, b, autojunk=False).ratio() > 0.9
    tasks = {s.stage: (s.agent, s.tasks) for s in parts.stages}
    assert tasks["transcripts-split"] == ("AudioSplitter", 1)
    assert tasks["transcripts-part"] == ("SpeechToText", 3)
    assert tasks["transcripts"] == ("TranscriptJoiner", 1)
