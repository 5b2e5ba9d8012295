"""The writing side of the cache file: one transaction at a time, by whichever thread has it."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import apsw
import attrs

from procession.errors import CacheError
from procession.results import DIGEST, Record
from procession_sqlite.files import RECURRING, cache_error, closed, open_writing, translated
from procession_sqlite.records import COLUMNS, SLOTS, SNAPSHOT, record_of, seal_of
from procession_sqlite.tiers import NAME_BYTES, Tiers

KEYS_KEPT = 10_000  # of processes, fingerprints, snapshots and blobs, in memory

_RECORD = "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_BLOB = (
    "INSERT INTO blobs VALUES (?, ?) ON CONFLICT (id)"
    " DO UPDATE SET content = excluded.content WHERE content IS NOT excluded.content"
)
_USED = (
    "SELECT CAST(value AS BLOB) FROM snapshots WHERE key IN (SELECT snapshot FROM records WHERE snapshot IS NOT NULL)"
)
_OLD_POINTS = (
    f"SELECT {COLUMNS} FROM records WHERE snapshot IS NOT NULL AND place BETWEEN ? AND ?"
    " ORDER BY place DESC LIMIT -1 OFFSET ?"
)


class Transaction:
    """Commit what is written inside at once, or nothing of it."""

    __slots__ = ("_writes",)

    def __init__(self, writes: Writes) -> None:
        self._writes = writes

    def __enter__(self) -> None:
        """Begin."""
        self._writes.begin()

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        """Commit, or leave all as it was."""
        if kind is None:
            self._writes.commit()
        else:
            self._writes.undo()


class Writes:
    """Hold the writing connection, for one thread at a time (``with``).

    Its methods but ``distrust`` and ``close`` belong inside of ``transaction``.
    """

    def __init__(self, path: Path, *, synchronous: int) -> None:
        self._path = path
        with translated(path):
            self._db = open_writing(path, synchronous=synchronous)
        self._cursor = self._db.cursor()  # of each commit: one for each of its statements takes a tenth of it
        self._lock = threading.Lock()
        self._closed = False
        self._version = -1  # of the file, behind the last commit of this writer
        self._next_blob = 1
        self._keys: dict[str, dict[str | bytes, int]] = {table: {} for table in RECURRING}
        self._standing: set[bytes] = set()  # blobs that were put again and again, and not found damaged since
        self._digests = Tiers("digests")
        self.transaction = Transaction(self)

    def __enter__(self) -> Writes:
        """Keep other threads from writing, to files beside this one too."""
        self._lock.acquire()
        if self._closed:
            self._lock.release()
            raise closed(self._path)
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Let others write; what SQLite or the disk said comes out as a CacheError."""
        try:
            if isinstance(error, apsw.Error | OSError):
                raise cache_error(self._path, error, self._db) from error
        finally:
            self._lock.release()

    def begin(self) -> None:
        """Begin a transaction; what another program wrote meanwhile is noticed."""
        self._cursor.execute("BEGIN IMMEDIATE")
        try:
            self._refresh(self._db.data_version())
        except BaseException:
            self.undo()
            raise

    def commit(self) -> None:
        """Commit what was written since, or nothing of it."""
        try:
            self._cursor.execute("COMMIT")
            self._version = self._db.data_version()
        except BaseException:
            self.undo()
            raise

    def undo(self) -> None:
        """Leave the file as it was before the transaction."""
        self._version = -1  # what is held in memory may be of rows that are not there
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._db.close()

    # -- inside a transaction

    def put_records(self, records: Sequence[Record]) -> None:
        """Write records."""
        processes, fingerprints, snapshots = [self._keys[table] for table in RECURRING]
        rows = []
        for record in records:
            process, fingerprint, snapshot = record.process, record.fingerprint, record.snapshot
            key = processes.get(process) or self._key("processes", process)
            made_by = fingerprints.get(fingerprint) or self._key("fingerprints", fingerprint)
            point = None if snapshot is None else snapshots.get(snapshot) or self._key("snapshots", snapshot)
            rows.append(
                (
                    key * SLOTS + record.slot,
                    record.message_id,
                    record.chain,
                    record.state,
                    record.state_digest,
                    record.complete,
                    made_by,
                    record.live_root,
                    point,
                    seal_of(record),
                )
            )
        self._cursor.executemany(_RECORD, rows)

    def put_blobs(self, blobs: Mapping[bytes, bytes]) -> None:
        """Write blobs, those that are there already in their place, but for those that were so before."""
        rows: list[tuple[int, bytes]] = []
        names: list[tuple[bytes, int]] = []
        for digest, content in blobs.items():
            if digest in self._standing:
                continue
            found = self._digests.find(self._db, digest[:NAME_BYTES])
            rows.append((self._next_blob if found is None else found, content))
            if found is None:
                names.append((digest[:NAME_BYTES], self._next_blob))
                self._next_blob += 1
            else:
                self._standing.add(digest)
        if rows:
            self._db.executemany(_BLOB, rows)
        if names:
            self._digests.add(self._db, names)

    def drop_snapshots(self, process: str, keep: int) -> tuple[int, list[bytes]]:
        """Drop all snapshots of a process but the newest; return how many, and the blobs that nobody uses now."""
        key = self._key("processes", process)
        points = (key * SLOTS, (key + 1) * SLOTS - 1, keep)
        rows: list[tuple[Any, ...]] = self._db.execute(_OLD_POINTS, points).fetchall()
        for row in rows:
            self._drop_snapshot(process, row)
        used = sorted([value for (value,) in self._db.execute(_USED)]) if rows else []
        dropped = dict.fromkeys(row[SNAPSHOT] for row in rows if row[SNAPSHOT] is not None)
        forgotten = dropped.keys() - used
        for snapshot in forgotten:
            self._db.execute("DELETE FROM snapshots WHERE value = ?", (snapshot,))
            self._keys["snapshots"].pop(snapshot, None)
        ends = {snapshot[:end] for snapshot in forgotten for end in range(DIGEST, len(snapshot) + 1, DIGEST)}
        return len(rows), [end[-DIGEST:] for end in sorted(ends) if not _lead_on(used, end)]

    def drop_records(self, process: str, first: int, last: int) -> list[int]:
        """Drop the records of slots first..last; return the slots that had one."""
        key = self._key("processes", process)
        places = (key * SLOTS + first, key * SLOTS + last)
        gone: list[tuple[Any, ...]] = self._db.execute(
            "SELECT place FROM records WHERE place BETWEEN ? AND ?", places
        ).fetchall()
        self._db.execute("DELETE FROM records WHERE place BETWEEN ? AND ?", places)
        return [place % SLOTS for (place,) in gone]

    def distrust(self, digest: bytes) -> None:
        """Write a blob when it is put again; open to any thread, and outside of a transaction."""
        self._standing.discard(digest)

    def remove_blob(self, digest: bytes) -> None:
        """Remove a blob, if it is in the file."""
        self._standing.discard(digest)
        found = self._digests.find(self._db, digest[:NAME_BYTES])
        if found is not None:
            self._db.execute("DELETE FROM blobs WHERE id = ?", (found,))
            self._digests.remove(self._db, digest[:NAME_BYTES])

    def _refresh(self, version: int) -> None:
        if version != self._version or sum(map(len, self._keys.values())) + len(self._standing) > KEYS_KEPT:
            for known in self._keys.values():
                known.clear()
            self._standing.clear()
            self._digests.refresh(self._db)
            self._next_blob = (self._db.execute("SELECT max(id) FROM blobs").get or 0) + 1
            self._version = version

    def _key(self, table: str, value: str | bytes) -> int:
        """Return the key of a value that recurs, given one when it is new."""
        known = self._keys[table]
        if value not in known:
            self._db.execute(f"INSERT OR IGNORE INTO {table} (value) VALUES (?)", (value,))
            known[value] = self._db.execute(f"SELECT key FROM {table} WHERE value = ?", (value,)).get
        return known[value]

    def _drop_snapshot(self, process: str, row: tuple[Any, ...]) -> None:
        try:
            seal = seal_of(attrs.evolve(record_of(process, row), snapshot=None))
        except CacheError:
            seal = b""  # it was damaged and stays so
        self._db.execute("UPDATE records SET snapshot = NULL, seal = ? WHERE place = ?", (seal, row[0]))


def _lead_on(used: list[bytes], blobs: bytes) -> bool:
    """Tell whether a snapshot in use, of these in order, begins with these blobs.

    A blob stands behind the same others wherever it is used: who needs it begins as they do, with it.
    """
    at = bisect_left(used, blobs)
    return at < len(used) and used[at].startswith(blobs)
