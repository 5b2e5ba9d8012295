"""The index of names: what was noted lately, and the runs below.

Rules
-----
* What callers name, signatures and keys, is noted in the commit of its row (``known``), and held in memory until
  it is added to the runs with everything else that came since: that is the catching up.
* A message's own name follows from its row, so it is noted nowhere: of each process the index knows up to which
  slot its messages are in the runs, and the few behind are read.
* What a process says of that counts the runs there were, and no process knows of more than the manifest: so an
  older manifest is noticed as such.
* Whatever is damaged of it is noticed before a name is said to be new, and the index is then made anew. Where it
  cannot be, nothing is added to it, and who brings no name that is asked for goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from itertools import chain, islice
from typing import Any

import apsw
import attrs

from procession.errors import ScheduleError
from procession_scheduler import facts, known, runs
from procession_scheduler.chunks import record_of
from procession_scheduler.facts import MANIFEST, NOTED
from procession_scheduler.manifests import Manifest, decoded
from procession_scheduler.names import DamagedIndexError, Entry, name_of, namer
from procession_scheduler.rows import SLOTS, all_rows, first_row
from procession_scheduler.runs import watched

BEHIND = 4_096  # messages and names that may be outside of the runs
SCHEMA = (
    "ALTER TABLE processes ADD COLUMN indexed INTEGER NOT NULL DEFAULT -1;"  # the last slot whose message is in them
    "ALTER TABLE processes ADD COLUMN mark BLOB NOT NULL DEFAULT x'';"  # that proves it
)
COUNT_BYTES = 8  # of a mark: how many runs there were

log = logging.getLogger("procession.scheduler")

_EARLIER = ("names0", "names1", "names2")  # tables of names that versions 1 to 3 had
_FORGET = f"DELETE FROM sqlite_schema WHERE tbl_name IN {('chunks', 'facts', 'sums', *_EARLIER)}"
_STAND = (
    "SELECT key, CAST(id AS BLOB), coalesce(CAST(indexed AS INTEGER), -1), CAST(mark AS BLOB), CAST(last AS INTEGER)"
)
_BEHIND = f"{_STAND} FROM processes WHERE last > indexed"
_OF = f"{_STAND} FROM processes WHERE id = ?"
_COUNT = "SELECT coalesce(sum(last - indexed), 0) FROM processes WHERE last > indexed"
_IDS = "SELECT place, CAST(message_id AS BLOB) FROM slots WHERE place BETWEEN ? AND ? ORDER BY place LIMIT ?"
_ID_AT = "SELECT CAST(message_id AS BLOB) FROM slots WHERE place = ?"
_MARK = "UPDATE processes SET indexed = ?, mark = ? WHERE key = ?"
_NEWEST = "SELECT max(CAST(mark AS BLOB)) FROM processes"
_FIRST = "SELECT min(place) FROM slots WHERE place BETWEEN ? AND ? AND message_id = ?"

Stand = tuple[Any, ...]  # key and id of a process, how far its messages are in the runs, the proof, its last slot


class Index:
    """Find and note names through a writing connection, every chunk checked when it is read."""

    def __init__(self) -> None:
        self._manifest: Manifest | None = None  # None until it is read
        self._recent: dict[bytes, Entry] | None = None  # noted and not in the runs; None until it is read
        self._behind = 0
        self.lost: ScheduleError | None = None  # why it cannot be made anew, once that was tried

    def refresh(self, db: apsw.Connection) -> None:
        """Learn anew what the file holds; another program, or nobody, may have written it."""
        self._manifest = self._recent = None
        self._behind = db.execute(_COUNT).get

    def find(self, db: apsw.Connection, name: bytes) -> Entry | None:
        """Return the first entry of a name. Raises DamagedIndexError where one may have gone."""
        with watched():
            recent = self._known(db)
            return recent[name] if name in recent else runs.find(db, self._stand(db), name)

    def note(self, db: apsw.Connection, messages: int, names: dict[bytes, Entry]) -> None:
        """Note what a commit adds, inside of it; catch up where much is behind. Raises DamagedIndexError."""
        if names:
            with watched():
                recent = self._known(db)
                known.note(db, [(name, entry.place, entry.content) for name, entry in names.items()])
                recent |= names
        self._behind += messages
        if self._behind + len(self._recent or ()) > BEHIND and self.lost is None:
            with watched():
                self._catch_up(db)

    def _stand(self, db: apsw.Connection) -> Manifest:
        if self._manifest is None:
            self._manifest = _manifest(db)
        return self._manifest

    def _known(self, db: apsw.Connection) -> dict[bytes, Entry]:
        if self._recent is None:
            rows = known.since(db, self._stand(db).indexed)
            self._recent = {name: Entry(place, content) for name, place, content in rows}
        return self._recent

    def _catch_up(self, db: apsw.Connection) -> None:
        manifest, recent = self._stand(db), self._known(db)
        if _count(db.execute(_NEWEST).get or b"") > manifest.given:
            raise DamagedIndexError("the manifest of the index is an older one")
        records = [record_of(name, entry.place, entry.content) for name, entry in recent.items()]
        marked = []
        for row in all_rows(db, _BEHIND):
            key, process, indexed, _, last = _proven(row, manifest)
            records += _messages(db, process, range(key * SLOTS + indexed + 1, key * SLOTS + last + 1))
            marked.append((key, process, last))
        manifest = attrs.evolve(runs.add(db, manifest, records), indexed=facts.number_said(db, NOTED))
        _write(db, manifest, marked)
        self._manifest, self._behind = manifest, 0
        recent.clear()


def begin(db: apsw.Connection) -> None:
    """Make the tables of an index of nothing."""
    db.execute(runs.SCHEMA + facts.SCHEMA + known.SCHEMA + SCHEMA)
    facts.say_number(db, NOTED, 0)
    _write(db, Manifest(), ())


def take_over(db: apsw.Connection, version: int) -> None:
    """Make an index of an earlier version one of this version."""
    if version == 1:
        db.execute(facts.SCHEMA)
        known.note_indexed(db, _EARLIER)
    if version < 3:
        db.execute(SCHEMA)
    least = known.count_of_version_3(db) if version == 3 else 0
    try:
        rebuild(db, least)
    except (ScheduleError, DamagedIndexError) as error:  # told again to those who need a name, and to nobody else
        log.warning("%s", error)
        facts.say_number(db, NOTED, least)
    except apsw.CorruptError as error:  # a page of some process's: the others need not suffer it
        if version < 3:
            raise
        log.warning("the index of names cannot be made anew: %s", error)
        db.execute("ROLLBACK")  # nothing more can be written in such a transaction
        db.execute("BEGIN IMMEDIATE")
        _empty(db)
        facts.say_number(db, NOTED, least)


def rebuild(db: apsw.Connection, least: int) -> None:
    """Make the index anew inside a transaction. ScheduleError where one of so many names has gone too."""
    _empty(db)
    manifest, records = Manifest(), chain(_of_messages(db), _of_known(db, least))
    while batch := list(islice(records, known.BATCH)):
        manifest = runs.add(db, manifest, batch)
    last = db.execute("SELECT coalesce(max(number), 0) FROM known").get
    facts.say_number(db, NOTED, last)
    stand = all_rows(db, f"{_STAND} FROM processes")
    _write(db, attrs.evolve(manifest, indexed=last), [(key, process, last) for key, process, _, _, last in stand])


def place_of(db: apsw.Connection, process: str, message_id: str) -> int | None:
    """Return the first place of a message in a process: by the index, or by the rows where it is not to be trusted."""
    with _one_commit(db):
        key = db.execute("SELECT key FROM processes WHERE id = ?", (process,)).get
        if key is None:
            return None
        begin, end = key * SLOTS, (key + 1) * SLOTS - 1
        with suppress(DamagedIndexError, apsw.CorruptError, apsw.SQLError):  # the last: earlier versions had less
            manifest = _manifest(db)
            indexed = _proven(all_rows(db, _OF, (process,))[0], manifest)[2]
            entry = runs.find(db, manifest, name_of("message", process, message_id))
            if entry is None:
                begin += indexed + 1
            elif first_row(db, _ID_AT, (entry.place,)) == (message_id.encode(),):
                return entry.place
        found: int | None = db.execute(_FIRST, (begin, end, message_id)).get
        return found


@contextmanager
def _one_commit(db: apsw.Connection) -> Iterator[None]:
    """Read what one commit left, whatever is written meanwhile."""
    db.execute("BEGIN")
    try:
        yield
    finally:
        db.execute("COMMIT")


def _manifest(db: apsw.Connection) -> Manifest:
    return decoded(facts.said(db, MANIFEST))


def _write(db: apsw.Connection, manifest: Manifest, marked: Iterable[tuple[int, bytes, int]]) -> None:
    """Write a manifest, and of processes that all their messages are in its runs."""
    facts.say(db, MANIFEST, manifest.encoded())
    db.executemany(_MARK, [(last, _mark(key, process, last, manifest.given), key) for key, process, last in marked])


def _empty(db: apsw.Connection) -> None:
    """Begin the tables of the index anew; the pages of the old ones, which may be anything, are left where they are."""
    db.pragma("writable_schema", 1)
    db.execute(_FORGET)
    db.pragma("writable_schema", "RESET")
    db.execute(runs.SCHEMA + facts.SCHEMA)


def _of_messages(db: apsw.Connection) -> Iterator[bytes]:
    for key, process in all_rows(db, "SELECT key, CAST(id AS BLOB) FROM processes ORDER BY key"):
        yield from _messages(db, process, range(key * SLOTS, (key + 1) * SLOTS))


def _of_known(db: apsw.Connection, least: int) -> Iterator[bytes]:
    for rows in known.batches(db, 0, least):
        yield from [record_of(*row) for row in rows]


def _messages(db: apsw.Connection, process: bytes, places: range) -> Iterator[bytes]:
    """Yield the records of a process's messages at places."""
    begin, end = places.start, places.stop - 1
    name = namer("message", process.decode())
    while rows := all_rows(db, _IDS, (begin, end, known.BATCH)):
        for place, message_id in rows:
            yield record_of(name(message_id), place)
        begin = rows[-1][0] + 1


def _proven(row: Stand, manifest: Manifest) -> Stand:
    key, process, indexed, mark, _ = row
    count = _count(mark or b"")
    if mark != _mark(key, process, indexed, count) or count > manifest.given:
        raise DamagedIndexError("how far the messages of a process are indexed is not what was written")
    return row


def _count(mark: bytes) -> int:
    return int.from_bytes(mark[:COUNT_BYTES])


def _mark(key: int, process: bytes, indexed: int, count: int) -> bytes:
    """Return what proves how far the messages of a process are indexed; that none is needs no proof."""
    if indexed == -1:
        return b""
    counted = count.to_bytes(COUNT_BYTES)
    return counted + sha256(b"%d %d %b" % (key, indexed, counted) + process).digest()[: known.SEAL_BYTES]
