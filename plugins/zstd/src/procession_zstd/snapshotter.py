"""ZstdSnapshotter: ``zstd@1.0``, live parts as compressed, self-checking blobs: whole, or what changed.

Rules
-----
* A point is whole, or leans on the one before as long as those that lean are together no larger than the whole one.
* What is read is checked before memory is taken for it, blob by blob in their order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import islice

import attrs

from procession.roles import Part, Point, Site
from procession_zstd import older
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
from procession_zstd.reading import parts_after

MOST_BLOBS = 16  # of a point: each costs a restart less than half a millisecond of an AOS process


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
        if before is not None and not _carries(before):
            before = None
        digests, sizes = (before.digests, before.sizes) if before else ((), ())
        changes = changes_of(parts, before.parts if before else {})
        frames = [compress([listed(changes)], level=self._options.level), *self._frames(changes)]
        header = Header(fingerprint, _last(digests), tuple([change.row for change in changes]), size, _lengths(frames))
        content = sealed(header, frames)
        return Point(parts, content, (*digests, sha256(content).digest()), (*sizes, len(content)))

    def unpack(self, blobs: Sequence[bytes], fingerprint: str) -> Point:
        """Return the point of all its blobs.

        SnapshotError: ``damaged-snapshot`` if one fails a check or is not in its place, ``foreign-snapshot`` if one
        is of another fingerprint, ``too-large`` if they hold more than the limit.
        """
        if not 0 < len(blobs) <= MOST_BLOBS:
            raise damaged(f"{len(blobs)} blobs, where 1 to {MOST_BLOBS} make a point")
        parts: Mapping[str, Part] = {}
        digests: list[bytes] = []
        for blob in blobs:
            parts = self._applied(blob, fingerprint, digests, parts)
            digests.append(sha256(blob).digest())
        return Point(parts, blobs[-1], tuple(digests), _lengths(blobs))

    def _frames(self, changes: Sequence[Change]) -> Iterator[bytes]:
        pairs = [pair for change in changes for pair in change.cells.values()]
        left = iter(pairs)
        for count in groups([(len(old), len(new)) for old, new in pairs]):
            group = list(islice(left, count))
            old = b"".join([old for old, _ in group])
            yield compress([new for _, new in group], level=self._options.level, old=old)

    def _applied(
        self, blob: bytes, fingerprint: str, digests: Sequence[bytes], before: Mapping[str, Part]
    ) -> Mapping[str, Part]:
        """Return the parts after a blob."""
        version, said, body = opened(blob)
        if version == FIRST_VERSION and not digests:
            return older.unpack(said, body, fingerprint, self._options.limit)
        header, frames = header_of(said, body)
        check_fingerprint(header.fingerprint, fingerprint)
        if header.on != _last(digests):
            raise damaged("it leans on another than the one before")
        return parts_after(before, header, frames, self._options.limit)


def _last(digests: Sequence[bytes]) -> bytes:
    return digests[-1] if digests else b""


def _lengths(blobs: Sequence[bytes]) -> tuple[int, ...]:
    return tuple([len(blob) for blob in blobs])


def _carries(before: Point) -> bool:
    """Tell whether one more may lean on a point."""
    return len(before.sizes) < MOST_BLOBS and sum(before.sizes[1:]) <= before.sizes[0]
