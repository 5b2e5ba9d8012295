"""Parts: what a snapshot of a guest holds, and the live root that proves it.

``memory`` are the non-zero pages of 4 KiB by number; ``size`` is the size of the memory in 8 bytes, big-endian;
``globals`` is the canonical list of (value type, bits). ``buffer``, where there is one, is address and size, in 8 bytes
each, of what a guest gave for texts that it cannot free. Of a guest that never booted there are two, both empty.

Rules
-----
* The same memory, globals and buffer give the same parts and the same root, however they came to be.
* The root is a tree of sha-256: a page, then 16 children to a node, each at its page's number;
  what is all zero counts as 32 zero bytes, so a change costs the path above its page.
* Parts are not trusted: every size, number and type is checked before it is used.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from hashlib import sha256
from itertools import pairwise

import attrs

from procession.errors import RequestError, SnapshotError
from procession.messages import decode, encode
from procession.roles import Live, Part
from procession_wasm.images import Image
from procession_wasm.memory import ZERO
from procession_wasm.options import WASM_PAGE
from procession_wasm.touched import PAGE

UNBOOTED: Mapping[str, Part] = {"memory": b"", "globals": b""}
NO_ROOT = bytes(32)
SIZE_BYTES = 8

_NO_CHILDREN = 16 * NO_ROOT

_HEAD = struct.Struct("<16sQI")
_BUFFER = struct.Struct(">QQ")
_MAGIC = b"procession.pages"
_ROOT = b"procession live root of wasm\0"
_GLOBALS_LIMIT = 1 << 16
_LANES = {"i32": 32, "i64": 64, "f32": 32, "f64": 64}


@attrs.frozen
class Contents:
    """Hold what can change of a guest: size in bytes, non-zero pages by number, globals by lane, and its buffer."""

    size: int
    pages: Mapping[int, bytes]
    globals: tuple[int, ...]
    buffer: tuple[int, int] = (0, 0)


def live_of(contents: Contents, tree: bytes, kinds: Sequence[str]) -> Live:
    """Return the parts of a snapshot, and the root over size, pages, globals and buffer.

    ``tree`` is the root of the pages, ``kinds`` are the value types of the globals.
    """
    size, encoded = contents.size.to_bytes(SIZE_BYTES), _encoded_globals(contents.globals, kinds)
    buffer = _encoded_buffer(contents.buffer)
    parts: dict[str, Part] = {"memory": contents.pages, "size": size, "globals": encoded}
    if buffer:
        parts["buffer"] = buffer
    return Live(parts, sha256(_ROOT + size + tree + encoded + buffer).digest())


def contents_of(parts: Mapping[str, Part], image: Image, memory_limit: int) -> Contents:
    """Return what parts hold, checked against the image they are for; SnapshotError if they do not fit."""
    kinds = [kind for _, kind in image.shape.mutable_globals()]
    size, pages, encoded = _told({name: part for name, part in parts.items() if name != "buffer"})
    _check_size(size, image, memory_limit)
    if pages and (min(pages) < 0 or max(pages) >= size // PAGE):
        raise _unfit("a page lies outside of the memory")
    if not {PAGE}.issuperset(map(len, pages.values())) or ZERO in pages.values():
        raise _unfit("it holds a page of zeros, or of another size")
    buffer = _decoded_buffer(parts["buffer"]) if "buffer" in parts else (0, 0)
    return Contents(size, pages, _decoded_globals(encoded, kinds), buffer)


class Tree:
    """Keep the tree of sha-256 over pages by number, and change of it what is above a changed page."""

    def __init__(self) -> None:
        self._levels: list[dict[int, bytes]] = [{}]

    def put(self, digests: Mapping[int, bytes | None]) -> None:
        """Take over the digests of pages; None is of one of zeros."""
        for depth, level in enumerate(self._levels):
            level.update({number: digest for number, digest in digests.items() if digest})
            for number in [number for number, digest in digests.items() if not digest]:
                level.pop(number, None)
            if depth + 1 < len(self._levels):
                digests = {parent: _node(level, parent) for parent in {number >> 4 for number in digests}}

    def root(self, count: int) -> bytes:
        """Return the root over so many pages."""
        depth = 0
        while count > 1:
            count, depth = (count + 15) >> 4, depth + 1
            if depth == len(self._levels):
                below = self._levels[-1]
                self._levels.append(
                    {parent: _node(below, parent) or b"" for parent in {number >> 4 for number in below}}
                )
        return self._levels[depth].get(0, NO_ROOT)


def _node(level: Mapping[int, bytes], parent: int) -> bytes | None:
    get = level.get
    children = b"".join([get(number, NO_ROOT) for number in range(16 * parent, 16 * parent + 16)])
    return sha256(children).digest() if children != _NO_CHILDREN else None


def _told(parts: Mapping[str, Part]) -> tuple[int, Mapping[int, bytes], bytes]:
    """Return size, pages and globals; versions before wrote the memory as plain bytes, its size within."""
    match parts:
        case {"memory": Mapping() as pages, "size": bytes(size), "globals": bytes(encoded), **more} if not more:
            return _size_of(size), pages, encoded
        case {"memory": bytes(memory), "globals": bytes(encoded), **more} if not more:
            return *_decoded_memory(memory), encoded
    raise _unfit(f"the parts are {', '.join(sorted(parts)) or 'none'}, not globals, memory and size")


def _size_of(content: bytes) -> int:
    if len(content) != SIZE_BYTES:
        raise _unfit("the size is no number of 8 bytes")
    return int.from_bytes(content)


def _decoded_memory(content: bytes) -> tuple[int, dict[int, bytes]]:
    if len(content) < _HEAD.size:
        raise _unfit("the memory part ends within its header")
    magic, size, count = _HEAD.unpack_from(content)
    at = _HEAD.size + 4 * count
    if magic != _MAGIC or len(content) != at + PAGE * count:
        raise _unfit("the memory part is not as long as its header says")
    numbers = struct.unpack_from(f"<{count}I", content, _HEAD.size)
    if any(before >= after for before, after in pairwise(numbers)):
        raise _unfit("its pages are not in order")
    pages = {number: content[at + PAGE * place : at + PAGE * (place + 1)] for place, number in enumerate(numbers)}
    return size, pages


def _check_size(size: int, image: Image, memory_limit: int) -> None:
    limits = image.memory
    least = limits.minimum * WASM_PAGE if limits else 0
    most = memory_limit if limits else 0
    if limits and limits.maximum is not None:
        most = min(most, limits.maximum * WASM_PAGE)
    if size % WASM_PAGE or not least <= size <= most:
        raise _unfit(f"a memory of {size} bytes, where the image and the definition allow {least} to {most}")


def _encoded_buffer(buffer: tuple[int, int]) -> bytes:
    return _BUFFER.pack(*buffer) if buffer[1] else b""


def _decoded_buffer(content: Part) -> tuple[int, int]:
    """Return address and size; whether they lie in the memory is checked whenever something is written there."""
    address, size = _BUFFER.unpack(content) if isinstance(content, bytes) and len(content) == _BUFFER.size else (0, 0)
    if not size:
        raise _unfit("the buffer is no address and size of 8 bytes each, or empty")
    return address, size


def _encoded_globals(lanes: Sequence[int], kinds: Sequence[str]) -> bytes:
    rows, left = [], list(lanes)
    for kind in kinds:
        width = 2 if kind == "v128" else 1
        rows.append((kind, *left[:width]))
        left = left[width:]
    return encode(tuple(rows))


def _decoded_globals(content: bytes, kinds: Sequence[str]) -> tuple[int, ...]:
    try:
        rows = decode(content, limit=_GLOBALS_LIMIT)
    except RequestError as error:
        raise _unfit(f"the globals do not read: {error.what}") from error
    if not isinstance(rows, tuple) or len(rows) != len(kinds):
        raise _unfit(f"not a list of {len(kinds)} globals")
    return tuple([lane for row, kind in zip(rows, kinds, strict=True) for lane in _checked_lanes(row, kind)])


def _checked_lanes(row: object, kind: str) -> tuple[int, ...]:
    width = 2 if kind == "v128" else 1
    if not isinstance(row, tuple) or len(row) != width + 1 or row[0] != kind:
        raise _unfit(f"a global is not of type {kind}")
    lanes = row[1:]
    if any(type(lane) is not int or not 0 <= lane < 1 << _LANES.get(kind, 64) for lane in lanes):
        raise _unfit(f"a global has no bits of type {kind}")
    return lanes


def _unfit(what: str) -> SnapshotError:
    return SnapshotError(
        what, where="wasm-64@1.0 snapshot", remedy="the state is rebuilt from the schedule", kind="unfit"
    )
