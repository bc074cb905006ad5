"""Verdicts of the sandbox: what is counted, what cannot be forged, and what comes over the border between the two interpreters."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from murakkab.agents.sandbox import CannotConfine, Exam, Limits, Sandbox, Verdict
from murakkab.agents.sandbox_confine import uncovered
from murakkab.agents.sandbox_plain import NotPlain, dumps, loads
from murakkab.agents.sandbox_report import Report, parse_report

LIMITS = Limits(wall_s=20, cpu_s=10)


def can() -> str:
    try:
        return "" if Sandbox(environ={}).layers else "no layer"
    except CannotConfine as error:
        return str(error)


needs_linux = pytest.mark.skipif(bool(can()), reason=can())

# --- verdicts -------------------------------------------------------------------------------------------------------------

TESTS = "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(3) == 9\n    assert candidate(1234) == 1522756\n"


def judged(code: str, tests: str = TESTS, prompt: str = "", name: str = "square", limits: Limits = LIMITS) -> Verdict:
    return Sandbox(limits, environ={}).examine(code, Exam(name, prompt, tests))


@needs_linux
def test_a_verdict_counts_asserts_and_names_the_first_that_failed() -> None:
    good = judged("def square(x): return x * x").report
    assert (good.passed, good.failed, good.done, good.good, good.error) == (3, 0, True, True, "")
    half = judged("def square(x):\n    return x + 2 if x < 3 else x * 4").report
    assert (half.passed, half.failed, half.good) == (1, 2, False)
    assert half.error == "test line 3: candidate(3) == 9: square gave 12"
    wrong = judged("def square(x):\n    y = 0\n    return x / y").report
    assert wrong.error == "test line 2: candidate(2) == 4: ZeroDivisionError: line 3: ZeroDivisionError: division by zero"
    assert judged("def square(x) return x").report.error.startswith("line 1: SyntaxError")
    assert judged("def other(x): return x").report.error.endswith("the code defines no 'square'")
    assert judged("import no_such_module").report.error == "line 1: ModuleNotFoundError: No module named 'no_such_module'"
    assert good.behaviour == judged("def square(n):\n    return n ** 2").report.behaviour != half.behaviour


@needs_linux
def test_forms_of_tests() -> None:
    code = "def square(x):\n    if x < 0: raise ValueError('negative')\n    return x * x"
    assert judged(code, "assert square(2) == 4\nfor i in range(5):\n    assert square(i) == i * i\nassert True").report.passed == 6
    raising = "def check(c):\n    try:\n        c(-1)\n        assert False\n    except ValueError as e:\n        assert 'negative' in str(e)\n    assert c(1) == 1\n"
    assert judged(code, raising).report.good
    assert not judged("def square(x): return x * x", raising).report.good
    helped = judged(
        "def double(x): return 2 * x", "def check(c):\n    assert half(c(3)) == 3", "def half(x):\n    return x / 2\n", "double"
    )
    assert helped.report.good
    assert "the tests of this task are not Python" in judged(code, "def check(").report.error
    assert "NameError" in judged(code, "def check(c):\n    nothing\n").report.error
    assert "hand" not in judged(code, "assert square(lambda: 1) == 1").report.error
    kinds = "def check(c):\n    for v in (None, True, 10**5000, -1.5, 'é\\ud800', b'x', [1], (1, [2]), {1: (2,)}, {1, 2}, frozenset('ab'), 1j, float('inf')):\n        assert c(v) == v and type(c(v)) is type(v)\n"
    assert judged("def square(x): return x", kinds).report.good


FORGERIES = {
    "prints": "print('[\"done\", 3, 0, \"\"]'); print('all tests passed')\ndef square(x): return 0",
    "ends before the tests": "import os\nprint('OK')\nos._exit(0)",
    "exits": "import sys\nsys.exit(0)",
    "ends in a test": "import os\ndef square(x): os._exit(0)",
    "equals everything": "class Yes:\n    def __eq__(self, other): return True\ndef square(x): return Yes()",
    "a number that equals everything": "class Yes(int):\n    def __eq__(self, other): return True\n    __hash__ = None\ndef square(x): return Yes(0)",
    "writes to every file": (
        'import os\nfor fd in range(64):\n    for line in (b\'{"tuple":["done",3,0,""]}\\n\', b\'["done",3,0,""]\\n\'):\n        try: os.write(fd, line)\n        except OSError: pass\n'
        "def square(x): return 0"
    ),
    "replaces the builtins": "import builtins\nbuiltins.AssertionError = Exception\nbuiltins.isinstance = lambda *a: True\nbuiltins.compile = None\ndef square(x): return 0",
    "replaces the runner": (
        "import sys\nfor name, module in list(sys.modules.items()):\n    if name.startswith('box'):\n        for key in list(vars(module)):\n"
        "            if not key.startswith('__'): setattr(module, key, lambda *a, **k: True)\ndef square(x): return 0"
    ),
    "looks for the tests": (
        "import gc, re, sys\ndef there(o):\n    return any(int(m) * 2 == 3045512 for m in re.findall(r'[0-9]{7}', repr(o)))\n"
        "def square(x):\n    if any(there(o) for o in gc.get_objects() if isinstance(o, (dict, list, tuple))): return x * x\n"
        "    f = sys._getframe()\n    while f:\n        if there(f.f_locals) or there(f.f_globals): return x * x\n        f = f.f_back\n    return 0"
    ),
    "a generator": "def square(x):\n    yield x * x",
    "raises what tests raise": "def square(x): raise AssertionError('passed')",
    "a test's own exit": "def square(x): raise SystemExit(0)",
    "too much": "def square(x): return 'x' * 10**7",
    "too deep": "def square(x):\n    a = []\n    for _ in range(10**5): a = [a]\n    return a",
}


@needs_linux
@pytest.mark.parametrize("code", FORGERIES.values(), ids=FORGERIES.keys())
def test_a_verdict_is_not_forged(code: str) -> None:
    report = judged(code).report
    assert not report.good
    assert report.passed == 0
    assert report.failed >= 1
    assert report.error


@needs_linux
def test_code_that_does_not_end_keeps_what_it_passed() -> None:
    code = "def square(x):\n    while x == 3: pass\n    return x * x"
    verdict = judged(code, limits=Limits(wall_s=3, cpu_s=1))
    assert (verdict.report.passed, verdict.report.failed, verdict.report.done) == (1, 2, False)
    assert "the code was stopped: it" in verdict.report.error
    assert verdict.cpu_s > 0.5


@needs_linux
def test_examples_judge_where_there_are_no_tests() -> None:
    box = Sandbox(LIMITS, environ={})
    examples = ((1, "half(4)", "2"), (2, "half(1)", "0.5000000001"), (3, "half('a')", "1"))
    report = box.examine("def half(x): return x / 2", Exam("half", examples=examples)).report
    assert (report.passed, report.failed) == (2, 1)
    assert report.error.startswith("test line 3: half('a'): TypeError")
    assert box.examine("x = 1", Exam("")).report.good  # only that it runs
    assert not box.examine("x = 1 / 0", Exam("")).report.good


# --- what comes over the border -------------------------------------------------------------------------------------------

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary() | st.complex_numbers(allow_nan=False)
)
keys = st.booleans() | st.integers() | st.text() | st.tuples(st.integers(), st.text())
plain = st.recursive(
    scalars | st.sets(keys) | st.frozensets(keys),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(keys, inner),
    max_leaves=20,
)


@given(plain)
def test_plain_data_survives(value: Any) -> None:
    line = dumps(value)
    assert "\n" not in line
    back = loads(line)
    assert back == value
    assert type(back) is type(value)


json_like = st.recursive(
    scalars.filter(lambda x: not isinstance(x, bytes | complex)) | st.sampled_from(["int", "set", "dict", "tuple"]),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["int", "float", "tuple", "dict", "set", "bytes", "complex", "x"]), inner)
    ),
    max_leaves=10,
)


@given(st.binary() | st.text() | json_like.map(json.dumps))
def test_other_data_is_refused_and_never_more(line: bytes | str) -> None:
    try:
        value = loads(line)
    except NotPlain:
        return
    assert loads(dumps(value)) == value


lines = st.lists(
    st.one_of(
        st.tuples(st.just("planned"), st.integers(-2, 9)),
        st.tuples(st.just("case"), st.integers(-1, 9), st.text(max_size=9)),
        st.tuples(st.just("done"), st.integers(-1, 9), st.integers(-1, 9), st.text(max_size=9)),
        json_like,
    ).map(lambda v: dumps(list(v) if isinstance(v, tuple) else v).encode())
    | st.binary(max_size=20),
    max_size=8,
).map(lambda parts: b"\n".join([*parts, b""]))


@given(lines, st.integers(0, 400))
def test_a_report_is_good_only_when_it_says_so_in_full(raw: bytes, cut: int) -> None:
    for text in (raw, raw[:cut]):
        report = parse_report(text)
        assert report.passed >= 0
        assert report.failed >= 0
        assert report.done or report.failed >= 1
        report.error.encode()
        if report.good:
            assert b'"done"' in text
            assert not report.failed


@given(st.lists(st.booleans(), max_size=30))
def test_a_report_is_read_as_it_was_written(passes: list[bool]) -> None:
    raw = dumps(["planned", len(passes)]).encode() + b"\n"
    for i, good in enumerate(passes):
        raw += dumps(["case", i + 1, "" if good else "why"]).encode() + b"\n"
    end = dumps(["done", sum(passes), passes.count(False), "b"]).encode() + b"\n"
    first = f"test line {passes.index(False) + 1}: why" if False in passes else ""
    assert parse_report(raw + end) == Report(sum(passes), passes.count(False), True, first, "b")
    assert not parse_report(raw).good
    assert not parse_report(raw + end[:-1]).good


def test_what_is_covered() -> None:
    assert uncovered({"seccomp", "landlock"}) == []
    assert uncovered({"network-namespace", "process-limit"}) == ["files"]
    assert uncovered(set()) == ["network", "files", "processes"]


@needs_linux
def test_deep_and_crashing_code_ends_there() -> None:
    box = Sandbox(LIMITS, environ={})
    assert "RecursionError" in box.run("def f(): f()\nf()").stderr
    assert box.run("import ctypes\nctypes.string_at(0)").why == "it was ended by signal 11"
    assert box.run("import os\nos._exit(7)").code == 7
