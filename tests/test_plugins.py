"""Packages of other people: one file, one `pip install`, and the library has it; what is wrong with one harms nobody else.

Every package here is really installed, by pip, into a folder that only the commands of this file have on their path.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Struct
from packages import documented, install, path_with, project

from murakkab.actors.main import look_around
from murakkab.agents import plugin
from murakkab.agents.installed import Installed
from murakkab.agents.offered import BYTES_MAX, Interpreter, brought, fitting, together
from murakkab.agents.plugin import Declared, Facts, Traits, agent, implementation
from murakkab.agents.spec import Agent, Implementation, Take
from murakkab.agents.types import TYPES, Number, Text
from murakkab.bus.messages import LibraryOffered, Offer

PLUGIN = 'entry-points."murakkab.plugins"'


def command(*words: str, path: str = "", home: Path) -> subprocess.CompletedProcess[str]:
    """A command in an environment that leads to no running system."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NATS_", "MURAKKAB_"))}
    env = {**kept, "MURAKKAB_HOME": str(home), **({"PYTHONPATH": path} if path else {})}
    return subprocess.run([sys.executable, "-m", *words], env=env, capture_output=True, text=True, check=False, timeout=60)


def agents(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    return {a["agent"]: a for a in json.loads(done.stdout)}


# --- what the documentation shows ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """docs/plugins.md's package, installed."""
    pyproject, modules = documented()
    assert modules.keys() == {"keywords.py"}
    return install(tmp_path_factory.mktemp("documented") / "site", (pyproject, modules))


def test_the_library_shows_an_installed_package(shown: Path, tmp_path: Path) -> None:
    assert "KeywordFinder" not in agents(command("murakkab.client.cli", "library", "--json", home=tmp_path))
    told = command("murakkab.client.cli", "library", "--json", path=path_with(shown), home=tmp_path)
    assert told.stderr == ""
    it = agents(told)["KeywordFinder"]
    assert it["package"] == "murakkab-keywords 1.0"
    assert it["takes"] == {"text": {"type": "Text", "many": False, "optional": False, "literal": False}}
    assert (it["gives"], it["many"]) == ("Keywords", False)
    assert it["args"]["properties"]["most"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 100,
        "default": 5,
        "description": "at most this many",
    }
    (way,) = it["implementations"]
    assert (way["name"], way["quality"], way["missing"], way["package"]) == ("frequent-words", 0.3, "", "murakkab-keywords 1.0")


def test_the_page_shows_what_the_command_says(shown: Path, tmp_path: Path) -> None:
    words = command("murakkab.client.cli", "library", path=path_with(shown), home=tmp_path).stdout
    (block,) = [b for b in (Path(__file__).parents[1] / "docs" / "plugins.md").read_text().split("```") if b.startswith("\nKeywordFinder(")]
    assert block in words


def test_the_documented_model_runs_in_an_instance(shown: Path, tmp_path: Path) -> None:
    """As a worker runs it: a process of its own, one line a message."""
    setup = {"entry": "keywords:FrequentWords", "options": {}, "slots": 1, "folder": str(tmp_path / "files"), "agent": "KeywordFinder"}
    text = "Trains carry people. Trains carry freight. Trains are late."
    calls = [
        {"n": 1, "inputs": {"text": {"text": text, "name": "note"}}, "args": {"most": 2}},
        {"n": 2, "inputs": {"text": {"text": "so it is", "name": "note"}}, "args": {}},
    ]
    env = {**os.environ, "PYTHONPATH": path_with(shown)}
    with subprocess.Popen(
        [sys.executable, "-m", "murakkab.agents.instance"], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(setup) + "\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["ready"]
        for call in calls:
            process.stdin.write(json.dumps(call) + "\n")
            process.stdin.flush()
        answers = {a["n"]: a for a in (json.loads(process.stdout.readline()) for _ in calls)}
        process.stdin.close()
        assert process.wait(20) == 0
    assert answers[1]["output"] == {"text": "trains carry", "name": "note", "counts": [3, 2]}
    assert answers[2]["bad_input"]
    assert "give a longer text" in answers[2]["error"]


def test_a_host_brings_it_with_its_type(shown: Path, tmp_path: Path) -> None:
    done = command("murakkab.agents.offered", path=path_with(shown), home=tmp_path)
    here = msgspec.json.decode(done.stdout, type=Interpreter)
    assert ("KeywordFinder", "frequent-words") in here.can
    assert [a["name"] for a in here.brings.agents] == ["KeywordFinder"]
    assert [r["entry"] for r in here.brings.implementations] == ["keywords:FrequentWords"]
    assert here.brings.types == {"Keywords": ("Text",)}
    assert here.brings.packages["KeywordFinder/frequent-words"] == "murakkab-keywords 1.0"


def test_what_is_built_in_is_not_brought() -> None:
    mine = brought("h")
    assert mine == LibraryOffered(host="h", agents=mine.agents, implementations=mine.implementations, packages=mine.packages)
    assert "SceneSplitter" not in {a["name"] for a in mine.agents}


# --- what can be wrong with a package --------------------------------------------------------------------------------------------

HEAD = "from murakkab.agents.plugin import agent, implementation\nfrom murakkab.agents.types import Number, Text\n"
GOOD = HEAD + 'agent("Good", "Is fine.", gives=Number)\n'
MODEL = "class M:\n    def load(self): pass\n    def run(self, call): return Number(1.0)\n"

BROKEN = {
    "raises": ("raise RuntimeError('the moon\\nis full')", "cannot be imported: RuntimeError: the moon is full"),
    "exits": ("import sys; sys.exit(3)", "cannot be imported: SystemExit: 3"),
    "needs": ("import no_such_library", "cannot be imported: ModuleNotFoundError: No module named 'no_such_library'"),
    "syntax": ("def", "cannot be imported: SyntaxError"),
    "silent": ("x = 1", "declares no agent and no implementation"),
    "clash": (HEAD + 'agent("Sleep", "Mine.", gives=Number)', "agent Sleep is left out: murakkab has one of this name"),
    "twice": (
        HEAD + f'@implementation(agent="Sleep", name="sleep")\n{MODEL}',
        "implementation sleep of Sleep is left out: murakkab has one of this name",
    ),
    "nobody": (
        HEAD + f'@implementation(agent="Sleeep", name="x")\n{MODEL}',
        "implementation x is left out: there is no agent 'Sleeep'",
    ),
    "type": (
        HEAD + 'class Scene(Text, frozen=True): pass\nagent("Mine", "", gives=Scene)',
        "its type Scene (type_module) has the name of another, murakkab.agents.types:Scene, which stays",
    ),
    "quality": (
        HEAD + f'@implementation(agent="Sleep", name="x", quality=9)\n{MODEL}',
        "implementation x of Sleep is left out: its quality 9 is not between 0 and 1",
    ),
    "share": (
        HEAD + f'@implementation(agent="Sleep", name="x", compute_share=1.5)\n{MODEL}',
        "implementation x of Sleep is left out: its compute_share 1.5 is not between 0 and 1",
    ),
    "only": (
        HEAD + f'@implementation(agent="Sleep", name="x", only_args={{"seconds": ()}})\n{MODEL}',
        "implementation x of Sleep is left out: its only_args give no value for 'seconds'",
    ),
    "slots": (
        HEAD + f'@implementation(agent="Sleep", name="x", slots="many")\n{MODEL}',
        "its row is none: Expected `int`, got `str` - at `$.slots`",
    ),
    "weights": (
        HEAD + f'@implementation(agent="Sleep", name="x", weights="mine")\n{MODEL}',
        "there are no weights 'mine'; there are",
    ),
    "options": (
        HEAD + f'@implementation(agent="Sleep", name="x", options={{"a": 1}})\n{MODEL}',
        "cannot be made with options ['a']",
    ),
    "model": (HEAD + '@implementation(agent="Sleep", name="x")\nclass M: pass', "is no Model: it needs the methods load()"),
    "hint": (HEAD + 'agent("X", "", gives=int)', "what X gives is <class 'int'>: give a Struct class"),
    "unknown": (
        HEAD + 'from murakkab.agents.plugin import Take\nagent("X", "", takes={"a": Take("Txt")}, gives=Text)',
        "agent X is left out: it takes 'a' as Txt, a type that nobody has declared",
    ),
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All broken packages, and a good one whose module also prints, in one place."""
    packages = [
        (project(name, f'[project.{PLUGIN}]\n{name} = "{name}_module"'), {f"{name}_module.py": code}) for name, (code, _) in BROKEN.items()
    ]
    packages.append((project("zz-good", f'[project.{PLUGIN}]\ngood = "good_module"'), {"good_module.py": f"print('hello')\n{GOOD}"}))
    rows = 'AGENTS = [1]\nfrom murakkab.agents.library import Implementation\nROWS = [Implementation("row", "Good", "rows_module:M")]\n'
    points = '[project.entry-points."murakkab.agents"]\nrows = "rows_module:AGENTS"\n'
    points += '[project.entry-points."murakkab.implementations"]\nrows = "rows_module:ROWS"'
    packages.append((project("rows", points), {"rows_module.py": rows}))
    return install(tmp_path_factory.mktemp("broken") / "site", *packages)


def test_each_broken_package_is_named_with_the_reason_and_the_rest_goes_on(broken: Path, tmp_path: Path) -> None:
    told = command("murakkab.client.cli", "library", "--json", path=path_with(broken), home=tmp_path)
    known, lines = agents(told), told.stderr.splitlines()
    for name, (_, says) in BROKEN.items():
        assert any(line.startswith(f"murakkab: {name} 1.0: ") and says in line for line in lines), (name, lines)
    assert any(line.startswith("murakkab: rows 1.0: ") and "it holds a int, no Agent" in line for line in lines)
    assert "Traceback" not in told.stderr
    assert known["Good"]["package"] == "zz-good 1.0"
    assert [(i["name"], i["package"]) for i in known["Good"]["implementations"]] == [("row", "rows 1.0")], "other groups still serve"
    assert known["Sleep"]["summary"] == "Wait some milliseconds; for tests and benchmarks."
    assert [i["name"] for i in known["Sleep"]["implementations"]] == ["sleep"]
    assert known.keys().isdisjoint({"Mine", "X"})


def test_doctor_says_it_too(broken: Path, tmp_path: Path) -> None:
    told = command("murakkab.client.cli", "doctor", "--json", path=path_with(broken), home=tmp_path)
    problems = json.loads(told.stdout)["package_problems"]
    assert len(problems) >= len(BROKEN)
    assert any(p.startswith("raises 1.0: ") for p in problems)
    assert "left out raises 1.0: " in command("murakkab.client.cli", "doctor", path=path_with(broken), home=tmp_path).stdout


# --- the decorator and the declaration, in this process ---------------------------------------------------------------------------


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[Declared, ...]]:
    monkeypatch.setattr(plugin, "_declared", [])
    return plugin.declared


class Page(Text, frozen=True):
    number: int = 0


class Book(Page, frozen=True):
    pass


class Takes(Struct):
    pages: list[Page]
    note: Text | None = None
    more: list[Number] | None = None


class Model:
    def __init__(self, size: int = 1) -> None:
        self.size = size

    def load(self) -> None:
        pass

    def run(self, call: plugin.Call) -> Number:
        return Number(float(self.size))


def test_takes_are_a_class_or_a_mapping(noted: Callable[[], tuple[Declared, ...]]) -> None:
    by_class = agent("Binder", "Bind.", takes=Takes, gives=list[Book], keeps=True, noun="books")
    by_mapping = agent("Binder", "Bind.", takes={"pages": list[Page], "note": Text | None, "more": Take("Number", many=True, optional=True)}, gives=list[Book])  # fmt: skip
    assert by_class.takes == by_mapping.takes
    assert by_class.takes == {"pages": Take("Page", many=True), "note": Take("Text", optional=True), "more": Take("Number", True, True)}
    assert (by_class.gives, by_class.many, by_class.keeps, by_class.noun) == ("Book", True, True, "books")
    assert set(noted()[0].classes) >= {Book, Page, Text}, "the classes between are types as well"
    assert noted()[0].module == __name__


def test_an_implementation_is_made_of_its_class(noted: Callable[[], tuple[Declared, ...]]) -> None:
    small = implementation(agent="Binder", name="small", memory_mb=10)(Model)
    assert implementation(agent=Agent("Binder", "", {}, "Book"), name="large", options={"size": 2})(small) is Model
    rows = [d.row for d in noted()]
    assert rows == [
        Implementation("small", "Binder", f"{__name__}:Model", memory_mb=10),
        Implementation("large", "Binder", f"{__name__}:Model", options={"size": 2}),
    ]


def test_a_module_that_is_imported_anew_says_nothing_new(noted: Callable[[], tuple[Declared, ...]]) -> None:
    for _ in range(2):
        agent("Binder", "Bind.", gives=Book)
        implementation(agent="Binder", name="small")(Model)
    assert len(noted()) == 2


def test_a_class_that_no_instance_can_import_is_refused(noted: Callable[[], tuple[Declared, ...]]) -> None:
    class Inside(Model):
        pass

    with pytest.raises(TypeError, match="put it at the top of its module"):
        implementation(agent="Binder", name="x")(Inside)
    assert noted() == ()


class Nested(Struct):
    inner: Takes


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ({"gives": Text | None}, "cannot be optional"),
        ({"gives": "Text"}, "give a Struct class"),
        ({"gives": Text, "takes": {"a": Text | Number}}, "give a Struct class"),
        ({"gives": Text, "args": Nested}, "not flat"),
    ],
)
def test_a_declaration_that_is_none_says_why(noted: Callable[[], tuple[Declared, ...]], what: dict[str, Any], says: str) -> None:
    with pytest.raises(TypeError, match=says):
        agent("Binder", "Bind.", **what)
    assert noted() == ()


def test_every_field_of_a_row_can_be_said() -> None:
    assert set(Facts.__annotations__) == set(Implementation.__struct_fields__) - {"name", "agent", "entry"}
    assert set(Traits.__annotations__) == set(Agent.__struct_fields__) - {"name", "summary", "takes", "gives", "many", "args"}


def test_a_package_may_build_on_another_whatever_their_order() -> None:
    found = Installed([], [], TYPES)
    way = Declared("b", Implementation("w", "Binder", "b:M"))
    found.add([("b 1", way), ("a 1", Declared("a", Agent("Binder", "", {}, "Book"), (Book, Page, Text)))])
    assert found.problems == []
    assert found.implementations.keys() == {("Binder", "w")}
    assert found.packages == {"Binder": "a 1", ("Binder", "w"): "b 1"}
    assert found.type_packages == {"Book": "a 1", "Page": "a 1"}


def test_of_two_packages_the_first_stays() -> None:
    found = Installed([], [], TYPES)
    found.add([(f"{p} 1", Declared(p, Agent("Binder", p, {}, "Text"))) for p in ("a", "b")])
    assert found.agents["Binder"].summary == "a"
    assert found.problems == ["b 1: agent Binder is left out: a 1 has one of this name"]


# --- more than one interpreter, and a great many rows ---------------------------------------------------------------------------------


def offer(*names: str, words: str = "") -> LibraryOffered:
    agents = tuple(msgspec.to_builtins(Agent(n, "Does it.", {}, "Text", description=words)) for n in names)
    rows = tuple(msgspec.to_builtins(Implementation("w", n, "m:C")) for n in names)
    return LibraryOffered(
        host="h", agents=agents, implementations=rows, types=dict.fromkeys(names, ()), packages=dict.fromkeys(names, words)
    )


def test_another_interpreter_that_a_worker_is_told_of_brings_its_packages(shown: Path, tmp_path: Path) -> None:
    """The other interpreter is this one with the package on its path."""
    other = tmp_path / "python"
    other.write_text(f'#!/bin/sh\nPYTHONPATH="{path_with(shown)}" exec "{sys.executable}" "$@"\n')
    other.chmod(0o755)
    here = look_around("h", (str(other),), os.environ)
    key = ("KeywordFinder", "frequent-words")
    assert here.homes == {key: str(other)}
    assert here.rows[key].entry == "keywords:FrequentWords"
    assert Offer(*key, "cpu") in here.offers
    assert Offer("Sleep", "sleep", "cpu") in here.offers
    assert (here.brings.host, here.brings.types) == ("h", {"Keywords": ("Text",)})
    with pytest.raises(ValueError, match="murakkab cannot be imported there"):
        look_around("h", ("/bin/false",), os.environ)


def test_two_interpreters_of_a_host_bring_both_and_the_first_stays() -> None:
    both = together(offer("A", "B", words="one"), offer("B", "C", words="two"))
    assert [(a["name"], a["description"]) for a in both.agents] == [("A", "one"), ("B", "one"), ("C", "two")]
    assert [r["agent"] for r in both.implementations] == ["A", "B", "C"]
    assert both.types.keys() == {"A", "B", "C"}
    assert both.packages == {"A": "one", "B": "one", "C": "two"}


def test_what_does_not_fit_into_a_message_is_shortened_and_said() -> None:
    small = offer("A", "B")
    assert fitting(small) is small
    wordy = fitting(offer(*(f"A{n}" for n in range(100)), words="x" * 20_000))
    assert len(wordy.agents) == 100
    assert "descriptions are left out" in wordy.problems[0]
    many = fitting(offer(*(f"{'A' * 90}{n}" for n in range(20_000))))
    assert len(msgspec.json.encode(many)) <= BYTES_MAX
    assert 100 < len(many.agents) == len(many.implementations) < 20_000
    assert f"only {len(many.agents)} agents" in many.problems[0]
