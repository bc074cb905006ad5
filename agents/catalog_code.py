"""The code generation workflow: k candidates of a function, tested in a sandbox, ranked, and the best one repaired when it fails."""

from __future__ import annotations

from msgspec.structs import replace

from . import args_code as args
from .language_models import language_models
from .schema import args_schema
from .spec import Agent, Implementation, Take

AGENTS: tuple[Agent, ...] = (
    Agent(
        "CodeTaskReader",
        "Read a programming task: a HumanEval row, a function's head with its docstring, or plain words.",
        {"text": Take("Text", literal=True)},
        "CodeTask",
        noun="code_task",
        words=(
            "programming task",
            "programming tasks",
            "coding task",
            "coding tasks",
            "programming problem",
            "programming problems",
            "humaneval",
        ),
        description="Take one text as a programming task. A JSON row has prompt, entry_point and test (HumanEval's form); other text is the "
        "head of a Python function with its docstring, or says in plain words what a function should do. Examples in it are found.",
    ),
    Agent(
        "CandidateSpreader",
        "Prepare several candidates for one programming task.",
        {"task": Take("CodeTask")},
        "CandidateSeed",
        many=True,
        args=args_schema(args.CandidateSpreaderArgs),
        levers={"candidates": (1, 2, 4, 8)},
        lever_quality={"CodeGenerator": "any"},
        noun="candidates",
        words=(
            "candidates",
            "several candidates",
            "candidate solutions",
        ),
        description="Give k independent attempts at one programming task (the argument candidates). Each is written and tested by itself, "
        "wherever there is room; more of them cost more and make it likelier that one passes.",
    ),
    Agent(
        "CodeGenerator",
        "Write a Python function for a programming task with a language model.",
        {"seed": Take("CandidateSeed")},
        "CodeCandidate",
        args=args_schema(args.CodeGeneratorArgs),
        noun="code",
        words=("draft code",),
    ),
    Agent(
        "CodeTester",
        "Run a candidate's code against the task's tests in a sandbox without network or files.",
        {"candidate": Take("CodeCandidate")},
        "TestedCode",
        args=args_schema(args.CodeTesterArgs),
        noun="tested",
        words=(
            "run the tests",
            "unit tests",
            "test the code",
            "run the code",
            "in a sandbox",
            "in the sandbox",
        ),
        description="Run one candidate in a confined Python interpreter with limits of time and memory, against the tests of its task, else the "
        "examples of its docstring, and give how many passed and the first error.",
    ),
    Agent(
        "CodeRanker",
        "Rank tested candidates: most tests passed first, then agreement, then shortness.",
        {"tested": Take("TestedCode", many=True)},
        "RankedCode",
        noun="ranking",
        words=(
            "rank the candidates",
            "best candidate",
            "choose the best code",
            "compare candidates",
        ),
    ),
    Agent(
        "CodeRepairer",
        "Give the best code for a programming task, repaired from its first error when it fails its tests.",
        {"ranked": Take("RankedCode")},
        "CodeSolution",
        args=args_schema(args.CodeRepairerArgs),
        noun="solution",
        words=(
            "write code",
            "write the code",
            "write a function",
            "write the functions",
            "write functions",
            "write python",
            "write a program",
            "implement",
            "generate code",
            "code generation",
            "generate a function",
            "python code",
            "python function",
            "python functions",
            "repair the code",
            "fix the code",
            "debug",
            "working code",
            "code that passes",
        ),
        description="Give one solution from ranked candidates. When the best fails, a language model sees its code and first error, and the "
        "repaired code is tested in the same sandbox; the better of the two is kept.",
    ),
)

_PASSES = "pass@1 on 79 rows of HumanEval, scripts/bench/code.py"


def _models(agent: str, entry: str, work_s: float, quality: float, how: str) -> tuple[Implementation, ...]:
    """The small offline model's figures are measured; the others depend on the model that somebody serves."""
    small, *others = language_models(agent, entry, work_s=work_s)
    return (replace(small, quality=quality, quality_how=how), *others)


IMPLEMENTATIONS: tuple[Implementation, ...] = (
    Implementation(
        "task-text", "CodeTaskReader", "murakkab.agents.code_task:CodeTaskReader", memory_mb=30, quality=1.0, work_s=0.001, load_s=0.1
    ),
    Implementation(
        "seed-list", "CandidateSpreader", "murakkab.agents.code_task:CandidateSpreader", memory_mb=30, quality=1.0, work_s=0.001, load_s=0.1
    ),
    *_models("CodeGenerator", "murakkab.agents.code_generator:CodeGenerator", 4.0, 0.038, _PASSES),
    Implementation(
        "sandboxed-python",
        "CodeTester",
        "murakkab.agents.code_tester:CodeTester",
        slots=2,
        memory_mb=150,
        quality=1.0,
        work_s=0.16,
        load_s=0.2,
    ),
    Implementation("by-tests", "CodeRanker", "murakkab.agents.code_ranker:CodeRanker", memory_mb=30, quality=1.0, work_s=0.001, load_s=0.1),
    *_models(
        "CodeRepairer",
        "murakkab.agents.code_repairer:CodeRepairer",
        3.2,
        0.0,
        "share of failing candidates that pass after repair, scripts/bench/code.py",
    ),
)
