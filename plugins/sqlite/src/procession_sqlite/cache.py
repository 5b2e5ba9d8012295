"""SqliteCache: ``sqlite@1.0``, results, snapshots and blobs in one SQLite file and files beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from hashlib import sha256
from typing import Concatenate, ParamSpec, TypeVar

import attrs

from procession.errors import CacheError
from procession.ids import to_id
from procession.results import Batch, Record
from procession.roles import Site
from procession_sqlite.files import Readers, is_corruption, translated
from procession_sqlite.folders import BlobFolder, damaged_blob
from procession_sqlite.newest import Newest
from procession_sqlite.records import COLUMNS, SLOTS, record_of
from procession_sqlite.tiers import NAME_BYTES, Tiers
from procession_sqlite.writes import Writes

SYNCHRONOUS = {"normal": 1, "full": 2}  # as SQLite numbers them

P = ParamSpec("P")
R = TypeVar("R")

_KEY = "SELECT key FROM processes WHERE value = ?"
_AT = f"SELECT {COLUMNS} FROM records WHERE place = ?"


def _is_sync(options: object, attribute: object, value: str) -> None:
    if value not in SYNCHRONOUS:
        raise ValueError(f"{value!r} syncs nothing; give 'normal' or 'full'")


def _is_positive(options: object, attribute: object, value: int) -> None:
    if value < 1:
        raise ValueError(f"{value} is no size; give a positive number of bytes")


def _healing(method: Callable[Concatenate[SqliteCache, P], R]) -> Callable[Concatenate[SqliteCache, P], R]:
    """Do something once more, on an empty file, where the file is found corrupt."""

    @wraps(method)
    def healed(self: SqliteCache, /, *args: P.args, **kwargs: P.kwargs) -> R:
        used = self._readers
        try:
            return method(self, *args, **kwargs)
        except CacheError as error:
            with self._renewing:  # another thread may be at it, and have closed what this one used
                renewed = self._readers is not used
            if self._writes is None or not (renewed or is_corruption(error)):
                raise
        self._renew(used)
        return method(self, *args, **kwargs)

    return healed


@attrs.frozen
class CacheOptions:
    """Name the cache file, relative to the data folder, and say how it is written.

    ``sync`` "full" syncs every commit; "normal" leaves to a power cut what can be computed again.
    Blobs of more than ``large_blob`` bytes are files beside the cache file.
    """

    path: str = "cache.sqlite"
    sync: str = attrs.field(default="normal", validator=_is_sync)
    large_blob: int = attrs.field(default=1 << 20, validator=_is_positive)


class SqliteCache:
    """Keep results and blobs: one transaction a batch, every record and blob checked when it is read.

    A file that is found corrupt while in use is moved aside and begun anew.
    """

    def __init__(self, options: CacheOptions, site: Site) -> None:
        self._path = site.data / options.path
        self._large = options.large_blob
        self._digests = Tiers("digests")
        self._newest = Newest()
        self._synchronous = SYNCHRONOUS[options.sync]
        self._renewing = threading.Lock()
        self._writes = None if site.read_only else Writes(self._path, synchronous=self._synchronous)
        try:
            with translated(self._path):
                self._folder = BlobFolder(self._path.parent / "blobs", read_only=site.read_only)
            self._readers = Readers(self._path)
        except BaseException:
            self._close_writes()
            raise

    @_healing
    def put(self, batch: Batch) -> None:
        """Commit records and blobs at once; a record or blob that is there already is replaced."""
        small = {digest: content for digest, content in batch.blobs.items() if len(content) <= self._large}
        with self._writing() as writes:
            for digest, content in batch.blobs.items():
                if digest not in small:
                    self._folder.write(digest, content)
            with writes.transaction:
                writes.put_blobs(small)
                writes.put_records(batch.records)
            for process in {record.process for record in batch.records}:
                self._newest.replaced(process, [item.slot for item in batch.records if item.process == process])

    @_healing
    def get(self, process: str, slot: int) -> Record | None:
        """Return the record of a slot; CacheError (kind ``damaged``) if it fails its hash."""
        with self._readers.lent() as db:
            key = db.execute(_KEY, (process,)).get
            if key is None or not 0 <= slot < SLOTS:
                return None
            rows = db.execute(_AT, (key * SLOTS + slot,)).fetchall()
        return record_of(process, rows[0]) if rows else None

    @_healing
    def latest(self, process: str, at_or_below: int | None, *, with_snapshot: bool) -> Record | None:
        """Return the newest record at or below a slot, by index, passing over damaged ones.

        What is damaged is told once, and looked at again when it is put anew through this cache.
        """
        with self._readers.lent() as db:
            key = db.execute(_KEY, (process,)).get
            if key is None:
                return None
            top = SLOTS - 1 if at_or_below is None else min(at_or_below, SLOTS - 1)
            places = range(key * SLOTS, key * SLOTS + top + 1)
            return self._newest.find(db, process, places, with_snapshot=with_snapshot)

    @_healing
    def get_blob(self, digest: bytes) -> bytes:
        """Return a blob; CacheError (kind ``missing`` or ``damaged``)."""
        with self._readers.lent() as db:
            found = self._digests.find(db, digest[:NAME_BYTES])
            stored = None
            if found is not None:
                stored = db.execute("SELECT CAST(content AS BLOB) FROM blobs WHERE id = ?", (found,)).get
        if stored is not None and sha256(stored).digest() == digest:
            return bytes(stored)
        if self._writes is not None:
            self._writes.distrust(digest)
        with translated(self._path):
            content = self._folder.read(digest)
        if content is not None:
            return content
        if stored is not None:
            raise damaged_blob(digest, str(self._path))
        raise self._missing(digest)

    def put_blob(self, content: bytes) -> bytes:
        """Keep bytes in a file of their own, durably, and return their digest."""
        digest = sha256(content).digest()
        with self._writing():
            self._folder.write(digest, content)
        return digest

    @_healing
    def prune(self, process: str, keep: int) -> int:
        """Drop all snapshots of a process but the newest ``keep``; return how many went.

        The blobs that only those used go with them; a kill in between may leave the file of one behind.
        """
        with self._writing() as writes:
            with writes.transaction:
                count, unused = writes.drop_snapshots(process, max(keep, 0))
                for digest in unused:
                    writes.remove_blob(digest)
            for digest in unused:
                self._folder.remove(digest)
        return count

    @_healing
    def drop(self, process: str, first: int, last: int) -> int:
        """Drop the records of slots first..last, damaged ones too; return how many went. Their blobs stay."""
        with self._writing() as writes, writes.transaction:
            slots = writes.drop_records(process, max(first, 0), min(last, SLOTS - 1))
        self._newest.replaced(process, slots)
        return len(slots)

    def close(self) -> None:
        """Let go of the files."""
        self._readers.close()
        self._close_writes()

    def _writing(self) -> Writes:
        if self._writes is None:
            remedy = "close what writes to it and open it for writing"
            raise CacheError("opened read only", where=str(self._path), remedy=remedy, kind="read-only")
        return self._writes

    def _renew(self, used: Readers) -> None:
        """Begin anew; who still reads the old file ends first, and lets go of it then."""
        with self._renewing:
            if self._readers is not used:  # another thread did it
                return
            used.close()
            self._close_writes()
            self._writes = Writes(self._path, synchronous=self._synchronous)
            self._readers = Readers(self._path)
            self._newest = Newest()

    def _close_writes(self) -> None:
        if self._writes is not None:
            self._writes.close()

    def _missing(self, digest: bytes) -> CacheError:
        return CacheError(
            f"blob {to_id(digest)} is missing",
            where=str(self._path),
            remedy="put it again, or let it be computed again",
            kind="missing",
            facts={"blob": to_id(digest)},
        )
