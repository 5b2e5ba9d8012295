"""ZstdSnapshotter: ``zstd@1.0``, live parts as compressed, self-checking blobs: whole, or what changed.

Rules
-----
* A point is whole, or leans on an earlier one as long as those that lean are together no larger than the whole one.
* What is read is checked before memory is taken for it, blob by blob in their order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from itertools import compress as chosen
from itertools import islice
from operator import ne

import attrs

from procession.roles import Part, Point, Site
from procession_zstd import older
from procession_zstd.blocks import batches, blocks_of, is_cut, places_of
from procession_zstd.cells import Change, changes_of, groups, listed, size_of
from procession_zstd.frames import compress
from procession_zstd.headers import (
    FIRST_VERSION,
    Header,
    check_fingerprint,
    check_size,
    damaged,
    header_of,
    opened,
    sealed,
)
from procession_zstd.reading import check_list, parts_after
from procession_zstd.trees import MOST_BLOBS, Counted, counted, leaning_on


def _is_level(options: object, attribute: object, value: int) -> None:
    if not 1 <= value <= 19:
        raise ValueError(f"{value} is no level of compression; give 1 to 19")


def _is_size(options: object, attribute: object, value: int) -> None:
    if value < 0:
        raise ValueError(f"{value} bytes are none; give 0 or more")


@attrs.frozen
class ZstdOptions:
    """Choose how hard to compress (1 to 19), and how many bytes a snapshot may hold unpacked.

    Neither is needed to read what others wrote, as long as it is within the limit.
    """

    level: int = attrs.field(default=3, validator=_is_level)
    limit: int = attrs.field(default=1 << 30, validator=_is_size)


class ZstdSnapshotter:
    """Pack parts into blobs that say what they hold, and unpack none that is not what it says."""

    def __init__(self, options: ZstdOptions, site: Site) -> None:
        self._options = options

    def pack(self, parts: Mapping[str, Part], fingerprint: str, before: Point | None = None) -> Point:
        """Return the parts as a point; the same parts, on top of the same point, give the same bytes."""
        size = size_of(parts)
        check_size(size, self._options.limit)
        on = leaning_on(before)
        number = before.number + 1 if on and isinstance(before, Counted) else 0
        digests, sizes = (on.digests, on.sizes) if on else ((), ())
        changes = changes_of(parts, on.parts if on else {})
        rows = tuple([change.row for change in changes])
        check_list(rows, size + size_of(on.parts if on else {}))
        frames = self._frames(changes)
        content = sealed(Header(fingerprint, number, _last(digests), rows, size, _lengths(frames)), frames)
        point = Point(parts, content, (*digests, sha256(content).digest()), (*sizes, len(content)))
        return counted(point, number, before if number and isinstance(before, Counted) else None)

    def unpack(self, blobs: Sequence[bytes], fingerprint: str) -> Point:
        """Return the point of all its blobs.

        SnapshotError: ``damaged-snapshot`` if one fails a check or is not in its place, ``foreign-snapshot`` if one
        is of another fingerprint, ``too-large`` if they hold more than the limit.
        """
        if not 0 < len(blobs) <= MOST_BLOBS:
            raise damaged(f"{len(blobs)} blobs, where 1 to {MOST_BLOBS} make a point")
        point: Counted | None = None
        for blob in blobs:
            point = self._after(point, blob, fingerprint)
        assert point is not None
        return point

    def _frames(self, changes: Sequence[Change]) -> list[bytes]:
        """Return the list of cells and the marks of blocks, blocks that differ, and the cells that are not cut."""
        pairs = [pair for change in changes for pair in change.cells.values()]
        cut = [is_cut(len(old), len(new)) for old, new in pairs]
        marks, frames = list[bytes](), list[bytes]()
        cells = list(chosen(pairs, cut))
        for some in batches([len(new) for _, new in cells]):
            before, after = (blocks_of([pair[side] for pair in cells[some]]) for side in (0, 1))
            marks.append(bytes(map(ne, before, after)))
            for places in places_of(marks[-1]):
                old = b"".join([before[place] for place in places])
                frames.append(self._compressed([after[place] for place in places], old))
        whole = [pair for pair, is_one in zip(pairs, cut, strict=True) if not is_one]
        left = iter(whole)
        for count in groups([(len(old), len(new)) for old, new in whole]):
            group = list(islice(left, count))
            frames.append(self._compressed([new for _, new in group], b"".join([old for old, _ in group])))
        return [self._compressed([listed(changes)]), self._compressed(marks), *frames]

    def _compressed(self, pieces: Sequence[bytes], old: bytes = b"") -> bytes:
        return compress(pieces, level=self._options.level, old=old)

    def _after(self, before: Counted | None, blob: bytes, fingerprint: str) -> Counted:
        """Return the point after one more blob."""
        known, digests, sizes = (before.parts, before.digests, before.sizes) if before else ({}, (), ())
        version, said, body, digest = opened(blob)
        number, parts = 0, known
        if version == FIRST_VERSION and not before:
            parts = older.unpack(said, body, fingerprint, self._options.limit)
        else:
            header, frames = header_of(said, body, version)
            check_fingerprint(header.fingerprint, fingerprint)
            if header.on != _last(digests):
                raise damaged("it leans on another than the one before")
            number, parts = header.number, parts_after(known, header, frames, self._options.limit)
        point = Point(parts, blob, (*digests, digest), (*sizes, len(blob)))
        return counted(point, number, before)


def _last(digests: Sequence[bytes]) -> bytes:
    return digests[-1] if digests else b""


def _lengths(blobs: Sequence[bytes]) -> tuple[int, ...]:
    return tuple([len(blob) for blob in blobs])
