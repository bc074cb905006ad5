"""The code generation agents: what they make of tasks and of a model's words; real tests in the real sandbox. A model's wit is never asserted."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from murakkab.agents import args_code, catalog_code, code_text, library
from murakkab.agents.code_examples import called, examples
from murakkab.agents.code_generator import CodeGenerator, ask
from murakkab.agents.code_ranker import CodeRanker, ranked
from murakkab.agents.code_repairer import CodeRepairer
from murakkab.agents.code_task import CandidateSpreader, CodeTaskReader, read_task
from murakkab.agents.code_tester import CodeTester, outcome
from murakkab.agents.interface import BadInput, Call, Files
from murakkab.agents.sandbox import CannotConfine, Limits, Sandbox
from murakkab.agents.types import Text
from murakkab.agents.types_code import CODE_TYPES, CandidateSeed, CodeCandidate, CodeTask, Outcome, RankedCode, TestedCode
from murakkab.planner.lattice import of_classes
from murakkab.planner.library import Library

ROWS: list[dict[str, str]] = [json.loads(line) for line in (Path(__file__).parent / "data/humaneval/rows.jsonl").read_text().splitlines()]
LIMITS = Limits(wall_s=30)


def row(number: int) -> dict[str, str]:
    return next(r for r in ROWS if r["task_id"] == f"HumanEval/{number}")


def task(number: int) -> CodeTask:
    return read_task(json.dumps(row(number)))


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    box = Sandbox()
    try:
        _ = box.layers
    except CannotConfine as error:
        pytest.skip(str(error))
    return box


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "files")


def call(files: Files, args: dict[str, Any] | None = None, **inputs: Any) -> Call:
    return Call({name: msgspec.to_builtins(value) for name, value in inputs.items()}, args or {}, files)


# --- tasks ----------------------------------------------------------------------------------------------------------------


def test_a_row_is_read_without_its_solution() -> None:
    read = task(0)
    assert (read.task_id, read.entry_point) == ("HumanEval/0", "has_close_elements")
    assert read.tests == row(0)["test"]
    assert "abs(elem - elem2)" not in msgspec.json.encode(read).decode()
    assert read.examples == (
        (7, "has_close_elements([1.0, 2.0, 3.0], 0.5)", "False"),
        (9, "has_close_elements([1.0, 2.8, 3.0, 4.0, 5.0, 2.0], 0.3)", "True"),
    )


def test_other_texts_are_tasks_without_tests() -> None:
    head = read_task('def add(x: int, y: int):\n    """Add.\n    >>> add(2, 3)\n    5\n    """')
    assert (head.entry_point, head.tests, head.examples) == ("add", "", ((3, "add(2, 3)", "5"),))
    assert read_task("import math\ndef one(x): return 1\ndef two(x):").entry_point == "two"
    words = read_task("Write a function that doubles a number, so double(2) == 4 and double(0) is 0.")
    assert (words.entry_point, [e[1:] for e in words.examples]) == ("double", [("double(2)", "4"), ("double(0)", "0")])
    bare = read_task("Reverse a string")
    assert (bare.entry_point, bare.examples, bare.prompt) == ("", (), "Reverse a string")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  ", "is empty"),
        ("{not json", "starts like a JSON row but is none"),
        ('{"task_id": "x"}', "has no 'prompt'"),
        ('{"prompt": 5}', "'prompt' is int"),
        ('{"prompt": "p", "entry_point": "a b"}', "'entry_point' is 'a b'"),
    ],
)
def test_what_is_no_task_is_said(files: Files, text: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        CodeTaskReader().run(call(files, text=Text(text, "rows.jsonl line 3")))


def test_a_task_is_spread_over_candidates(files: Files) -> None:
    seeds = CandidateSpreader().run(call(files, task=task(2)))
    assert [s.number for s in seeds] == [0, 1, 2, 3]
    assert {s.task.task_id for s in seeds} == {"HumanEval/2"}
    assert len(CandidateSpreader().run(call(files, {"candidates": 9}, task=task(2)))) == 9
    with pytest.raises(BadInput, match="candidates=0"):
        CandidateSpreader().run(call(files, {"candidates": 0}, task=task(2)))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (">>> f(1)\n'a'\n>>> f(2)\n[1,\n 2]\n\nmore", [("f(1)", "'a'"), ("f(2)", "[1,\n2]")]),
        ("    f([1, (2)], k='x)') ➞ -3", [("f([1, (2)], k='x)')", "-3")]),
        ("For example, f(3) => [1, 2], f(4) should return 'b'.", [("f(3)", "[1, 2]"), ("f(4)", "'b'")]),
        ("f(2) == True # since it is", [("f(2)", "True")]),
        ("f(1) = 2 + 1", []),
        ('f(1) == ""oops"', []),
        ("def f(x) -> 3:", []),
        ("f(x) == 3 and g(1) == 2 and xf(1) == 2", []),
        (">>> f(1)\n>>> f(2)\n\nf(3) returns the list", []),
    ],
)
def test_examples_are_found(text: str, found: list[tuple[str, str]]) -> None:
    assert [e[1:] for e in examples(text, "f")] == found


@given(st.text(alphabet="f(1) =>\n'[],.:abc\"#\\{", max_size=80), st.sampled_from(["f", ""]))
def test_no_text_upsets_the_search_for_examples(text: str, name: str) -> None:
    found = examples(text, name)
    assert all(line >= 1 and expected for line, _, expected in found)
    assert called(found) == "" or all(e[1].startswith(f"{called(found)}(") for e in found)


# --- what a model wrote ---------------------------------------------------------------------------------------------------

HEAD = 'import math\nfrom typing import List\n\n\ndef helper(x):\n    return x\n\n\ndef area(r: float) -> float:\n    """ Area. """\n'
BEFORE = "import math\nfrom typing import List\n\n\ndef helper(x):\n    return x\n\n\n"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("Sure!\n```python\ndef area(r):\n    return 1\n```\nDone.", BEFORE + "def area(r):\n    return 1\n"),
        ("```\nx = 1\n```\nor\n```py\ndef area(r):\n    return 2\n```", BEFORE + "def area(r):\n    return 2\n"),
        ("```python\ndef area(r):\n    return 3\n    print('cut", BEFORE + "def area(r):\n    return 3\n"),
        ("Here it is:\ndef area(r):\n    return 4\nThis is right.", BEFORE + "def area(r):\n    return 4\n"),
        ("```python\ndef area(r):\n    return 6\n\nx = = 1\n```", BEFORE + "def area(r):\n    return 6\n\nx = = 1\n"),
        ("return math.pi * r * r", HEAD + "    return math.pi * r * r\n"),
        ("```python\n    return 5\n```", HEAD + "    return 5\n"),
    ],
)
def test_code_is_found_in_an_answer(answer: str, code: str) -> None:
    assert code_text.code_of(answer, HEAD, "area") == code


def test_words_without_code_stay_what_they_are() -> None:
    assert code_text.code_of("I cannot do this.", "Reverse a string", "") == "I cannot do this.\n"
    assert code_text.code_of("", HEAD, "area").startswith("import math")


@given(st.text(max_size=200), st.sampled_from([HEAD, "Reverse a string", ""]), st.sampled_from(["area", ""]))
def test_any_answer_gives_some_text(answer: str, prompt: str, name: str) -> None:
    for fenced in (answer, f"```python\n{answer}\n```"):
        assert isinstance(code_text.code_of(fenced, prompt, name), str)


def test_a_model_is_asked_without_tests() -> None:
    for number in (0, 32):
        assert row(number)["test"].strip().splitlines()[-1].strip() not in ask(task(number))
    assert ask(read_task("Double it: twice(1) == 2")) == "Write a Python function. Name the function twice.\nDouble it: twice(1) == 2"


# --- tests and ranks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [int(r["task_id"].partition("/")[2]) for r in ROWS])
def test_canonical_solutions_pass_and_broken_ones_fail(sandbox: Sandbox, number: int) -> None:
    given, read = row(number), task(number)
    good = outcome(sandbox, read, 0, given["prompt"] + given["canonical_solution"], LIMITS)
    assert (good.good, good.tested_by, good.error) == (True, "tests", "")
    assert good.passed == good.total >= 1
    for body in ("    return None\n", "    pass\n", "    import os\n    os._exit(0)\n", "    return 'x'\n", "    return (\n"):
        bad = outcome(sandbox, read, 0, given["prompt"] + body, LIMITS)
        assert not bad.good
        assert bad.error


def test_all_canonical_solutions_of_the_shared_rows_pass(sandbox: Sandbox, shared: Path) -> None:
    lines = (shared / "data/questions/humaneval/HumanEval_dev_half.jsonl").read_text().splitlines()
    assert len(lines) == 79
    for line in lines:
        given = json.loads(line)
        good = outcome(sandbox, read_task(line), 0, given["prompt"] + given["canonical_solution"], LIMITS)
        assert good.good, (given["task_id"], good.error)


def test_without_tests_the_examples_judge_and_without_these_that_it_runs(sandbox: Sandbox) -> None:
    given, read = row(8), msgspec.structs.replace(task(8), tests="")
    good = outcome(sandbox, read, 0, given["prompt"] + given["canonical_solution"], LIMITS)
    assert (good.tested_by, good.good, good.passed) == ("examples", True, 2)
    assert not outcome(sandbox, read, 0, given["prompt"] + "    return 0, 0\n", LIMITS).good
    words = read_task("Reverse a string")
    runs = outcome(sandbox, words, 0, "def reverse(s):\n    return s[::-1]\n", LIMITS)
    assert (runs.tested_by, runs.good, runs.total) == ("runs", True, 0)
    same = outcome(sandbox, words, 1, "def reverse(s):  # turn around\n\n    return s[::-1]\n", LIMITS)
    assert same.behaviour == runs.behaviour
    assert outcome(sandbox, words, 0, "I cannot.", LIMITS).error.startswith("line 1: SyntaxError")
    assert outcome(sandbox, words, 0, "x = 1", LIMITS).error == "the code defines no function"


def test_candidates_are_tested_within_their_limits(sandbox: Sandbox, files: Files) -> None:
    tester = CodeTester()
    tester.load()
    endless = CodeCandidate(task(53), 3, "def add(x, y):\n    while True: pass\n")
    tested = tester.run(call(files, {"time_s": 1.0, "memory_mb": 128}, candidate=endless))
    assert (tested.outcome.number, tested.outcome.good, tested.outcome.passed) == (3, False, 0)
    assert "the code was stopped" in tested.outcome.error
    hungry = CodeCandidate(task(53), 0, "def add(x, y):\n    return len(bytearray(10**9))\n")
    assert "MemoryError" in tester.run(call(files, {"memory_mb": 128}, candidate=hungry)).outcome.error


def result(number: int, good: bool = False, passed: int = 0, behaviour: str = "", code: str = "x") -> Outcome:
    return Outcome(number, code, "tests", good, passed, 5, "" if good else "wrong", behaviour or f"own {number}")


def test_ranks_are_by_tests_then_agreement_then_shortness() -> None:
    def order(*outcomes: Outcome) -> list[int]:
        return [o.number for o in ranked(outcomes)]

    assert order(result(0, passed=2), result(1, True, 5), result(2, passed=4)) == [1, 2, 0]
    assert order(result(0, passed=2), result(1, passed=2, behaviour="a"), result(2, passed=2, behaviour="a")) == [1, 2, 0]
    assert order(result(0, passed=2, code="longer"), result(1, passed=2, code="short")) == [1, 0]
    assert order(result(1), result(0)) == [0, 1]


@given(st.permutations([result(i, i % 3 == 0, i % 4, "ab"[i % 2], "x" * (i % 5)) for i in range(8)]))
def test_ranks_do_not_depend_on_who_was_first(outcomes: list[Outcome]) -> None:
    assert ranked(outcomes) == ranked(sorted(outcomes, key=lambda o: o.number))


def test_only_candidates_of_one_task_are_ranked(files: Files) -> None:
    one, other = TestedCode(task(2), result(0)), TestedCode(task(8), result(1))
    assert CodeRanker().run(call(files, tested=[one])).outcomes == (result(0),)
    with pytest.raises(BadInput, match="several tasks"):
        CodeRanker().run(call(files, tested=[one, other]))
    with pytest.raises(BadInput, match="no candidate"):
        CodeRanker().run(call(files, tested=[]))


# --- repair: what is done with a model's words, whatever they are ---------------------------------------------------------


class Scripted:
    """Stands where the model is: it says what it is given to say, and keeps what it was asked."""

    def __init__(self, *answers: str) -> None:
        self.answers, self.asked = list(answers), list[tuple[str, float, int]]()

    def load(self) -> None: ...

    def close(self) -> None: ...

    async def chat(self, system: str, user: str, max_tokens: int, *, temperature: float = 0.0, seed: int = 0) -> str:
        self.asked.append((user, temperature, seed))
        answer = self.answers.pop(0)
        if answer == "too long":
            raise BadInput("a prompt of 9999 tokens")
        return answer


def repaired(files: Files, engine: Scripted, outcomes: tuple[Outcome, ...], args: dict[str, Any] | None = None) -> Any:
    repairer = CodeRepairer("openai")
    repairer._engine = engine
    return asyncio.run(repairer.run_async(call(files, args, ranked=RankedCode(task(53), outcomes))))


ADD = "```python\ndef add(x, y):\n    return x + y\n```"
WRONG = "def add(x, y):\n    return x - y\n"


def test_what_passes_is_passed_through(files: Files) -> None:
    engine = Scripted()
    done = repaired(files, engine, (result(2, True, 5, code="best"), result(0), result(1, True, 5)))
    assert (done.code, done.passed, done.candidates, done.passed_candidates) == ("best", True, 3, 2)
    assert (done.first_passed, done.repaired, done.repairs_tried, done.error) == (False, False, 0, "")
    assert engine.asked == []


def test_what_fails_is_repaired_tested_and_kept_if_better(sandbox: Sandbox, files: Files) -> None:
    failed = outcome(sandbox, task(53), 0, WRONG, LIMITS)
    engine = Scripted(ADD)
    done = repaired(files, engine, (failed,))
    assert (done.passed, done.repaired, done.repairs_tried, done.first_passed, done.passed_candidates) == (True, True, 1, False, 0)
    assert done.code == "def add(x, y):\n    return x + y\n"
    [(asked, temperature, _)] = engine.asked
    assert WRONG.strip() in asked
    assert failed.error in asked
    assert temperature == 0.0


@pytest.mark.parametrize("answer", ["I am sorry.", "```python\ndef add(x, y):\n    return 'no'\n```", "", "too long"])
def test_a_repair_that_is_no_better_changes_nothing(sandbox: Sandbox, files: Files, answer: str) -> None:
    failed = outcome(sandbox, task(53), 0, WRONG, LIMITS)
    done = repaired(files, Scripted(answer), (failed,))
    assert (done.code, done.passed, done.repaired, done.repairs_tried) == (WRONG, False, False, 1)
    assert done.error == failed.error != ""


def test_repairs_are_as_many_as_are_asked_for(sandbox: Sandbox, files: Files) -> None:
    failed = outcome(sandbox, task(53), 0, WRONG, LIMITS)
    engine = Scripted("no", ADD, "never asked")
    done = repaired(files, engine, (failed,), {"repairs": 3})
    assert (done.passed, done.repairs_tried, len(engine.asked)) == (True, 2, 2)
    assert engine.asked[1][1] > 0  # a second likeliest answer would be the first over again
    assert repaired(files, Scripted(), (failed,), {"repairs": 0}).repairs_tried == 0


def test_a_generator_draws_all_but_the_first(files: Files) -> None:
    generator, engine = CodeGenerator("openai"), Scripted(ADD, ADD)
    generator._engine = engine
    for number in (0, 3):
        made = asyncio.run(generator.run_async(call(files, {"temperature": 0.5}, seed=CandidateSeed(task(53), number))))
        assert made.number == number
        assert made.code.endswith("def add(x, y):\n    return x + y\n")
    assert [(t, s) for _, t, s in engine.asked] == [(0.0, 0), (0.5, 3)]


@pytest.mark.models
def test_the_small_model_goes_all_the_way(sandbox: Sandbox, files: Files) -> None:
    """From a row to a solution with real weights; a sampled candidate is the same when it is drawn again."""
    read = CodeTaskReader().run(call(files, text=Text(json.dumps(row(53)))))
    seeds = CandidateSpreader().run(call(files, {"candidates": 2}, task=read))
    generator, tester, repairer = CodeGenerator("ctranslate2"), CodeTester(), CodeRepairer("ctranslate2")
    generator.load()
    repairer.load()
    few = {"max_tokens": 48}

    async def go() -> Any:
        made = [await generator.run_async(call(files, few, seed=s)) for s in (*seeds, seeds[1])]
        assert made[1].code == made[2].code
        tested = [tester.run(call(files, candidate=m)) for m in made[:2]]
        best = CodeRanker().run(call(files, tested=tested))
        return tested, await repairer.run_async(call(files, few, ranked=best))

    tested, done = asyncio.run(go())
    generator.close()
    repairer.close()
    assert done.candidates == 2
    assert done.passed_candidates == sum(t.outcome.good for t in tested)
    assert done.first_passed == tested[0].outcome.good
    assert done.passed_tests >= max(t.outcome.passed for t in tested)
    assert done.repairs_tried == int(done.passed_candidates == 0)
    assert "def add" in done.code


# --- rows -----------------------------------------------------------------------------------------------------------------


def test_the_types_lead_one_way_from_words_to_a_solution() -> None:
    agents = Library(catalog_code.AGENTS, of_classes((Text, *CODE_TYPES)))
    wanted, chain = "CodeSolution", list[str]()
    while wanted != "Text":
        [producer] = agents.producers(wanted)
        [take] = producer.takes.values()
        chain.append(producer.name)
        wanted = take.type
    assert chain == [a.name for a in reversed(catalog_code.AGENTS)]


def test_every_row_can_be_made() -> None:
    names = {a.name for a in catalog_code.AGENTS}
    for implementation in catalog_code.IMPLEMENTATIONS:
        assert implementation.agent in names
        if implementation.options.get("engine") in (None, "openai"):
            module, _, name = implementation.entry.partition(":")
            made = getattr(__import__(module, fromlist=[name]), name)(**implementation.options)
            assert hasattr(made, "load")
    assert names == {i.agent for i in catalog_code.IMPLEMENTATIONS if not library.missing(i, {"MURAKKAB_LLM_URL": "x"})}


def test_arguments_have_the_defaults_that_the_models_have(files: Files) -> None:
    by_name = {a.name: a.args["properties"] for a in catalog_code.AGENTS if a.args}
    assert by_name["CandidateSpreader"]["candidates"]["default"] == 4
    assert set(by_name["CodeRepairer"]) == {"repairs", "max_tokens", "time_s", "memory_mb"}
    assert args_code.CodeTesterArgs().time_s == 10.0
