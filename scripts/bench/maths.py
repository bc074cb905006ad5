"""What voting over k reasoning paths costs and gains, on rows of GSM8K and on sums that a very small model can do.

Every path of every row is reasoned once by the agents of the product; all k are then judged on these same answers:
  "as run"   the vote of the first k paths (path 0 with the likeliest words, the others drawn), as a job with paths=k has it
  "drawn"    the mean over many choices of k of the drawn paths only: how voting alone does, free of the luck of one choice
  "oracle"   how often any of k drawn paths is right: no way to choose among them can do better
Accuracy and tokens are measured, CPU-seconds too (of this process); energy and money are modelled from them (optimizer/prices.py).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from murakkab.agents.interface import Call, Files
from murakkab.agents.llm import ENGINES
from murakkab.agents.maths_paths import problem
from murakkab.agents.maths_reason import SYSTEM, MathReasoner, prompt
from murakkab.agents.maths_vote import tally, voted
from murakkab.agents.types import Text
from murakkab.agents.types_maths import MathProblem, ReasonedAnswer, ReasoningPath
from murakkab.optimizer.prices import Prices

CHOICES = 400
"""Random choices of k drawn paths a row; with that many the mean moves by less than a point."""
BOOTSTRAPS = 2000
SUMS = "sums"


def sums(count: int, seed: int = 7) -> list[MathProblem]:
    """Word problems of one step, made here with their answers: small numbers, one of four operations."""
    dice = random.Random(seed)
    names, things = ("Tom", "Mia", "Ali", "Eva", "Ben"), ("apples", "books", "coins", "stamps", "cards")
    made = []
    for n in range(count):
        a, b, who, what = dice.randint(2, 12), dice.randint(2, 9), dice.choice(names), dice.choice(things)
        words, answer = (
            (f"{who} has {a} {what} and gets {b} more. How many {what} does {who} have now?", a + b),
            (f"{who} has {a + b} {what} and gives {b} away. How many {what} are left?", a),
            (f"{who} has {b} boxes with {a} {what} in each box. How many {what} does {who} have?", a * b),
            (f"{who} shares {a * b} {what} equally among {b} friends. How many {what} does each friend get?", a),
        )[n % 4]
        made.append(MathProblem(words, f"sum {n + 1}", str(answer)))
    return made


def rows_of(path: Path, count: int) -> list[MathProblem]:
    """The first rows with a known answer that is a number."""
    found: list[MathProblem] = []
    for n, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if len(found) < count and line.strip():
            row = problem(Text(line, f"{path.name}, line {n}"))
            if row.known:
                found.append(row)
    return found


def wilson(right: int, of: int) -> tuple[float, float]:
    """95% interval of a share (Wilson's score interval)."""
    z, share = 1.96, right / of
    middle, half = share + z * z / (2 * of), z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return max(0.0, (middle - half) / (1 + z * z / of)), min(1.0, (middle + half) / (1 + z * z / of))


def bootstrap(values: Sequence[float], seed: int = 1) -> tuple[float, float]:
    """95% interval of a mean over rows (percentiles of means of rows drawn again)."""
    dice = random.Random(seed)
    means = sorted(sum(dice.choices(values, k=len(values))) / len(values) for _ in range(BOOTSTRAPS))
    return means[int(0.025 * BOOTSTRAPS)], means[int(0.975 * BOOTSTRAPS)]


def reason(model: MathReasoner, rows: Sequence[MathProblem], k: int, max_tokens: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """All k paths of every row: answers, CPU-seconds and tokens of each."""
    done = []
    with tempfile.TemporaryDirectory() as folder:
        files = Files(Path(folder))
        for row in rows:
            answers, cpu_s = [], []
            for number in range(k):
                path = ReasoningPath(row, number, k)
                before = time.process_time()
                call = Call({"path": msgspec.to_builtins(path)}, {"max_tokens": max_tokens}, files)
                answers.append(asyncio.run(model.run_async(call)))
                cpu_s.append(time.process_time() - before)
            done.append({"answers": answers, "cpu_s": cpu_s, "tokens": [tokens(model, a.reasoning) for a in answers]})
            say(f"  {len(done)}/{len(rows)}  {row.name}: known {row.known}, paths say {', '.join(a.answer or '–' for a in answers)}")
    return done


def tokens(model: MathReasoner, text: str) -> int | None:
    """Tokens of a text where the engine has its tokenizer here; None where only a server knows."""
    tokenizer = getattr(model._engine, "_tokenizer", None)
    return len(tokenizer.encode(text, add_special_tokens=False).ids) if tokenizer is not None else None


def drawn(answers: Sequence[ReasonedAnswer], k: int, dice: random.Random) -> float:
    """How often a vote over k of these answers, chosen and ordered by chance, is right."""
    known, pairs, right = answers[0].path.problem.known, [a.answer for a in answers], 0
    for _ in range(CHOICES):
        votes = tally(enumerate(dice.sample(pairs, k)))
        right += bool(votes) and votes[0].answer == known
    return right / CHOICES


def oracle(answers: Sequence[ReasonedAnswer], k: int) -> float:
    """How often one of k of these answers at least is right; exact (hypergeometric)."""
    wrong = sum(a.answer != a.path.problem.known for a in answers)
    return 1 - math.comb(wrong, k) / math.comb(len(answers), k)


def judge(done: Sequence[dict[str, Any]], ks: Sequence[int]) -> dict[str, Any]:
    """Every figure of one set of rows."""
    rate, n, most = Prices(os.environ).of("cpu"), len(done), len(done[0]["answers"])
    as_run, curve = [], []
    single = [bool(voted(d["answers"][:1]).correct) for d in done]
    for k in ks:
        # a job with paths=k knows of k paths, so its share of votes is of k
        votes = [voted([msgspec.structs.replace(a, path=msgspec.structs.replace(a.path, of=k)) for a in d["answers"][:k]]) for d in done]
        right = [bool(v.correct) for v in votes]
        cpu_s = sum(sum(d["cpu_s"][:k]) for d in done) / n
        written = [t for d in done for t in d["tokens"][:k] if t is not None]
        agreed = (
            [v.confidence for v, r in zip(votes, right, strict=True) if r],
            [v.confidence for v, r in zip(votes, right, strict=True) if not r],
        )
        as_run.append(
            {
                "paths": k,
                "accuracy": sum(right) / n,
                "accuracy_95": wilson(sum(right), n),
                "gain_over_1": sum(right) / n - sum(single) / n,
                "gain_95": bootstrap([float(r) - float(s) for r, s in zip(right, single, strict=True)]),
                "answered": sum(v.answered for v in votes) / (n * k),
                "share_when_right": sum(agreed[0]) / len(agreed[0]) if agreed[0] else None,
                "share_when_wrong": sum(agreed[1]) / len(agreed[1]) if agreed[1] else None,
                "cpu_s_per_row": cpu_s,
                "tokens_per_path": sum(written) / len(written) if written else None,
                "tokens_per_row": sum(written) / n if written else None,
                "energy_wh_per_row": cpu_s * rate.watts_per_core / 3600,
                "cost_usd_per_row": cpu_s * rate.usd_per_core_hour / 3600,
            }
        )
    for k in range(1, most):
        dice = random.Random(k)
        votes_right = [drawn(d["answers"][1:], k, dice) for d in done]
        any_right = [oracle(d["answers"][1:], k) for d in done]
        curve.append(
            {
                "paths": k,
                "vote": sum(votes_right) / n,
                "vote_95": bootstrap(votes_right),
                "oracle": sum(any_right) / n,
                "oracle_95": bootstrap(any_right),
            }
        )
    answers = [{"known": d["answers"][0].path.problem.known, "paths": [a.answer for a in d["answers"]]} for d in done]
    return {"rows": n, "as_run": as_run, "drawn": curve, "answers": answers}


def show(name: str, result: dict[str, Any]) -> None:
    def span(pair: tuple[float, float]) -> str:
        return f"[{pair[0]:6.1%}, {pair[1]:6.1%}]"

    print(f"\n{name}: {result['rows']} rows. As run (path 0 likeliest words, others drawn):")
    print("  paths  accuracy  95% interval        gain over 1  95% interval        CPU-s/row  tokens/path    Wh/row   right/wrong agree")
    for r in result["as_run"]:
        share = "/".join("–" if r[key] is None else f"{r[key]:.2f}" for key in ("share_when_right", "share_when_wrong"))
        per_path = "–" if r["tokens_per_path"] is None else f"{r['tokens_per_path']:.0f}"
        print(
            f"  {r['paths']:5}  {r['accuracy']:8.1%}  {span(r['accuracy_95'])}  {r['gain_over_1']:+11.1%}  {span(r['gain_95'])}"
            f"  {r['cpu_s_per_row']:9.2f}  {per_path:>11}  {r['energy_wh_per_row']:8.5f}   {share}"
        )
    if result["drawn"]:
        print(
            "  Drawn paths only, mean over choices of k of the same answers:\n  paths      vote  95% interval         oracle  95% interval"
        )
    for r in result["drawn"]:
        print(f"  {r['paths']:5}  {r['vote']:8.1%}  {span(r['vote_95'])}  {r['oracle']:8.1%}  {span(r['oracle_95'])}")


def main() -> int:
    root = Path(os.environ.get("MURAKKAB_SHARED", Path(__file__).resolve().parents[3] / "shared"))
    gsm8k = root / "data" / "questions" / "gsm8k" / "test_dev_half.jsonl"
    parser = argparse.ArgumentParser(description="accuracy and cost of voting over k reasoning paths")
    parser.add_argument("--data", action="append", help=f"JSON lines with question and answer, or '{SUMS}' (default: GSM8K and {SUMS})")
    parser.add_argument("--rows", type=int, default=20, help="rows of each set (default %(default)s)")
    parser.add_argument(
        "--paths", default="1,3,5", help="numbers of paths to judge; as many as the most are reasoned (default %(default)s)"
    )
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--engine", choices=ENGINES, default=ENGINES[0])
    parser.add_argument("--json", type=Path, help="write everything here too")
    options = parser.parse_args()
    try:
        ks = sorted({int(k) for k in options.paths.split(",")})
    except ValueError:
        ks = []
    if not ks or not 1 <= ks[0] <= ks[-1] <= 100 or options.rows < 1:
        parser.error("--paths is like 1,3,5, each from 1 to 100; --rows is at least 1")
    sets = {}
    for name in options.data or [str(gsm8k), SUMS]:
        if name != SUMS and not Path(name).is_file():
            parser.error(f"--data {name}: no such file (GSM8K is found by MURAKKAB_SHARED)")
        sets[Path(name).name] = sums(options.rows) if name == SUMS else rows_of(Path(name), options.rows)
        if not sets[Path(name).name]:
            parser.error(f"--data {name}: no row with a question and a known answer that is a number")
    model = MathReasoner(options.engine)
    model.load()
    report: dict[str, Any] = {"how": {"accuracy": "measured", "cpu_s": "measured", "tokens": "measured", "energy_wh": "modelled"}}
    report |= {"engine": options.engine, "max_tokens": options.max_tokens, "system": SYSTEM, "sets": {}}
    report["prompt"] = prompt(ReasoningPath(MathProblem("QUESTION"), 0, 1))
    if options.engine != "ctranslate2":
        print("CPU-seconds, energy and money are of this process only: what the server uses is not in them.")
    for name, rows in sets.items():
        print(f"{name}: {len(rows)} rows, {ks[-1]} paths each", flush=True)
        result = judge(reason(model, rows, ks[-1], options.max_tokens, lambda line: print(line, flush=True)), ks)
        report["sets"][name] = result
        show(name, result)
    model.close()
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
