"""Ids: 32 bytes, written as 43 characters of unpadded base64url.

Rules
-----
* A text is an id by its alphabet and length, never by its length alone.
* An Ethereum address (``0x`` and 40 hex digits) keeps its case like an id, and names nobody's bytes.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from binascii import b2a_base64
from hashlib import sha256

_ID = re.compile(r"[A-Za-z0-9_-]{43}\Z")
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}\Z")


def is_id(text: str) -> bool:
    """Tell whether a text is an id.

    >>> is_id("ISShJH1ij-hPPt9St5UFFr_8Ys3Kj5cyg7zrMGt7H9s"), is_id("a key of forty-three characters, with blank")
    (True, False)
    """
    return len(text) == 43 and _ID.match(text) is not None


def keeps_case(text: str) -> bool:
    """Tell whether a key is exempt from lower-casing: an id or an Ethereum address."""
    return is_id(text) or (len(text) == 42 and _ADDRESS.match(text) is not None)


def to_id(digest: bytes) -> str:
    """Return the 43-character form of 32 bytes."""
    return b2a_base64(digest, newline=False)[:43].translate(_URL_SAFE).decode("ascii")


def from_id(text: str) -> bytes:
    """Return the 32 bytes of an id; the two spare bits of the last character are not kept."""
    return urlsafe_b64decode(text + "=")


def hash_id(content: bytes) -> str:
    """Return the id of some bytes: their sha-256."""
    return to_id(sha256(content).digest())
