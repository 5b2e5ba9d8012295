"""The writer's side of the schedule file: look up, write one commit, settle."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

import apsw

from procession.errors import ScheduleError
from procession.schedules import Assignment
from procession_scheduler import index, known
from procession_scheduler.files import DAMAGED, naming, open_writing, translated
from procession_scheduler.index import Index
from procession_scheduler.names import Entry
from procession_scheduler.plans import Commit
from procession_scheduler.rows import Tip, all_rows, proven_tip, read_at

WAL_BYTES = 1 << 20  # of write-ahead log at which it is copied into the file while callers wait, and begun again:
# what is written over syncs in two thirds of the time that a file takes which grows
LAGS = 32  # times that bound, at which it is emptied though somebody reads it
TIPS_KEPT = 10_000  # processes whose last slot stays in memory
HEADS_CHECKED = 256  # newest processes whose last slot is checked when the file is opened

_NEW = "INSERT INTO processes (last, chain, key, id) VALUES (?, ?, ?, ?)"
_TIP = "UPDATE processes SET last = ?, chain = ? WHERE key = ?"
_log = logging.getLogger("procession.scheduler")


class Disk:
    """Hold the writing connection and what it need not read twice; one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db = open_writing(path)
        self._cursor = self._db.cursor()  # of each commit: one for each of its statements takes a tenth of it
        self._tips: dict[str, Tip] = {}
        self._version = -1  # of the file, behind the last commit of this writer
        self._next_key = 1
        self._index = Index()
        self._pages = 0  # in the write-ahead log
        self._bound = WAL_BYTES // int(self._db.pragma("page_size"))
        self._forced_at = self._bound
        self._settled = True
        self._proven = False  # that what was committed before is on the disk, and not only in its cache
        self.writing = False  # something whose failure leaves unknown what the disk holds
        self._db.set_wal_hook(self._note_pages)

    @property
    def settled(self) -> bool:
        """Tell whether everything committed is in the main file."""
        return self._settled

    def check_heads(self) -> None:
        """Warn of processes whose schedule cannot go on; the others are not held up by them."""
        newest = "SELECT id FROM processes ORDER BY key DESC LIMIT ?"
        with translated(self._path, self._db):
            found = all_rows(self._db, newest, (HEADS_CHECKED,))
        for (process,) in found:
            try:
                self.tip(process)
            except ScheduleError as error:
                _log.warning("%s", error.text)

    # -- one commit

    def begin(self) -> None:
        """Begin a commit; what another program wrote meanwhile is noticed."""
        self.writing = True
        self._prove()
        self.writing = False
        with translated(self._path, self._db):
            self._cursor.execute("BEGIN IMMEDIATE")
            version = self._db.data_version()
            if version != self._version or len(self._tips) > TIPS_KEPT:
                self._tips.clear()
                self._index.refresh(self._db)
                self._next_key = (self._db.execute("SELECT max(key) FROM processes").get or 0) + 1
                self._version = version

    def tip(self, process: str) -> Tip | None:
        """Return where a schedule ends, its last slot checked when it is first asked for."""
        tip = self._tips.get(process)
        if tip is None:
            with naming(process), translated(self._path, self._db):
                tip = proven_tip(self._db, process)
            if tip is not None:
                self._tips[process] = tip
        return tip

    def next_key(self) -> int:
        """Return the key that a new process takes."""
        return self._next_key

    def entry(self, name: bytes) -> Entry | None:
        """Return where a name was seen first. DamagedIndexError where that is not known."""
        with translated(self._path, self._db):
            return self._index.find(self._db, name)

    def assignment(self, process: str, place: int) -> Assignment:
        """Return the assignment at a place."""
        with naming(process), translated(self._path, self._db):
            return read_at(self._db, process, place)

    def write(self, commit: Commit) -> None:
        """Make a commit durable; if this raises, nothing is known of what the disk holds."""
        self.writing = True
        with translated(self._path, self._db):
            if commit.rows or commit.names:
                self._insert(commit)
            self._cursor.execute("COMMIT")
            self._version = self._db.data_version()
        self.writing = False
        self._tips |= commit.tips
        self._next_key += commit.added

    def undo(self) -> None:
        """Leave the file as it was before the commit."""
        self._version = -1  # what is held in memory may be of rows that are not there
        if self._db.in_transaction:
            with translated(self._path, self._db):
                self._db.execute("ROLLBACK")

    def rebuild_index(self) -> None:
        """Make the index anew from what it indexes. ScheduleError where that is damaged too, which is tried once."""
        self.undo()
        if self._index.lost is not None:
            raise self._index.lost.with_traceback(None)
        self.writing = True
        try:
            with translated(self._path, self._db):
                least = known.count(self._db)
                self._db.execute("BEGIN IMMEDIATE")
                index.rebuild(self._db, least)
                self._db.execute("COMMIT")
        except ScheduleError as error:
            self._index.lost = error if error.kind == DAMAGED else None
            raise
        self.writing = False

    # -- between commits

    def relieve(self) -> None:
        """Settle while callers wait, once the log has grown beyond its bound; the next commit begins it again."""
        if self._pages >= self._forced_at:
            lags = self._pages >= LAGS * self._bound
            self._settle(apsw.SQLITE_CHECKPOINT_TRUNCATE if lags else apsw.SQLITE_CHECKPOINT_PASSIVE)
            self._forced_at = self._pages + self._bound

    def settle(self) -> None:
        """Copy what is committed into the main file, as far as readers let it."""
        self._settle(apsw.SQLITE_CHECKPOINT_PASSIVE)
        self._settled = True
        self._forced_at = self._bound

    def close(self) -> None:
        """Let go of the file."""
        self._db.set_wal_hook(None)
        with translated(self._path):
            self._db.close()

    def _insert(self, commit: Commit) -> None:
        for process, tip in commit.tips.items():
            is_new = tip.key >= self._next_key
            stand = (tip.head.slot, tip.head.chain, tip.key)
            self._cursor.execute(_NEW if is_new else _TIP, (*stand, process) if is_new else stand)
        self._cursor.executemany("INSERT INTO slots VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", commit.rows)
        self._index.note(self._db, len(commit.rows), commit.names)

    def _prove(self) -> None:
        """See once that what an earlier program committed, and maybe failed to sync, is written and synced."""
        if not self._proven:
            with translated(self._path, self._db):
                self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_FULL)
            self._proven = True

    def _settle(self, mode: int) -> None:
        with (
            translated(self._path, self._db),
            suppress(apsw.BusyError),
        ):  # a reader in the way: the next turn tries again
            self._pages = self._db.wal_checkpoint(mode=mode)[0]

    def _note_pages(self, db: apsw.Connection, name: str, pages: int) -> int:
        if pages < self._pages:
            self._forced_at = self._bound
        self._pages, self._settled = pages, False
        return 0
