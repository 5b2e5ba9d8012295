"""The names that no row tells of itself, in the order they came, so that the index can be made anew.

A message's own name follows from its row. Those of its signatures and idempotency keys do not: they stand
here once more, sealed and numbered. The index is then a cache: damaged, it is made again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from hashlib import sha256
from typing import Any

import apsw

from procession.errors import ScheduleError
from procession_scheduler import tiers
from procession_scheduler.rows import SLOTS, all_rows, first_row
from procession_scheduler.tiers import Row, name_of

SCHEMA = (
    "CREATE TABLE known (number INTEGER PRIMARY KEY, name BLOB NOT NULL, place INTEGER NOT NULL, content BLOB,"
    " seal BLOB NOT NULL);"
)
SEAL_BYTES = 8
BATCH = 10_000  # rows held in memory at once

_TABLES = tuple(f"names{tier}" for tier in tiers.TIERS)
_LAST = _TABLES[-1]
_FORGET = f"DELETE FROM sqlite_schema WHERE tbl_name IN {(*_TABLES, 'sums')}"
_KNOWN = (
    "SELECT number, coalesce(CAST(name AS BLOB), x''), coalesce(CAST(place AS INTEGER), 0), CAST(content AS BLOB), seal"
    " FROM known WHERE number >= ? ORDER BY number LIMIT ?"
)
_MESSAGES = "SELECT place, CAST(message_id AS BLOB) FROM slots WHERE place > ?1 AND place < ?2 ORDER BY place LIMIT ?3"

_ID_AT = "SELECT CAST(message_id AS BLOB) FROM slots WHERE place = ?"
_FIRST = (
    f"SELECT min(place) FROM processes JOIN slots ON place BETWEEN key * {SLOTS} AND key * {SLOTS} + {SLOTS - 1}"
    " WHERE id = ? AND message_id = ?"
)


def note(db: apsw.Connection, rows: Iterable[Row]) -> None:
    """Keep names inside the transaction that indexes them."""
    rows = list(rows)
    if rows:
        first = (db.execute("SELECT max(number) FROM known").get or 0) + 1
        numbered = [(number, *row, _seal(number, row)) for number, row in enumerate(rows, first)]
        db.executemany("INSERT INTO known VALUES (?, ?, ?, ?, ?)", numbered)


def note_indexed(db: apsw.Connection) -> None:
    """Keep the names of an index that was written without them."""
    of = f"SELECT id, CAST(message_id AS BLOB) FROM slots JOIN processes ON key = place / {SLOTS} WHERE place = ?"
    for table in _TABLES:
        rows = all_rows(db, f"SELECT name, place, content FROM {table}")
        note(db, [row for row in rows if row[0] not in _derived(all_rows(db, of, (row[1],)))])


def rebuild(db: apsw.Connection) -> None:
    """Make the index anew inside a transaction. ScheduleError where a name that must be in it has gone too."""
    _drop(db)
    db.execute(tiers.SCHEMA)
    insert = f"INSERT INTO {_LAST} VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING"
    for rows in (_of_messages(db), _of_callers(db)):
        db.executemany(insert, rows)
    tiers.sum_up(db)


def place_of(db: apsw.Connection, process: str, message_id: str) -> int | None:
    """Return the first place of a message in a process: by the index, or by the rows where it is not to be trusted."""
    name = name_of("message", process, message_id)
    with suppress(tiers.DamagedIndexError, apsw.CorruptError, apsw.SQLError):  # the last: version 1 had no sums
        entry = tiers.find(db, name)
        if entry is None:
            tiers.check(db, tiers.buckets_of(name))
            return None
        if first_row(db, _ID_AT, (entry.place,)) == (message_id.encode(),):
            return entry.place
    found: int | None = db.execute(_FIRST, (process, message_id)).get
    return found


def _drop(db: apsw.Connection) -> None:
    """Forget the tables of the index; their pages, which may be anything, are left where they are."""
    db.pragma("writable_schema", 1)
    db.execute(_FORGET)
    db.pragma("writable_schema", "RESET")


def _of_messages(db: apsw.Connection) -> Iterator[Row]:
    for key, process in all_rows(db, "SELECT key, id FROM processes ORDER BY key"):
        place, end = key * SLOTS - 1, (key + 1) * SLOTS
        while rows := all_rows(db, _MESSAGES, (place, end, BATCH)):
            for place, message_id in rows:
                yield name_of("message", process, message_id.decode(errors="replace")), place, None


def _of_callers(db: apsw.Connection) -> Iterator[Row]:
    expected = 1
    while rows := all_rows(db, _KNOWN, (expected, BATCH)):
        for number, name, place, content, seal in rows:
            if number != expected or seal != _seal(number, (name, place, content)):
                raise _damaged(expected)
            expected += 1
            yield name, place, content


def _derived(found: list[tuple[Any, ...]]) -> set[bytes]:
    return {name_of("message", process, message_id.decode(errors="replace")) for process, message_id in found}


def _seal(number: int, row: Row) -> bytes:
    name, place, content = row
    head = b"%d %d %d " % (number, place, -1 if content is None else len(content))
    return sha256(b"".join((head, name, content or b""))).digest()[:SEAL_BYTES]


def _damaged(number: int) -> ScheduleError:
    return ScheduleError(
        "the index is damaged, and so is the record of the names in it",
        where=f"schedule file, table known, number {number}",
        remedy="restore the schedule file from a copy; it cannot be recomputed",
        kind="damaged-schedule",
    )
