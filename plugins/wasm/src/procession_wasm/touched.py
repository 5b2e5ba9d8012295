"""Touched pages: which pages of this program's own memory may be non-zero, told by the system.

Linux says for each page whether it was ever touched: since 6.7 as the ranges of those that were, before that with
an entry for every page (/proc/self/pagemap). Elsewhere, or where that file cannot be believed, the answer is None
and every page must be looked at: slower, never different.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import re
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # a platform without ioctl: it has no such file either
    fcntl = None  # type: ignore[assignment]  # where there is none, nothing is called

PAGE = 4096

_PAGEMAP = Path("/proc/self/pagemap")
_PRESENT = re.compile(rb"[\x40-\xff]")  # highest byte of an entry: bit 63 present, bit 62 swapped out

_SCAN = 0xC0606610  # PAGEMAP_SCAN of linux/fs.h
_ASKED = struct.Struct("<12Q")  # size, flags, start, end, where the scan ended, ranges, their most, five more
_WALKED = struct.Struct("<32xQ")  # where the scan ended
_IN_MEMORY = 1 << 3 | 1 << 4  # present or swapped out
_RANGES = 512  # that are asked for at once, each of three numbers: start, end, what it is


def touched_pages(address: int, count: int) -> list[int] | None:
    """Return which of ``count`` pages from a page-aligned address were touched, or None where unknown."""
    if mmap.PAGESIZE != PAGE or sys.byteorder != "little":
        return None
    try:
        descriptor = os.open(_PAGEMAP, os.O_RDONLY)
    except OSError:
        return None
    try:
        return _told(descriptor, address, count)
    finally:
        os.close(descriptor)


def _told(descriptor: int, address: int, count: int) -> list[int] | None:
    """Return what the first way that can be believed tells: of pages, or at least of one that was just touched."""
    for way in (_scanned, _read):
        with suppress(OSError):
            found = way(descriptor, address, count)
            if found or _tells(way, descriptor):
                return found
    return None


def _tells(way: Callable[[int, int, int], list[int]], descriptor: int) -> bool:
    probe = ctypes.create_string_buffer(b"touched", 2 * PAGE)
    return bool(way(descriptor, ctypes.addressof(probe) // PAGE * PAGE, 1))


def _scanned(descriptor: int, address: int, count: int) -> list[int]:
    found: list[int] = []
    if fcntl is None:
        return found
    ranges = (ctypes.c_uint64 * (3 * _RANGES))()
    into, wanted = (ctypes.addressof(ranges), _RANGES), (_IN_MEMORY, _IN_MEMORY)
    at, end = address, address + count * PAGE
    while at < end:
        answer = bytearray(_ASKED.pack(_ASKED.size, 0, at, end, 0, *into, 0, 0, 0, *wanted))
        told = 3 * fcntl.ioctl(descriptor, _SCAN, answer)
        for start, stop in zip(ranges[0:told:3], ranges[1:told:3], strict=True):
            found.extend(range((start - address) // PAGE, (stop - address) // PAGE))
        begun, (at,) = at, _WALKED.unpack_from(answer)
        if at <= begun:
            raise OSError("the scan does not go on")
    return found


def _read(descriptor: int, address: int, count: int) -> list[int]:
    entries = os.pread(descriptor, 8 * count, address // PAGE * 8)
    if len(entries) != 8 * count:
        raise OSError("the file ends before the pages do")
    return [match.start() for match in _PRESENT.finditer(entries[7::8])]
