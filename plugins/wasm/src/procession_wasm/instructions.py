"""Instructions: does the code of a module change what no snapshot holds?

Tables, and pieces of elements or data that a module drops, are no part of a snapshot: a guest that changed
them could not be brought back. Such modules are refused.

Rules
-----
* Bytes come here after the engine has validated them.
* Whole runs of instructions are passed over by one pattern; what it does not know is read by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from procession_wasm.reader import TYPED_REFERENCES, Reader, sections

_LEB = rb"[\x80-\xff]*+[\x00-\x7f]"
_STILL = (
    rb"[\x00\x01\x05\x0f\x1a\x1b\x45-\xc4\xd1]"
    rb"|[\x08\x10\x12\x20-\x25\x3f\x41\x42\xd0\xd2]" + _LEB + rb"|[\x11\x13\x28-\x3e]" + _LEB + _LEB + rb"|\x43.{4}"
    rb"|\x44.{8}"
)
_UNLABELLED = _STILL + rb"|\x40" + _LEB
_LABELLED = rb"[\x0a\x0b]|[\x02-\x04][\x40\x7b-\x7f]|[\x0c\x0d]" + _LEB

RUN = re.compile(rb"(?:" + _UNLABELLED + rb"|" + _LABELLED + rb")*+", re.DOTALL)
STILL = re.compile(rb"(?:" + _STILL + rb"|" + _LABELLED + rb")*+", re.DOTALL)  # none grows a memory
UNLABELLED = re.compile(rb"(?:" + _UNLABELLED + rb")*+", re.DOTALL)  # neither open or end a block, nor go to one
_CODE, _TRY_TABLE, GROW = 10, 0x1F, 0x40
_CHANGES: Mapping[tuple[int, int], str] = {
    (0x26, 0): "table.set",
    (0xFC, 8): "memory.init",
    (0xFC, 9): "data.drop",
    (0xFC, 12): "table.init",
    (0xFC, 13): "elem.drop",
    (0xFC, 14): "table.copy",
    (0xFC, 15): "table.grow",
    (0xFC, 17): "table.fill",
}


def change_of(content: bytes) -> str:
    """Return the name of an instruction that changes what no snapshot holds, or an empty text."""
    return _first(content, _change)


def holds_exceptions(content: bytes) -> bool:
    """Tell whether the code of a module can keep what it catches, as a reference to it."""
    return bool(_first(content, _reference))


def _first(content: bytes, look: Callable[[Reader], str]) -> str:
    """Return what is found first of what some instruction is looked at for."""
    reader = Reader(dict(sections(content)).get(_CODE, b"\0"))
    for _ in range(reader.unsigned()):
        size = reader.unsigned()
        end = reader.at + size
        found = _first_in(reader, end, look)
        if found:
            return found
        reader.at = end
    return ""


def _first_in(reader: Reader, end: int, look: Callable[[Reader], str]) -> str:
    for _ in range(reader.unsigned()):  # groups of locals
        reader.unsigned()
        reader.value_type()
    while True:
        run = RUN.match(reader.content, reader.at, end)
        reader.at = run.end() if run else reader.at
        if reader.at >= end:
            return ""
        found = look(reader)
        if found:
            return found


def pass_over(reader: Reader) -> tuple[int, int] | None:
    """Pass over an instruction that no run holds; return its code in two parts, None where it is not known."""
    code = reader.byte()
    second = reader.unsigned() if code in (0xFC, 0xFD) else 0
    skip = _IMMEDIATES.get(code)
    if skip is None:
        return None
    skip(reader, second)
    return code, second


def _change(reader: Reader) -> str:
    """Pass over one instruction; return its name where it changes what no snapshot holds, or is not known here."""
    code = reader.content[reader.at]
    found = pass_over(reader)
    return f"instruction {code:#04x}" if found is None else _CHANGES.get(found, "")


def _reference(reader: Reader) -> str:
    """Pass over one instruction; return its name where it gives a reference to what it catches."""
    start = reader.at
    pass_over(reader)
    if reader.content[start] != _TRY_TABLE:
        return ""
    inside = Reader(reader.content, start + 1)
    _block(inside, 0)
    return "try_table" if any(kind & 1 for kind in _catches(inside)) else ""


def _catches(reader: Reader) -> list[int]:
    """Return the kinds of the handlers of a table: 1 and 3 give a reference."""
    kinds = []
    for _ in range(reader.unsigned()):
        kinds.append(reader.byte())
        if kinds[-1] < 2:  # with a tag
            reader.unsigned()
        reader.unsigned()
    return kinds


def _number(reader: Reader, second: int) -> None:
    reader.unsigned()


def _block(reader: Reader, second: int) -> None:
    if reader.content[reader.at] in TYPED_REFERENCES:
        reader.byte()
    reader.signed()


def _branches(reader: Reader, second: int) -> None:
    for _ in range(reader.unsigned() + 1):
        reader.unsigned()


def _types(reader: Reader, second: int) -> None:
    for _ in range(reader.unsigned()):
        reader.value_type()


def _handlers(reader: Reader, second: int) -> None:
    _block(reader, second)
    _catches(reader)


def _bulk(reader: Reader, second: int) -> None:
    for _ in range({8: 2, 9: 1, 10: 2, 11: 1, 12: 2, 13: 1, 14: 2, 15: 1, 16: 1, 17: 1}.get(second, 0)):
        reader.unsigned()


def _vector(reader: Reader, second: int) -> None:
    if second <= 11 or 84 <= second <= 93:
        reader.unsigned()
        reader.unsigned()
    reader.take({12: 16, 13: 16}.get(second, 1 if 21 <= second <= 34 or 84 <= second <= 91 else 0))


_IMMEDIATES: Mapping[int, Callable[[Reader, int], None]] = {
    0x02: _block,
    0x03: _block,
    0x04: _block,
    0x0E: _branches,
    0x1C: _types,
    _TRY_TABLE: _handlers,
    0x26: _number,
    0xFC: _bulk,
    0xFD: _vector,
}
