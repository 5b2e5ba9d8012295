"""Bounds: what a module may hold, told from its section headers before anything reads further.

Rules
-----
* Bytes come here after the engine has validated them.
* The bounds are far beyond what compilers make; they belong to this host and to no definition.
* A module is simple when nothing in it can make the engine work much longer than its size says.
"""

from __future__ import annotations

import attrs

from procession_wasm import binary
from procession_wasm.reader import Reader, sections

MOST_SECTIONS = 1000
MOST_FUNCTION_BYTES = 1 << 20
MOST_NAME = 8192  # characters
SIMPLE_BYTES = 8192
SIMPLE_WORK = 1 << 16

_TRY_TABLE = 0x1F
_CODE, _TYPES = 10, 1


@attrs.frozen
class Most:
    """Hold the bounds of a section: how many things of a kind, in how many bytes."""

    kind: str
    entries: int
    bytes: int


_SECTIONS = {
    1: Most("types", 10_000, 1 << 20),
    2: Most("imports", 1_000, 1 << 20),
    3: Most("functions", 100_000, 1 << 20),
    4: Most("tables", 10, 1 << 16),
    6: Most("globals", 10_000, 1 << 20),
    7: Most("exports", 10_000, 1 << 20),
    9: Most("pieces of elements", 10_000, 8 << 20),
    10: Most("bodies of functions", 100_000, 64 << 20),
    11: Most("pieces of data", 10_000, 64 << 20),
    13: Most("tags", 1_000, 1 << 16),
}


def excess_of(content: bytes) -> str:
    """Return what a module has too much of, or an empty text."""
    seen = 0
    for number, body in sections(content):
        seen += 1
        most, entries = _SECTIONS.get(number), Reader(body)
        if seen > MOST_SECTIONS:
            return f"more than {MOST_SECTIONS} sections"
        if most is None:
            continue
        count = entries.unsigned()
        if count > most.entries or len(body) > most.bytes:
            return f"{count} {most.kind} in {len(body)} bytes, where {most.entries} in {most.bytes} are taken"
        if number == _CODE and (largest := max(_body_sizes(body), default=0)) > MOST_FUNCTION_BYTES:
            return f"a function of {largest} bytes, where {MOST_FUNCTION_BYTES} are taken"
    return ""


def longest_name(shape: binary.Shape) -> int:
    """Return the length of the longest name that is imported or exported."""
    names = [name for wanted in shape.imports for name in (wanted.module, wanted.name)]
    return max((len(name) for name in [*names, *shape.exports]), default=0)


def is_simple(content: bytes) -> bool:
    """Tell whether compiling a module costs little for certain.

    What a compiler does for a byte grows with the values that a call or a branch carries,
    with the locals of a function, and with the handlers around a call.
    """
    if len(content) > SIMPLE_BYTES:
        return False
    found = dict(sections(content))
    code = found.get(_CODE, b"\0")
    carried = max((len(kind.params) + len(kind.results) for kind in binary.types_of(content)), default=0)
    handlers = len(code) if _TRY_TABLE in code else 1
    return len(code) * max(1, carried, handlers) + _locals(code) <= SIMPLE_WORK


def _body_sizes(code: bytes) -> list[int]:
    reader, sizes = Reader(code), []
    for _ in range(reader.unsigned()):
        size = reader.unsigned()
        sizes.append(size)
        reader.at += size
    return sizes


def _locals(code: bytes) -> int:
    reader, total = Reader(code), 0
    for _ in range(reader.unsigned()):
        size = reader.unsigned()
        inside = Reader(code, reader.at)
        for _ in range(inside.unsigned()):
            total += inside.unsigned()
            inside.value_type()
        reader.at += size
    return total
