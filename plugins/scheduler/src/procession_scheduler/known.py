"""The names that no row tells of itself, in the order they came, so that the index can be made anew.

A message's own name follows from its row. Those of its signatures and idempotency keys do not: they stand
here, sealed and numbered, and how many there are is written down. The runs are then a cache: damaged, they are
made again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from hashlib import sha256
from typing import Any

import apsw

from procession.errors import ScheduleError
from procession_scheduler import facts
from procession_scheduler.facts import NOTED
from procession_scheduler.names import DamagedIndexError, namer
from procession_scheduler.rows import SLOTS, all_rows

SCHEMA = (
    "CREATE TABLE known (number INTEGER PRIMARY KEY, name BLOB NOT NULL, place INTEGER NOT NULL, content BLOB,"
    " seal BLOB NOT NULL);"
)
SEAL_BYTES = 8
BATCH = 10_000  # rows held in memory at once

_KNOWN = (
    "SELECT number, coalesce(CAST(name AS BLOB), x''), coalesce(CAST(place AS INTEGER), 0), CAST(content AS BLOB), seal"
    " FROM known WHERE number > ? ORDER BY number LIMIT ?"
)

Row = tuple[Any, ...]  # name, place, content


def note(db: apsw.Connection, rows: Iterable[Row]) -> None:
    """Keep names inside the transaction of the rows they lead to."""
    first = facts.number_said(db, NOTED) + 1
    numbered = [(number, *row, _seal(number, row)) for number, row in enumerate(rows, first)]
    db.executemany("INSERT INTO known VALUES (?, ?, ?, ?, ?)", numbered)
    facts.say_number(db, NOTED, first + len(numbered) - 1)


def since(db: apsw.Connection, number: int) -> list[Row]:
    """Return the names behind a number. Raises DamagedIndexError."""
    least = facts.number_said(db, NOTED)
    try:
        return [row for rows in batches(db, number, least) for row in rows]
    except ScheduleError as error:
        raise DamagedIndexError(error.what) from error


def count(db: apsw.Connection) -> int:
    """Return how many names there must be, as far as that is known."""
    with suppress(DamagedIndexError, apsw.CorruptError):
        return facts.number_said(db, NOTED)
    return 0


def count_of_version_3(db: apsw.Connection) -> int:
    """Return how many names there must be in a file of version 3, as far as that is known."""
    with suppress(apsw.CorruptError, apsw.SQLError):
        for number, proof in all_rows(db, "SELECT count, total FROM sums WHERE bucket = 0"):
            if type(number) is int and proof == (number + 1) * 0x9E3779B97F4A7C15 % ((1 << 61) - 1):
                return number
    return 0


def batches(db: apsw.Connection, number: int, least: int) -> Iterator[list[Row]]:
    """Yield the names behind a number. ScheduleError where one is not what was written, or one of so many has gone."""
    while rows := all_rows(db, _KNOWN, (number, BATCH)):
        for found, name, place, content, seal in rows:
            number += 1
            if found != number or seal != _seal(number, (name, place, content)):
                raise _damaged(number)
        yield [row[1:4] for row in rows]
    if number < least:
        raise _damaged(number + 1)


def note_indexed(db: apsw.Connection, tables: Iterable[str]) -> None:
    """Keep the names of an index that was written without them, by version 1."""
    db.execute(SCHEMA)
    facts.say_number(db, NOTED, 0)
    of = f"SELECT id, CAST(message_id AS BLOB) FROM slots JOIN processes ON key = place / {SLOTS} WHERE place = ?"
    for table in tables:
        rows = all_rows(db, f"SELECT name, place, content FROM {table}")
        note(db, [row for row in rows if row[0] not in [_derived(*found) for found in all_rows(db, of, (row[1],))]])


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
