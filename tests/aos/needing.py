"""Modules that a test needs: there, or skipped with the reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from aos.module import MissingModuleError


def needed(fetch: Callable[[], Path]) -> Path:
    """Return the path of a module, fetched the first time, or skip the test with the reason."""
    try:
        return fetch()
    except MissingModuleError as missing:
        pytest.skip(str(missing))
