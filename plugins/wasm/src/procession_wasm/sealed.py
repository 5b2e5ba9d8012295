"""Sealed memory: bytes that are filled in once and that nothing changes after, so that they need not be copied.

Rules
-----
* Where the system has files in memory, the bytes are one: an engine maps it, and the kernel refuses every change once
  it is sealed. Elsewhere they are bytes of Python's, which an engine copies.
* Such a file stays open as long as what was made of it; what is small is copied.
"""

from __future__ import annotations

import os
from contextlib import suppress

import wasmtime

LEAST = 256 << 10  # bytes from which on they are mapped
FILES = "/proc/self/fd"

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]  # where there is none, nothing is sealed


class Sealed:
    """Take so many bytes piece by piece, seal them, and be read; ``close`` lets go of them."""

    def __init__(self, size: int) -> None:
        self._file = _memory() if size >= LEAST else None
        self._bytes = bytearray()

    def add(self, piece: memoryview) -> None:
        """Take the next bytes."""
        if self._file is None:
            self._bytes += piece
            return
        while piece:
            piece = piece[os.write(self._file, piece) :]

    def seal(self) -> None:
        """Let nothing change them any more."""
        if self._file is not None:
            seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
            fcntl.fcntl(self._file, fcntl.F_ADD_SEALS, seals)

    @property
    def size(self) -> int:
        """Return how many there are."""
        return len(self._bytes) if self._file is None else os.fstat(self._file).st_size

    def read(self, first: int, size: int) -> bytes:
        """Return some of them."""
        return bytes(self._bytes[first : first + size]) if self._file is None else os.pread(self._file, size, first)

    def module(self, engine: wasmtime.Engine) -> wasmtime.Module:
        """Return the module whose compiled form they begin with; WasmtimeError where they are none of this engine's."""
        if self._file is not None:
            with suppress(wasmtime.WasmtimeError):  # it may not map it: then it is copied, and says why it is none
                return wasmtime.Module.deserialize_file(engine, f"{FILES}/{self._file}")
        return wasmtime.Module.deserialize(engine, self.read(0, self.size))

    def close(self) -> None:
        """Let go of them; what an engine has mapped stays mapped."""
        if self._file is not None:
            os.close(self._file)
        self._file, self._bytes = None, bytearray()


def _memory() -> int | None:
    """Return a file in memory, if this system has such."""
    if hasattr(os, "memfd_create") and hasattr(fcntl, "F_ADD_SEALS"):
        with suppress(OSError):
            return os.memfd_create("procession image", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    return None
