"""What k candidates cost and bring: the code generation agents on HumanEval rows, one after the other, without a bus.

    python scripts/bench/code.py [--data FILE] [--rows N] [--candidates 1,4] [--engine NAME] [--repairs N] [--temperature T]
                                 [--max-tokens N] [--json FILE]

`FILE` (default $MURAKKAB_SHARED/data/questions/humaneval/HumanEval_dev_half.jsonl, else ../shared/...) has rows of task_id, prompt, test,
entry_point and canonical_solution. Rows are taken evenly over the file.

machinery    the sandbox's active layers; of the canonical solutions how many pass, and of functions that only `return None` how many fail
pass@1       candidate 0 as the model wrote it, greedy: the only figure to set beside a published pass@1
any of k     a candidate passes; it was chosen by the task's own tests ("run against tests"), so this is pass@k, not pass@1
solved       after ranking, and after repair with the first failed test in the model's sight
cpu          CPU-seconds of writing (this process) and of testing (the interpreters in the sandbox), all rows together; `wall` likewise
chars        characters that the model wrote, and with ctranslate2 its tokens
Intervals are Wilson's, 95%. The k candidates are drawn once for the largest k; a smaller k is its first ones, so the two differ in k alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from murakkab.agents import llm
from murakkab.agents.code_generator import CodeGenerator
from murakkab.agents.code_ranker import CodeRanker
from murakkab.agents.code_repairer import CodeRepairer
from murakkab.agents.code_task import CandidateSpreader, CodeTaskReader
from murakkab.agents.code_tester import CodeTester, outcome
from murakkab.agents.interface import Call, Files
from murakkab.agents.sandbox import CannotConfine, Limits, Sandbox
from murakkab.agents.types import Text
from murakkab.agents.types_code import CodeSolution, CodeTask, Outcome, RankedCode, TestedCode


def wilson(hits: int, of: int) -> tuple[float, float]:
    """E. B. Wilson, "Probable inference, the law of succession, and statistical inference" (1927)."""
    if not of:
        return 0.0, 1.0
    z, p = 1.959964, hits / of
    middle, half = p + z * z / (2 * of), z * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    return (max(0.0, (middle - half) / (1 + z * z / of)), min(1.0, (middle + half) / (1 + z * z / of)))


def cpu_s() -> tuple[float, float]:
    """Of this process, and of its ended children."""
    mine, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return mine.ru_utime + mine.ru_stime, ended.ru_utime + ended.ru_stime


class Meter:
    """Seconds and CPU-seconds of this process and its children, summed over `with` blocks."""

    def __init__(self) -> None:
        self.wall_s = self.own_s = self.children_s = 0.0

    def __enter__(self) -> None:
        self._wall, (self._own, self._children) = time.perf_counter(), cpu_s()

    def __exit__(self, *_: object) -> None:
        own, children = cpu_s()
        self.wall_s, self.own_s, self.children_s = (
            self.wall_s + time.perf_counter() - self._wall,
            self.own_s + own - self._own,
            self.children_s + children - self._children,
        )

    def as_dict(self) -> dict[str, float]:
        return {"wall_s": round(self.wall_s, 3), "cpu_s": round(self.own_s + self.children_s, 3)}


class Sums:
    """What one number of candidates took and gave, over all rows."""

    def __init__(self) -> None:
        self.write, self.test, self.repair = Meter(), Meter(), Meter()
        self.tokens = self.chars = 0
        self.solutions: list[CodeSolution] = []

    def said(self, engine: Counted, tokens: int, chars: int) -> None:
        """What the engine wrote since it stood at these counts."""
        self.tokens, self.chars = self.tokens + engine.tokens - tokens, self.chars + engine.chars - chars


class Counted:
    """An engine that counts what is asked of it."""

    def __init__(self, engine: Any) -> None:
        self.engine, self.calls, self.tokens, self.chars = engine, 0, 0, 0

    async def chat(self, *args: Any, **kwargs: Any) -> str:
        text: str = await self.engine.chat(*args, **kwargs)
        self.calls, self.chars = self.calls + 1, self.chars + len(text)
        if (tokenizer := getattr(self.engine, "_tokenizer", None)) is not None:
            self.tokens += len(tokenizer.encode(text, add_special_tokens=False).tokens)
        return text


def call(files: Files, args: dict[str, Any] | None = None, **inputs: Any) -> Call:
    return Call({k: msgspec.to_builtins(v) for k, v in inputs.items()}, args or {}, files)


def machinery(rows: list[dict[str, str]], tasks: list[CodeTask], sandbox: Sandbox) -> dict[str, Any]:
    meter = Meter()
    canonical: list[Outcome] = []
    broken: list[Outcome] = []
    for row, task in zip(rows, tasks, strict=True):
        with meter:
            canonical.append(outcome(sandbox, task, 0, row["prompt"] + row["canonical_solution"], Limits()))
            broken.append(outcome(sandbox, task, 0, row["prompt"] + "    return None\n", Limits()))
    return {
        "layers": list(sandbox.layers),
        "canonical_pass": sum(o.good for o in canonical),
        "canonical_fail": [t.task_id for t, o in zip(tasks, canonical, strict=True) if not o.good],
        "broken_fail": sum(not o.good for o in broken),
        "rows": len(rows),
        "a_test": {k: v / (2 * len(rows)) for k, v in meter.as_dict().items()},
    }


async def measured(tasks: list[CodeTask], ks: list[int], options: argparse.Namespace, files: Files) -> list[dict[str, Any]]:
    engine = llm.make_engine(options.engine)
    engine.load()
    counted = Counted(engine)
    generator, repairer = CodeGenerator(options.engine), CodeRepairer(options.engine)
    generator._engine = repairer._engine = counted  # type: ignore[assignment]  # one loaded model for both
    tester, ranker, spreader = CodeTester(), CodeRanker(), CandidateSpreader()
    sums = {k: Sums() for k in ks}
    drawn = {"temperature": options.temperature, "max_tokens": options.max_tokens}
    for at, task in enumerate(tasks):
        tested: list[TestedCode] = []
        for seed in spreader.run(call(files, {"candidates": max(ks)}, task=task)):
            write, test, tokens, chars = Meter(), Meter(), counted.tokens, counted.chars
            with write:
                candidate = await generator.run_async(call(files, drawn, seed=seed))
            with test:
                tested.append(tester.run(call(files, candidate=candidate)))
            for k in ks:
                if seed.number < k:
                    add(sums[k].write, write)
                    add(sums[k].test, test)
                    sums[k].said(counted, tokens, chars)
        for k in ks:
            tokens, chars = counted.tokens, counted.chars
            ranked: RankedCode = ranker.run(call(files, tested=tested[:k]))
            with sums[k].repair:
                repair = {"repairs": options.repairs, "max_tokens": options.max_tokens}
                solution = await repairer.run_async(call(files, repair, ranked=ranked))
            sums[k].solutions.append(solution)
            sums[k].said(counted, tokens, chars)
        print(f"\r{at + 1}/{len(tasks)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    engine.close()
    return [summed(k, sums[k]) for k in ks]


def add(one: Meter, other: Meter) -> None:
    one.wall_s, one.own_s, one.children_s = one.wall_s + other.wall_s, one.own_s + other.own_s, one.children_s + other.children_s


def summed(k: int, row: Sums) -> dict[str, Any]:
    solutions = row.solutions
    n = len(solutions)
    rates = {
        "pass_at_1": sum(s.first_passed for s in solutions),
        "any_of_k": sum(s.passed_candidates > 0 for s in solutions),
        "solved": sum(s.passed for s in solutions),
    }
    return {
        "candidates": k,
        "rows": n,
        **{name: {"count": c, "rate": c / n, "interval": wilson(c, n)} for name, c in rates.items()},
        "candidates_passed": sum(s.passed_candidates for s in solutions),
        "best_tests_passed": sum(s.passed_tests / s.total_tests for s in solutions if s.total_tests) / n,
        "repairs_tried": sum(s.repairs_tried for s in solutions),
        "repairs_kept": sum(s.repaired for s in solutions),
        "repairs_passed": sum(s.repaired and s.passed for s in solutions),
        "tokens": row.tokens,
        "chars": row.chars,
        "write": row.write.as_dict(),
        "test": row.test.as_dict(),
        "repair": row.repair.as_dict(),
    }


def shown(results: list[dict[str, Any]]) -> None:
    print(
        f"{'k':>3} {'pass@1':>8} {'any of k':>9} {'solved':>7} {'tests passed':>13} {'repairs kept':>13} {'tokens':>8} {'cpu s':>8} {'wall s':>8}"
    )
    for r in results:
        cpu = sum(r[part]["cpu_s"] for part in ("write", "test", "repair"))
        wall = sum(r[part]["wall_s"] for part in ("write", "test", "repair"))
        counts = f"{r['pass_at_1']['count']:>8} {r['any_of_k']['count']:>9} {r['solved']['count']:>7}"
        repairs = f"{r['repairs_kept']}/{r['repairs_tried']}"
        print(f"{r['candidates']:>3} {counts} {r['best_tests_passed']:>12.1%} {repairs:>13} {r['tokens']:>8} {cpu:>8.1f} {wall:>8.1f}")
    for r in results:
        low, high = r["solved"]["interval"]
        parts = ", ".join(f"{name} {r[name]['cpu_s']:.1f}" for name in ("write", "test", "repair"))
        print(f"k={r['candidates']}: solved {r['solved']['rate']:.1%} ({low:.1%} to {high:.1%}) of {r['rows']}; CPU-seconds: {parts}")


def main() -> int:
    shared = Path(os.environ.get("MURAKKAB_SHARED", Path(__file__).resolve().parents[3] / "shared"))
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=shared / "data/questions/humaneval/HumanEval_dev_half.jsonl")
    parser.add_argument("--rows", type=int, default=10)
    parser.add_argument("--candidates", default="1,4", help="how many, for each measurement")
    parser.add_argument("--engine", choices=llm.ENGINES, default="ctranslate2")
    parser.add_argument("--repairs", type=int, default=1)
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--max-tokens", type=int, default=384)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    try:
        ks = sorted({int(k) for k in options.candidates.split(",")})
        lines = [line for line in options.data.read_text().splitlines() if line.strip()]
        rows: list[dict[str, str]] = [json.loads(line) for line in lines]
    except (OSError, ValueError) as error:
        print(f"code.py: {error}", file=sys.stderr)
        return 2
    if not rows or not ks or ks[0] < 1 or options.rows < 1:
        print("code.py: there should be at least one row and one candidate", file=sys.stderr)
        return 2
    if options.rows < len(rows):
        picked = [i * len(rows) // options.rows for i in range(options.rows)]
        rows, lines = [rows[i] for i in picked], [lines[i] for i in picked]
    with tempfile.TemporaryDirectory() as folder:
        files = Files(Path(folder))
        tasks = [CodeTaskReader().run(call(files, text=Text(line))) for line in lines]
        try:
            checked = machinery(rows, tasks, Sandbox())
            print(f"sandbox: {', '.join(checked['layers'])}")
            print(
                f"canonical solutions that pass: {checked['canonical_pass']} of {len(rows)}; broken ones that fail: {checked['broken_fail']}"
            )
            print(f"one test run: {checked['a_test']['cpu_s']:.2f} CPU-seconds, {checked['a_test']['wall_s']:.2f} s")
            results = asyncio.run(measured(tasks, ks, options, files))
        except (CannotConfine, RuntimeError) as error:
            print(f"code.py: {error}", file=sys.stderr)
            return 1
    shown(results)
    if options.json:
        options.json.write_text(json.dumps({"engine": options.engine, "machinery": checked, "results": results}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
