"""Canonical bytes: RFC 8949 core deterministic CBOR.

Rules
-----
* Keys are text. Ordered by length first they are in the bytewise order of RFC 8949.
* A map given to ``dumps`` is in that order already; nothing here sorts.
* Reading is strict: no tags but bignums, no indefinite lengths, no duplicate keys, no trailing bytes.
* Two private tags exist in storage only: a link to a node stored by itself, and a branch of a trie.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NoReturn

import cbor2

from procession.errors import RequestError

LINK_TAG = 0x6C696E6B  # "link": 32 bytes, the digest of a node stored by itself
BRANCH_TAG = 0x74726965  # "trie": [count, 16 children], a branch of a hash trie
LINK = b"\xda" + LINK_TAG.to_bytes(4) + b"\x58\x20"  # a link, with its 32 bytes behind
MAX_DEPTH = 64  # nested containers
MAX_BITS = 256  # of an integer

_FOREIGN_TAGS = (0, 1, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799)

TagHook = Callable[[cbor2.CBORTag, bool], object]


class Writable:
    """Be what ``dumps`` takes beside plain values: something that has bytes of its own, map or not."""

    __slots__ = ()

    @property
    def held(self) -> bytes:
        """Return the bytes that stand for this where it is held: its own, or a link to them."""
        raise NotImplementedError


def dumps(value: Any) -> bytes:
    """Return the bytes of a plain value whose maps are in canonical order.

    >>> dumps({"a": [True, None], "b": 1.5}).hex()
    'a2616182f5f66162f93e00'
    """
    if isinstance(value, Writable):
        return value.held
    kind = type(value)
    if kind is dict:
        return _map(value)
    if kind is tuple or kind is list:
        return _list(value)
    return cbor2.dumps(value, canonical=kind is float)  # of a float, the shortest exact form, and one NaN


def loads(content: bytes, *, limit: int, tag_hook: TagHook | None = None, depth: int = MAX_DEPTH) -> object:
    """Parse one CBOR item of at most ``limit`` bytes; that it is canonical is the caller's check.

    Raises RequestError (kind ``canonical`` or ``too-large``).
    """
    if len(content) > limit:
        raise refusal(f"{len(content)} bytes, at most {limit} are taken", kind="too-large")
    try:
        value: object = cbor2.loads(
            content,
            tag_hook=tag_hook or _refuse_tag,
            semantic_decoders=_NO_SEMANTICS,
            max_depth=depth,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        )
    except (cbor2.CBORError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise refusal(f"not CBOR: {error}") from error
    return value


def refusal(what: str, kind: str = "canonical") -> RequestError:
    """Return the error for bytes that are not what they should be."""
    return RequestError(what, where="canonical bytes", kind=kind)


def not_a_value(what: str) -> RequestError:
    """Return the error for something that no message can hold."""
    return RequestError(what, where="message", kind="message")


def checked_integer(number: int) -> int:
    """Return an integer of at most ``MAX_BITS`` bits."""
    if number.bit_length() > MAX_BITS:
        raise not_a_value(f"an integer of {number.bit_length()} bits, at most {MAX_BITS} are kept")
    return int(number)


def _map(rows: dict[str, Any]) -> bytes:
    """Return the bytes of a map; what the library writes as we do is written by it, as many rows as come together."""
    if _NATIVE.issuperset(map(type, rows.values())):
        return cbor2.dumps(rows)
    run: dict[str, Any] = {}
    parts = [_head(0xA0, len(rows))]
    for key, value in rows.items():
        if type(value) in _NATIVE or (type(value) is tuple and _NATIVE.issuperset(map(type, value))):
            run[key] = value
            continue
        if run:
            parts.append(_rows(run))
            run = {}
        parts.append(_short(key) if len(key) <= _SHORT else cbor2.dumps(key))
        parts.append(value.held if isinstance(value, Writable) else dumps(value))
    return b"".join([*parts, _rows(run)] if run else parts)


def _rows(run: dict[str, Any]) -> bytes:
    return cbor2.dumps(run)[1 if len(run) <= _SHORT else len(_head(0, len(run))) :]


def _list(items: Sequence[Any]) -> bytes:
    if _NATIVE.issuperset(map(type, items)):
        return cbor2.dumps(items)
    return b"".join([_head(0x80, len(items)), *map(dumps, items)])


@lru_cache(1024)  # of keys that are short
def _short(key: str) -> bytes:
    return cbor2.dumps(key)


def _head(kind: int, count: int) -> bytes:
    if count <= _SHORT:
        return bytes((kind | count,))
    number = cbor2.dumps(count)
    return bytes((kind | number[0],)) + number[1:]


def _refuse_tag(tag: cbor2.CBORTag, immutable: bool) -> NoReturn:
    raise ValueError(f"tag {tag.tag} has no meaning here")


def _refuse_semantics(value: object, immutable: object) -> NoReturn:
    raise ValueError("a tag has no meaning here")


_NATIVE = frozenset({str, bytes, int, bool, type(None)})  # types that the library writes as we do
_SHORT = 23  # items whose number stands in the first byte of a list or map
_NO_SEMANTICS = dict.fromkeys(_FOREIGN_TAGS, _refuse_semantics)
