"""Reading: the parts after a blob, made of the parts before it and what the blob says has changed.

Rules
-----
* What a blob announces is bounded and held against its frames before memory is taken for it.
* Nothing is believed of a blob but what fits the parts that it leans on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, compress, islice, repeat

from procession.errors import SnapshotError
from procession.roles import Part
from procession_zstd.blocks import BLOCK, batches, blocks_of, is_cut, joined, places_of
from procession_zstd.cells import Listed, groups, old_cells, part_of, read_list, size_of
from procession_zstd.frames import expand
from procession_zstd.headers import Header, PartRow, check_size, damaged

LIST_SHARE = 16  # of the bytes of all parts, for numbers and sizes of cells: each takes much more room once read
LEAST_LIST = 1 << 20  # bytes


def parts_after(
    before: Mapping[str, Part], header: Header, frames: Sequence[memoryview], limit: int
) -> Mapping[str, Part]:
    """Return the parts after a blob; ``limit`` is how many bytes they may be."""
    check_size(header.size, limit)
    rows = _rows(header, frames[0], before)
    cells = {row.name: dict(old_cells(before.get(row.name), plain=row.plain)) for row in rows}
    old = [cell for row in rows for cell in map(cells[row.name].get, row.sizes, repeat(b""))]
    sizes = [size for row in rows for size in row.sizes.values()]
    new = iter(_changed(old, sizes, frames[1:]) if header.cuts else _expanded(old, sizes, frames[1:]))
    for row in rows:
        if any(cells[row.name].pop(number, None) is None for number in row.gone):
            raise damaged("cells are gone that were not there")
        cells[row.name].update(zip(row.sizes, islice(new, len(row.sizes)), strict=True))
    parts = {row.name: part_of(cells[row.name], plain=row.plain) for row in rows}
    if size_of(parts) != header.size:
        raise damaged("the sizes do not add up")
    return parts


def check_list(rows: Iterable[PartRow], size: int) -> int:
    """Return how long a list of cells is; refuse one that is too long for parts of ``size`` bytes, old and new."""
    length = 4 * sum(2 * row.changed + row.gone for row in rows)
    if length > max(size // LIST_SHARE, LEAST_LIST):
        what = f"lists cells in {length} bytes, too many for parts of {size}"
        raise SnapshotError(what, where="snapshot", remedy="use larger cells", kind="too-large")
    return length


def _rows(header: Header, frame: memoryview, before: Mapping[str, Part]) -> list[Listed]:
    length = check_list(header.parts, header.size + size_of(before))
    rows = list(read_list(b"".join(expand(frame, [length])), header.parts))
    if sum(sum(row.sizes.values()) for row in rows) > header.size:
        raise damaged("the sizes do not add up")
    return rows


def _changed(old: Sequence[bytes], sizes: Sequence[int], frames: Sequence[memoryview]) -> Iterable[bytes]:
    """Return the new cells: old ones with other blocks, and whole ones."""
    cut = list(map(is_cut, map(len, old), sizes))
    kept, left, at = list(compress(old, cut)), iter(frames[1:]), 0
    (marks,) = expand(frames[0], [sum(map(len, kept)) // BLOCK])
    if marks.translate(None, b"\0\1"):
        raise damaged("a block is neither written nor not")
    parted: list[bytes] = []
    for some in batches(map(len, kept)):
        count = sum(map(len, kept[some])) // BLOCK
        parted += _patched(kept[some], marks[at : at + count], left)
        at += count
    cells, rest = iter(parted), [at for at, is_one in enumerate(cut) if not is_one]
    whole = iter(_expanded([old[at] for at in rest], [sizes[at] for at in rest], list(left)))
    return [next(cells if is_one else whole) for is_one in cut]


def _patched(cells: Sequence[bytes], marks: bytes, frames: Iterator[memoryview]) -> list[bytes]:
    """Return cells with the blocks of as many frames as their marks ask for."""
    blocks = blocks_of(cells)
    for places in places_of(marks):
        frame = next(frames, None)
        if frame is None:
            raise damaged("there are not as many frames as the blocks need")
        old = b"".join([blocks[place] for place in places])
        (new,) = expand(frame, [BLOCK * len(places)], old=old)
        for place, block in zip(places, blocks_of([new]), strict=True):
            blocks[place] = block
    return joined(blocks, map(len, cells))


def _expanded(old: Sequence[bytes], sizes: Sequence[int], frames: Sequence[memoryview]) -> list[bytes]:
    """Return the new cells, of these sizes and each on top of its old one; each frame is read to its end."""
    counts = groups(zip(map(len, old), sizes, strict=True))
    if len(counts) != len(frames):
        raise damaged("there are not as many frames as the cells need")
    found: list[bytes] = []
    for begin, count, frame in zip(accumulate(counts, initial=0), counts, frames, strict=False):
        group = slice(begin, begin + count)
        found += expand(frame, sizes[group], old=b"".join(old[group]))
    return found
