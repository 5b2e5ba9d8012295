"""The peer eventsourcing: a counter kept by its SQLite module, with the settings it ships with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

from bench.measuring import Measure, folder_bytes, rate


class Counter(Aggregate):
    """Count, as trivially as our stage does."""

    @event("Started")
    def __init__(self) -> None:
        self.count = 0

    @event("Added")
    def add(self, data: str) -> None:
        """Add one."""
        self.count += 1


@contextmanager
def application(folder: Path) -> Iterator[Application[Any]]:
    """Open an application whose recorder is a file of SQLite."""
    named = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(folder / "events.db")}
    opened: Application[Any] = Application(env=named)
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def saving(folder: Path, each: int) -> Iterator[Measure]:
    """Save after so many messages: messages a second."""
    numbers = count()
    with application(folder) as app:
        counter = Counter()
        app.save(counter)

        def step() -> None:
            for _ in range(each):
                counter.add(f"message {next(numbers)}")
            app.save(counter)

        yield rate(step, each)


def bytes_a_message(folder: Path, commits: int) -> float:
    """Return the bytes on disk of a message, saved by hundreds and closed."""
    with saving(folder, 100) as measure:
        for _ in range(commits):
            measure(0)
    return folder_bytes(folder) / (commits * 100)


def settings(folder: Path) -> str:
    """Tell how its connection is set, as it ships."""
    with application(folder) as app:
        app.save(Counter())
        with app.factory.datastore.transaction(commit=False) as cursor:
            told = [f"{name} {_pragma(cursor, name)}" for name in ("journal_mode", "synchronous")]
    return ", ".join(told)


def _pragma(cursor: Any, name: str) -> str:
    cursor.execute(f"PRAGMA {name}")
    value = str(cursor.fetchone()[0])
    return {"1": "normal", "2": "full"}.get(value, value)
