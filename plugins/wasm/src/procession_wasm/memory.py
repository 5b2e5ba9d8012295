"""Linear memory: a guest's bytes, every access checked against its size.

Addresses come as signed numbers from the guest and wrap at the memory's width. No pointer into
the memory outlives a method: it moves when it grows and goes with its instance.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

import wasmtime

from procession.errors import ComputeError
from procession_wasm.binary import Limits
from procession_wasm.faults import GuestError, out_of_bounds
from procession_wasm.options import WASM_PAGE
from procession_wasm.touched import PAGE, touched_pages

ZERO = bytes(PAGE)

_CHUNK = 65536
_SMALL = 4 * _CHUNK  # looked at faster than asked about
_EMPTY_CHUNK = bytes(_CHUNK)
_BYTES = ctypes.POINTER(ctypes.c_char)
_POPULATE = 23  # MADV_POPULATE_WRITE of Linux 5.14
_advise = ctypes.CDLL(None)["madvise"]
_advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


class LinearMemory:
    """Read, write and grow the memory of one instance, up to a limit in bytes."""

    def __init__(self, store: wasmtime.Store, memory: wasmtime.Memory, *, limits: Limits, limit: int) -> None:
        self._store = store
        self._memory = memory
        self._mask = (1 << 64) - 1 if limits.wide else (1 << 32) - 1
        self._most = min(limit, WASM_PAGE * limits.maximum if limits.maximum is not None else limit)
        self.growth_refused = False

    @property
    def size(self) -> int:
        """Return the size in bytes."""
        return self._memory.data_len(self._store)

    def read(self, address: int, size: int) -> bytes:
        """Return bytes; GuestError outside of the memory."""
        address, size = self._checked(address, size)
        return ctypes.string_at(self._start() + address, size) if size else b""

    def write(self, address: int, content: bytes) -> None:
        """Write bytes; GuestError outside of the memory."""
        address, size = self._checked(address, len(content))
        if size:
            ctypes.memmove(self._start() + address, content, size)

    def text(self, address: int) -> bytes:
        """Return the bytes up to the next NUL."""
        address &= self._mask
        found = bytearray()
        while address < self.size:
            chunk = self.read(address, min(_CHUNK, self.size - address))
            before, nul, _ = chunk.partition(b"\0")
            found += before
            if nul:
                return bytes(found)
            address += len(chunk)
        raise GuestError("guest", "the guest answered with a pointer to no NUL-terminated text")

    def grow(self, pages: int) -> bool:
        """Grow by pages of 64 KiB; False where a limit of the definition or the module is reached."""
        if pages < 0 or self.size + pages * WASM_PAGE > self._most:
            self.growth_refused = True
            return False
        try:
            self._memory.grow(self._store, pages)
        except wasmtime.WasmtimeError as error:
            raise ComputeError(f"this host has no {pages * WASM_PAGE} bytes for a guest", kind="host-memory") from error
        return True

    def grow_to(self, size: int) -> None:
        """Grow to a size in bytes that is within the limits, where it is smaller."""
        missing = size - self.size
        if missing > 0:
            self.grow(missing // WASM_PAGE)

    def differing(self, known: set[int], pages: Mapping[int, bytes]) -> list[tuple[int, bytes]]:
        """Return the pages of 4 KiB, by number, that are not as given; a page that is not given is one of zeros.

        Pages are looked at that the system says were touched, and those whose numbers are known.
        """
        start, size = self._start(), self.size
        found = known.union(self._touched(start, size))
        numbers = found if max(found, default=0) < size // PAGE else [one for one in found if one < size // PAGE]
        bytes_at: Any = ctypes.cast(start, _BYTES)  # a slice is a copy, and made in less time than memcmp is asked
        get = pages.get
        return [
            (number, page)
            for number in numbers
            if (page := bytes_at[number * PAGE : number * PAGE + PAGE]) != get(number, ZERO)
        ]

    def put_fresh_pages(self, pages: Mapping[int, bytes]) -> None:
        """Overwrite pages of 4 KiB, of which most were never touched: room for a range is asked for at once."""
        start = self._start()
        for first, count in _ranges(sorted(pages)):
            _advise(start + first * PAGE, count * PAGE, _POPULATE)  # where it is refused, each write does it
        self.put_pages(pages.items())

    def put_pages(self, pages: Iterable[tuple[int, bytes]]) -> None:
        """Overwrite pages of 4 KiB, which must lie within the memory."""
        start, move = self._start(), ctypes.memmove
        for number, content in pages:
            move(start + number * PAGE, content, PAGE)

    @staticmethod
    def _touched(start: int, size: int) -> list[int]:
        told = touched_pages(start, size // PAGE) if size > _SMALL else None
        if told is not None:
            return told
        chunks = [at for at in range(0, size, _CHUNK) if ctypes.string_at(start + at, _CHUNK) != _EMPTY_CHUNK]
        return [number for at in chunks for number in range(at // PAGE, (at + _CHUNK) // PAGE)]

    def _checked(self, address: int, size: int) -> tuple[int, int]:
        address, size = address & self._mask, size & self._mask
        if address + size > self.size:
            raise out_of_bounds(address, size)
        return address, size

    def _start(self) -> int:
        return ctypes.addressof(self._memory.data_ptr(self._store).contents)


def _ranges(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield first and count of numbers that follow each other."""
    for _, some in groupby(enumerate(numbers), lambda one: one[1] - one[0]):
        found = [number for _, number in some]
        yield found[0], len(found)
