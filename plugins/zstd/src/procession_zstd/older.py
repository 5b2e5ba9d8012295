"""Older blobs: snapshots as version 1 wrote them, whole, of plain bytes alone.

Their header is {fingerprint, parts: [{name, size, sha-256}], size}, their body one frame of all parts.
"""

from __future__ import annotations

from hashlib import sha256

from procession.messages import Message
from procession_zstd.frames import expand
from procession_zstd.headers import check_fingerprint, check_names, check_size, damaged, fields


def unpack(said: Message, frame: memoryview, fingerprint: str, limit: int) -> dict[str, bytes]:
    """Return the parts of a blob of version 1."""
    found, listed, size = fields(said, {"fingerprint": str, "parts": tuple, "size": int})
    rows = [fields(row, {"name": str, "size": int, "sha-256": bytes}) for row in listed]
    check_fingerprint(found, fingerprint)
    check_names([name for name, _, _ in rows])
    sizes = [length for _, length, _ in rows]
    if any(length < 0 for length in sizes) or sum(sizes) != size:
        raise damaged("the sizes do not add up")
    check_size(size, limit)
    parts: dict[str, bytes] = {}
    for (name, _, digest), piece in zip(rows, expand(frame, sizes), strict=True):
        if sha256(piece).digest() != digest:
            raise damaged(f"part {name!r} is not what it was")
        parts[name] = piece
    return parts
