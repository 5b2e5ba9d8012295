"""The cache against the contract of every cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from procession.testing.caches import CacheContract
from procession_sqlite.records import SLOTS
from procession_sqlite.tiers import NAME_BYTES, Tiers


@contextmanager
def raw(folder: Path) -> Iterator[apsw.Connection]:
    """Reach the file behind the cache's back."""
    db = apsw.Connection(str(folder / "cache.sqlite"))
    try:
        yield db
    finally:
        db.close()


def blob_file(folder: Path, digest: bytes) -> Path:
    """Return where a large blob is kept."""
    return folder / "blobs" / digest.hex()[:2] / digest.hex()


class TestSqliteCache(CacheContract):
    """sqlite@1.0 keeps what caches promise."""

    plugin = "procession_sqlite"
    device = "sqlite@1.0"

    def damage_record(self, folder: Path, process: str, slot: int) -> None:
        """Change the last byte of the state."""
        with raw(folder) as db:
            key = db.execute("SELECT key FROM processes WHERE value = ?", (process,)).get
            db.execute(
                "UPDATE records SET state = CAST(substr(state, 1, length(state) - 1) || x'00' AS BLOB) WHERE place = ?",
                (key * SLOTS + slot,),
            )

    def damage_blob(self, folder: Path, digest: bytes) -> None:
        """Change the first byte, in the cache file or in a file of its own."""
        path = blob_file(folder, digest)
        if path.exists():
            path.write_bytes(b"\xff" + path.read_bytes()[1:])
            return
        with raw(folder) as db:
            found = Tiers("digests").find(db, digest[:NAME_BYTES])
            db.execute("UPDATE blobs SET content = CAST(x'ff' || substr(content, 2) AS BLOB) WHERE id = ?", (found,))

    def lose_blob(self, folder: Path, digest: bytes) -> None:
        """Delete the row or the file."""
        blob_file(folder, digest).unlink(missing_ok=True)
        with raw(folder) as db:
            db.execute("DELETE FROM blobs WHERE id = ?", (Tiers("digests").find(db, digest[:NAME_BYTES]),))
