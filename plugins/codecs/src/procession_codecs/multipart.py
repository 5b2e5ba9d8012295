"""Multipart bodies: the parts of a message that headers do not hold.

Rules
-----
* A part is lines of key and value up to an empty line, then what it holds; either may be missing.
* A part without a name is the inline one. Names are paths; two parts, or two lines of one, of a name are refused.
* Between the delimiters nothing is guessed: a body that does not begin and end with its boundary is refused.
* The boundary that is written is the hash of what it divides, so it stands in none of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

import attrs

from procession.messages import normalize_key
from procession_codecs.refusals import LINES, PARTS, bounded, refused
from procession_codecs.texts import as_bytes, text_or_bytes, to_base64url
from procession_codecs.typed import TYPES

MEDIA: Final = "multipart/form-data"
DISPOSITION: Final = "content-disposition"
_BOUNDARY = re.compile(
    r"\s*multipart/form-data\s*;.*?\bboundary=(?:\"([^\"\r\n]{1,200})\"|([^\s;,\"]{1,200}))", re.IGNORECASE
)
_NAME = re.compile(r"\bname=\"([^\"]*)\"")
_END = re.compile(rb"--[ \t]*(\r\n)?\Z")


@attrs.frozen
class Part:
    """Hold a part: its name, None for the inline one, its lines and what follows them."""

    name: str | None
    lines: Mapping[str, Any]
    content: bytes | None = None

    @property
    def value(self) -> Any:
        """Return what the part says: what it holds, its lines, or both as one map."""
        if not self.lines:
            return text_or_bytes(self.content or b"")
        return self.lines if self.content is None else {**self.lines, "body": text_or_bytes(self.content)}


def boundary_of(content_type: str) -> bytes | None:
    """Return the boundary of a multipart body; None where the content type names no such body.

    >>> boundary_of('multipart/form-data; boundary="abc"')
    b'abc'
    """
    match = _BOUNDARY.match(content_type[:1000])
    if match is None and content_type.strip().lower().startswith("multipart/"):
        raise refused(f"{content_type[:80]!r}", "content-type", remedy=f"use {MEDIA} with a boundary", kind="multipart")
    return (match[1] or match[2]).encode() if match else None


def read_parts(body: bytes, boundary: bytes) -> list[Part]:
    """Return the parts of a body; RequestError (kind ``multipart``) where it is none."""
    delimiter = b"\r\n--" + boundary
    bounded(body.count(delimiter), PARTS, "parts", "body")
    before, *pieces = (b"\r\n" + body).split(delimiter)
    if before or not pieces or not _END.match(pieces[-1]):
        raise _malformed("does not begin and end with its boundary")
    parts = [_read_part(piece) for piece in pieces[:-1]]
    names = [part.name for part in parts]
    if len(set(names)) < len(names):
        raise _malformed("has two parts of one name")
    return parts


def write_parts(parts: Sequence[Part]) -> tuple[str, bytes]:
    """Return the content type and the body that parts make."""
    written = [_write_part(part) for part in parts]
    boundary = to_base64url(sha256(b"\r\n".join(written)).digest())
    lines = [b"--%s\r\n%s" % (boundary.encode(), content) for content in written]
    body = b"\r\n".join([*lines, b"--%s--" % boundary.encode()])
    return f'{MEDIA}; boundary="{boundary}"', body


# -- inside


def _read_part(piece: bytes) -> Part:
    head, blank, content = piece.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    if len(lines) > 2 and not blank and not lines[-1]:
        del lines[-1]  # one client ends the lines of a part so, where nothing follows them
    bounded(len(lines), LINES, "lines in a part", "body")
    if lines[0].strip():
        raise _malformed("goes on behind a boundary")
    rows: dict[str, Any] = {}
    for line in lines[1:]:
        key, value = _read_line(line)
        if key in rows:
            raise _malformed(f"has two lines {key[:40]!r} in one part")
        rows[key] = value
    return Part(_name(rows.pop(DISPOSITION, "")), rows, content if blank else None)


def _read_line(line: bytes) -> tuple[str, str | bytes]:
    key, colon, value = line.partition(b": ")
    if not colon:
        key, colon, value = line.partition(b":")
    name = text_or_bytes(key)
    if not colon or isinstance(name, bytes):
        raise _malformed("has a line without key and value")
    return normalize_key(name), text_or_bytes(value)


def _name(disposition: Any) -> str | None:
    kind = str(disposition).split(";")[0].strip().lower()
    match = _NAME.search(str(disposition))
    if kind == "inline":
        return None
    if kind != "form-data" or match is None:
        raise _malformed("has a part that is neither inline nor named")
    return match[1]


def _write_part(part: Part) -> bytes:
    disposition = "inline" if part.name is None else f'form-data;name="{part.name}"'
    lines = {**part.lines, DISPOSITION: disposition}
    first = [] if TYPES in lines or part.name is None else [DISPOSITION]
    ordered = [*first, *sorted(lines.keys() - set(first))]
    written = [key.encode() + b": " + as_bytes(lines[key]) for key in ordered]
    return b"\r\n".join([*written, *(() if part.content is None else (b"", part.content))])


def _malformed(what: str) -> Exception:
    return refused(f"the multipart body {what}", "body", kind="multipart")
