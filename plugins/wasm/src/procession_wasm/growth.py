"""Growth: a module's own ``memory.grow``, made such that a host without memory is told from a limit.

An engine answers -1 in both cases, and a guest that one host refuses what another gives would come to another result.
So each ``memory.grow`` becomes a call of a function that is added: it gives up where the limit allows the growth.

Rules
-----
* Bytes come here after the engine has validated them.
* A module that never grows its memory stays as it is, byte for byte.
* What is added says nothing of the guest's, so it is part of no snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping

from procession.roles import FunctionType
from procession_wasm.binary import RESERVED, Shape, named, types_of, with_exports
from procession_wasm.instructions import GROW, STILL, pass_over
from procession_wasm.reader import Reader, sections, unsigned

VERSION = 1  # of what is written: fuel depends on it
ROOM = f"{RESERVED}room"  # pages that the memory may have
FAILED = f"{RESERVED}failed"  # 1 where this host had no room for as many

_TYPES, _FUNCTIONS, _GLOBALS, _CODE = 1, 3, 6, 10
_CALL, _FUNCTION, _GLOBAL = 0x10, 0x60, 3
_NONE = b"\0"  # a section of nothing
_LETTERS = {"i32": b"\x7f", "i64": b"\x7e"}
_OWN_GLOBALS = (b"\x7e\x01\x42\0\x0b", b"\x7f\x01\x41\0\x0b")  # mutable, an i64 and an i32, 0 at first


def told(content: bytes, shape: Shape) -> bytes:
    """Return a module of a shape whose growth tells why it failed."""
    found = dict(sections(content))
    bodies, call = _bodies(found.get(_CODE, _NONE)), bytes([_CALL]) + unsigned(len(shape.types))
    changed = [_calling(body, call) for body in bodies]
    if changed == bodies:
        return content
    pointer = "i64" if shape.memories[0].wide else "i32"
    kind, kinds = FunctionType((pointer,), (pointer,)), types_of(content)
    first = shape.imported("global") + len(shape.globals)
    body = _growing(pointer, unsigned(first), unsigned(first + 1))
    code = b"".join(unsigned(len(one)) + one for one in (*changed, body))
    others = {
        _TYPES: found[_TYPES] if kind in kinds else _more(found[_TYPES], _written(pointer)),
        _FUNCTIONS: _more(found[_FUNCTIONS], unsigned(kinds.index(kind) if kind in kinds else len(kinds))),
        _GLOBALS: _more(found.get(_GLOBALS, _NONE), *_OWN_GLOBALS),
        _CODE: unsigned(len(bodies) + 1) + code,
    }
    return _joined({**found, **others}, first)


def _joined(found: Mapping[int, bytes], first: int) -> bytes:
    rows = [named(name) + bytes([_GLOBAL]) + unsigned(first + place) for place, name in enumerate((ROOM, FAILED))]
    return with_exports(list(found.items()), rows)


def _bodies(code: bytes) -> list[bytes]:
    reader = Reader(code)
    return [reader.take(reader.unsigned()) for _ in range(reader.unsigned())]


def _calling(body: bytes, call: bytes) -> bytes:
    """Return a function whose growth of the memory is a call."""
    reader = Reader(body)
    for _ in range(reader.unsigned()):  # groups of locals
        reader.unsigned()
        reader.value_type()
    out, kept = bytearray(), 0
    while reader.at < len(body):
        run = STILL.match(body, reader.at)
        reader.at = run.end() if run else reader.at
        if reader.at < len(body) and body[reader.at] == GROW:
            out += body[kept : reader.at] + call
            reader.byte()
            reader.unsigned()
            kept = reader.at
        elif reader.at < len(body):
            pass_over(reader)
    return bytes(out) + body[kept:]


def _more(section: bytes, *rows: bytes) -> bytes:
    """Return a section with more rows behind its own."""
    reader = Reader(section)
    return unsigned(reader.unsigned() + len(rows)) + section[reader.at :] + b"".join(rows)


def _written(pointer: str) -> bytes:
    return bytes([_FUNCTION]) + 2 * (b"\x01" + _LETTERS[pointer])


def _growing(pointer: str, room: bytes, failed: bytes) -> bytes:
    """Return the body of the function that grows: it ends the guest where there was room within the limit."""
    wide = pointer == "i64"
    extended, is_refused = (b"", b"\x42\x7f\x51") if wide else (b"\xad", b"\x41\x7f\x46")  # -1, and whether it is that
    asked = b"\x20\0" + extended
    left = b"\x23" + room + b"\x3f\0" + extended + b"\x7d"  # pages: the most, less those that there are
    give_up = b"\x41\x01\x24" + failed + b"\0"
    grown = b"\x20\0\x40\0\x22\x01"
    locals_of = b"\x01\x01" + _LETTERS[pointer]
    return (
        locals_of
        + grown
        + is_refused
        + b"\x04\x40"
        + asked
        + left
        + b"\x58\x04\x40"
        + give_up
        + b"\x0b\x0b\x20\x01\x0b"
    )
