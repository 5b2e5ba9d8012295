"""Message: an immutable map of lower-case keys to typed values, with one id.

Rules
-----
* Keys are lower-cased (ASCII letters only, so that no Unicode table reaches an id); ids keep their case.
* Private keys (``priv``, ``private`` and what follows them behind ``. _ / -``) ride along in memory
  and never enter bytes, an id, a store or a reply.
* Equality and hashes go by canonical bytes: ``1``, ``1.0`` and ``True`` are three values.
* Above ``FLAT_LIMIT`` keys the rows are a hash trie, so a change costs O(log n).
"""

from __future__ import annotations

import re
from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping
from enum import Enum
from typing import Any, NoReturn, TypeAlias

from procession import canonical, tries
from procession.canonical import MAX_DEPTH, checked_integer, dumps, loads, not_a_value, refusal
from procession.errors import RequestError
from procession.ids import keeps_case, to_id
from procession.tries import REMOVED, Branch, Node, Rows, Table, table_of

FLAT_LIMIT = tries.FLAT_LIMIT
MAX_BITS = canonical.MAX_BITS

Value: TypeAlias = "bytes | str | int | float | bool | tuple[Value, ...] | Message | None"

_PRIVATE = re.compile(r"priv(ate)?($|[._/-])")
_UPPER = {letter: letter + 32 for letter in range(ord("A"), ord("Z") + 1)}


class Atom(Enum):
    """Name the two values that steer ``Message.set`` and are never stored."""

    UNSET = "unset"  # the key is removed
    UNDEFINED = "undefined"  # the key is left alone


UNSET = Atom.UNSET
UNDEFINED = Atom.UNDEFINED


def normalize_key(key: str | int) -> str:
    """Return a key as messages hold it.

    >>> normalize_key("Test-Header"), normalize_key(3)
    ('test-header', '3')
    """
    if type(key) is not str:
        if isinstance(key, bool) or not isinstance(key, int | str):
            raise not_a_value(f"a key is text, not {type(key).__name__}")
        return normalize_key(str.__str__(key) if isinstance(key, str) else str(key))
    if len(key) > 41 and keeps_case(key):
        return key
    return key.lower() if key.isascii() else checked_text(key).translate(_UPPER)


def is_private(key: str) -> bool:
    """Tell whether a normalised key is private.

    >>> is_private("priv_foo"), is_private("private.x"), is_private("privilege")
    (True, True, False)
    """
    return key.startswith("priv") and _PRIVATE.match(key) is not None


class Message(Node, Mapping[str, Any]):
    """Map lower-case keys to ``bytes | str | int | float | bool | None | tuple | Message``.

    Lists are held as tuples and maps as messages. Two keys that are one after
    normalisation: the later wins. Raises RequestError (kind ``message``) for anything
    that cannot be a value.

    >>> Message({"Name": "ledger", "Limits": {"fuel": 10}})["limits"]["fuel"]
    10
    """

    __slots__ = ("_below", "_private", "_read", "_rows")

    def __init__(self, rows: Mapping[Any, Any] | Iterable[tuple[Any, Any]] = ()) -> None:
        self._encoded = self._digest = self.saved_in = None
        self._read: Callable[[bytes], Table] | None = None
        public, self._private = frozen_rows(rows)
        self._rows: Table | None = table_of(public)
        self._below = tries.are_clean(public.values())
        self.clean = self._below and not self._private

    @classmethod
    def of_rows(cls, rows: Table | None, private: Rows | None = None, *, clean: bool = False) -> Message:
        """Return a message of rows that are frozen and in canonical order already; ``clean`` holds nothing private."""
        message = cls.__new__(cls)
        message._encoded = message._digest = message._read = message.saved_in = None
        message._rows, message._private, message._below = rows, private or {}, clean
        message.clean = clean and not private
        return message

    @classmethod
    def stored(cls, digest: bytes, read: Callable[[bytes], Table]) -> Message:
        """Return the message of a digest, its rows read when first looked into."""
        message = cls.of_rows(None, clean=True)
        message._digest = digest
        message._read = read
        return message

    # -- reading

    @property
    def table(self) -> Table:
        """Return the rows, as a flat map or a trie, reading them the first time."""
        if self._rows is None:
            assert self._read is not None
            self._rows = self._read(self.digest)
        return self._rows

    def __getitem__(self, key: str) -> Any:
        value = self.get(key, REMOVED)
        if value is REMOVED:
            raise KeyError(key)
        return value

    def get(self, key: str | int, default: Any = None) -> Any:
        """Return the value of a public key, or the default."""
        table: Any = self._rows or self.table
        if type(table) is dict:
            value = table.get(key, REMOVED)
            if value is REMOVED and not (type(key) is str and key.islower() and key.isascii()):  # normal already
                value = table.get(normalize_key(key), REMOVED)
            return default if value is REMOVED else value
        return tries.find(table, normalize_key(key), default)

    def at(self, path: str, default: Any = None) -> Any:
        """Return the value behind a path of keys; a list answers to 1, 2, 3.

        >>> Message({"results": {"outbox": ["a", "b"]}}).at("results/outbox/2")
        'b'
        """
        value: Any = self
        for part in _parts(path):
            value = value_below(value, part, REMOVED)
            if value is REMOVED:
                return default
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(tries.ordered(self.table))

    def __len__(self) -> int:
        table = self.table
        return table.count if isinstance(table, Branch) else len(table)

    def __contains__(self, key: object) -> bool:
        if type(key) is not str and (isinstance(key, bool) or not isinstance(key, str | int)):
            return False
        return self.get(key, REMOVED) is not REMOVED

    def items(self) -> ItemsView[str, Any]:
        """Return the rows in canonical order, a trie walked once."""
        return tries.ordered(self.table).items()

    @property
    def private(self) -> Mapping[str, Any]:
        """Return the private rows, which live in this object alone."""
        return dict(self._private)

    @property
    def id(self) -> str:
        """Return the content id: the sha-256 of the canonical bytes, as 43 characters."""
        return to_id(self.digest)

    def plain(self) -> dict[str, Any]:
        """Return the public rows as dicts and lists."""
        return {key: _plain(value) for key, value in self.items()}

    # -- changing: each returns another message

    def set(self, changes: Mapping[Any, Any], *, explicit: bool = False) -> Message:
        """Return this message with changes merged in, maps into maps.

        ``UNSET`` removes a key and ``UNDEFINED`` leaves it alone; with ``explicit`` maps
        replace maps. Private rows stay as they are; private keys in the changes are left out.

        >>> Message({"a": {"x": 1}}).set({"a": {"y": 2}})["a"].plain()
        {'x': 1, 'y': 2}
        """
        return self._merged(changes, explicit, 1)

    def put(self, path: str, value: Any) -> Message:
        """Return this message with the value at a path, maps made where there are none; a private one is left out."""
        parts = _parts(path) or [""]
        return self._put(parts, value, 1) if len(parts) <= MAX_DEPTH else _too_deep()

    def without(self, *keys: str) -> Message:
        """Return this message without some keys of its first level."""
        present = {normalize_key(key): REMOVED for key in keys if self.get(key, REMOVED) is not REMOVED}
        return self.with_rows(present) if present else self

    def with_rows(self, rows: Rows, private: Rows | None = None) -> Message:
        """Return this message with rows in their form already, REMOVED taking one out, and with other private rows."""
        clean = self._below and tries.are_clean(rows.values())
        kept = self._private if private is None else private
        return Message.of_rows(tries.replaced(self._rows or self.table, rows), kept, clean=clean)

    def public(self) -> Message:
        """Return this message without its private rows, nor any below; what was clean once is not looked at again."""
        if self.clean:
            return self
        table = self.table
        rows = table if self._below else tries.cleaned(table, _public)
        message = self if rows is table and not self._private else Message.of_rows(rows)
        if rows is table:
            message._encoded, message._digest, message.saved_in = self._encoded, self._digest, self.saved_in
        message._below = message.clean = True
        return message

    def with_private(self, key: str, value: object) -> Message:
        """Return this message with a private row, any Python object, beside the public ones."""
        name = normalize_key(key)
        if not is_private(name):
            raise not_a_value(f"{name!r} is no private key; those begin with 'priv' or 'private'")
        copy = Message.of_rows(self.table, {**self._private, name: value}, clean=self._below)
        copy._encoded, copy._digest, copy.saved_in = self._encoded, self._digest, self.saved_in
        return copy

    # -- identity

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Message):
            return self is other or self.digest == other.digest
        try:
            return isinstance(other, Mapping) and self == Message(other)
        except RequestError:
            return False  # a map that is no message

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        shown = ", ".join(list(self)[:8])
        return f"<Message of {len(self)}: {shown}{', ...' if len(self) > 8 else ''}>"

    def nodes_below(self) -> Iterable[Node]:
        """Return the nodes that this one holds; none while it was not looked into."""
        table = self._rows or {}
        return table.nodes_below() if isinstance(table, Branch) else tries.nodes_in(table.values())

    @property
    def linked(self) -> bool:
        """Tell whether a parent holds this message as a link."""
        return self._read is not None or len(self.encoded) > tries.INLINE_LIMIT

    def _encode(self) -> bytes:
        table = self.table
        return table.encoded if isinstance(table, Branch) else dumps(table)

    # -- inside

    def _merged(self, changes: Mapping[Any, Any], explicit: bool, depth: int) -> Message:
        rows: Rows = {} if depth <= MAX_DEPTH else _too_deep()
        for key, value in changes.items():
            key = normalize_key(key)
            if value is not UNDEFINED and not is_private(key):
                rows[key] = self._merged_value(key, value, explicit, depth)
        return self.with_rows(rows)

    def _merged_value(self, key: str, value: Any, explicit: bool, depth: int) -> Any:
        if value is UNSET:
            return REMOVED
        if explicit or not isinstance(value, Mapping):
            return freeze(value, depth)
        old = self.get(key)
        if isinstance(old, Message):
            return old._merged(value, False, depth + 1)
        return value.public() if isinstance(value, Message) else EMPTY._merged(value, False, depth + 1)

    def _put(self, parts: list[str], value: Any, depth: int) -> Message:
        key = normalize_key(parts[depth - 1])
        if is_private(key):
            return self
        if depth == len(parts):
            return self.with_rows({key: REMOVED if value is UNSET else freeze(value)})
        below = self.get(key)
        return self.with_rows({key: (below if isinstance(below, Message) else EMPTY)._put(parts, value, depth + 1)})


def value_below(value: Any, part: str, default: Any = None) -> Any:
    """Return what a key names below a value: a row of a message, an item of a list from 1."""
    if isinstance(value, Message):
        return value.get(part, default)
    if isinstance(value, tuple) and part.isascii() and part.isdigit() and len(part) < 10:
        return value[int(part) - 1] if 1 <= int(part) <= len(value) else default
    return default


def same(one: Any, other: Any) -> bool:
    """Tell whether two values have the same canonical bytes."""
    return one is other or (type(one) is type(other) and dumps(one) == dumps(other))


def encode(value: Any) -> bytes:
    """Return the bytes of a value for the wire: whole, without links, and never deeper than ``decode`` takes."""
    return dumps(_whole(freeze(value), 0))


def decode(content: bytes, *, limit: int) -> Value:
    """Return the value of canonical bytes from an untrusted side.

    Raises RequestError (kind ``canonical``, ``message`` or ``too-large``) unless
    ``encode`` gives the same bytes back.
    """
    value: Value = freeze(loads(content, limit=limit))
    if encode(value) != content:
        raise refusal("the bytes are not the canonical encoding of what they say")
    return value


def freeze(value: Any, depth: int = 0) -> Any:
    """Return a value as messages hold it: maps as messages, lists as tuples, all of it checked."""
    kind = type(value)
    if kind is str:
        return value if value.isascii() else checked_text(value)
    if kind is bytes or kind is bool or value is None or isinstance(value, Node):
        return value
    if isinstance(value, int):
        return checked_integer(value)
    if depth >= MAX_DEPTH:
        _too_deep()
    if kind is dict or (kind is not list and isinstance(value, Mapping)):
        public, private = frozen_rows(value, depth + 1)
        clean = len(public) <= FLAT_LIMIT and tries.are_clean(public.values())
        return Message.of_rows(table_of(public), private, clean=clean)
    if isinstance(value, list | tuple):
        return tuple([freeze(item, depth + 1) for item in value])
    if isinstance(value, str):
        return checked_text(str.__str__(value))
    if isinstance(value, float):
        return float(value) if value == value else float("nan")  # whatever its bits were
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise not_a_value(f"{kind.__name__} is no value of a message")


def frozen_rows(rows: Mapping[Any, Any] | Iterable[tuple[Any, Any]], depth: int = 1) -> tuple[Rows, Rows]:
    """Return the public and the private rows of a map, keys normalised and values frozen."""
    public: Rows = {}
    private: Rows = {}
    for key, value in rows.items() if type(rows) is dict or isinstance(rows, Mapping) else rows:
        name = key.lower() if type(key) is str and len(key) < 42 and key.isascii() else normalize_key(key)
        if name.startswith("priv") and is_private(name):
            private[name] = value
        else:
            public[name] = value if type(value) is str and value.isascii() else freeze(value, depth)
    return public, private


def checked_text(text: str) -> str:
    """Return a text that UTF-8 can say; a lone surrogate is refused."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise not_a_value("a text holds a lone surrogate, which UTF-8 cannot say") from None
    return text


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


def _plain(value: Any) -> Any:
    if type(value) is Message:
        return value.plain()
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _public(value: Any) -> Any:
    if type(value) is Message:
        return value.public()
    if isinstance(value, tuple):
        items = tuple([_public(item) for item in value])
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    return value


def _whole(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind is not Message and kind is not tuple:
        return value
    if depth >= MAX_DEPTH:
        _too_deep()
    if kind is tuple:
        return [_whole(item, depth + 1) for item in value]
    return {key: _whole(item, depth + 1) for key, item in value.items()}


def _too_deep() -> NoReturn:
    raise not_a_value(f"nested deeper than {MAX_DEPTH} levels")


EMPTY = Message()
