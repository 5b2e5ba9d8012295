"""The data folder: one writer at a time, held by a lock of the operating system."""

from __future__ import annotations

import errno
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from procession.errors import ConfigError, Fact, ScheduleError

try:
    import fcntl
except ImportError:  # a platform without flock: the databases' own locks remain
    fcntl = None  # type: ignore[assignment]  # where there is none, nothing is called

AUDIT = "audit.jsonl"
READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)  # what a system says where one may only read
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)  # what it says where a disk is full, or a quota spent
CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM, errno.EISDIR)  # of folders, on some systems


class DataFolder:
    """Hold a data folder: exclusively to write, or beside the writer to read."""

    def __init__(self, path: Path, *, read_only: bool) -> None:
        self.path = path
        self.read_only = read_only
        self._lock: int | None = None
        self._make()
        if not read_only:
            self._lock = self._locked()

    def close(self) -> None:
        """Let the next one write."""
        if self._lock is not None:
            os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> DataFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def audit(self, what: str, **facts: Fact) -> None:
        """Write down what an operator lets happen here: one JSON object a line, on disk when this returns."""
        row = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "what": what, **facts}
        with (self.path / AUDIT).open("a+b") as file:
            torn = (
                file.tell() > 0 and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n"
            )  # by a program that was killed
            file.write(b"\n" * torn + json.dumps(row).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self.path)

    def _make(self) -> None:
        try:
            if self.read_only and not self.path.is_dir():
                raise ConfigError(["there is no such data folder; name one with --data"], where=str(self.path))
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            problem = f"cannot be used as data folder: {error.strerror}; name another with --data"
            raise ConfigError([problem], where=str(self.path)) from error

    def _handle(self) -> int:
        try:
            return os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            if error.errno in READ_ONLY:
                raise ScheduleError(
                    f"its file 'lock' cannot be written: {error.strerror}",
                    where=str(self.path),
                    remedy="see to its permissions, or name another folder with --data",
                    kind="read-only",
                ) from error
            problem = f"its file 'lock' cannot be written: {error.strerror}; name another folder with --data"
            raise ConfigError([problem], where=str(self.path)) from error

    def _locked(self) -> int:
        handle = self._handle()
        try:
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(handle, 64, 0).decode(errors="replace").strip() or "unknown"
            os.close(handle)
            raise ScheduleError(
                f"another program writes here (process number {holder})",
                where=str(self.path),
                remedy="stop it, ask it with --url, or name another folder with --data",
                kind="locked",
            ) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        return handle


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable; a system that cannot is left as it is."""
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in CANNOT_SYNC:
            raise
