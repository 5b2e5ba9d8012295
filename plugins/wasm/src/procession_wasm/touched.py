"""Touched pages: which pages of this program's own memory may be non-zero, told by the system.

Linux says for each page whether it was ever touched (/proc/self/pagemap). Elsewhere, or where that
file cannot be believed, the answer is None and every page must be looked at: slower, never different.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import re
import sys
from pathlib import Path

PAGE = 4096

_PAGEMAP = Path("/proc/self/pagemap")
_PRESENT = re.compile(rb"[\x40-\xff]")  # highest byte of an entry: bit 63 present, bit 62 swapped out


def touched_pages(address: int, count: int) -> list[int] | None:
    """Return which of ``count`` pages from a page-aligned address were touched, or None where unknown."""
    if mmap.PAGESIZE != PAGE or sys.byteorder != "little":
        return None
    probe = ctypes.create_string_buffer(b"touched", 2 * PAGE)
    try:
        descriptor = os.open(_PAGEMAP, os.O_RDONLY)
    except OSError:
        return None
    try:
        believed = bool(_read(descriptor, ctypes.addressof(probe), 1))
        return _read(descriptor, address, count) if believed else None
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _read(descriptor: int, address: int, count: int) -> list[int] | None:
    entries = os.pread(descriptor, 8 * count, address // PAGE * 8)
    if len(entries) != 8 * count:
        return None
    return [match.start() for match in _PRESENT.finditer(entries[7::8])]
