"""Headers: what a blob of a snapshot says of itself, read strictly.

A blob is ``PRSN``, a version byte, the header's length (4 bytes, big-endian), the header as canonical CBOR,
its zstandard frames one after the other (a list of cells, the marks of blocks, blocks, cells), and the sha-256 of
everything before it.

Rules
-----
* Parts stand sorted by name, each once, so the same parts are the same bytes.
* A header is believed only as far as it agrees with itself: known keys, types, lengths that add up.
* A blob that leans on another names it by its hash, so a blob has one place in one sequence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

import attrs

from procession.errors import RequestError, SnapshotError
from procession.messages import Message, decode, encode

MAGIC = b"PRSN"
VERSION = 3
SECOND_VERSION = 2  # changed cells were written whole
FIRST_VERSION = 1
LENGTH_BYTES = 4
HASH_BYTES = 32
HEADER_LIMIT = 1 << 20  # bytes

_ROW = {"name": str, "plain": bool, "changed": int, "gone": int}
_START = len(MAGIC) + 1 + LENGTH_BYTES


@attrs.frozen
class PartRow:
    """Hold what a header says of a part: whether it is plain bytes, how many cells changed, how many are gone."""

    name: str
    plain: bool
    changed: int
    gone: int


@attrs.frozen
class Header:
    """Hold a header.

    ``number`` is its point's since the whole one; ``on`` is the sha-256 of the blob that it leans on, empty for none;
    ``parts`` are all there are after it,
    ``size`` their bytes; ``frames`` are the lengths of its frames; ``cuts`` says that cells are cut to blocks.
    """

    fingerprint: str
    number: int
    on: bytes
    parts: tuple[PartRow, ...]
    size: int
    frames: tuple[int, ...]
    cuts: bool = True


def sealed(header: Header, frames: Iterable[bytes]) -> bytes:
    """Return the blob of a header and its frames."""
    rows = tuple([(row.name, row.plain, row.changed, row.gone) for row in header.parts])
    said = {"fingerprint": header.fingerprint, "number": header.number, "on": header.on, "size": header.size}
    encoded = encode({**said, "parts": rows, "frames": header.frames})
    if len(encoded) > HEADER_LIMIT:
        raise SnapshotError(f"{len(header.parts)} parts, their names are too many", where="snapshot", kind="too-large")
    content = b"".join((MAGIC, bytes([VERSION]), len(encoded).to_bytes(LENGTH_BYTES), encoded, *frames))
    return content + sha256(content).digest()


def opened(content: bytes) -> tuple[int, Message, memoryview, bytes]:
    """Return version, header, frames and sha-256 of a blob, once the hash over all of it is checked."""
    view = memoryview(content)
    if len(content) < _START + HASH_BYTES or content[: len(MAGIC)] != MAGIC:
        raise damaged("these bytes are no snapshot")
    total = sha256(view[:-HASH_BYTES])
    if total.digest() != content[-HASH_BYTES:]:
        raise damaged("the bytes do not match their hash")
    total.update(view[-HASH_BYTES:])
    version = content[len(MAGIC)]
    if version not in (FIRST_VERSION, SECOND_VERSION, VERSION):
        what = f"written as version {version}, this reads version {VERSION}"
        raise SnapshotError(what, where="snapshot", remedy="it is computed again", kind="foreign-snapshot")
    end = _START + int.from_bytes(content[len(MAGIC) + 1 : _START])
    if end > min(len(content) - HASH_BYTES, _START + HEADER_LIMIT):
        raise damaged("the header is longer than it may be")
    try:
        said = decode(content[_START:end], limit=HEADER_LIMIT)
    except RequestError as error:
        raise damaged(f"the header is none: {error.what}") from None
    if not isinstance(said, Message):
        raise damaged("the header does not say what it should")
    return version, said, view[end:-HASH_BYTES], total.digest()


def header_of(said: Message, body: memoryview, version: int = VERSION) -> tuple[Header, list[memoryview]]:
    """Return a header and the frames that it tells apart; each row of parts was a message in version 2."""
    types = {"fingerprint": str, "number": int, "on": bytes, "parts": tuple, "size": int, "frames": tuple}
    fingerprint, number, on, listed, size, lengths = fields(said, types)
    cuts = version > SECOND_VERSION
    rows = [_row(row) if cuts else _row_of_message(row) for row in listed]
    header = Header(fingerprint, number, on, tuple(rows), size, lengths, cuts)
    check_names([row.name for row in header.parts])
    if any(type(length) is not int or length < 0 for length in lengths) or sum(lengths) != len(body):
        raise damaged("the frames are not as long as the header says")
    counts = [count for row in header.parts for count in (row.changed, row.gone)]
    if min([0, size, *counts]) < 0 or len(lengths) < 1 + cuts:
        raise damaged("the sizes do not add up")
    frames = []
    for length in lengths:
        frames.append(body[:length])
        body = body[length:]
    return header, frames


def check_names(names: Sequence[str]) -> None:
    """Refuse parts that do not stand in their order, each once."""
    if list(names) != sorted(set(names)):
        raise damaged("the parts do not stand in their order")


def fields(said: Any, types: Mapping[str, type]) -> tuple[Any, ...]:
    """Return the values of a message that has these keys, of these types, and no others."""
    if not isinstance(said, Message) or set(said) != set(types):
        raise damaged("the header does not say what it should")
    if any(type(said[key]) is not kind for key, kind in types.items()):
        raise damaged("the header does not say what it should")
    return tuple([said[key] for key in types])


def check_fingerprint(found: str, wanted: str) -> None:
    """Refuse what was taken under another fingerprint than the wanted one."""
    if found != wanted:
        what = f"taken under the fingerprint {found}, this host computes under {wanted}"
        raise SnapshotError(what, where="snapshot", remedy="it is computed again", kind="foreign-snapshot")


def check_size(size: int, limit: int) -> None:
    """Refuse more bytes than the limit."""
    if size > limit:
        what = f"holds {size} bytes, the limit is {limit}"
        remedy = "raise `limit` under [host.snapshots]"
        raise SnapshotError(what, where="snapshot", remedy=remedy, kind="too-large")


def damaged(what: str) -> SnapshotError:
    """Return the error for bytes that do not pass their own checks."""
    return SnapshotError(what, where="snapshot", remedy="it is computed again", kind="damaged-snapshot")


def _row(row: Any) -> PartRow:
    if not isinstance(row, tuple) or tuple(map(type, row)) != tuple(_ROW.values()):
        raise damaged("the header does not say what it should")
    return PartRow(*row)


def _row_of_message(row: Any) -> PartRow:
    return PartRow(*fields(row, _ROW))
