"""Names: short hashes of what a message is known by, and where they lead.

Rules
-----
* A name is the first 16 bytes of a sha-256: too many for a chance collision, and for a made one.
* What a name leads to is written down before anyone is told of it, and the first place of a name counts.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import attrs

NAME_BYTES = 16


class DamagedIndexError(Exception):
    """Say that the index is not what was written; it can be made anew from what it indexes."""


@attrs.frozen
class Entry:
    """Hold where a name was first seen, and the digest of the content it was seen with where that matters."""

    place: int
    content: bytes | None = None


def name_of(kind: str, process: str, text: str) -> bytes:
    """Return the name under which a text of some kind is known in a process."""
    return sha256(f"{kind} {process} {text}".encode("utf-8", "surrogatepass")).digest()[:NAME_BYTES]


def namer(kind: str, process: str) -> Callable[[bytes], bytes]:
    """Return what ``name_of`` is for many texts of a kind and process, given as UTF-8."""
    begun = sha256(f"{kind} {process} ".encode("utf-8", "surrogatepass"))

    def name(text: bytes) -> bytes:
        hashed = begun.copy()
        hashed.update(text)
        return hashed.digest()[:NAME_BYTES]

    return name
