"""Fixtures of the tests of data folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.doctored import Place, made


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Return a whole folder."""
    return made(tmp_path_factory.mktemp("kept"))


@pytest.fixture
def place(kept: Place, tmp_path: Path) -> Place:
    """Return a copy of it."""
    return kept.copied(tmp_path / "copy")
