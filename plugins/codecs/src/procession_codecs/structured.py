"""structured@1.0: rich messages to and from maps of texts that carry the types of their values beside them.

Rules
-----
* A table is a dict whose leaves are text or bytes; what is no text has its type under ``ao-types``.
* Empty values have a type and no row. A list that is no flat one is a map with the keys 1, 2, 3.
* Reading back what was written gives the value, but for bytes that are UTF-8: those are text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from procession.jsons import from_json, to_json
from procession.messages import Message, normalize_key
from procession_codecs.refusals import BODY_BYTES, DEPTH, bounded, refused
from procession_codecs.texts import as_bytes, text_or_bytes
from procession_codecs.typed import EMPTY, ITSELF, LIST, TYPES, is_flat, read, read_types, write, write_types

Table: TypeAlias = "dict[str, str | bytes | Table]"
_KINDS: Final = {"": "empty-binary", b"": "empty-binary", (): "empty-list"}


class StructuredCodec:
    """Write the table of a value as JSON and read it back."""

    def encode(self, value: Any) -> bytes:
        """Return the table of a message as JSON."""
        return to_json(Message(to_table(as_message(value)))).encode()

    def decode(self, content: bytes) -> Any:
        """Return the message of a table in JSON."""
        value = from_json(content, limit=BODY_BYTES)
        return from_table(as_message(value).plain())


def as_message(value: Any) -> Message:
    """Return a message that is one already; a bare value has no keys to carry its type."""
    if not isinstance(value, Message):
        raise refused(f"{type(value).__name__} is no message", "codec", remedy="give a map of keys", kind="codec")
    return value


def to_table(message: Mapping[str, Any], depth: int = 0) -> Table:
    """Return the table of a message.

    >>> to_table(Message({"count": 42, "name": "x", "tags": []}))
    {'ao-types': 'count="integer", tags="empty-list"', 'count': '42', 'name': 'x'}
    """
    bounded(depth, DEPTH, "maps within one another", "codec")
    table: Table = {}
    types: dict[str, str] = {}
    for key in sorted(message):
        if key == TYPES:
            raise refused("a key that names the types of others", TYPES, remedy="leave it out", kind="codec")
        kind, row = _row(message[key], depth)
        table |= {} if row is None else {key: row}
        types |= {key: kind} if kind else {}
    return {TYPES: write_types(types), **table} if types else table


def from_table(table: Mapping[str, Any], depth: int = 0) -> Message:
    """Return the message of a table; RequestError where a value is not of its type.

    >>> from_table({"ao-types": 'n="integer", e="empty-list"', "n": "7"}).plain()
    {'e': [], 'n': 7}
    """
    value = _read_map(table, depth)
    if not isinstance(value, Message):
        raise refused("a list where a map is asked for", TYPES, kind="codec")
    return value


# -- inside


def _row(value: Any, depth: int) -> tuple[str, str | bytes | Table | None]:
    """Return the type of a value, "" where it needs none, and its row, None where it has none."""
    if isinstance(value, Mapping):
        return ("", to_table(value, depth + 1)) if value else ("empty-message", None)
    if value in ("", b"", ()):
        return _KINDS[value], None
    if isinstance(value, str | bytes):
        return "", value
    if isinstance(value, tuple) and not is_flat(value):
        return LIST, to_table({str(place): item for place, item in enumerate(value, 1)}, depth + 1)
    return write(value)


def _read_map(table: Mapping[str, Any], depth: int) -> Any:
    bounded(depth, DEPTH, "maps within one another", "codec")
    types = read_types(table[TYPES]) if TYPES in table else {}
    rows = {key: EMPTY[kind] for key, kind in types.items() if kind in EMPTY}
    for key, value in table.items():
        name = normalize_key(key)
        if name != TYPES:
            rows[name] = _read_row(name, value, types.get(name, ""), depth)
    return _items(rows, ITSELF) if types.get(ITSELF) == LIST else Message(rows)


def _read_row(key: str, value: Any, kind: str, depth: int) -> Any:
    if isinstance(value, Message):
        return value  # read already
    if isinstance(value, Mapping):
        below = _read_map(value, depth + 1)
        return _items(below, key) if kind == LIST and isinstance(below, Message) else below
    if not isinstance(value, str | bytes):
        return value  # typed already, as JSON has it
    plain = text_or_bytes(as_bytes(value))
    return read(kind, plain, key) if kind else plain


def _items(rows: Mapping[str, Any], key: str) -> tuple[Any, ...]:
    """Return the items of a map whose keys are numbers without a gap, whatever the first is."""
    if not all(name.isascii() and name.isdigit() and len(name) < 10 for name in rows):
        raise refused("a list with a key that is no number", key, kind="codec")
    places = sorted((int(name), name) for name in rows)
    if [place for place, _ in places] != list(range(places[0][0], places[0][0] + len(places)) if places else ()):
        raise refused("a list with a gap", key, remedy="number its items 1, 2, 3", kind="codec")
    return tuple(rows[name] for _, name in places)
