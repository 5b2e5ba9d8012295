"""Texts: bytes that are text where UTF-8 says so, and base64 in whichever alphabet it came.

Rules
-----
* Bytes that are UTF-8 become text, others stay bytes; back to bytes both give what they came from.
* Base64 is read in both alphabets, with padding or without; what is written is named by the function.
"""

from __future__ import annotations

from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Iterable
from typing import Any

import http_sf

from procession_codecs.refusals import refused

_URL_SAFE = str.maketrans("-_", "+/")


def text_or_bytes(content: bytes) -> str | bytes:
    """Return bytes as text if they are UTF-8.

    >>> text_or_bytes(b"caf\\xc3\\xa9"), text_or_bytes(b"\\xff")
    ('café', b'\\xff')
    """
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


def as_bytes(value: str | bytes) -> bytes:
    """Return the bytes of a text or of bytes."""
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


def header_text(value: str | bytes) -> str:
    """Return a header's value as text: UTF-8, else ISO 8859-1, which is how clients send what is neither."""
    if isinstance(value, str):
        return value
    text = text_or_bytes(value)
    return text if isinstance(text, str) else value.decode("latin-1")


def from_base64(text: str, where: str) -> bytes:
    """Return the bytes of base64 of either alphabet, padded or not; RequestError if it is none."""
    plain = text.rstrip("=").translate(_URL_SAFE)
    try:
        return b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except ValueError:
        raise refused(f"{text[:40]!r} is no base64", where, kind="signature") from None


def to_base64(content: bytes) -> str:
    """Return padded base64."""
    return b64encode(content).decode("ascii")


def to_base64url(content: bytes) -> str:
    """Return base64url without padding.

    >>> to_base64url(b"\\xfb\\xef")
    '--8'
    """
    return urlsafe_b64encode(content).rstrip(b"=").decode("ascii")


def quoted(names: Iterable[str]) -> str:
    """Return names in double quotes with blanks between, as the components of a signature are written."""
    return " ".join(f'"{name}"' for name in names)


def structured_list(text: str) -> Any:
    """Return the members of a structured list, each with its parameters; ValueError if it is none."""
    return http_sf.parse(text.encode("ascii"), tltype="list")
