"""The maths workflow: several reasoning paths to one problem, and a vote over their answers."""

from __future__ import annotations

from msgspec.structs import replace

from . import args_maths as args
from .language_models import language_models
from .schema import args_schema
from .spec import Agent, Implementation, Take

AGENTS: tuple[Agent, ...] = (
    Agent(
        "PathSpreader",
        "Read a maths problem and prepare several reasoning paths to its answer.",
        {"problem": Take("Text", literal=True)},
        "ReasoningPath",
        many=True,
        args=args_schema(args.PathSpreaderArgs),
        levers={"paths": (1, 3, 5, 9)},
        lever_quality={"MathReasoner": "vote"},
        noun="paths",
        words=(
            "paths",
            "reasoning paths",
            "attempts",
            "each problem",
            "the problems",
            "maths problem",
            "maths problems",
            "math problem",
            "math problems",
            "word problem",
            "word problems",
        ),
        description="Take one maths problem, in plain words or as a JSON row with 'question', and give k independent attempts at it "
        "(the argument paths). Each attempt is reasoned out by itself; more attempts cost more and make the vote steadier.",
    ),
    Agent(
        "MathReasoner",
        "Solve a maths problem step by step along one reasoning path, and take down the final number.",
        {"path": Take("ReasoningPath")},
        "ReasonedAnswer",
        args=args_schema(args.MathReasonerArgs),
        noun="reasoning",
        words=(
            "solve",
            "maths",
            "math",
            "arithmetic",
            "calculate",
            "reasoning",
            "step by step",
            "how many",
            "how much",
        ),
    ),
    Agent(
        "MajorityVoter",
        "Vote over the answers of all reasoning paths and give the one that most agree on, with its share of the votes.",
        {"answers": Take("ReasonedAnswer", many=True)},
        "VotedAnswer",
        presents=True,
        noun="vote",
        words=("vote", "voting", "majority", "self-consistency", "consensus"),
    ),
)


def _reasoners() -> tuple[Implementation, ...]:
    """The small offline model's figures are measured; the others depend on the model that somebody serves."""
    small, *others = language_models("MathReasoner", "murakkab.agents.maths_reason:MathReasoner", work_s=3.3)
    return (replace(small, quality=0.03, quality_how="accuracy of one path on GSM8K, scripts/bench/maths.py"), *others)


IMPLEMENTATIONS: tuple[Implementation, ...] = (
    Implementation(
        "path-list", "PathSpreader", "murakkab.agents.maths_paths:PathSpreader", memory_mb=30, quality=1.0, work_s=0.001, load_s=0.1
    ),
    *_reasoners(),
    Implementation(
        "majority", "MajorityVoter", "murakkab.agents.maths_vote:MajorityVoter", memory_mb=30, quality=1.0, work_s=0.001, load_s=0.1
    ),
)
