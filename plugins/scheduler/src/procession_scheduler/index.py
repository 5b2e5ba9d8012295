"""The index of names: what was noted lately, and the tiers below.

Rules
-----
* What callers name, signatures and keys, is noted in the commit of its row (``known``), and held in memory until
  it is added to the tiers with everything else that came since: that is the catching up.
* A message's own name follows from its row, so it is noted nowhere: of each process the index knows up to which
  slot its messages are in the tiers, and the few behind are read.
* Whatever is damaged of it is noticed before a name is said to be new, and the index is then made anew.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from hashlib import sha256
from operator import itemgetter
from typing import Any

import apsw

from procession.errors import ScheduleError
from procession_scheduler import known, tiers
from procession_scheduler.rows import SLOTS, all_rows, first_row
from procession_scheduler.tiers import INDEXED, NOTED, DamagedIndexError, Entry, Row, name_of, namer, watched

BEHIND = 4_096  # messages and names that may be outside of the tiers
SCHEMA = (
    "ALTER TABLE processes ADD COLUMN indexed INTEGER NOT NULL DEFAULT -1;"  # the last slot whose message is in them
    "ALTER TABLE processes ADD COLUMN mark BLOB NOT NULL DEFAULT x'';"  # that proves it
)

log = logging.getLogger("procession.scheduler")

_STAND = (
    "SELECT key, CAST(id AS BLOB), coalesce(CAST(indexed AS INTEGER), -1), CAST(mark AS BLOB), CAST(last AS INTEGER)"
)
_BEHIND = f"{_STAND} FROM processes WHERE last > indexed"
_OF = f"{_STAND} FROM processes WHERE id = ?"
_COUNT = "SELECT coalesce(sum(last - indexed), 0) FROM processes WHERE last > indexed"
_IDS = "SELECT place, CAST(message_id AS BLOB) FROM slots WHERE place BETWEEN ? AND ? ORDER BY place"
_ID_AT = "SELECT CAST(message_id AS BLOB) FROM slots WHERE place = ?"
_MARK = "UPDATE processes SET indexed = ?, mark = ? WHERE key = ?"
_FIRST = "SELECT min(place) FROM slots WHERE place BETWEEN ? AND ? AND message_id = ?"

Stand = tuple[Any, ...]  # key and id of a process, how far its messages are in the tiers, the proof, its last slot


class Index:
    """Find and note names through a writing connection, each bucket checked when it is first needed."""

    def __init__(self) -> None:
        self._checked: set[int] = set()
        self._recent: dict[bytes, Entry] | None = None  # noted and not in the tiers; None until it is read
        self._behind = 0

    def refresh(self, db: apsw.Connection) -> None:
        """Learn anew what the file holds; another program, or nobody, may have written it."""
        self._checked.clear()
        self._recent = None
        self._behind = db.execute(_COUNT).get

    def find(self, db: apsw.Connection, name: bytes) -> Entry | None:
        """Return the first entry of a name. Raises DamagedIndexError where one may have gone."""
        with watched():
            recent = self._known(db)
            if name in recent:
                return recent[name]
            fresh = [bucket for bucket in tiers.buckets_of(name) if bucket not in self._checked]
            tiers.check(db, fresh)
            self._checked.update(fresh)
            return tiers.find(db, name)

    def note(self, db: apsw.Connection, messages: int, names: dict[bytes, Entry]) -> None:
        """Note what a commit adds, inside of it; catch up where much is behind. Raises DamagedIndexError."""
        if names:
            with watched():
                recent = self._known(db)
                known.note(db, [(name, entry.place, entry.content) for name, entry in names.items()])
                recent |= names
        self._behind += messages
        if self._behind + len(self._recent or ()) > BEHIND:
            with watched():
                self._catch_up(db)

    def _known(self, db: apsw.Connection) -> dict[bytes, Entry]:
        if self._recent is None:
            rows = known.since(db, tiers.number_said(db, INDEXED))
            self._recent = {name: Entry(place, content) for name, place, content in rows}
        return self._recent

    def _catch_up(self, db: apsw.Connection) -> None:
        recent = self._known(db)
        entries: dict[bytes, Row] = {name: (name, entry.place, entry.content) for name, entry in recent.items()}
        stand = []
        for row in all_rows(db, _BEHIND):
            key, process, indexed, _, last = _proven(row)
            name = namer("message", process.decode())
            for place, message_id in all_rows(db, _IDS, (key * SLOTS + indexed + 1, key * SLOTS + last)):
                hashed = name(message_id)
                if hashed not in entries:
                    entries[hashed] = (hashed, place, None)
            stand.append((last, _mark(key, process, last), key))
        tiers.add(db, sorted(entries.values(), key=itemgetter(0)))
        db.executemany(_MARK, stand)
        tiers.say_number(db, INDEXED, tiers.number_said(db, NOTED))
        self._behind = 0
        recent.clear()


def begin(db: apsw.Connection) -> None:
    """Make the tables of an index of nothing."""
    db.execute(tiers.SCHEMA + known.SCHEMA + SCHEMA)
    for which in (NOTED, INDEXED):
        tiers.say_number(db, which, 0)


def take_over(db: apsw.Connection, version: int) -> None:
    """Make an index of an earlier version one of this version."""
    if version == 1:
        known.note_indexed(db)
    db.execute(SCHEMA)
    try:
        rebuild(db, 0)
    except ScheduleError as error:  # told again to those who need a name, and to nobody else
        log.warning("%s", error.text)
        tiers.distrust(db)


def rebuild(db: apsw.Connection, least: int) -> None:
    """Make the index anew inside a transaction. ScheduleError where one of so many names has gone too."""
    known.rebuild(db, least)
    rows = all_rows(db, f"{_STAND} FROM processes")
    db.executemany(_MARK, [(last, _mark(key, process, last), key) for key, process, _, _, last in rows])


def place_of(db: apsw.Connection, process: str, message_id: str) -> int | None:
    """Return the first place of a message in a process: by the index, or by the rows where it is not to be trusted."""
    key = db.execute("SELECT key FROM processes WHERE id = ?", (process,)).get
    if key is None:
        return None
    begin, end = key * SLOTS, (key + 1) * SLOTS - 1
    with suppress(DamagedIndexError, apsw.CorruptError, apsw.SQLError):  # the last: earlier versions had less
        indexed = _proven(all_rows(db, _OF, (process,))[0])[2]
        name = name_of("message", process, message_id)
        entry = tiers.find(db, name)
        if entry is None:
            tiers.check(db, tiers.buckets_of(name))
            begin += indexed + 1
        elif first_row(db, _ID_AT, (entry.place,)) == (message_id.encode(),):
            return entry.place
    found: int | None = db.execute(_FIRST, (begin, end, message_id)).get
    return found


def _proven(row: Stand) -> Stand:
    key, process, indexed, mark, _ = row
    if mark != _mark(key, process, indexed):
        raise DamagedIndexError("how far the messages of a process are indexed is not what was written")
    return row


def _mark(key: int, process: bytes, indexed: int) -> bytes:
    """Return what proves how far the messages of a process are indexed; that none is needs no proof."""
    return b"" if indexed == -1 else sha256(b"%d %d " % (key, indexed) + process).digest()[: known.SEAL_BYTES]
