"""Tasks: the durable list of requests that a node makes of itself, ``cron.sqlite``.

Rules
-----
* A task is on the disk (WAL, synchronous FULL) before its id is told, and each round of it before the next one begins.
* A task that is done stays on the list as long as there is room, so that it does not begin a second time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import apsw
import attrs

from procession.errors import CacheError
from procession.folders import sync_folder

FILE: Final = "cron.sqlite"
APPLICATION: Final = 0x5072436E  # "PrCn", in the file's header
DONE_KEPT: Final = 10_000
WAITING, DONE = "waiting", "done"
PATIENCE: Final = 100  # milliseconds for another program to let go of the file

_SCHEMA = f"""
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS tasks (
 id TEXT PRIMARY KEY, owner TEXT NOT NULL, path TEXT NOT NULL, body BLOB NOT NULL, interval INTEGER NOT NULL,
 due INTEGER NOT NULL, round INTEGER NOT NULL, attempts INTEGER NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL)
 WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS due ON tasks (due, id) WHERE state = '{WAITING}';
PRAGMA application_id = {APPLICATION};
COMMIT;
"""
_PUT = "INSERT INTO tasks VALUES ({values}) ON CONFLICT (id) DO UPDATE SET {changes}"
_CHANGED = ("due", "round", "attempts", "state", "reason")
_PRUNE = f"""
DELETE FROM tasks WHERE id IN
 (SELECT id FROM tasks WHERE state = '{DONE}' ORDER BY due DESC LIMIT -1 OFFSET {DONE_KEPT})
"""


@attrs.frozen
class Task:
    """Hold a request and when it is made.

    ``body`` are canonical bytes, empty for a GET. ``interval`` is in milliseconds, 0 for once; ``round`` counts those
    that are over, and ``attempts`` what this host failed at in the one that is due (ms since 1970).
    """

    id: str
    owner: str
    path: str
    body: bytes
    interval: int
    due: int
    round: int = 0
    attempts: int = 0
    state: str = WAITING
    reason: str = ""


class Tasks:
    """Keep the tasks of one data folder. One caller at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._translated():
            self._db = apsw.Connection(str(path))
            try:
                self._db.set_busy_timeout(PATIENCE)
                for _ in self._db.execute(_SCHEMA):  # one that gives a row waits for it to be taken
                    pass
            except BaseException:
                self._db.close()
                raise
        sync_folder(path.parent)

    def get(self, name: str) -> Task | None:
        """Return a task."""
        return self._one("SELECT * FROM tasks WHERE id = ?", (name,))

    def next(self) -> Task | None:
        """Return the task that is due first."""
        return self._one(f"SELECT * FROM tasks WHERE state = '{WAITING}' ORDER BY due, id LIMIT 1", ())

    def count(self, owner: str | None = None) -> int:
        """Return how many are waiting, of all or of one owner."""
        who, values = ("", ()) if owner is None else (" AND owner = ?", (owner,))
        with self._translated():
            ((found,),) = self._db.execute(f"SELECT COUNT(*) FROM tasks WHERE state = '{WAITING}'{who}", values)
            return int(found)

    def put(self, task: Task) -> None:
        """Write a task, or how it stands; it is on the disk when this returns."""
        changes = ", ".join(f"{name} = excluded.{name}" for name in _CHANGED)
        values = ", ".join("?" * len(attrs.fields(Task)))
        with self._translated(), self._db:
            self._db.execute(_PUT.format(values=values, changes=changes), attrs.astuple(task))
            if task.state == DONE:
                self._db.execute(_PRUNE)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _one(self, text: str, values: tuple[Any, ...]) -> Task | None:
        with self._translated():
            found = list(self._db.execute(text, values))
        return Task(*found[0]) if found else None

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except apsw.FullError as error:
            remedy = "make room; it goes on by itself"
            raise CacheError("the disk is full", where=str(self._path), remedy=remedy, kind="disk-full") from error
        except apsw.Error as error:
            remedy = "see to the disk and its permissions; move the file away if it is damaged, its tasks are lost then"
            raise CacheError(f"SQLite says {error}", where=str(self._path), remedy=remedy) from error
