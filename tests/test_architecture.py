"""Rules of the house, said as absences and read from the source itself."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = sorted(p.parent.name for p in ROOT.glob("*/__init__.py"))
FILES = [ROOT / "__init__.py", *(f for package in PACKAGES for f in sorted((ROOT / package).rglob("*.py")))]
ACTORS = ("conductor", "planner", "optimizer", "clustermgr", "worker")
PROPOSERS = ("chat", "embed", "llm", "offline", "proposers")
"""What a planner's shell runs in threads for it: these load models and speak with servers."""
PURE = [
    *(f for f in (ROOT / "planner").glob("*.py") if f.stem not in PROPOSERS),
    *(ROOT / "clustermgr").glob("*.py"),
    *(ROOT / "actors" / f"{name}.py" for name in (*ACTORS, "core", "errands", "jobs", "planning", "pools", "replanning", "run", "running")),
    *(ROOT / "bus" / f"{name}.py" for name in ("messages", "subjects", "wire", "ids", "streams")),
]
HEAVY = [
    "numpy",
    "cv2",
    "av",
    "torch",
    "transformers",
    "ctranslate2",
    "faster_whisper",
    "whisper",
    "gguf",
    "tokenizers",
    "onnxruntime",
    "safetensors",
    "vllm",
    "skimage",
    "sklearn",
    "PIL",
]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imports(nodes: Iterator[ast.AST] | list[ast.stmt], path: Path) -> Iterator[str]:
    """Absolute names of what is imported; `from .x import y` in actors/ is murakkab.actors.x and murakkab.actors.x.y."""
    here = ["murakkab", *path.relative_to(ROOT).parts[:-1]]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = (
                ".".join([*here[: len(here) - node.level + 1], *([node.module] if node.module else [])])
                if node.level
                else node.module or ""
            )
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def all_imports(path: Path) -> set[str]:
    return set(imports(ast.walk(tree(path)), path))


def at_import(path: Path) -> Iterator[ast.stmt]:
    """Statements that run when the module is imported: not inside functions, not for type checkers alone."""
    todo: list[ast.stmt] = list(tree(path).body)
    for node in todo:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                continue
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                todo += node.orelse
            case _:
                yield node
                todo += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
                if isinstance(node, ast.Try):
                    todo += [s for handler in node.handlers for s in handler.body]


def test_the_scan_sees_what_there_is() -> None:
    assert {"actors", "agents", "bus", "client", "clustermgr", "planner"} <= set(PACKAGES)
    assert len(FILES) > 40
    assert "murakkab.bus.link" in all_imports(ROOT / "actors" / "shell.py")


def test_only_the_link_knows_nats() -> None:
    users = {name_of(f) for f in FILES if any(i.split(".")[0] == "nats" for i in all_imports(f))}
    assert users <= {"bus/link.py", "bus/pull.py", "bus/artifacts.py", "actors/shell.py", "sim/connection.py"}
    for name in ("actors/shell.py", "sim/connection.py"):  # the simulator's connection stands where the link has a real one
        found = {i for i in all_imports(ROOT / name) if i.split(".")[0] == "nats"} if (ROOT / name).exists() else set()
        assert all(i.startswith(("nats.aio.msg", "nats.errors", "nats.js.errors")) for i in found), f"{name} has more than types and errors"


@pytest.mark.parametrize("name", ACTORS)
def test_actors_know_each_other_by_messages_alone(name: str) -> None:
    others = {f"murakkab.actors.{other}" for other in ACTORS if other != name}
    assert not all_imports(ROOT / "actors" / f"{name}.py") & others


def test_the_bus_knows_nobody() -> None:
    for path in (ROOT / "bus").glob("*.py"):
        own = {i for i in all_imports(path) if i.startswith("murakkab.") and not i.startswith("murakkab.bus")}
        assert not own, f"{name_of(path)} imports {own}"


def test_clients_and_agents_reach_no_actor_but_by_the_bus() -> None:
    for path in (ROOT / "agents").glob("*.py"):
        found = {i for i in all_imports(path) if i.startswith("murakkab.actors.")}
        assert all(i.startswith(("murakkab.actors.errands", "murakkab.actors.core")) for i in found), f"{name_of(path)} imports {found}"


@pytest.mark.parametrize("path", PURE, ids=name_of)
def test_decisions_have_no_clock_no_dice_no_network_no_waiting(path: Path) -> None:
    banned = {
        "time",
        "random",
        "secrets",
        "uuid",
        "os",
        "asyncio",
        "socket",
        "threading",
        "subprocess",
        "anyio",
        "nats",
        "datetime",
        "logging",
        "pathlib",
    }
    found = {i.split(".")[0] for i in all_imports(path)} & banned
    assert not found, f"{name_of(path)} imports {found}"
    for node in ast.walk(tree(path)):
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith), f"{name_of(path)}:{node.lineno} waits"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("open", "print", "input", "id", "hash"), f"{name_of(path)}:{node.lineno} calls {node.func.id}"


@pytest.mark.parametrize("path", PURE, ids=name_of)
def test_decisions_import_only_decisions(path: Path) -> None:
    """What is pure leans on nothing that is not: the shell, the link and the client are out of its reach."""
    banned = {"shell", "journal", "main", "link", "artifacts", "server", "tracing"}
    found = {i for i in all_imports(path) if i.startswith("murakkab.") and banned & set(i.split("."))}
    assert not {i for i in found if i.split(".")[1] in ("actors", "bus", "client")}, f"{name_of(path)} imports {found}"


def test_importing_us_imports_nobody_else() -> None:
    code = "import sys; import murakkab; print('\\n'.join(sorted(m for m in sys.modules if m != 'murakkab')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    before = subprocess.run(
        [sys.executable, "-c", code.replace("import murakkab; ", "")], capture_output=True, text=True, check=True, timeout=60
    )
    new = {m.split(".")[0] for m in set(done.stdout.split()) - set(before.stdout.split())}
    assert new - set(sys.stdlib_module_names) == set(), "a library is imported by `import murakkab`"
    assert not [m for m in done.stdout.split() if m.startswith("murakkab.")]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_heavy_libraries_are_loaded_when_a_model_is(path: Path) -> None:
    found = {i.split(".")[0] for i in imports(list(at_import(path)), path)} & set(HEAVY)
    assert not found, f"{name_of(path)} imports {found} when it is imported"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_file_is_longer_than_an_evening(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 700


def test_every_package_is_packed() -> None:
    setuptools = PROJECT["tool"]["setuptools"]
    there = {"murakkab"} | {
        ".".join(["murakkab", *p.parent.relative_to(ROOT).parts]) for name in PACKAGES for p in (ROOT / name).rglob("__init__.py")
    }
    assert there == set(setuptools["packages"])
    assert setuptools["package-dir"] == {"murakkab": "."}


def test_tests_and_scripts_are_no_packages() -> None:
    assert not [*(ROOT / "tests").rglob("__init__.py"), *(ROOT / "scripts").rglob("__init__.py")]
