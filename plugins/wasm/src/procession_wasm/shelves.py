"""Shelves: private folders for machine code, out of which nothing is taken that another user could have put there.

Machine code is run as it is, so whoever can write it can do whatever this program can.

Rules
-----
* A folder and its files belong to this user alone, and on the way to it nobody else can rename anything.
* What is checked is what was opened, never its name, and what is used are the bytes that were checked: they are
  copied into memory of ours piece by piece as they are hashed, and sealed there.
* A file says under which name it was kept and in which folder, so that one which was copied or unpacked, with
  whatever somebody put there, is not taken; it is written whole or not at all.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from procession_wasm.sealed import Sealed

MOST_BYTES = 256 << 20  # of a file
MOST_KEPT = 1 << 30  # bytes of a folder; beyond them the oldest files go

_HEAD = b"procession shelf 2\n"
_DIGEST = 32
_PIECE = 1 << 20  # bytes that are read and hashed at once, while other threads run
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
_STEP = _FOLDER | getattr(os, "O_PATH", 0)  # on the way nothing is read, and may not always be
_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # a pipe would wait
_WRITTEN = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)


class ShelfError(Exception):
    """Say why nothing is taken from a folder, or kept there."""


class Shelf:
    """Keep bytes by name in a folder, which is made when something is kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, name: str) -> Sealed | None:
        """Return what is kept under a name, to be closed; None where nothing is, ShelfError where it is in doubt."""
        with self._told(name):
            try:
                with self._opened() as folder, _closed(os.open(name, _READ, dir_fd=folder)) as handle:
                    return _unsealed(_place(folder, name), handle, _checked_size(handle, self.folder / name))
            except FileNotFoundError:
                return None

    def save(self, name: str, content: bytes) -> None:
        """Keep bytes under a name; ShelfError where that cannot be done."""
        with self._told(name), self._opened(made=True) as folder:
            _write(folder, name, _sealed(_place(folder, name), content))
            _trim(folder, name)

    @contextmanager
    def _opened(self, *, made: bool = False) -> Iterator[int]:
        """Open the folder, step by step from the root; ``made`` where it may be missing and the way is safe."""
        way = [*Path(os.path.realpath(self.folder.parent)).parts, self.folder.name]
        handle = os.open(way[0], _STEP)
        try:
            for place, part in enumerate(way[1:], 1):
                _check_step(handle, Path(*way[:place]))
                last = place == len(way) - 1
                if last and made:
                    _make(handle, part)
                parent, handle = handle, os.open(part, _FOLDER if last else _STEP, dir_fd=handle)
                os.close(parent)
            _check_own(handle, self.folder)
            yield handle
        finally:
            os.close(handle)

    @contextmanager
    def _told(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ShelfError(f"{self.folder / name}: {error.strerror}") from error


def is_possible() -> bool:
    """Tell whether this system says who may write a file."""
    return hasattr(os, "geteuid") and os.open in os.supports_dir_fd


def _make(parent: int, name: str) -> None:
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)


def _check_step(handle: int, path: Path) -> None:
    """Refuse a folder in which another user could rename what is in it."""
    found = os.fstat(handle)
    if found.st_uid not in (0, os.geteuid()):
        raise ShelfError(f"{path} belongs to another user; choose another data folder")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX:
        raise ShelfError(f"others may write to {path}; `chmod go-w` it, or choose another data folder")


def _check_own(handle: int, path: Path) -> None:
    """Refuse what another user owns, or may read or write."""
    found = os.fstat(handle)
    if found.st_uid != os.geteuid():
        raise ShelfError(f"{path} belongs to another user; remove it")
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ShelfError(f"{path} is open to others; remove it")


@contextmanager
def _closed(handle: int) -> Iterator[int]:
    try:
        yield handle
    finally:
        os.close(handle)


def _checked_size(handle: int, path: Path) -> int:
    """Return the size of a file, once it is one that may be taken."""
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        raise ShelfError(f"{path} is no file")
    _check_own(handle, path)
    if found.st_nlink > 1:
        raise ShelfError(f"{path} has another name beside")
    if found.st_size > MOST_BYTES:
        raise ShelfError(f"{path} has {found.st_size} bytes, at most {MOST_BYTES} are taken")
    return found.st_size


def _write(folder: int, name: str, content: bytes) -> None:
    partial = f".{name}.{os.getpid()}.{threading.get_ident()}"
    with suppress(FileNotFoundError):
        os.unlink(partial, dir_fd=folder)  # of a program that was killed and had our number
    try:
        with os.fdopen(os.open(partial, _WRITTEN, 0o600, dir_fd=folder), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(partial, name, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)
    finally:
        with suppress(OSError):
            os.unlink(partial, dir_fd=folder)


def _trim(folder: int, latest: str) -> None:
    """Remove the oldest files while there is too much, and never the latest."""
    rows = list[tuple[os.stat_result, str]]()
    for name in os.listdir(folder):
        with suppress(FileNotFoundError):  # another writer's, which has its own name by now
            rows.append((os.stat(name, dir_fd=folder, follow_symlinks=False), name))
    total = sum(status.st_size for status, _ in rows)
    for status, name in sorted(rows, key=lambda row: row[0].st_mtime_ns):
        if total > MOST_KEPT and name != latest:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
            total -= status.st_size


def _place(folder: int, name: str) -> str:
    """Return a name and which folder it is in: a copy of the folder is another one."""
    return f"{os.fstat(folder).st_ino} {name}"


def _sealed(place: str, content: bytes) -> bytes:
    return _HEAD + _digest(place, [content]) + content


def _unsealed(place: str, handle: int, size: int) -> Sealed:
    """Return the content of a file in memory; ShelfError where it is not what was kept in its place."""
    start = len(_HEAD) + _DIGEST
    head, content = os.read(handle, start), Sealed(size - start)
    try:
        if head != _HEAD + _digest(place, _gathered(handle, size - start, content)):
            name = place.partition(" ")[2]
            raise ShelfError(f"the file {name} is damaged, or was kept under another name or in another folder")
        content.seal()
    except BaseException:
        content.close()
        raise
    return content


def _gathered(handle: int, size: int, content: Sealed) -> Iterator[memoryview]:
    """Yield the pieces of a file, at most so many bytes, and keep each."""
    room = memoryview(bytearray(min(_PIECE, max(size, 1))))
    while size > 0 and (got := os.readv(handle, [room[:size]])):
        content.add(room[:got])
        yield room[:got]
        size -= got


def _digest(place: str, content: Iterable[bytes | memoryview]) -> bytes:
    total = sha256(f"{place}\n".encode())
    for piece in content:
        total.update(piece)
    return total.digest()
