"""Progress: a bar on stderr for work that takes longer than a moment, on a terminal only."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

import click

PATIENCE = 0.5  # seconds before a bar appears


class Progress:
    """Show how much of some work is done, in numbers where it is ``counted``, else in percent; a context manager."""

    def __init__(self, label: str, length: int, *, counted: bool = True) -> None:
        self._label = label
        self._length = length
        self._counted = counted
        self._done = 0
        self._begun = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.__exit__(kind, error, trace)

    def to(self, done: int) -> None:
        """Say how much is done by now."""
        step, self._done = done - self._done, max(done, self._done)
        if self._bar is not None and step > 0:
            self._bar.update(step)
        elif self._bar is None and sys.stderr.isatty() and time.monotonic() - self._begun > PATIENCE:
            self._bar = click.progressbar(
                length=self._length, label=self._label, file=sys.stderr, show_pos=self._counted
            )
            self._bar.__enter__()
            self._bar.update(self._done)
