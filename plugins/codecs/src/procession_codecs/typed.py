"""Typed values: scalars and flat lists as the texts that ``ao-types`` names the types of.

Rules
-----
* Written are the forms of HyperBEAM; read are those of every client: types with or without quotes, atoms as
  ``"true"``, ``true`` or ``?1``, lists of structured fields or of bare items.
* A list is one text only if each item is a scalar that a structured string can say; others are numbered maps.
* An atom that is not true, false or null is text: messages have no other atoms.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import http_sf

from procession.errors import RequestError
from procession.messages import MAX_BITS, Message, normalize_key
from procession_codecs.refusals import DEPTH, refused
from procession_codecs.texts import as_bytes, structured_list, text_or_bytes

TYPES: Final = "ao-types"
LIST: Final = "list"
EMPTY: Final[Mapping[str, Any]] = {"empty-binary": "", "empty-list": (), "empty-message": Message()}
ITSELF: Final = "."  # the name under which a map says its own type

_ENTRY = re.compile(r"([^=,]*+)=(?:\"([^\"]*+)\"\s*+|([^\",]*+))(?:,|\Z)")
_ESCAPED = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_PLAIN_KEY = re.compile(r"[a-z0-9._/?&-]*\Z")
_ITEM = re.compile(r"((?:\"(?:[^\"\\]++|\\.)*+\"|[^\",]++)*+)(?:,|\Z)", re.DOTALL)
_QUOTED = re.compile(r"\"((?:[^\"\\]++|\\.)*+)\"\Z", re.DOTALL)
_TYPED = re.compile(r"\(ao-type-([a-z-]+)\) ?(.*)\Z", re.DOTALL)
_INTEGER = re.compile(r"-?[0-9]{1,78}\Z")
_FLOAT = re.compile(r"[+-]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?(?:[eE][+-]?[0-9]{1,4})?|inf|nan)\Z")
_ASCII = re.compile(r"[\x20-\x7e]*\Z")
_ATOMS: Final[Mapping[str, Any]] = {
    "true": True, "false": False, "null": None, "?1": True, "?0": False, "undefined": None,
}  # fmt: skip


def read_types(text: str | bytes) -> dict[str, str]:
    """Return the types of keys that an ``ao-types`` names.

    >>> read_types('num="integer", a%21=float')
    {'num': 'integer', 'a!': 'float'}
    """
    found: dict[str, str] = {}
    chars, at = _text(text, TYPES), 0
    while at < len(chars.rstrip()):
        match = _ENTRY.match(chars, at)
        if match is None:
            raise _malformed(chars[at:], TYPES)
        found[normalize_key(_unescaped(match[1]))] = (match[2] if match[2] is not None else match[3]).strip().lower()
        at = match.end()
    return found


def write_types(types: Mapping[str, str]) -> str:
    """Return the ``ao-types`` of keys, in the order of the keys."""
    return ", ".join(f'{_escaped(key)}="{types[key]}"' for key in sorted(types))


def read(kind: str, text: str | bytes, where: str, depth: int = 0) -> Any:
    """Return the value of a text under a type; RequestError where it has none.

    >>> read("list", '"(ao-type-integer) 1", "two"', "key"), read("atom", '"true"', "key")
    ((1, 'two'), True)
    """
    reader = _READERS.get(kind)
    if kind in EMPTY:
        return EMPTY[kind]
    if reader is None:
        raise refused(f"{kind[:40]!r} is no type", where, remedy=f"use {', '.join(_READERS)}", kind="codec")
    if kind in ("binary", "string"):
        return text
    chars = _text(text, where)
    if kind == LIST:
        return _list(chars, where, depth)
    try:
        return reader(chars)
    except ValueError:
        raise refused(f"{chars[:40]!r} is no {kind}", where, kind="codec") from None


def write(value: Any) -> tuple[str, str]:
    """Return the type and the text of a scalar that is no text, or of a flat list.

    >>> write(1.5), write(True), write((1, "a"))
    (('float', '1.50000000000000000000e+00'), ('atom', '"true"'), ('list', '"(ao-type-integer) 1", "a"'))
    """
    match value:
        case None:
            return "atom", '"null"'
        case bool():
            return "atom", f'"{str(value).lower()}"'
        case int():
            return "integer", str(value)
        case float():
            return "float", f"{value:.20e}"
        case tuple() if is_flat(value):
            return LIST, ", ".join(http_sf.ser(_item(item)) for item in value)
    raise refused(f"{type(value).__name__} has no typed text", "codec", kind="codec")


def is_flat(items: tuple[Any, ...]) -> bool:
    """Tell whether a list is written as one text."""
    return all(type(item) in _SCALARS or (type(item) is str and _ASCII.match(item)) for item in items)


# -- inside


def _text(text: Any, where: str) -> str:
    chars = text_or_bytes(as_bytes(text)) if isinstance(text, str | bytes) else text
    if not isinstance(chars, str):
        raise refused(f"{type(chars).__name__} where a text is asked for", where, kind="codec")
    return chars


def _malformed(chars: str, where: str) -> RequestError:
    return refused(f"{chars[:40]!r} cannot be read", where, remedy='write key="type", ...', kind="codec")


def _unescaped(key: str) -> str:
    return _ESCAPED.sub(lambda run: bytes.fromhex(run[0].replace("%", "")).decode("utf-8", "replace"), key.strip())


def _escaped(key: str) -> str:
    if _PLAIN_KEY.match(key):
        return key
    return "".join(c if _PLAIN_KEY.match(c) else "".join(f"%{byte:02x}" for byte in c.encode()) for c in key)


def _integer(chars: str) -> int:
    number = int(chars) if _INTEGER.match(chars) else 1 << MAX_BITS
    if number.bit_length() > MAX_BITS:
        raise ValueError
    return number


def _float(chars: str) -> float:
    if not _FLOAT.match(chars):
        raise ValueError
    return float(chars)


def _atom(chars: str) -> Any:
    name = chars[1:-1] if len(chars) > 1 and chars[0] == chars[-1] == '"' else chars
    return _ATOMS.get(name, name)


def _list(chars: str, where: str, depth: int) -> tuple[Any, ...]:
    if depth >= DEPTH:
        raise refused(f"lists nested deeper than {DEPTH} levels", where, kind="too-large")
    try:
        members = structured_list(chars)
    except ValueError:  # also where it is not ASCII
        return tuple(_typed(item, where, depth) for item in _bare_items(chars, where))
    return tuple(_member(member, where, depth) for member, _ in members)


def _bare_items(chars: str, where: str) -> list[str]:
    items, at = [], 0
    while at < len(chars):
        match = _ITEM.match(chars, at)
        if match is None:
            raise refused(f"{chars[at : at + 40]!r} is no item of a list", where, kind="codec")
        item = match[1].strip()
        whole = _QUOTED.match(item)
        items.append(re.sub(r"\\(.)", r"\1", whole[1]) if whole else item)
        at = match.end()
    return items


def _member(member: Any, where: str, depth: int) -> Any:
    if isinstance(member, list):
        return tuple(_member(item, where, depth) for item, _ in member)
    if isinstance(member, str):
        return _typed(member, where, depth)
    if isinstance(member, bool | int | bytes | float):
        return member
    return float(member) if hasattr(member, "as_tuple") else str(member)  # a decimal; a token, a date


def _typed(item: str, where: str, depth: int) -> Any:
    match = _TYPED.match(item)
    return read(match[1], match[2], where, depth + 1) if match else item


def _item(item: Any) -> str:
    if isinstance(item, str):
        return f"(ao-type-binary) {item}" if _TYPED.match(item) else item
    kind, text = write(item)
    return f"(ao-type-{kind}) {text}"


_SCALARS = frozenset({bool, int, float, type(None)})
_READERS: Mapping[str, Callable[[str], Any]] = {
    "integer": _integer, "float": _float, "decimal": _float, "atom": _atom, "boolean": _atom,
    "list": str, "binary": str, "string": str,
}  # fmt: skip
