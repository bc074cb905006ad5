"""Fixtures that more than one test file needs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of public data that is not part of the product; tests that need it are skipped without it."""
    folder = Path(os.environ.get("MURAKKAB_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no shared data at {folder} (set MURAKKAB_SHARED)")
    return folder
