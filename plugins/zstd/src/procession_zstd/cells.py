"""Cells: live parts as numbered pieces of bytes, and what changed of them since the point before.

Rules
-----
* Plain bytes are cells of 64 KiB, numbered from 0; a numbered part is its own cells.
* The same two points give the same changes, in order of names and numbers, whatever the objects are.
* A cell that is the object it was is not looked into.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, islice, pairwise

import attrs

from procession.roles import Part
from procession_zstd.headers import PartRow, damaged

CHUNK = 1 << 16  # bytes of a cell of plain bytes
GROUP = 1 << 17  # bytes that are compressed together against as many old ones: what the caches of a core hold
WHOLE_GROUP = 8 << 20  # the same, where there are no old ones

_NUMBERS = 1 << 32


@attrs.frozen
class Change:
    """Hold what changed of a part: (old, new) cells by number, in order, and the numbers of those that are gone."""

    name: str
    plain: bool
    cells: Mapping[int, tuple[bytes, bytes]]
    gone: Sequence[int]

    @property
    def row(self) -> PartRow:
        """Return what a header says of it."""
        return PartRow(self.name, self.plain, len(self.cells), len(self.gone))


@attrs.frozen
class Listed:
    """Hold what a reader is told of a part: the sizes of its changed cells by number, and the numbers of gone ones."""

    name: str
    plain: bool
    sizes: Mapping[int, int]
    gone: Sequence[int]


def cells_of(part: Part) -> Mapping[int, bytes]:
    """Return the cells of a part, by number."""
    if isinstance(part, bytes):
        return {at // CHUNK: part[at : at + CHUNK] for at in range(0, len(part), CHUNK)}
    return part


def old_cells(before: Part | None, *, plain: bool) -> Mapping[int, bytes]:
    """Return the cells that a part may lean on: those of a part of the same form."""
    return cells_of(before) if before is not None and plain == isinstance(before, bytes) else {}


def size_of(parts: Mapping[str, Part]) -> int:
    """Return the bytes of all parts together."""
    return sum(len(part) if isinstance(part, bytes) else sum(map(len, part.values())) for part in parts.values())


def changes_of(parts: Mapping[str, Part], before: Mapping[str, Part]) -> list[Change]:
    """Return what changed of each part, in order of their names."""
    return [_change(name, parts[name], before.get(name)) for name in sorted(parts)]


def listed(changes: Iterable[Change]) -> bytes:
    """Return numbers and sizes of changed cells, and numbers of gone ones, as the bytes that a reader needs."""
    numbers: list[int] = []
    for change in changes:
        sizes = [len(new) for _, new in change.cells.values()]
        numbers += [*_gaps(list(change.cells)), *sizes, *_gaps(change.gone)]
    return struct.pack(f"<{len(numbers)}I", *numbers)


def read_list(content: bytes, rows: Iterable[PartRow]) -> Iterator[Listed]:
    """Yield what a list says of each part."""
    numbers = iter(struct.unpack(f"<{len(content) // 4}I", content))
    for row in rows:
        changed = _summed(list(islice(numbers, row.changed)))
        sizes = dict(zip(changed, islice(numbers, row.changed), strict=True))
        yield Listed(row.name, row.plain, sizes, _summed(list(islice(numbers, row.gone))))


def part_of(cells: dict[int, bytes], *, plain: bool) -> Part:
    """Return the part that cells make."""
    if not plain:
        return cells
    if not all(number in cells for number in range(len(cells))):
        raise damaged("plain bytes have a gap")
    return b"".join([cells[number] for number in range(len(cells))])


def groups(sizes: Iterable[tuple[int, int]]) -> list[int]:
    """Return how many cells are compressed together, one group after the other; sizes are (old, new) of each cell."""
    counts: list[int] = []
    old = new = 0
    for before, after in sizes:
        old, new = old + before, new + after
        if not counts or old > GROUP or new > (GROUP if old else WHOLE_GROUP):
            counts.append(0)
            old, new = before, after
        counts[-1] += 1
    return counts


def _change(name: str, part: Part, before: Part | None) -> Change:
    plain = isinstance(part, bytes)
    old = old_cells(before, plain=plain)
    new, get = cells_of(part), old.get
    changed = sorted([number for number, cell in new.items() if (was := get(number)) is not cell and was != cell])
    pairs = {number: (get(number, b""), new[number]) for number in changed}
    return Change(name, plain, pairs, sorted(old.keys() - new.keys()))


def _gaps(numbers: Sequence[int]) -> list[int]:
    return [after - before for before, after in pairwise([0, *numbers])]


def _summed(gaps: list[int]) -> list[int]:
    numbers = list(accumulate(gaps))
    if 0 in gaps[1:] or (numbers and numbers[-1] >= _NUMBERS):
        raise damaged("the cells of a part do not stand in their order")
    return numbers
