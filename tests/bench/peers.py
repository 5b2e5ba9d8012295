"""Peers: eventsourcing on SQLite, and what the disk itself can do."""

from __future__ import annotations

import os
import time
from pathlib import Path

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from measuring import Row, folder_bytes

RECORD = b"x" * 300


class Counter(Aggregate):
    """Count, as trivially as our stage does."""

    @event("Started")
    def __init__(self) -> None:
        self.count = 0

    @event("Added")
    def add(self, data: str) -> None:
        """Add one."""
        self.count += 1


def _application(folder: Path) -> Application:
    return Application(env={"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(folder / "events.db")})


def eventsourcing_one(folder: Path, scale: float) -> float:
    """Save after every message: messages a second."""
    return _saved(folder, int(400 * scale), 1)


def eventsourcing_batch(folder: Path, scale: float) -> float:
    """Save after a hundred messages: messages a second."""
    return _saved(folder, int(60 * scale), 100)


def eventsourcing_bytes(folder: Path, scale: float) -> float:
    """Bytes a message, saved by hundreds."""
    count = int(20 * scale)
    _saved(folder, count, 100)
    return folder_bytes(folder) / (count * 100)


def _saved(folder: Path, commits: int, each: int) -> float:
    application = _application(folder)
    counter = Counter()
    application.save(counter)
    begun = time.perf_counter()
    for number in range(commits):
        for index in range(each):
            counter.add(f"message {number} {index}")
        application.save(counter)
    rate = commits * each / (time.perf_counter() - begun)
    application.close()
    return rate


def fdatasync(folder: Path, scale: float) -> float:
    """Append 300 bytes and fdatasync: appends a second."""
    count = int(400 * scale)
    handle = os.open(folder / "appended", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    begun = time.perf_counter()
    for _ in range(count):
        os.write(handle, RECORD)
        os.fdatasync(handle)
    rate = count / (time.perf_counter() - begun)
    os.close(handle)
    return rate


ES_ONE = "eventsourcing, SQLite: one message a commit"
ES_BATCH = "eventsourcing, SQLite: 100 messages a commit"
ES_BYTES = "eventsourcing, SQLite: bytes a message"
FDATASYNC = "the disk: append 300 bytes + fdatasync"

PEER_ROWS = [
    Row(FDATASYNC, "/s", fdatasync),
    Row(ES_ONE, "/s", eventsourcing_one),
    Row(ES_BATCH, "/s", eventsourcing_batch),
    Row(ES_BYTES, "bytes", eventsourcing_bytes),
]
