"""Wire: a table of texts as headers and a body, and back.

Rules
-----
* A header holds a value that HTTP gives back unchanged: printable ASCII, no blank at its ends, of bounded size.
* A nested map is a part named by its path; so is any value that is no header. One value alone is the whole body.
* Names that mean something to HTTP itself are never headers made of a message; they are parts.
* An id keeps its letter case in ``ao-ids``, since names of headers have none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from procession.ids import keeps_case
from procession.messages import normalize_key
from procession_codecs.flat import place
from procession_codecs.multipart import DISPOSITION, Part, boundary_of, read_parts, write_parts
from procession_codecs.refusals import DEPTH, PARTS, bounded, refused
from procession_codecs.texts import as_bytes, text_or_bytes
from procession_codecs.typed import TYPES

VALUE_BYTES: Final = 4096  # of a header
HEADERS: Final = 80  # made of a message: a client in Python takes 100 in all
IDS: Final = "ao-ids"
BODY_KEYS: Final = "body-keys"
INLINE: Final = ("inline-body-key", "ao-body-key")
SIGNATURE: Final = "signature"
SIGNATURE_INPUT: Final = "signature-input"
DIGEST: Final = "content-digest"
FRAMING: Final = frozenset({"content-length", BODY_KEYS, SIGNATURE, SIGNATURE_INPUT, DIGEST, IDS, *INLINE})

_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,256}\Z")
_VALUE = re.compile(r"(?:[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?\Z")
_ID_VALUE = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]*\Z")
_ID_ENTRY = re.compile(r"\s*([A-Za-z0-9_-]{42,44})=\"([^\"]*)\"\s*(?:,|\Z)")
_UNNAMED = re.compile(r"[/\"\r\n\x00]|\A\Z")  # in a key that no part can be named
_HTTP = re.compile(
    r"(?:accept-ranges|age|allow|alt-svc|cache-control|clear-site-data|connection|content-(?:disposition|encoding"
    r"|language|length|location|range|security-policy.*)|cross-origin-.*|date|etag|expect|expires|host|keep-alive"
    r"|last-modified|link|location|origin-agent-cluster|pragma|proxy-.*|refresh|retry-after|server|set-cookie"
    r"|strict-transport-security|te|trailer|transfer-encoding|upgrade|vary|via|warning|www-authenticate"
    r"|x-(?:content-type-options|frame-options)|access-control-.*|signature|signature-input|content-digest"
    r"|body-keys|ao-ids|ao-result|inline-body-key|ao-body-key)\Z"
)

Fields = dict[str, str]


def is_header(name: str, value: Any) -> bool:
    """Tell whether a row can be a header."""
    return (
        isinstance(value, str)
        and len(value) <= VALUE_BYTES
        and _NAME.match(name) is not None
        and _VALUE.match(value) is not None
        and (not _HTTP.match(name))
    )


# -- to the wire


def to_wire(table: Mapping[str, Any], *, inline: str = "body", budget: int = 1 << 30) -> tuple[Fields, bytes | None]:
    """Return headers of at most about ``budget`` bytes and the body of a table; ``inline`` names what is the body.

    Where no row has that name and one value alone is no header, that one is the body.
    """
    rows, fields = _grouped_ids(table)
    fields |= {key: value for key, value in rows.items() if key != inline and is_header(key, value)}
    fields |= {INLINE[0]: inline} if inline in rows and inline != "body" else {}
    for name in list(_over_budget(fields, budget)):
        del fields[name]
    rest = {key: value for key, value in rows.items() if key not in fields or _HTTP.match(key)}
    if len(rest) == 1 and inline not in rows and _may_be_body(*next(iter(rest.items()))):
        inline = fields[INLINE[1]] = next(iter(rest))
    parts = list(islice(_parts(rest, inline), PARTS))
    bounded(len(parts), PARTS - 1, "parts", "codec")
    if not parts:
        return fields, None
    if len(parts) == 1 and parts[0].name is None and not parts[0].lines:
        return fields, parts[0].content
    if "content-type" in fields:
        parts.append(Part("content-type", {}, fields.pop("content-type").encode()))
    return _with_parts(fields, sorted(parts, key=lambda part: part.name or inline), inline)


def _with_parts(fields: Fields, parts: Sequence[Part], inline: str) -> tuple[Fields, bytes]:
    content_type, body = write_parts(parts)
    names = ", ".join(f'"{part.name or inline}"' for part in parts)
    listed = {BODY_KEYS: names} if len(names) < VALUE_BYTES // 4 and _VALUE.match(names) else {}
    return {**fields, **listed, "content-type": content_type}, body


def _may_be_body(key: str, value: Any) -> bool:
    return not isinstance(value, Mapping) and key != TYPES and bool(_VALUE.match(key)) and _UNNAMED.search(key) is None


def _over_budget(fields: Fields, budget: int) -> Iterator[str]:
    """Yield the largest headers until the others fit, the types last; what names the body stays."""
    size, count = sum(_cost(name, value) for name, value in fields.items()), len(fields)
    for name in sorted(fields, key=lambda name: (name != TYPES, len(fields[name]), name), reverse=True):
        if size <= budget and count <= HEADERS:
            return
        if name not in FRAMING:
            size, count = size - _cost(name, fields[name]), count - 1
            yield name


def _cost(name: str, value: str) -> int:
    return 2 * len(name) + len(value) + 8  # once as a header, once among the components of a signature


def _grouped_ids(table: Mapping[str, Any]) -> tuple[dict[str, Any], Fields]:
    ids = {key: value for key, value in table.items() if _is_id_row(key, value)}
    text = ", ".join(f'{key}="{ids[key]}"' for key in sorted(ids))
    if not ids or len(text) > VALUE_BYTES:
        return dict(table), {}
    return {key: value for key, value in table.items() if key not in ids}, {IDS: text}


def _is_id_row(key: str, value: Any) -> bool:
    return keeps_case(key) and not key.islower() and isinstance(value, str) and _ID_VALUE.match(value) is not None


def _parts(rows: Mapping[str, Any], inline: str) -> Iterator[Part]:
    for key in sorted(rows):
        if key == inline and not isinstance(rows[key], Mapping):
            yield Part(None, {}, as_bytes(rows[key]))
        elif isinstance(rows[key], Mapping):
            yield from _map_parts(rows[key], _checked(key), inline, 1)
        else:
            yield Part(_checked(key), {}, as_bytes(rows[key]))


def _map_parts(rows: Mapping[str, Any], path: str, inline: str, depth: int) -> Iterator[Part]:
    """Yield a map as a part of its lines, and what is no line of it as parts of their own."""
    bounded(depth, DEPTH, "keys of a path", "codec")
    lines = {key: value for key, value in rows.items() if _is_line(key, value)}
    content = as_bytes(lines.pop("body")) if len(lines) > 1 and lines.get("body") else None
    if len(lines) == 1 and "body" in lines and not isinstance(rows["body"], Mapping):
        yield Part(f"{path}/body", {}, as_bytes(rows["body"]))
    elif lines:
        yield Part(None if path == inline else path, lines, content)
    for key in sorted(rows.keys() - lines.keys() - ({"body"} if content is not None else set())):
        below = f"{path}/{_checked(key)}"
        if isinstance(rows[key], Mapping):
            yield from _map_parts(rows[key], below, inline, depth + 1)
        else:
            yield Part(below, {}, as_bytes(rows[key]))


def _is_line(key: str, value: Any) -> bool:
    if not isinstance(value, str) or len(value) > VALUE_BYTES or "\r" in value:
        return False
    return key != DISPOSITION and bool(key) and not re.search(r"[\r\n:]|\A\s|\s\Z", key)


def _checked(key: str) -> str:
    if _UNNAMED.search(key):
        raise refused(f"{key[:40]!r} is a key that no part can name", "codec", remedy="ask for json@1.0", kind="codec")
    return key


# -- from the wire


def from_wire(fields: Mapping[str, str], body: bytes | None) -> dict[str, Any]:
    """Return the table of headers and a body; what frames the message is left out."""
    table: dict[str, Any] = {name: value for name, value in fields.items() if name not in FRAMING}
    table |= dict(_ids(fields.get(IDS, "")))
    if not body:
        return table
    boundary = boundary_of(fields.get("content-type", ""))
    inline = inline_key(fields)
    if boundary is None:
        _place(table, inline, text_or_bytes(body))
        return table
    del table["content-type"]
    for part in read_parts(body, boundary):
        _place(table, inline if part.name is None else part.name, part.value)
    return table


def inline_key(fields: Mapping[str, str]) -> str:
    """Return the name of the key that the body is."""
    return normalize_key(next((fields[name] for name in INLINE if fields.get(name)), "body"))


def _place(table: dict[str, Any], path: str, value: Any) -> None:
    place(table, path, dict(value) if isinstance(value, Mapping) else value)


def _ids(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(text):
        match = _ID_ENTRY.match(text, at)
        if match is None:
            raise refused(f"{text[at : at + 40]!r} cannot be read", IDS, kind="codec")
        yield match[1], match[2]
        at = match.end()
