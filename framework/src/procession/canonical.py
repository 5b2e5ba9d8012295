"""Canonical bytes: RFC 8949 core deterministic CBOR.

Rules
-----
* Keys are text. Ordered by length first they are in the bytewise order of RFC 8949.
* A map given to ``dumps`` is in that order already; nothing here sorts.
* Reading is strict: no tags but bignums, no indefinite lengths, no duplicate keys, no trailing bytes.
* Two private tags exist in storage only: a link to a node stored by itself, and a branch of a trie.
"""

from __future__ import annotations

from collections.abc import Callable
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
    def link(self) -> bytes | None:
        """Return the digest that stands for this where it is held; None where its bytes do."""
        raise NotImplementedError

    @property
    def encoded(self) -> bytes:
        """Return the canonical bytes."""
        raise NotImplementedError


def dumps(value: object) -> bytes:
    """Return the bytes of a plain value whose maps are in canonical order.

    >>> dumps({"a": [True, None], "b": 1.5}).hex()
    'a2616182f5f66162f93e00'
    """
    return cbor2.dumps(held(value), default=_write)


def held(value: Any) -> Any:
    """Return what the library is given for a value: it would take a message for a map, and floats are its longest."""
    kind = type(value)
    if kind in _NATIVE:
        return value
    if kind is dict:
        return {key: item if type(item) in _NATIVE else held(item) for key, item in value.items()}
    if kind is tuple or kind is list:
        return [item if type(item) in _NATIVE else held(item) for item in value]
    if isinstance(value, Writable):
        digest = value.link
        return _Own(value) if digest is None else cbor2.CBORTag(LINK_TAG, digest)
    return _Own(value) if kind is float else value


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


class _Own:
    """Keep a value from the library until ``_write`` is asked for it."""

    __slots__ = ("value",)

    def __init__(self, value: float | Writable) -> None:
        self.value = value


def _write(encoder: cbor2.CBOREncoder, own: _Own) -> None:
    value = own.value
    # of a float, the shortest exact form, and one NaN
    encoder.write(value.encoded if isinstance(value, Writable) else cbor2.dumps(value, canonical=True))


def _refuse_tag(tag: cbor2.CBORTag, immutable: bool) -> NoReturn:
    raise ValueError(f"tag {tag.tag} has no meaning here")


def _refuse_semantics(value: object, immutable: object) -> NoReturn:
    raise ValueError("a tag has no meaning here")


_NATIVE = frozenset({str, bytes, int, bool, type(None)})
_NO_SEMANTICS = dict.fromkeys(_FOREIGN_TAGS, _refuse_semantics)
