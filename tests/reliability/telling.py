"""Telling: which case of many it was, in what pytest prints of the one that failed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def about(case: str) -> Iterator[None]:
    """Add to whatever is raised within what it was about."""
    try:
        yield
    except BaseException as error:
        error.add_note(case)
        raise
