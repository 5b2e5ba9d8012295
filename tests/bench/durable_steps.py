"""The peer dbos: a workflow of one step a message, its system database a file of SQLite."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from dbos import DBOS, DBOSConfig

from bench.measuring import Measure, rate


@contextmanager
def stepping(folder: Path) -> Iterator[Measure]:
    """Run a workflow a message: messages a second."""
    database = f"sqlite:///{folder / 'steps.sqlite'}"
    config: DBOSConfig = {"name": "bench", "system_database_url": database, "log_level": "ERROR"}
    DBOS(config=config)
    held = {"count": 0}

    @DBOS.step()
    def add(data: str) -> int:
        held["count"] += 1
        return held["count"]

    @DBOS.workflow()
    def apply(data: str) -> int:
        return add(data)

    numbers = count()
    DBOS.launch()
    try:
        yield rate(lambda: apply(f"message {next(numbers)}"))
    finally:
        DBOS.destroy()
        logging.getLogger("dbos").handlers.clear()
