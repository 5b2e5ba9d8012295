"""Linear memory: a guest's bytes, every access checked against its size.

Addresses come as signed numbers from the guest and wrap at the memory's width. No pointer into
the memory outlives a method: it moves when it grows and goes with its instance.
"""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Iterable, Mapping
from itertools import repeat

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
_compared = ctypes.PyDLL(None).memcmp
_compared.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]


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

    def candidates(self, known: frozenset[int]) -> Collection[int]:
        """Return the pages of 4 KiB that may be non-zero: those the system says, and known ones."""
        count = self.size // PAGE
        touched = touched_pages(self._start(), count) if self.size > _SMALL else None
        if touched is None:
            touched = self._scan()
        found = known.union(touched)
        return found if max(found, default=0) < count else [number for number in found if number < count]

    def page(self, number: int) -> bytes:
        """Return a page of 4 KiB."""
        return ctypes.string_at(self._start() + number * PAGE, PAGE)

    def pages(self, numbers: Iterable[int]) -> Iterable[tuple[int, bytes]]:
        """Return pages of 4 KiB by their numbers, which must lie within the memory."""
        start = self._start()
        return [(number, ctypes.string_at(start + number * PAGE, PAGE)) for number in numbers]

    def differing(self, numbers: Iterable[int], known: Mapping[int, bytes]) -> list[tuple[int, bytes]]:
        """Return those of some pages that are not as known, where an unknown page is one of zeros."""
        start, get, numbers = self._start(), known.get, list(numbers)
        places = [start + number * PAGE for number in numbers]
        contents = [get(number, ZERO) for number in numbers]
        differs = map(_compared, places, contents, repeat(PAGE))
        changed = [at for at, other in zip(zip(numbers, places, strict=True), differs, strict=True) if other]
        return [(number, ctypes.string_at(place, PAGE)) for number, place in changed]

    def put_pages(self, pages: Iterable[tuple[int, bytes]]) -> None:
        """Overwrite pages of 4 KiB, which must lie within the memory."""
        start, move = self._start(), ctypes.memmove
        for number, content in pages:
            move(start + number * PAGE, content, PAGE)

    def _scan(self) -> list[int]:
        start = self._start()
        found: list[int] = []
        for chunk in range(0, self.size, _CHUNK):
            if ctypes.string_at(start + chunk, _CHUNK) != _EMPTY_CHUNK:
                found.extend(range(chunk // PAGE, (chunk + _CHUNK) // PAGE))
        return found

    def _checked(self, address: int, size: int) -> tuple[int, int]:
        address, size = address & self._mask, size & self._mask
        if address + size > self.size:
            raise out_of_bounds(address, size)
        return address, size

    def _start(self) -> int:
        return ctypes.addressof(self._memory.data_ptr(self._store).contents)
