"""Packages that a test makes and installs with pip, into a folder of its own: a real layout of installed files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "plugins.md"


def documented() -> tuple[str, dict[str, str]]:
    """The project file and the modules that docs/plugins.md shows."""
    blocks = dict(re.findall(r"`([\w.]+)`(?:, beside it)?:\n\n```\w+\n(.*?)```", PAGE.read_text(), re.S))
    return blocks.pop("pyproject.toml"), blocks


def project(name: str, points: str) -> str:
    """A project file; `points` are the tables of its entry points."""
    return f'[project]\nname = "{name}"\nversion = "1.0"\n{points}\n'


def install(folder: Path, *packages: tuple[str, Mapping[str, str]]) -> Path:
    """Installs packages, each a project file and modules, into `folder`."""
    wheels = [_wheel(folder.parent, *package) for package in packages]
    pip = (sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--disable-pip-version-check", "--quiet")
    subprocess.run([*pip, "--target", folder, *wheels], check=True, capture_output=True, timeout=120)
    return folder


def _wheel(folder: Path, pyproject: str, modules: Mapping[str, str]) -> Path:
    """The package as pip takes it, made here as PEP 427 says, so that no build tool need be there."""
    told = tomllib.loads(pyproject)["project"]
    stem = f"{told['name'].replace('-', '_')}-{told['version']}"
    points = "".join(
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in rows.items()) + "\n"
        for group, rows in told["entry-points"].items()
    )
    files = {
        **modules,
        f"{stem}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {told['name']}\nVersion: {told['version']}\n",
        f"{stem}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{stem}.dist-info/entry_points.txt": points,
    }
    files[f"{stem}.dist-info/RECORD"] = "".join(f"{name},,\n" for name in files) + f"{stem}.dist-info/RECORD,,\n"
    wheel = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return wheel


def path_with(*folders: Path) -> str:
    """The PYTHONPATH of a process that finds what these folders hold."""
    before = os.environ.get("PYTHONPATH", "")
    return os.pathsep.join([*map(str, folders), *([before] if before else [])])
