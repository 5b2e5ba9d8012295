"""Headers: what a snapshot says of itself, read strictly.

A snapshot is ``PRSN``, a version byte, the header's length (4 bytes, big-endian), the header as canonical
CBOR, the zstandard frame of all parts one after the other, and the sha-256 of everything before it.

Rules
-----
* Parts stand sorted by name, each once, so the same parts are the same bytes.
* A header is believed only as far as it agrees with itself: known keys, types, and sizes that add up.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import attrs

from procession.errors import RequestError, SnapshotError
from procession.messages import Message, decode, encode

MAGIC = b"PRSN"
VERSION = 1
LENGTH_BYTES = 4
HASH_BYTES = 32
HEADER_LIMIT = 1 << 20  # bytes

_START = len(MAGIC) + 1 + LENGTH_BYTES


@attrs.frozen
class Part:
    """Hold what a header says of one part; ``digest`` is its sha-256."""

    name: str
    size: int
    digest: bytes


@attrs.frozen
class Header:
    """Hold a header: the fingerprint, and the parts in their order."""

    fingerprint: str
    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """Return the bytes of all parts together."""
        return sum(part.size for part in self.parts)


def header_of(parts: Mapping[str, bytes], fingerprint: str) -> Header:
    """Return the header of parts."""
    listed = [Part(name, len(parts[name]), sha256(parts[name]).digest()) for name in sorted(parts)]
    return Header(fingerprint, tuple(listed))


def sealed(header: Header, frame: bytes) -> bytes:
    """Return the snapshot of a header and its zstandard frame."""
    rows = [{"name": part.name, "size": part.size, "sha-256": part.digest} for part in header.parts]
    encoded = encode({"fingerprint": header.fingerprint, "parts": rows, "size": header.size})
    if len(encoded) > HEADER_LIMIT:
        raise SnapshotError(f"{len(header.parts)} parts, their names are too many", where="snapshot", kind="too-large")
    content = b"".join((MAGIC, bytes([VERSION]), len(encoded).to_bytes(LENGTH_BYTES), encoded, frame))
    return content + sha256(content).digest()


def opened(content: bytes) -> tuple[Header, memoryview]:
    """Return the header of a snapshot and its zstandard frame, once the hash over all of it is checked."""
    view = memoryview(content)
    if len(content) < _START + HASH_BYTES or content[: len(MAGIC)] != MAGIC:
        raise damaged("these bytes are no snapshot")
    if sha256(view[:-HASH_BYTES]).digest() != content[-HASH_BYTES:]:
        raise damaged("the bytes do not match their hash")
    if content[len(MAGIC)] != VERSION:
        what = f"written as version {content[len(MAGIC)]}, this reads version {VERSION}"
        raise SnapshotError(what, where="snapshot", remedy="it is computed again", kind="foreign-snapshot")
    end = _START + int.from_bytes(content[len(MAGIC) + 1 : _START])
    if end > min(len(content) - HASH_BYTES, _START + HEADER_LIMIT):
        raise damaged("the header is longer than it may be")
    return _header(content[_START:end]), view[end:-HASH_BYTES]


def damaged(what: str) -> SnapshotError:
    """Return the error for bytes that do not pass their own checks."""
    return SnapshotError(what, where="snapshot", remedy="it is computed again", kind="damaged-snapshot")


def _header(encoded: bytes) -> Header:
    try:
        said = decode(encoded, limit=HEADER_LIMIT)
    except RequestError as error:
        raise damaged(f"the header is none: {error.what}") from None
    fingerprint, listed, size = _fields(said, {"fingerprint": str, "parts": tuple, "size": int})
    header = Header(fingerprint, tuple([Part(*_part(row)) for row in listed]))
    names = [part.name for part in header.parts]
    if names != sorted(set(names)):
        raise damaged("the parts do not stand in their order")
    if any(part.size < 0 for part in header.parts) or header.size != size:
        raise damaged("the sizes do not add up")
    return header


def _part(row: Any) -> tuple[Any, ...]:
    return _fields(row, {"name": str, "size": int, "sha-256": bytes})


def _fields(said: Any, types: Mapping[str, type]) -> tuple[Any, ...]:
    if not isinstance(said, Message) or set(said) != set(types):
        raise damaged("the header does not say what it should")
    if any(type(said[key]) is not kind for key, kind in types.items()):
        raise damaged("the header does not say what it should")
    return tuple([said[key] for key in types])
