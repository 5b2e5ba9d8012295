"""Refusals: what is said of bytes that cannot be taken, and how much of anything is.

Rules
-----
* Whatever a stranger sends ends in a value or in a RequestError; nothing here raises anything else.
* A size is checked before what it counts is touched.
"""

from __future__ import annotations

from typing import Final

from procession.errors import RequestError

HEADERS: Final = 256  # header lines of a request
HEADER_BYTES: Final = 64 << 10  # of all of them, names too
BODY_BYTES: Final = 16 << 20
PARTS: Final = 2048  # of a multipart body
LINES: Final = 4096  # of one part
DEPTH: Final = 64  # keys of a path within a message, and lists within lists
SIGNATURES: Final = 8  # of one message
COMMITMENTS: Final = 256  # of a message and those within it
COMPONENTS: Final = 512  # of one signature
TAGS: Final = 128  # of a data item
TAG_BYTES: Final = 64 << 10  # of all of them


def refused(what: str, where: str, *, remedy: str = "", kind: str = "message") -> RequestError:
    """Return the error for something that a stranger sent."""
    return RequestError(what, where=where, remedy=remedy, kind=kind)


def bounded(count: int, limit: int, what: str, where: str) -> None:
    """Refuse more of something than is taken."""
    if count > limit:
        raise refused(f"{count} {what}, at most {limit} are taken", where, remedy="send less", kind="too-large")
