"""The names that no row tells of itself, in the order they came, so that the index can be made anew.

A message's own name follows from its row. Those of its signatures and idempotency keys do not: they stand
here, sealed and numbered, and how many there are is written down. The tiers are then a cache: damaged, they are
made again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from hashlib import sha256

import apsw

from procession.errors import ScheduleError
from procession_scheduler import tiers
from procession_scheduler.rows import SLOTS, all_rows
from procession_scheduler.tiers import INDEXED, NOTED, DamagedIndexError, Row, namer

SCHEMA = (
    "CREATE TABLE known (number INTEGER PRIMARY KEY, name BLOB NOT NULL, place INTEGER NOT NULL, content BLOB,"
    " seal BLOB NOT NULL);"
)
SEAL_BYTES = 8
BATCH = 10_000  # rows held in memory at once

_TABLES = ("names0", "names1", "names2")  # the first one of earlier versions
_FORGET = f"DELETE FROM sqlite_schema WHERE tbl_name IN {(*_TABLES, 'sums')}"
_KNOWN = (
    "SELECT number, coalesce(CAST(name AS BLOB), x''), coalesce(CAST(place AS INTEGER), 0), CAST(content AS BLOB), seal"
    " FROM known WHERE number >= ? ORDER BY number LIMIT ?"
)
_MESSAGES = "SELECT place, CAST(message_id AS BLOB) FROM slots WHERE place > ?1 AND place < ?2 ORDER BY place LIMIT ?3"


def note(db: apsw.Connection, rows: Iterable[Row]) -> None:
    """Keep names inside the transaction of the rows they lead to."""
    first = tiers.number_said(db, NOTED) + 1
    numbered = [(number, *row, _seal(number, row)) for number, row in enumerate(rows, first)]
    db.executemany("INSERT INTO known VALUES (?, ?, ?, ?, ?)", numbered)
    tiers.say_number(db, NOTED, first + len(numbered) - 1)


def since(db: apsw.Connection, number: int) -> list[Row]:
    """Return the names behind a number. Raises DamagedIndexError."""
    least = tiers.number_said(db, NOTED)
    try:
        return list(_noted(db, number, least))
    except ScheduleError as error:
        raise DamagedIndexError(error.what) from error


def note_indexed(db: apsw.Connection) -> None:
    """Keep the names of an index that was written without them, by version 1."""
    db.execute(tiers.SUMS_SCHEMA + SCHEMA)
    tiers.say_number(db, NOTED, 0)
    of = f"SELECT id, CAST(message_id AS BLOB) FROM slots JOIN processes ON key = place / {SLOTS} WHERE place = ?"
    for table in _TABLES:
        rows = all_rows(db, f"SELECT name, place, content FROM {table}")
        note(db, [row for row in rows if row[0] not in [_derived(*found) for found in all_rows(db, of, (row[1],))]])


def count(db: apsw.Connection) -> int:
    """Return how many names there must be, as far as that is known."""
    with suppress(DamagedIndexError, apsw.CorruptError):
        return tiers.number_said(db, NOTED)
    return 0


def rebuild(db: apsw.Connection, least: int) -> None:
    """Make the tiers anew inside a transaction. ScheduleError where one of so many names has gone too."""
    _drop(db)
    db.execute(tiers.SCHEMA)
    insert = f"INSERT INTO names{tiers.TIERS[-1]} VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING"
    for rows in (_of_messages(db), _noted(db, 0, least)):
        db.executemany(insert, rows)
    tiers.sum_up(db)
    last = db.execute("SELECT coalesce(max(number), 0) FROM known").get
    for which in (NOTED, INDEXED):
        tiers.say_number(db, which, last)


def _drop(db: apsw.Connection) -> None:
    """Forget the tables of the index; their pages, which may be anything, are left where they are."""
    db.pragma("writable_schema", 1)
    db.execute(_FORGET)
    db.pragma("writable_schema", "RESET")


def _of_messages(db: apsw.Connection) -> Iterator[Row]:
    for key, process in all_rows(db, "SELECT key, id FROM processes ORDER BY key"):
        place, end = key * SLOTS - 1, (key + 1) * SLOTS
        name = namer("message", process)
        while rows := all_rows(db, _MESSAGES, (place, end, BATCH)):
            for place, message_id in rows:
                yield name(message_id), place, None


def _noted(db: apsw.Connection, number: int, least: int) -> Iterator[Row]:
    """Yield the names behind a number. ScheduleError where one is not what was written, or the last has gone."""
    while rows := all_rows(db, _KNOWN, (number + 1, BATCH)):
        for found, name, place, content, seal in rows:
            number += 1
            if found != number or seal != _seal(number, (name, place, content)):
                raise _damaged(number)
            yield name, place, content
    if number < least:
        raise _damaged(number + 1)


def _derived(process: str, message_id: bytes) -> bytes:
    return namer("message", process)(message_id)


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
