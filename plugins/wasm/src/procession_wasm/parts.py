"""Parts: what a snapshot of a guest holds, as bytes, and the live root that proves it.

``memory`` is a header, the numbers of the non-zero pages of 4 KiB in order, and the pages;
``globals`` is the canonical list of (value type, bits). Both are empty for a guest that never booted.

Rules
-----
* The same memory and globals give the same bytes and the same root, however they came to be.
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
from procession_wasm.images import Image
from procession_wasm.memory import ZERO
from procession_wasm.options import WASM_PAGE
from procession_wasm.touched import PAGE

UNBOOTED = {"memory": b"", "globals": b""}
NO_ROOT = bytes(32)

_HEAD = struct.Struct("<16sQI")
_MAGIC = b"procession.pages"
_ROOT = b"procession live root of wasm\0"
_GLOBALS_LIMIT = 1 << 16
_LANES = {"i32": 32, "i64": 64, "f32": 32, "f64": 64}


@attrs.frozen
class Contents:
    """Hold what can change of a guest: its size in bytes, non-zero pages by number, and globals by lane."""

    size: int
    pages: Mapping[int, bytes]
    globals: tuple[int, ...]


def parts_of(contents: Contents, kinds: Sequence[str]) -> dict[str, bytes]:
    """Return the parts of a snapshot; ``kinds`` are the value types of the globals."""
    numbers = sorted(contents.pages)
    head = _HEAD.pack(_MAGIC, contents.size, len(numbers))
    listed = struct.pack(f"<{len(numbers)}I", *numbers)
    pages = b"".join([contents.pages[number] for number in numbers])
    return {"memory": head + listed + pages, "globals": _encoded_globals(contents.globals, kinds)}


def contents_of(parts: Mapping[str, bytes], image: Image, memory_limit: int) -> Contents:
    """Return what parts hold, checked against the image they are for; SnapshotError if they do not fit."""
    kinds = [kind for _, kind in image.shape.mutable_globals()]
    if set(parts) != set(UNBOOTED):
        raise _unfit(f"the parts are {', '.join(sorted(parts)) or 'none'}, not globals and memory")
    size, pages = _decoded_memory(parts["memory"])
    _check_size(size, image, memory_limit)
    if any(number >= size // PAGE for number in pages):
        raise _unfit("a page lies outside of the memory")
    return Contents(size, pages, _decoded_globals(parts["globals"], kinds))


def live_root(contents: Contents, digests: Mapping[int, bytes], kinds: Sequence[str]) -> bytes:
    """Return the root over size, pages and globals; ``digests`` are the sha-256 of the pages."""
    tree = _tree_root(digests, contents.size // PAGE)
    encoded = _encoded_globals(contents.globals, kinds)
    return sha256(_ROOT + contents.size.to_bytes(8) + tree + encoded).digest()


def _tree_root(digests: Mapping[int, bytes], width: int) -> bytes:
    level = dict(digests)
    while width > 1:
        children: dict[int, list[bytes]] = {}
        for number, digest in level.items():
            children.setdefault(number >> 4, [NO_ROOT] * 16)[number & 15] = digest
        level = {number: sha256(b"".join(rows)).digest() for number, rows in children.items()}
        width = (width + 15) >> 4
    return level.get(0, NO_ROOT)


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
    if ZERO in pages.values():
        raise _unfit("it holds a page of zeros")
    return size, pages


def _check_size(size: int, image: Image, memory_limit: int) -> None:
    limits = image.memory
    least = limits.minimum * WASM_PAGE if limits else 0
    most = memory_limit if limits else 0
    if limits and limits.maximum is not None:
        most = min(most, limits.maximum * WASM_PAGE)
    if size % WASM_PAGE or not least <= size <= most:
        raise _unfit(f"a memory of {size} bytes, where the image and the definition allow {least} to {most}")


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
