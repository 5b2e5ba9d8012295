"""Peers: what the disk itself can do, and what others from PyPI do with the same messages."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

from bench.measuring import Measure, Subject, rate, why_no

RECORD = b"x" * 300


@contextmanager
def appending(folder: Path, each: int = 1) -> Iterator[Measure]:
    """Append records of 300 bytes, so many at once, and fdatasync: records a second."""
    handle = os.open(folder / "appended", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def step() -> None:
        os.write(handle, RECORD * each)
        os.fdatasync(handle)

    try:
        yield rate(step, each)
    finally:
        os.close(handle)


def saving(folder: Path, each: int) -> AbstractContextManager[Measure]:
    """Save so many messages a commit with eventsourcing."""
    from bench.eventsourced import saving as opened

    return opened(folder, each)


@contextmanager
def saved_bytes(folder: Path) -> Iterator[Measure]:
    """Measure the bytes of a message that eventsourcing saved by hundreds."""
    from bench.eventsourced import bytes_a_message

    yield lambda seconds: bytes_a_message(Path(mkdtemp(dir=folder)), 20)


def stepping(folder: Path) -> AbstractContextManager[Measure]:
    """Run a workflow a message with dbos."""
    from bench.durable_steps import stepping as opened

    return opened(folder)


def by(each: int) -> Subject:
    """Return eventsourcing, saving so many messages a commit."""
    name = "one message" if each == 1 else f"{each} messages"
    opened = partial(saving, each=each)
    return Subject(f"eventsourcing, SQLite: {name} a commit", "/s", opened, why_no("eventsourcing"))


DISK = Subject("the disk: append 300 bytes + fdatasync", "/s", appending)
ES_BYTES = Subject("eventsourcing, SQLite: bytes a message", "bytes", saved_bytes, why_no("eventsourcing"))
DBOS = Subject("dbos, SQLite: a workflow of one step a message", "/s", stepping, why_no("dbos"))
