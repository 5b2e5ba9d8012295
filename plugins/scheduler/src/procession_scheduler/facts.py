"""Facts: the few things that the index is held against, written down in one place, each under its seal."""

from __future__ import annotations

from hashlib import sha256

import apsw

from procession_scheduler.names import DamagedIndexError
from procession_scheduler.rows import all_rows

NOTED, MANIFEST = 0, 1  # how many names are known (``known``), and the manifest of the runs
SCHEMA = "CREATE TABLE facts (what INTEGER PRIMARY KEY, content BLOB NOT NULL, seal BLOB NOT NULL);"
SEAL_BYTES = 8

_SAID = "SELECT coalesce(CAST(content AS BLOB), x''), seal FROM facts WHERE what = ?"


def said(db: apsw.Connection, what: int) -> bytes:
    """Return a fact. Raises DamagedIndexError where it is not what was written."""
    for content, seal in all_rows(db, _SAID, (what,)):
        if seal == _seal(what, content):
            return bytes(content)
    raise DamagedIndexError(f"fact {what} of the index is not what was written")


def say(db: apsw.Connection, what: int, content: bytes) -> None:
    """Write a fact down, in place of what it was."""
    db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", (what, content, _seal(what, content)))


def number_said(db: apsw.Connection, what: int) -> int:
    """Return a fact that is a number. Raises DamagedIndexError."""
    return int(said(db, what))


def say_number(db: apsw.Connection, what: int, number: int) -> None:
    """Write a number down."""
    say(db, what, b"%d" % number)


def _seal(what: int, content: bytes) -> bytes:
    return sha256(b"%d " % what + content).digest()[:SEAL_BYTES]
