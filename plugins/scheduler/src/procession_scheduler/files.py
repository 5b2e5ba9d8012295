"""The schedule file: opened, recognised as ours, and its readers pooled."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from procession.errors import ScheduleError
from procession.folders import NO_ROOM, sync_folder
from procession_scheduler import index

APPLICATION = 0x50725363  # "PrSc", in the file's header
SCHEMA_VERSION = 4  # 1 had no names beside its index; 2 indexed a message with its row; 3 had an index in two tiers
PATIENCE = 0.1  # seconds for another program to let go of the file
DISK_FULL = "disk-full"
DAMAGED = "damaged-schedule"
IDLE_READERS = 8  # connections that wait for the next read

_SCHEMA = (
    "CREATE TABLE processes (key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, last INTEGER NOT NULL,"
    " chain BLOB NOT NULL);"
    "CREATE TABLE slots (place INTEGER PRIMARY KEY, timestamp INTEGER NOT NULL, block_height INTEGER NOT NULL,"
    " path TEXT NOT NULL, message_id TEXT NOT NULL, provenance TEXT NOT NULL, chain BLOB NOT NULL,"
    " seal BLOB NOT NULL, message BLOB NOT NULL);"
)


def open_writing(path: Path) -> apsw.Connection:
    """Open the file for its one writer, made new where there is none."""
    with translated(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        db = apsw.Connection(str(path))
    try:
        with translated(path, db):
            _prepare(db, path)
    except BaseException:
        db.close()
        raise
    return db


def open_reading(path: Path) -> apsw.Connection:
    """Open the file for reading beside its writer."""
    if not path.exists():
        raise _missing(path)
    with translated(path):
        db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        with translated(path, db):
            db.set_busy_timeout(int(PATIENCE * 1000))
            if not _version(db, path):
                raise _missing(path)
    except BaseException:
        db.close()
        raise
    return db


class translated:  # noqa: N801 - used as a function
    """Turn what SQLite and the disk say about a file into a ScheduleError."""

    __slots__ = ("_db", "_path")

    def __init__(self, path: Path, db: apsw.Connection | None = None) -> None:
        self._path = path
        self._db = db

    def __enter__(self) -> None:
        """Begin to listen."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Raise the error for what was raised."""
        if isinstance(error, apsw.Error | OSError):
            raise _told(self._path, error, self._db) from error


@contextmanager
def naming(process: str) -> Iterator[None]:
    """Name the process that damage was met for, where it is not named yet."""
    try:
        yield
    except ScheduleError as error:
        if error.kind != DAMAGED or "process" in error.facts:
            raise
        raise error.at(f"schedule of {process}", process=process) from error


class Readers:
    """Lend reading connections, one thread each, and keep a few of them open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._idle: list[apsw.Connection] = []
        self._closed = False
        with self.lent() as db:
            _check_processes(db)

    @contextmanager
    def lent(self) -> Iterator[apsw.Connection]:
        """Lend a connection; what SQLite raises meanwhile comes out as a ScheduleError."""
        db = self._take()
        try:
            with translated(self._path, db):
                yield db
        finally:
            self._give_back(db)

    def close(self) -> None:
        """Close what is idle now, and the rest when it comes back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for db in idle:
            db.close()

    def _take(self) -> apsw.Connection:
        with self._lock:
            if self._closed:
                raise closed(self._path)
            if self._idle:
                return self._idle.pop()
        return open_reading(self._path)

    def _give_back(self, db: apsw.Connection) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < IDLE_READERS:
                self._idle.append(db)
                return
        db.close()


def closed(path: Path) -> ScheduleError:
    """Return the error for a schedule that was let go of."""
    return ScheduleError("the schedule is closed", where=str(path), remedy="open it again", kind="closed")


def _told(path: Path, error: apsw.Error | OSError, db: apsw.Connection | None) -> ScheduleError:
    """Return what SQLite or the disk said as a ScheduleError."""
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        remedy = "stop the other program that writes to it, or open it read only"
        return ScheduleError("another program holds it", where=str(path), remedy=remedy, kind="locked")
    if isinstance(error, apsw.NotADBError):
        return _foreign(path)
    if isinstance(error, apsw.FullError):
        return _full(path, "nothing of it is in the schedule")
    if isinstance(error, apsw.CorruptError | apsw.SQLError):  # the second: a schema that is not what we wrote
        remedy = "restore the schedule file from a copy; it cannot be recomputed"
        return ScheduleError(f"damaged: {error}", where=str(path), remedy=remedy, kind=DAMAGED)
    if _errno(error, db) in NO_ROOM:
        return _full(path, "only after a crash it may be in the schedule, so send it with the same key")
    remedy = "see to the disk, its space and its permissions, and open it again"
    return ScheduleError(f"{error}", where=str(path), remedy=remedy, kind="io")


def _prepare(db: apsw.Connection, path: Path) -> None:
    db.set_busy_timeout(int(PATIENCE * 1000))
    _version(db, path)  # before anything in it is changed
    db.pragma("journal_mode", "wal")
    db.pragma("synchronous", 2)  # FULL: a commit is on the disk before anyone is told
    db.pragma("fullfsync", 1)  # macOS: through the drive's own cache, too
    db.pragma("wal_autocheckpoint", 0)  # the writer does it when nobody waits
    db.pragma("temp_store", 2)  # in memory: another disk that is full is none of its business
    db.execute("BEGIN IMMEDIATE")  # says at once whether another program holds the file
    version = _version(db, path)
    if version == 0:
        db.execute(_SCHEMA)
        index.begin(db)
        db.pragma("application_id", APPLICATION)
    elif version != SCHEMA_VERSION:
        index.take_over(db, version)
    if version != SCHEMA_VERSION:
        db.pragma("user_version", SCHEMA_VERSION)
    db.execute("COMMIT")
    for folder in (path.parent, path.parent.parent):  # SQLite made names in them, and does not tell if they are lost
        sync_folder(folder)


def _version(db: apsw.Connection, path: Path) -> int:
    """Return the version of the schedule in a file; 0 for an empty file, an error for one that is not ours."""
    if db.pragma("application_id") == APPLICATION:
        version: int = db.pragma("user_version")
        if not 1 <= version <= SCHEMA_VERSION:
            what = f"written as version {version}, this reads versions 1 to {SCHEMA_VERSION}"
            remedy = "install the procession-scheduler that wrote it"
            raise ScheduleError(what, where=str(path), remedy=remedy, kind="newer-schema")
        return version
    if db.execute("SELECT count(*) FROM sqlite_schema").get:
        raise _foreign(path)
    return 0


def _check_processes(db: apsw.Connection) -> None:
    """Refuse a file in which a process may have vanished, for its slots would be given again."""
    found = db.execute("PRAGMA integrity_check(processes)").get
    if found != "ok":
        raise apsw.CorruptError(found)


def _missing(path: Path) -> ScheduleError:
    remedy = "schedule a message first, or name another data folder"
    return ScheduleError("there is no schedule", where=str(path), remedy=remedy, kind="missing")


def _foreign(path: Path) -> ScheduleError:
    remedy = "name another file in the scheduler's options"
    return ScheduleError("not a schedule of ours", where=str(path), remedy=remedy, kind="foreign")


def _full(path: Path, what_is_known: str) -> ScheduleError:
    remedy = f"make room and send it again; {what_is_known}"
    return ScheduleError("the disk is full", where=str(path), remedy=remedy, kind=DISK_FULL)


def _errno(error: apsw.Error | OSError, db: apsw.Connection | None) -> int | None:
    """Return what the system said; SQLite keeps it of the errors that come from there."""
    if isinstance(error, OSError):
        return error.errno
    return db.system_errno if db is not None and isinstance(error, apsw.IOError | apsw.CantOpenError) else None
