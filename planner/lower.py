"""From words to a workflow: which agents a job speaks of, and the DAG that its types allow. Pure; no model, no network.

This first planner knows the jobs that the library's video agents can do: what is shown or said in media, and questions
about them. It matches words, picks the goal, and then searches backward over types: an input that no stage gives yet
is produced by the agent that gives its type.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from ..agents.library import Agent
from ..bus.messages import Edge, Stage, Workflow
from .axes import Axes, shapes


class CannotPlan(Exception):
    """No DAG of the library's agents does this job: what is missing, and what is nearest."""


INPUT_TYPE = "Video"
_WORD = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_QUESTION = re.compile(r"^\s*(what|who|whom|whose|which|when|where|why|how|does|do|did|is|are|was|were|can|could)\b.*", re.I | re.S)
_SEEN = frozenset(
    [
        "shown",
        "show",
        "shows",
        "seen",
        "see",
        "visible",
        "appear",
        "appears",
        "detect",
        "detection",
        "frame",
        "frames",
        "picture",
        "pictures",
    ]
)
_SAID = frozenset(
    [
        "mentioned",
        "mention",
        "mentions",
        "said",
        "say",
        "says",
        "spoken",
        "speak",
        "speaks",
        "speaker",
        "speech",
        "speech-to-text",
        "transcribe",
        "transcript",
        "transcription",
        "talk",
    ]
)
_NAMES = {
    "SceneSplitter": "scenes",
    "FrameExtractor": "frames",
    "AudioExtractor": "audio",
    "SpeechToText": "transcripts",
    "ObjectDetector": "detections",
    "Summarizer": "summaries",
    "VectorIndexer": "index",
    "ObjectLister": "report",
    "VectorSearcher": "search",
    "QuestionAnswerer": "answer",
}


def lower(
    description: str,
    hints: Sequence[str],
    agents: Mapping[str, Agent],
    indexes: Sequence[Mapping[str, Any] | None] = (),
) -> Workflow:
    """The verified workflow of a job. `indexes` holds, for each input, its vector index if it has been processed before.

    Raises CannotPlan.
    """
    wanted = {name for hint in hints for name in _agents_of_hint(hint, agents)}
    words = set(_WORD.findall(description.lower()))
    question = description.strip().endswith("?") or bool(_QUESTION.match(description))
    seen = bool(words & _SEEN) or "ObjectDetector" in wanted or "FrameExtractor" in wanted
    said = bool(words & _SAID) or "SpeechToText" in wanted or "AudioExtractor" in wanted
    # what is said can only be answered by an index that transcripts went into; likewise what is shown
    needs = {kind for kind, want in (("transcript", said), ("detections", seen)) if want}
    if not seen and not said:
        if not question and not _speaks_of(words, agents) and not wanted:
            raise CannotPlan(f"no agent can do '{_short(description)}'; {_nearest(words, agents)}")
        seen = said = True
    if question:
        usable = [i for i in indexes if i is not None and needs <= set(i.get("kinds", ()))]
        if usable and len(usable) == len(indexes):
            return _answer_from(description, usable)
        # a question may be about either side of a video whatever its words say
        return _build(agents, {"SpeechToText", "ObjectDetector"} if not said or seen else {"SpeechToText"}, description)
    parts = {name for name, want in (("ObjectDetector", seen), ("SpeechToText", said)) if want}
    return _build(agents, parts, "")


def _build(agents: Mapping[str, Agent], parts: set[str], question: str) -> Workflow:
    """The widest DAG that gives a report (and an answer to `question`) from the `parts` of understanding that are wanted."""
    goals = ["ObjectLister", "VectorIndexer"] if not question else ["VectorIndexer", "QuestionAnswerer"]
    skip = {"SpeechToText", "ObjectDetector"} - parts
    stages: dict[str, Stage] = {}
    out: dict[str, Axes] = {}
    for goal in goals:
        _produce(goal, agents, skip, stages, out)
    splitter = _NAMES["SceneSplitter"]
    if splitter in stages:
        args = {"need_pictures": "ObjectDetector" in parts, "need_sound": "SpeechToText" in parts}
        stages[splitter] = _with_args(stages[splitter], args)
    if question:
        stages["search"] = _with_args(stages["search"], {"question": question})
    answer = _NAMES["QuestionAnswerer" if question else "ObjectLister"]
    workflow = Workflow(tuple(stages.values()), (answer,), "video question" if question else "video report")
    shapes(workflow)
    return workflow


def _answer_from(question: str, indexes: Sequence[Mapping[str, Any]]) -> Workflow:
    """All inputs have been processed before: search and answer, nothing else."""
    return Workflow(
        (
            Stage("search", "VectorSearcher", args={"question": question}, given={"indexes": [dict(i) for i in indexes]}),
            Stage("answer", "QuestionAnswerer", (Edge("passages", "search"),)),
        ),
        ("answer",),
        "question, from the index",
    )


def _produce(name: str, agents: Mapping[str, Agent], skip: set[str], stages: dict[str, Stage], out: dict[str, Axes]) -> str:
    """Adds the stage of an agent, and before it those of whatever it takes; returns the stage's name."""
    stage = _NAMES.get(name, name.lower())
    if stage in stages:
        return stage
    agent = agents[name]
    edges: list[Edge] = []
    depths: list[int] = []
    gathers: list[int] = []
    for param, take in agent.takes.items():
        if take.type == INPUT_TYPE:
            edges.append(Edge(param))
            (gathers if take.many else depths).append(0 if take.many else 1)
            continue
        producer = next((a.name for a in agents.values() if a.gives == take.type), None)
        if producer is None or producer in skip:
            if take.optional:
                continue
            raise CannotPlan(
                f"{name} needs '{param}' of type {take.type}, and "
                + ("no agent gives that" if producer is None else f"{producer} is not wanted")
            )
        source = _produce(producer, agents, skip, stages, out)
        edges.append(Edge(param, source))
        (gathers if take.many else depths).append(len(out[source]) - (1 if take.many else 0))
    depth = min(gathers) if gathers else max(depths, default=0)
    stages[stage] = Stage(stage, name, tuple(edges), depth, agent.many)
    out[stage] = shapes(Workflow(tuple(stages.values()), (stage,)))[stage].out
    return stage


def _with_args(stage: Stage, args: dict[str, Any]) -> Stage:
    return Stage(stage.name, stage.agent, stage.edges, stage.depth, stage.many, {**stage.args, **args}, stage.given)


# --- words ------------------------------------------------------------------------------------------------------------------


def _agents_of_hint(hint: str, agents: Mapping[str, Agent]) -> list[str]:
    """The agents that a hint speaks of most. Raises CannotPlan when it speaks of none."""
    words = set(_WORD.findall(hint.lower()))
    scores = {a.name: _score(words, hint.lower(), a) for a in agents.values()}
    best = max(scores.values(), default=0.0)
    if best < 1.0:
        raise CannotPlan(f"no agent can do the step '{_short(hint)}'; {_nearest(words, agents)}")
    return [name for name, score in scores.items() if score == best]


def _score(words: set[str], text: str, agent: Agent) -> float:
    """Words of the agent that occur; a phrase of several words counts double."""
    return sum(2.0 if " " in w and w in text else 1.0 if w in words else 0.0 for w in agent.words)


def _speaks_of(words: set[str], agents: Mapping[str, Agent]) -> bool:
    return any(_score(words, "", a) for a in agents.values())


def _nearest(words: set[str], agents: Mapping[str, Agent]) -> str:
    """The agents whose words look most alike, three at most, for an error message; all of them when none does."""
    usable = [a for a in agents.values() if a.words]
    alike = {}
    for agent in usable:
        mine = set(_WORD.findall(agent.summary.lower())) | {w for w in agent.words if " " not in w}
        close = [w for w in words if len(w) > 3 and get_close_matches(w, mine, n=1, cutoff=0.75)]
        if close:
            alike[agent.name] = len(close)
    best = sorted((a for a in usable if a.name in alike), key=lambda a: -alike[a.name])[:3]
    if not best:
        return "the library has " + ", ".join(a.name for a in usable)
    return "nearest: " + "; ".join(f"{a.name} ({a.summary.rstrip('.')})" for a in best)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 80 else line[:77] + "..."
