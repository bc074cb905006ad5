"""Maths by voting and code by candidates, from a file of rows to the answer, with a real small model. Its answers are mostly wrong;
what is looked at is the machinery: one task a path or candidate, one vote or ranking a row, and what more of them cost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import Up, murakkab, up

pytestmark = [pytest.mark.live, pytest.mark.models]
DATA = Path(__file__).resolve().parents[1] / "data"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with up(tmp_path_factory.mktemp("home")) as running:
        yield running


def rows(source: str, n: int, folder: Path) -> Path:
    file = folder / "rows.jsonl"
    (found,) = DATA.glob(source)
    file.write_text("".join(found.read_text().splitlines(keepends=True)[:n]))
    return file


def run(system: Up, words: str, file: Path) -> dict[str, Any]:
    done = murakkab("run", words, file, "--json", "--nats", system.url, env=system.env, limit_s=240)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_maths_by_voting(system: Up, tmp_path: Path) -> None:
    file = rows("gsm8k*.jsonl", 2, tmp_path)
    few = run(system, "Solve these maths problems with 1 path, at most 32 tokens", file)
    more = run(system, "Solve these maths problems by voting over 3 reasoning paths, at most 32 tokens", file)
    assert [len(said["answer"]) for said in (few, more)] == [2, 2]
    assert {a["paths"] for a in more["answer"]} == {3}
    assert all(a["known"] and a["correct"] in (True, False, None) for a in more["answer"])
    tasks = {s["agent"]: s["tasks"] for s in more["stages"]}
    assert tasks == {"DocumentReader": 1, "PathSpreader": 2, "MathReasoner": 6, "MajorityVoter": 2}
    cost = [next(s for s in said["stages"] if s["agent"] == "MathReasoner")["cost_usd"] for said in (few, more)]
    assert cost[1] > cost[0], "the lever has its price"


def test_code_by_candidates_in_the_sandbox(system: Up, tmp_path: Path) -> None:
    file = rows("humaneval/*.jsonl", 1, tmp_path)
    said = run(system, "Write the functions, 2 candidates each, at most 64 tokens", file)
    (solution,) = said["answer"]
    assert solution["task_id"].startswith("HumanEval/")
    assert solution["candidates"] == 2
    assert solution["tested_by"] == "tests"
    assert solution["passed"] == (solution["passed_tests"] == solution["total_tests"] > 0)
    tasks = {s["agent"]: s["tasks"] for s in said["stages"]}
    assert (tasks["CodeGenerator"], tasks["CodeTester"], tasks["CodeRanker"], tasks["CodeRepairer"]) == (2, 2, 1, 1)


def test_a_file_that_is_no_text_is_refused_by_name(system: Up, tmp_path: Path) -> None:
    file = tmp_path / "problems.txt"
    file.write_bytes(b"\xff\xfe\x00broken")
    done = murakkab("run", "Solve these maths problems", file, "--nats", system.url, env=system.env, limit_s=120)
    assert done.returncode == 1
    assert "problems.txt" in done.stderr
