"""Deliveries: the durable list of what pushes still have to do and what they did, ``outbox.sqlite``.

It is written before an entry is delivered for the first time, so a kernel that ends in the middle finds the rest
again. What was delivered is known without it: the schedule of the target gives each entry one slot, by its key.

Rules
-----
* A row is an entry of an outbox by (process, slot, index); index 0 is the outbox itself, still to be read.
* Each step is one transaction on the disk (WAL, synchronous FULL): a row that is done and the rows that follow from it.
* A row that is pending is changed by whoever works on it alone; a push that meets it waits for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import apsw
import attrs

from procession.errors import CacheError
from procession.folders import NO_ROOM, sync_folder

FILE = "outbox.sqlite"
APPLICATION = 0x50724F62  # "PrOb", in the file's header
VERSION = 1
PENDING, DELIVERED, FAILED, STOPPED = "pending", "delivered", "failed", "stopped"


_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE deliveries (
 process TEXT NOT NULL, slot INTEGER NOT NULL, entry INTEGER NOT NULL, push TEXT NOT NULL, depth INTEGER NOT NULL,
 state TEXT NOT NULL, due INTEGER NOT NULL, attempts INTEGER NOT NULL, target TEXT NOT NULL, target_slot INTEGER,
 message_id TEXT NOT NULL, kind TEXT NOT NULL, reason TEXT NOT NULL,
 PRIMARY KEY (process, slot, entry)) WITHOUT ROWID;
CREATE INDEX due ON deliveries (due, slot, entry) WHERE state = 'pending';
CREATE INDEX pushes ON deliveries (push, state);
PRAGMA application_id = {application};
PRAGMA user_version = {version};
COMMIT;
"""
_ADD = """
INSERT INTO deliveries VALUES ({values}) ON CONFLICT (process, slot, entry) DO UPDATE
SET push = excluded.push, depth = excluded.depth, state = excluded.state, due = excluded.due, attempts = 0,
 target = excluded.target, kind = excluded.kind, reason = excluded.reason
WHERE state <> 'pending' AND (excluded.state = 'pending' OR target_slot IS NULL)
"""
_SETTLE = """
UPDATE deliveries SET state = ?, due = ?, attempts = ?, target_slot = ?, message_id = ?, kind = ?, reason = ?
WHERE process = ? AND slot = ? AND entry = ?
"""
_NEXT = "SELECT * FROM deliveries WHERE state = 'pending' AND process NOT IN ({busy}) ORDER BY due, slot, entry LIMIT 1"
_TREE = """
WITH RECURSIVE tree (process, slot) AS (VALUES (?, ?) UNION
 SELECT target, target_slot FROM deliveries NATURAL JOIN tree WHERE target_slot IS NOT NULL)
SELECT COUNT(*), MAX(reason) FROM deliveries NATURAL JOIN tree WHERE state = 'pending'
"""
_REPORT = """
WITH RECURSIVE tree (process, slot, level) AS (VALUES (?, ?, 1) UNION
 SELECT target, target_slot, level + 1 FROM deliveries NATURAL JOIN tree WHERE target_slot IS NOT NULL AND level < ?)
SELECT deliveries.* FROM deliveries NATURAL JOIN tree ORDER BY level, process, slot, entry LIMIT {most}
"""
_REMEDY = "see to the disk, its space and its permissions; what is pending goes on when the kernel is opened again"
_SAID: Final[Sequence[tuple[type[apsw.Error], str, str, str]]] = (  # what SQLite says: our kind, our words, what to do
    (apsw.FullError, "disk-full", "the disk is full", "make room; it goes on by itself"),
    (apsw.BusyError, "locked", "another program holds it", "stop that program"),
    (apsw.LockedError, "locked", "another program holds it", "stop that program"),
    (apsw.CorruptError, "damaged", "it is damaged", "move it away, then push again what was on its way"),
    (apsw.NotADBError, "foreign", "this is no list of deliveries", "move it away"),
)
TOLD = 50_000  # rows of a tree that are told at once
PATIENCE = 100  # milliseconds for another program to let go of the file


@attrs.frozen
class Delivery:
    """Hold how far an entry of an outbox is on its way; index 0 stands for the outbox of the slot as a whole.

    ``push`` names the push that it belongs to and ``depth`` how many deliveries may still follow from it.
    ``state`` is ``pending``, ``delivered``, ``failed`` or ``stopped`` (by a limit); ``kind`` and ``reason`` say
    why, or what the last of the ``attempts`` met; ``due`` is when the next one is made (ms since 1970).
    ``target_slot`` and ``message_id`` are its place in the schedule of ``target``.
    """

    process: str
    slot: int
    index: int
    push: str
    depth: int
    state: str = PENDING
    due: int = 0
    attempts: int = 0
    target: str = ""
    target_slot: int | None = None
    message_id: str = ""
    kind: str = ""
    reason: str = ""


class Deliveries:
    """Keep the rows of one data folder. One caller at a time."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path = path
        with self._translated():
            flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
            self._db = apsw.Connection(str(path), flags=flags)
            self._db.set_busy_timeout(PATIENCE)
            try:
                self._prepare(read_only=read_only)
            except BaseException:
                self._db.close()
                raise

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write all or nothing of what is added and settled within; it is on the disk at the end."""
        with self._translated():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def add(self, rows: Iterable[Delivery]) -> None:
        """Add rows, or take up again those that are done; pending ones, and slots that were given, stay."""
        columns = ", ".join("?" * len(attrs.fields(Delivery)))
        self._db.executemany(_ADD.format(values=columns), map(attrs.astuple, rows))

    def settle(self, row: Delivery) -> None:
        """Write what came of a row."""
        found = (row.state, row.due, row.attempts, row.target_slot, row.message_id, row.kind, row.reason)
        self._db.execute(_SETTLE, (*found, row.process, row.slot, row.index))

    def of_slot(self, process: str, slot: int) -> Sequence[Delivery]:
        """Return the rows of a slot by index."""
        return self._rows("SELECT * FROM deliveries WHERE process = ? AND slot = ? ORDER BY entry", process, slot)

    def next_due(self, busy: Iterable[str]) -> Delivery | None:
        """Return the pending row that is due first, of a process that is not busy."""
        names = tuple(busy)
        return next(iter(self._rows(_NEXT.format(busy=", ".join("?" * len(names))), *names)), None)

    def pending(self) -> int:
        """Return how many rows are pending."""
        return int(self._row("SELECT COUNT(*) FROM deliveries WHERE state = 'pending'")[0])

    def pending_of(self, push: str) -> bool:
        """Tell whether a push has rows that are pending."""
        return bool(self._row("SELECT EXISTS (SELECT 1 FROM deliveries WHERE push = ? AND state = 'pending')", push)[0])

    def pending_below(self, process: str, slot: int) -> tuple[int, str]:
        """Return how many rows are pending of a slot and of all that came of it, and what one of them met last."""
        count, reason = self._row(_TREE, process, slot)
        return int(count), str(reason or "")

    def below(self, process: str, slot: int, levels: int) -> Mapping[tuple[str, int], Sequence[Delivery]]:
        """Return the rows of a slot and of all that came of it, by process and slot, so many levels of them.

        A tree that is too large to be told at once ends in the middle, its deepest slots left out.
        """
        found: dict[tuple[str, int], list[Delivery]] = {}
        for row in self._rows(_REPORT.format(most=TOLD), process, slot, levels):
            found.setdefault((row.process, row.slot), []).append(row)
        return found

    def count_of(self, push: str) -> int:
        """Return how many entries a push took on."""
        text = "SELECT COUNT(*) FROM deliveries WHERE push = ? AND entry > 0 AND state <> 'stopped'"
        return int(self._row(text, push)[0])

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    # -- inside

    def _prepare(self, *, read_only: bool) -> None:
        marks = (self._db.pragma("application_id"), self._db.pragma("user_version"))
        is_new = marks == (0, 0) and not self._row("SELECT COUNT(*) FROM sqlite_schema")[0]
        if marks != (APPLICATION, VERSION) and (read_only or not is_new):
            what = f"its format is {marks[1]}, this program knows {VERSION}"
            raise self._error("foreign", what, "use the program that wrote it, or move it away")
        self._db.pragma("temp_store", 2)  # in memory
        if read_only:
            return
        self._db.pragma("journal_mode", "wal")
        self._db.pragma("synchronous", 2)  # FULL: a commit is on the disk before anyone is told
        self._db.pragma("fullfsync", 1)  # macOS: through the drive's own cache, too
        if is_new:
            self._db.execute(_SCHEMA.format(application=APPLICATION, version=VERSION))
        sync_folder(self._path.parent)  # SQLite made names in it, and does not tell if they are lost

    def _row(self, text: str, *values: object) -> Any:
        with self._translated():
            return next(iter(self._db.execute(text, values)))

    def _rows(self, text: str, *values: object) -> Sequence[Delivery]:
        with self._translated():
            return [Delivery(*row) for row in self._db.execute(text, values)]

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except apsw.Error as error:
            db: apsw.Connection | None = getattr(self, "_db", None)  # none where the file does not open
            failed = isinstance(error, apsw.IOError | apsw.CantOpenError)
            known = apsw.FullError() if db is not None and failed and db.system_errno in NO_ROOM else error
            said = next((words for kind, *words in _SAID if isinstance(known, kind)), ("io", str(error), _REMEDY))
            raise self._error(*said) from error
        except OSError as error:
            raise self._error("disk-full" if error.errno in NO_ROOM else "io", str(error), _REMEDY) from error

    def _error(self, kind: str, what: str, remedy: str) -> CacheError:
        return CacheError(what, where=str(self._path), remedy=remedy, kind=kind)
