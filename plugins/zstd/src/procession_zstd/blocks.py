"""Blocks: of a changed cell that keeps its size, only those 512 bytes are written that differ.

Rules
-----
* A changed cell is cut where it has an old one of its size, and that is of whole blocks; any other is written whole.
* Cells that are cut are taken together up to 1 MiB; blocks that differ in them are compressed by 256, against as
  many old ones.
* There is a mark for each block of the cells that are cut: a byte, 1 where the block is written, else 0.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from itertools import accumulate, compress, groupby, pairwise

BLOCK = 512

_BATCH = 1 << 20  # bytes of cells that are cut together
_SPAN = 256  # blocks that are compressed together: what the caches of a core hold
_FORMAT = f"{BLOCK}s"


def is_cut(old: int, new: int) -> bool:
    """Tell whether a cell of a size is cut, by the size of the one before it."""
    return 0 < new == old and new % BLOCK == 0


def batches(sizes: Iterable[int]) -> list[slice]:
    """Return which cells are cut together, by their sizes."""
    ends, count, held = [0], 0, 0
    for size in sizes:
        if held and held + size > _BATCH:
            ends.append(count)
            held = 0
        count, held = count + 1, held + size
    return [slice(start, end) for start, end in zip(ends, [*ends[1:], count], strict=True) if start < end]


def blocks_of(cells: Iterable[bytes]) -> list[bytes]:
    """Return the blocks of cells that are cut, one after the other."""
    blocks: list[bytes] = []
    for size, some in groupby(cells, len):
        divided = struct.Struct(_FORMAT * (size // BLOCK)).unpack
        blocks += [block for cell in some for block in divided(cell)]
    return blocks


def places_of(marks: Sequence[int]) -> list[list[int]]:
    """Return the numbers of blocks that are written, those together that are compressed together."""
    places = list(compress(range(len(marks)), marks))
    return [places[start : start + _SPAN] for start in range(0, len(places), _SPAN)]


def joined(blocks: Sequence[bytes], sizes: Iterable[int]) -> list[bytes]:
    """Return the cells of these sizes that blocks make."""
    ends = accumulate([size // BLOCK for size in sizes], initial=0)
    return [b"".join(blocks[start:end]) for start, end in pairwise(ends)]
