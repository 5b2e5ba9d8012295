"""Blobs as files: named by their digest, durable before anything refers to them.

Rules
-----
* A file is written beside its place, synced, and renamed into it: under its name it is whole.
* What could not be finished, for want of room or by a bad disk, is taken away again.
* A damaged file is put aside as ``.damaged``, never deleted, so that the next put writes it anew.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from hashlib import sha256
from pathlib import Path

from procession.errors import CacheError
from procession.folders import sync_folder
from procession.ids import to_id


class BlobFolder:
    """Keep blobs as ``ab/abcdef...`` below a folder; what is half written stands in ``new``."""

    def __init__(self, folder: Path, *, read_only: bool) -> None:
        self._folder = folder
        self._new = folder / "new"
        self._read_only = read_only
        if not read_only:
            self._new.mkdir(parents=True, exist_ok=True)
            sync_folder(folder.parent)
            for left in self._new.iterdir():  # by a program that was killed while it wrote
                left.unlink(missing_ok=True)

    def write(self, digest: bytes, content: bytes) -> None:
        """Make a blob durable under its digest; one that is there and whole is left alone."""
        path = self._path(digest)
        fresh = not _is_whole(path, content)
        if fresh:
            path.parent.mkdir(exist_ok=True)
            self._place(path, content)
        with _no_leavings(path) if fresh else nullcontext():
            for folder in (path.parent, self._folder):  # of one that is there, too: who wrote it may have failed here
                sync_folder(folder)

    def read(self, digest: bytes) -> bytes | None:
        """Return a blob, None where there is none; CacheError (kind ``damaged``) if it is another."""
        path = self._path(digest)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        if sha256(content).digest() == digest:
            return content
        if not self._read_only:
            path.replace(path.with_name(f"{path.name}.damaged"))
        raise damaged_blob(digest, str(path))

    def remove(self, digest: bytes) -> None:
        """Remove a blob, if it is there."""
        self._path(digest).unlink(missing_ok=True)

    def _place(self, path: Path, content: bytes) -> None:
        handle, name = tempfile.mkstemp(dir=self._new)
        with _no_leavings(Path(name)):
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)

    def _path(self, digest: bytes) -> Path:
        name = digest.hex()
        return self._folder / name[:2] / name


def damaged_blob(digest: bytes, where: str) -> CacheError:
    """Return the error for a blob that is not what its digest says."""
    return CacheError(
        f"blob {to_id(digest)} is damaged",
        where=where,
        remedy="put it again, or let it be computed again",
        kind="damaged",
        facts={"blob": to_id(digest)},
    )


def _is_whole(path: Path, content: bytes) -> bool:
    with suppress(FileNotFoundError):
        return path.stat().st_size == len(content) and path.read_bytes() == content
    return False


@contextmanager
def _no_leavings(path: Path) -> Iterator[None]:
    """Take a file away where what should have made it whole fails; one that cannot go is taken at the next opening."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise
