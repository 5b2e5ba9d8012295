"""The cache file: opened or begun anew, and its readers pooled.

A cache may vanish and may never be wrong: a file that is no database any more, or is found corrupt
while in use, is moved aside by whoever writes to it, and an empty one takes its place.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import apsw

from procession.errors import CacheError
from procession.folders import NO_ROOM, sync_folder
from procession_sqlite.tiers import TIERS, Tiers

APPLICATION = 0x50724361  # "PrCa", in the file's header
SCHEMA_VERSION = 3  # 1 had an index of messages; 2 indexed every snapshot, and its use
PATIENCE = 0.1  # seconds for another program to let go of the file
CHECKPOINT_PAGES = 4_000  # of the write-ahead log: 16 MiB
IDLE_READERS = 8  # connections that wait for the next read

_KEYED = "(key INTEGER PRIMARY KEY, value {} NOT NULL UNIQUE);"
_SCHEMA = (
    f"CREATE TABLE processes {_KEYED.format('TEXT')}"
    f"CREATE TABLE fingerprints {_KEYED.format('TEXT')}"
    f"CREATE TABLE snapshots {_KEYED.format('BLOB')}"
    "CREATE TABLE records (place INTEGER PRIMARY KEY, message_id TEXT NOT NULL, chain BLOB NOT NULL,"
    " state BLOB NOT NULL, state_digest BLOB NOT NULL, complete INTEGER NOT NULL, fingerprint INTEGER NOT NULL,"
    " live_root BLOB NOT NULL, snapshot INTEGER, seal BLOB NOT NULL);"
    "CREATE TABLE blobs (id INTEGER PRIMARY KEY, content BLOB NOT NULL);"
) + Tiers("digests").schema
_POINTS = "CREATE INDEX points ON records (place) WHERE snapshot IS NOT NULL AND live_root <> x'';"
_EARLIER = {
    1: "".join(f"DROP TABLE names{tier};" for tier in TIERS) + "DROP INDEX points; DROP INDEX uses;",
    2: "DROP INDEX points; DROP INDEX uses;",
}

RECURRING = ("processes", "fingerprints", "snapshots")  # tables of values that rows hold keys of
_CORRUPT = (apsw.CorruptError, apsw.NotADBError, apsw.SQLError)  # the last: a schema that is not what we wrote
_log = logging.getLogger("procession.sqlite")


def open_writing(path: Path, *, synchronous: int) -> apsw.Connection:
    """Open the file for writing, made new where there is none, or one that is no cache any more."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if _marker(path).exists():
        _move_aside(path)
    try:
        db = _opened(path, synchronous)
    except _CORRUPT:
        _move_aside(path)
        db = _opened(path, synchronous)
    try:
        sync_folder(path.parent)  # a journal of SQLite's that came back after a power cut would undo what follows
    except BaseException:
        db.close()
        raise
    return db


def open_reading(path: Path) -> apsw.Connection:
    """Open the file for reading beside its writer."""
    if not path.exists():
        raise _missing(path)
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    with _closed_on_error(path, db):
        db.set_busy_timeout(int(PATIENCE * 1000))
        if not _version(db, path):
            raise _missing(path)
    return db


@contextmanager
def translated(path: Path, db: apsw.Connection | None = None) -> Iterator[None]:
    """Turn what SQLite and the disk say about a file into a CacheError."""
    try:
        yield
    except (apsw.Error, OSError) as error:
        raise cache_error(path, error, db) from error


def cache_error(path: Path, error: apsw.Error | OSError, db: apsw.Connection | None = None) -> CacheError:
    """Return what SQLite or the disk said as a CacheError; corruption is remembered for the next opening."""
    kind, what, remedy = "io", f"{error}", "see to the disk, its space and its permissions"
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        remedy = "stop the other program that writes to it, or open it read only"
        kind, what = "locked", "another program holds it"
    elif isinstance(error, apsw.FullError) or _errno(error, db) in NO_ROOM:
        kind, what, remedy = "disk-full", "the disk is full", "make room; what was not kept is computed again"
    elif isinstance(error, _CORRUPT):
        with suppress(OSError):
            _marker(path).touch()
        remedy = "who writes to it moves it aside, and what it held is computed again from the schedule"
        kind, what = "damaged", f"damaged: {error}"
    return CacheError(what, where=str(path), remedy=remedy, kind=kind)


def is_corruption(error: CacheError) -> bool:
    """Tell whether an error is of the file as a whole, and not of something in it."""
    return isinstance(error.__cause__, _CORRUPT)


class Readers:
    """Lend reading connections, one thread each, and keep a few of them open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._idle: list[apsw.Connection] = []
        self._closed = False
        with self.lent():
            pass  # say at once whether it can be read

    @contextmanager
    def lent(self) -> Iterator[apsw.Connection]:
        """Lend a connection; what SQLite raises meanwhile comes out as a CacheError."""
        db: apsw.Connection | None = None
        try:
            db = self._take()
            yield db
        except (apsw.Error, OSError) as error:
            raise cache_error(self._path, error, db) from error
        finally:
            if db is not None:
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


def closed(path: Path) -> CacheError:
    """Return the error for a cache that was let go of."""
    return CacheError("the cache is closed", where=str(path), remedy="open it again", kind="closed")


def _move_aside(path: Path) -> None:
    """Rename a file that is no cache any more, and what SQLite keeps beside it, to ``.damaged-N``."""
    number = 1
    while path.with_name(f"{path.name}.damaged-{number}").exists():
        number += 1
    for suffix in ("-wal", "-shm", ""):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).replace(path.with_name(f"{path.name}.damaged-{number}{suffix}"))
    _marker(path).unlink(missing_ok=True)
    _log.warning(
        "%s: damaged, moved aside as %s.damaged-%d; results are computed again from the schedule, and an image"
        " that is in no file under blobs must be supplied again",
        path,
        path.name,
        number,
    )


def _errno(error: apsw.Error | OSError, db: apsw.Connection | None) -> int | None:
    """Return what the system said; SQLite keeps it of the errors that come from there."""
    if isinstance(error, OSError):
        return error.errno
    return db.system_errno if db is not None and isinstance(error, apsw.IOError | apsw.CantOpenError) else None


def _marker(path: Path) -> Path:
    return path.with_name(f"{path.name}.corrupt")


def _opened(path: Path, synchronous: int) -> apsw.Connection:
    db = apsw.Connection(str(path))
    with _closed_on_error(path, db):
        db.set_busy_timeout(int(PATIENCE * 1000))
        _version(db, path)  # before anything in it is changed
        db.pragma("journal_mode", "wal")
        db.pragma("synchronous", synchronous)
        db.pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        db.pragma("temp_store", 2)  # in memory: another disk that is full is none of its business
        db.execute("BEGIN IMMEDIATE")  # says at once whether another program holds the file
        version = _version(db, path)
        if version:
            _check_keys(db)
        else:
            db.execute(_SCHEMA)
            db.pragma("application_id", APPLICATION)
        if version != SCHEMA_VERSION:
            db.execute(_EARLIER.get(version, "") + _POINTS)
            db.pragma("user_version", SCHEMA_VERSION)
        db.execute("COMMIT")
    return db


@contextmanager
def _closed_on_error(path: Path, db: apsw.Connection) -> Iterator[None]:
    """Close a connection that could not be made ready, and say why while it still knows."""
    try:
        yield
    except (apsw.IOError, apsw.CantOpenError) as error:
        told = cache_error(path, error, db)
        db.close()
        raise told from error
    except BaseException:
        db.close()
        raise


def _check_keys(db: apsw.Connection) -> None:
    """Refuse a file in which a value that recurs has one key by its index and another by its row.

    No seal covers these tables, and a damaged row of theirs fails every record that refers to it, for good.
    """
    for table in RECURRING:
        found = db.execute(f"PRAGMA integrity_check({table})").fetchall()
        if found != [("ok",)]:
            raise apsw.CorruptError(f"{table}: {found[0][0]}")


def _version(db: apsw.Connection, path: Path) -> int:
    """Return the version of the cache in a file; 0 for an empty file, an error for one that is not ours."""
    is_empty = not db.execute("SELECT count(*) FROM sqlite_schema").get
    if db.pragma("application_id") == APPLICATION:
        version: int = db.pragma("user_version")
        if not 1 <= version <= SCHEMA_VERSION:
            what = f"written as version {version}, this reads versions 1 to {SCHEMA_VERSION}"
            remedy = "install the procession-sqlite that wrote it, or remove it"
            raise CacheError(what, where=str(path), remedy=remedy, kind="newer-schema")
        return version
    if not is_empty:
        remedy = "name another file in the cache's options"
        raise CacheError("not a cache of ours", where=str(path), remedy=remedy, kind="foreign")
    return 0


def _missing(path: Path) -> CacheError:
    remedy = "compute something first, or name another data folder"
    return CacheError("there is no cache", where=str(path), remedy=remedy, kind="missing")
