"""ZstdSnapshotter: ``zstd@1.0``, live parts as one compressed, self-checking blob."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

import attrs

from procession.errors import SnapshotError
from procession.roles import Site
from procession_zstd.frames import compress, expand
from procession_zstd.headers import Header, damaged, header_of, opened, sealed


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
    """Pack parts into a frame that says what it holds, and unpack none that is not what it says."""

    def __init__(self, options: ZstdOptions, site: Site) -> None:
        self._options = options

    def pack(self, parts: Mapping[str, bytes], fingerprint: str) -> bytes:
        """Return one blob that holds the parts; the same parts give the same bytes."""
        header = header_of(parts, fingerprint)
        self._check_size(header)
        pieces = [parts[part.name] for part in header.parts]
        return sealed(header, compress(pieces, header.size, level=self._options.level))

    def unpack(self, content: bytes, fingerprint: str) -> Mapping[str, bytes]:
        """Return the parts.

        SnapshotError: ``damaged-snapshot`` if it fails a check, ``foreign-snapshot`` if it is of another
        fingerprint, ``too-large`` if it holds more than the limit.
        """
        header, frame = opened(content)
        if header.fingerprint != fingerprint:
            what = f"taken under the fingerprint {header.fingerprint}, this host computes under {fingerprint}"
            remedy = "it is computed again"
            raise SnapshotError(what, where="snapshot", remedy=remedy, kind="foreign-snapshot")
        self._check_size(header)
        parts: dict[str, bytes] = {}
        for part, piece in zip(header.parts, expand(frame, [part.size for part in header.parts]), strict=True):
            if sha256(piece).digest() != part.digest:
                raise damaged(f"part {part.name!r} is not what it was")
            parts[part.name] = piece
        return parts

    def _check_size(self, header: Header) -> None:
        if header.size > self._options.limit:
            what = f"holds {header.size} bytes, the limit is {self._options.limit}"
            remedy = "raise `limit` under [host.snapshots]"
            raise SnapshotError(what, where="snapshot", remedy=remedy, kind="too-large")
