"""The workflow done in another way: every rewrite can run, keeps names and answers, and leaves alone what somebody has said."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import convert, to_builtins
from msgspec.structs import replace

from murakkab.agents import library
from murakkab.agents.spec import Agent, Take
from murakkab.bus.messages import Edge, Stage, Workflow
from murakkab.optimizer.rewrite import DEPTH_MAX, VARIANTS_MAX, as_it_is, split_stage, variants, with_args
from murakkab.planner.axes import shapes
from murakkab.planner.compile import compile as compile_plan
from murakkab.planner.compile import verify
from murakkab.planner.library import Library
from murakkab.planner.proposal import Call, Given, Proposal, Request

AGENTS = library.agents()
OURS = Library(AGENTS, library.lattice())


def compiled(*calls: str, text: str = "do it", name: str = "a.mp4", kind: str = "Video", **args: Any) -> Workflow:
    """A workflow of these agents on one input; `args` are those of the first."""
    proposed = tuple(Call(AGENTS[a].noun, a, {}, args if n == 0 else {}) for n, a in enumerate(calls))
    return compile_plan(Proposal(proposed), Request(text, (), (Given(name, kind),)), OURS).workflow


def film() -> Workflow:
    return compiled("SceneSplitter", "SpeechToText", "ObjectDetector", "Summarizer", "ObjectLister")


def named(workflow: Workflow, name: str) -> Stage:
    return next(s for s in workflow.stages if s.name == name)


# --- in chunks ----------------------------------------------------------------------------------------------------------------


def test_speech_in_chunks() -> None:
    before = film()
    after = split_stage(before, "transcripts", 4, AGENTS)
    old, cut, part, whole = (
        named(before, "transcripts"),
        *(named(after, n) for n in ("transcripts-split", "transcripts-part", "transcripts")),
    )
    assert (cut.agent, cut.many, cut.args, cut.depth) == ("AudioSplitter", True, {"parts": 4}, old.depth)
    assert cut.edges == (Edge("audio", "audio", "Audio"),)
    assert (part.agent, part.depth, part.args) == ("SpeechToText", old.depth + 1, old.args)
    assert part.edges == (Edge("audio", "transcripts-split", "Audio"),)
    assert (whole.agent, whole.depth, whole.edges) == (
        "TranscriptJoiner",
        old.depth,
        (Edge("transcripts", "transcripts-part", "Transcript"),),
    )
    assert cut.call == "AudioSplitter(audio=audio[i][j], parts=4)"
    assert part.call == 'SpeechToText(audio=transcripts-split[i][j][k], language="en")'
    assert whole.call == "TranscriptJoiner(transcripts=transcripts-part[i][j][:])"
    assert after.answer == before.answer
    verify(after, OURS)
    found, was = shapes(after), shapes(before)
    assert {n: found[n] for n in was} == was, "for all others nothing has changed"
    others = [s for s in after.stages if not s.name.startswith("transcripts")]
    assert others == [s for s in before.stages if s.name != "transcripts"], "their calls still name the input"


def test_what_is_looked_at_is_the_whole() -> None:
    before = film()
    seen = replace(before, stages=tuple(replace(s, observe=s.name == "transcripts") for s in before.stages))
    after = split_stage(seen, "transcripts", 2, AGENTS)
    assert [s.name for s in after.stages if s.observe] == ["transcripts"]
    assert all("parts" not in c for v in variants(seen, AGENTS, 8, False) for c in v.changes), "a job that grows is left as it is"


def test_a_stage_is_split_once() -> None:
    after = split_stage(film(), "transcripts", 2, AGENTS)
    with pytest.raises(ValueError, match="cannot be split"):
        split_stage(after, "transcripts", 2, AGENTS)  # it joins now
    with pytest.raises(ValueError, match="has been split before"):
        split_stage(
            replace(after, stages=(*after.stages[:-1], replace(after.stages[-1], name="transcripts-part-split"))),
            "transcripts-part",
            2,
            AGENTS,
        )


def test_what_cannot_be_split() -> None:
    flow = film()
    for stage in ("scenes", "report", "nothing"):
        with pytest.raises(ValueError, match=f"stage '{stage}' cannot be split"):
            split_stage(flow, stage, 2, AGENTS)
    with pytest.raises(ValueError, match="into 1 parts"):
        split_stage(flow, "transcripts", 1, AGENTS)
    without = {k: v for k, v in AGENTS.items() if k != "TranscriptJoiner"}
    with pytest.raises(ValueError, match="cannot be split"):
        split_stage(flow, "transcripts", 2, without)
    assert len(variants(flow, without, 8, True)) == 1
    bad = {**AGENTS, "SpeechToText": replace(AGENTS["SpeechToText"], parts=("ObjectLister", "Summarizer"))}
    with pytest.raises(ValueError, match="ObjectLister takes 0 inputs"):
        split_stage(flow, "transcripts", 2, bad)


def test_long_names_stay_names() -> None:
    flow = film()
    long = "t" * 80
    stages = tuple(
        replace(s, name=long if s.name == "transcripts" else s.name,
                edges=tuple(replace(e, stage=long) if e.stage == "transcripts" else e for e in s.edges))
        for s in flow.stages
    )  # fmt: skip
    after = split_stage(replace(flow, stages=stages), long, 2, AGENTS)
    assert convert(to_builtins(after), Workflow) == after, "as it is checked when it travels"


# --- how many attempts --------------------------------------------------------------------------------------------------------


def maths(**args: Any) -> Workflow:
    return compiled("PathSpreader", "MathReasoner", "MajorityVoter", text="solve it", name="words", kind="Text", **args)


def code() -> Workflow:
    return compiled("CodeTaskReader", "CandidateSpreader", "CodeGenerator", "CodeTester", "CodeRanker", name="task", kind="Text")


def test_paths_are_a_lever_where_nobody_said_how_many() -> None:
    found = variants(maths(), AGENTS, 4, True)
    assert [v.changes for v in found] == [(), *((f"paths: paths={k} instead of 5",) for k in (1, 3, 9))]
    assert [named(v.workflow, "paths").args.get("paths") for v in found] == [None, 1, 3, 9]
    assert [v.args for v in found] == [{}, *({"paths": {"paths": k}} for k in (1, 3, 9))]
    (solved,) = {name for v in found for name in v.quality}
    assert named(maths(), solved).agent == "MathReasoner"
    assert [v.quality[solved] for v in found] == [("vote", k) for k in (5, 1, 3, 9)]


@pytest.mark.parametrize("said", [3, 5])
def test_who_says_how_many_gets_that_many(said: int) -> None:
    (only,) = variants(maths(paths=said), AGENTS, 4, True)
    assert only.changes == ()
    assert set(only.quality.values()) == {("vote", said)}


def test_words_that_say_how_many_are_heard() -> None:
    proposed = tuple(Call(f"c{n}", a, {}, {}) for n, a in enumerate(("PathSpreader", "MathReasoner", "MajorityVoter")))
    request = Request("Solve this problem along 7 paths and vote", (), (Given("words", "Text"),))
    (only,) = variants(compile_plan(Proposal(proposed), request, OURS).workflow, AGENTS, 4, True)
    assert set(only.quality.values()) == {("vote", 7)}


def test_candidates_are_a_lever_too() -> None:
    found = variants(code(), AGENTS, 4, True)
    assert [v.changes for v in found] == [(), *((f"candidates: candidates={k} instead of 4",) for k in (1, 2, 8))]
    assert [set(v.quality.values()) for v in found] == [{("any", k)} for k in (4, 1, 2, 8)]


def test_quality_is_left_alone_unless_it_may_be_traded() -> None:
    assert len(variants(maths(), AGENTS, 4, False)) == 1
    assert [len(variants(film(), AGENTS, cores, False)) for cores in (1, 2, 3, 4, 64)] == [1, 2, 2, 3, 3]


def test_an_argument_is_said_once_in_the_call() -> None:
    flow = maths()
    before = named(flow, "paths").call
    assert "paths=5" in before
    assert named(with_args(flow, "paths", {"paths": 9}), "paths").call == before.replace("paths=5", "paths=9")
    twice = with_args(with_args(flow, "paths", {"paths": 9}), "paths", {"paths": 1})
    assert named(twice, "paths").call == before.replace("paths=5", "paths=1")
    bare = Workflow((Stage("s", "A", call="A()"), Stage("t", "A", (Edge("x", "s"),), call="A(x=s, max_paths=2)")), ("t",))
    assert named(with_args(bare, "s", {"paths": 3}), "s").call == "A(paths=3)"
    assert named(with_args(bare, "t", {"paths": 3}), "t").call == "A(x=s, max_paths=2, paths=3)"
    with pytest.raises(ValueError, match="no stage 'u'"):
        with_args(bare, "u", {})


# --- any workflow -------------------------------------------------------------------------------------------------------------

KIND = {"Video": "V", "Scene": "S", "Audio": "A", "Transcript": "T"}
TINY = {
    row.name: row
    for row in (
        Agent("Cut", "", {"a": Take("X")}, "X", many=True, args={"type": "object", "properties": {"n": {"type": "integer", "default": 3}}}, levers={"n": (1, 3, 6)}, lever_quality={"Work": "any"}),
        Agent("Work", "", {"a": Take("X"), "b": Take("X", optional=True)}, "X", parts=("Split", "Join")),
        Agent("Gather", "", {"a": Take("X", many=True)}, "X"),
        Agent("Split", "", {"a": Take("X")}, "X", many=True),
        Agent("Join", "", {"a": Take("X", many=True)}, "X"),
    )
}  # fmt: skip


@st.composite
def flows(draw: st.DrawFn) -> Workflow:
    """A workflow of up to 9 stages that can run, with answers anywhere."""
    stages: list[Stage] = []
    outs: dict[str, tuple[str, ...]] = {"": ("",)}
    for n in range(draw(st.integers(1, 9))):
        agent = draw(st.sampled_from(("Cut", "Work", "Work", "Gather")))
        source = draw(st.sampled_from(sorted(outs)))
        out = outs[source]
        depth = max(0, len(out) - 1) if agent == "Gather" else len(out)
        if depth > DEPTH_MAX or (agent == "Cut" and depth == DEPTH_MAX):
            continue
        edges = [Edge("a", source, "X")]
        above = [s for s in outs if s != source and outs[s] == out[: len(outs[s])]]
        if agent == "Work" and above and draw(st.booleans()):
            edges.append(Edge("b", draw(st.sampled_from(above)), "X"))
        args = {"n": draw(st.integers(1, 4))} if agent == "Cut" and draw(st.booleans()) else {}
        name = f"s{n}"
        stages.append(Stage(name, agent, tuple(edges), depth, many=agent == "Cut", args=args))
        outs[name] = (*out[:depth], name) if agent == "Cut" else out[:depth]
    if not stages:
        stages = [Stage("s", "Work", (Edge("a", "", "X"),), 1)]
    answer = draw(st.lists(st.sampled_from([s.name for s in stages]), min_size=1, max_size=3, unique=True))
    return Workflow(tuple(stages), tuple(answer))


@given(flows(), st.integers(1, 8), st.booleans())
def test_every_variant_runs_and_gives_what_the_workflow_gave(flow: Workflow, cores: int, tunable: bool) -> None:
    was = shapes(flow)
    found = variants(flow, TINY, cores, tunable)
    assert found[0] == as_it_is(flow, TINY)
    assert found[0].workflow == flow
    assert len(found) <= VARIANTS_MAX
    assert len({str(v.workflow) for v in found}) == len(found)
    for v in found:
        shape = shapes(v.workflow)
        assert v.workflow.answer == flow.answer
        assert {n: shape[n] for n in was} == was, "every old name is there, with the same tasks"
        assert all(s.depth <= DEPTH_MAX for s in v.workflow.stages)
        assert all(row.many == s.many for s in v.workflow.stages for row in (TINY[s.agent],))
        assert set(v.quality) <= set(shape)
        for name, args in v.args.items():
            assert args.items() <= named(v.workflow, name).args.items()
        for s in flow.stages:
            assert s.args.items() <= next(t for t in v.workflow.stages if t.name == s.name).args.items() or TINY[s.agent].parts
