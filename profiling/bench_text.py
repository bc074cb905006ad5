"""Benches of the agents that read, embed, search and summarise: on the true transcripts of the samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .bench import Bench, Exam, Task
from .lab import Lab

QUESTIONS = (
    ("Who ate the phone system?", "weasels"),
    ("What carried the weasels away?", "monkeys"),
    ("Who is not at their desk?", "calling"),
    ("Who is alone in the conference?", "only person"),
    ("What are the representatives doing?", "telemarketers"),
    ("Who had leisure to consider?", "dashwood"),
    ("How far should one go?", "ten meters"),
    ("Which card is named?", "clubs"),
)
"""Questions about what is said in the samples, and a word of the only sentence that answers each."""


def _transcripts(lab: Lab) -> list[dict[str, Any]]:
    return [lab.transcript(scene, truth["said"]) for scene, truth in lab.scenes()]


def _of_video(lab: Lab, name: str) -> list[dict[str, Any]]:
    return [t for t in _transcripts(lab) if t["scene"]["name"] == name]


def _longer(transcripts: list[dict[str, Any]], times: int) -> list[dict[str, Any]]:
    """The same said again and again, later each time."""
    found = []
    for n in range(times):
        for t in transcripts:
            shift = 40.0 * n
            said = [{**s, "start_s": s["start_s"] + shift, "end_s": s["end_s"] + shift} for s in t["segments"]]
            scene = {**t["scene"], "start_s": t["scene"]["start_s"] + shift, "end_s": t["scene"]["end_s"] + shift}
            found.append({**t, "segments": said, "scene": scene})
    return found


async def summarizer(lab: Lab) -> Bench:
    """Prompts and answers of several lengths, each varied apart from the other, so that their rates can be told apart."""
    all_said = _of_video(lab, "reading.mp4")
    scene = lab.scene("reading.mp4", 0.0, 29.0)
    lines = [s for t in all_said for s in t["segments"]]
    tasks = [
        Task({"transcript": {"segments": lines[:count], "scene": scene, "language": "en"}}, {"max_tokens": most})
        for count, most in ((1, 8), (6, 8), (1, 32), (4, 32), (6, 64))
    ]
    return Bench(tuple(tasks), 3)


async def text_summarizer(lab: Lab) -> Bench:
    lines = [s["text"] for t in _transcripts(lab) for s in t["segments"]]
    tasks = [
        Task({"text": {"text": " ".join(lines[:count]), "name": "samples"}}, {"max_tokens": most})
        for count, most in ((2, 8), (12, 8), (3, 32), (6, 48), (12, 64))
    ]
    return Bench(tuple(tasks), 3)


async def vector_indexer(lab: Lab) -> Bench:
    said = _of_video(lab, "switchboard.mp4")
    sets = [said[:1], said, _longer(said, 2), _longer(said, 4)]
    return Bench(tuple(Task({"transcripts": one}) for one in sets), 1)


async def vector_searcher(lab: Lab) -> Bench:
    indexes = [await lab.run("VectorIndexer", {"transcripts": _of_video(lab, name)}) for name in lab.truth]
    tasks = tuple(Task({"indexes": indexes}, {"question": question, "k": 5}) for question, _ in QUESTIONS)
    return Bench(tasks[:3], 0, Exam(f"right passage first, {len(QUESTIONS)} questions on samples/", tasks, _first))


def _first(outputs: Sequence[Any]) -> tuple[float, str]:
    right = [bool(out["items"]) and word in out["items"][0]["text"].lower() for (_, word), out in zip(QUESTIONS, outputs, strict=False)]
    return sum(right) / len(right), f"{len(right)} questions"


async def question_answerer(lab: Lab) -> Bench:
    """Passages as a search gives them. Where a quote alone answers, no model is asked: the line's base has those tasks too.

    No exam: every answer quotes its evidence, so known words are in it whatever the model wrote beside.
    """
    indexes = [await lab.run("VectorIndexer", {"transcripts": _of_video(lab, name)}) for name in lab.truth]
    tasks = []
    for question, _ in QUESTIONS:
        found = await lab.run("VectorSearcher", {"indexes": indexes}, {"question": question, "k": 5})
        tasks.append(Task({"passages": found}))
    return Bench(tuple(tasks), 0)


async def transcript_text(lab: Lab) -> Bench:
    said = _of_video(lab, "reading.mp4")
    return Bench(tuple(Task({"transcripts": one}) for one in (said[:1], said, _longer(said, 4))), 1)


async def object_lister(lab: Lab) -> Bench:
    said = _of_video(lab, "reading.mp4")
    return Bench(tuple(Task({"transcripts": one}) for one in (said[:1], said, _longer(said, 4))), 1)


async def document_reader(lab: Lab) -> Bench:
    tasks = []
    for count in (1, 20, 200):
        path = lab.folder / f"{count}.txt"
        path.write_text("\n\n".join(f"This is paragraph {n} of a plain text." for n in range(count)))
        tasks.append(Task({"document": {"media": lab.put(path, "text/plain"), "name": path.name}}, {"per": "paragraph"}))
    return Bench(tuple(tasks), 1)


TEXT = {
    "Summarizer": summarizer,
    "TextSummarizer": text_summarizer,
    "VectorIndexer": vector_indexer,
    "VectorSearcher": vector_searcher,
    "QuestionAnswerer": question_answerer,
    "TranscriptText": transcript_text,
    "ObjectLister": object_lister,
    "DocumentReader": document_reader,
}
