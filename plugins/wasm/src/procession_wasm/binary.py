"""WASM binaries: what a module says about itself, and the few edits that make it restorable.

Rules
-----
* Bytes come here after the engine has validated them; a malformed module is refused before.
* The code section is never touched.
* Every answer follows from the bytes alone; the engine is asked for no type, since it aborts on some.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import attrs

from procession.roles import FunctionType
from procession_wasm.instructions import holds_exceptions
from procession_wasm.reader import Reader, joined, sections, unsigned

NUMERIC = frozenset({"i32", "i64", "f32", "f64"})
RESERVED = "procession:"  # exports that are added here begin with it

_EXTERNAL = ("function", "table", "memory", "global", "tag")
_ORDER = (1, 2, 3, 4, 5, 13, 6, 7, 8, 9, 12, 10, 11)  # of the sections in a module
_CUSTOM, _IMPORTS, _EXPORTS, _START = 0, 2, 7, 8

T = TypeVar("T")


@attrs.frozen
class Import:
    """Name what a module wants from outside; ``type`` is there for functions alone."""

    module: str
    name: str
    kind: str
    type: FunctionType | None = None


@attrs.frozen
class Limits:
    """Hold the size of a memory or table, in pages or elements, and whether its addresses are 64 bit."""

    minimum: int
    maximum: int | None
    wide: bool


@attrs.frozen
class Segment:
    """Hold where a piece of data goes; None where the offset is computed, or for a passive piece."""

    active: bool
    offset: int | None
    size: int


@attrs.frozen
class Shape:
    """Hold what a module says about itself.

    ``exports`` go from name to (kind, index); ``globals`` are (value type, mutable) of those
    that the module defines itself, ``types`` of all functions, imported ones first; ``tags`` are what its own
    exceptions carry, and ``holds`` says that its code can keep what it catches.
    """

    imports: tuple[Import, ...] = ()
    types: tuple[FunctionType, ...] = ()
    tables: tuple[Limits, ...] = ()
    memories: tuple[Limits, ...] = ()
    globals: tuple[tuple[str, bool], ...] = ()
    tags: tuple[tuple[str, ...], ...] = ()
    holds: bool = False
    exports: dict[str, tuple[str, int]] = attrs.field(factory=dict)
    segments: tuple[Segment, ...] = ()
    start: int | None = None

    def imported(self, kind: str) -> int:
        """Return how many things of a kind are imported."""
        return sum(1 for wanted in self.imports if wanted.kind == kind)

    def function(self, name: str) -> FunctionType | None:
        """Return the type of an exported function."""
        kind, index = self.exports.get(name, ("", 0))
        return self.types[index] if kind == "function" else None

    def table(self, name: str) -> Limits | None:
        """Return an exported table that the module defines itself."""
        kind, index = self.exports.get(name, ("", 0))
        own = index - self.imported("table")
        return self.tables[own] if kind == "table" and own >= 0 else None

    def mutable_globals(self) -> list[tuple[int, str]]:
        """Return index and value type of the globals that can change."""
        first = self.imported("global")
        return [(first + place, kind) for place, (kind, mutable) in enumerate(self.globals) if mutable]


def shape_of(content: bytes) -> Shape:
    """Return what a module says about itself."""
    found = dict(sections(content))  # only custom sections repeat, and they are not looked at
    types = types_of(content)
    imports = tuple(_list(found.get(2), lambda reader: _import(reader, types)))
    own = [types[index] for index in _list(found.get(3), Reader.unsigned)]
    tags = tuple([types[index].params for index in _list(found.get(13), _tag)])
    return Shape(
        imports=imports,
        types=tuple([wanted.type for wanted in imports if wanted.type is not None] + own),
        tables=tuple(_list(found.get(4), _table)),
        memories=tuple(_list(found.get(5), _limits)),
        globals=tuple(_list(found.get(6), _global)),
        tags=tags,
        holds=bool(tags or imports) and holds_exceptions(content),
        exports=dict(_list(found.get(7), _export)),
        segments=tuple(_list(found.get(11), _segment)),
        start=Reader(found[8]).unsigned() if 8 in found else None,
    )


def types_of(content: bytes) -> list[FunctionType]:
    """Return all function types of a module, those of blocks among them."""
    return _list(dict(sections(content)).get(1), _function_type)


def opened(content: bytes, shape: Shape) -> bytes:
    """Return the module with its memory, mutable globals and start function exported, and not started.

    A module that starts by itself would run again whenever it is restored.
    """
    added = [("memory", 2, shape.imported("memory"))] if shape.memories else []
    added += [(f"global:{index}", 3, index) for index, _ in shape.mutable_globals()]
    added += [("start", 0, shape.start)] if shape.start is not None else []
    rows = [named(f"{RESERVED}{name}") + bytes([kind]) + unsigned(index) for name, kind, index in added]
    kept = [(number, body) for number, body in sections(content) if number not in (_CUSTOM, _START)]
    return with_exports(kept, rows)


def with_exports(kept: list[tuple[int, bytes]], rows: list[bytes]) -> bytes:
    """Return a module of sections, in their order, with more exports."""
    present = Reader(dict(kept).get(_EXPORTS, b"\0"))
    count = present.unsigned()
    body = unsigned(count + len(rows)) + present.content[present.at :] + b"".join(rows)
    others = [section for section in kept if section[0] != _EXPORTS]
    return joined(sorted([*others, (_EXPORTS, body)], key=lambda section: _ORDER.index(section[0])))


def named(name: str) -> bytes:
    """Return a name of ASCII as a module writes it."""
    return unsigned(len(name)) + name.encode()


def _list(body: bytes | None, read: Callable[[Reader], T]) -> list[T]:
    if body is None:
        return []
    reader = Reader(body)
    return [read(reader) for _ in range(reader.unsigned())]


def _function_type(reader: Reader) -> FunctionType:
    reader.byte()  # 0x60: with garbage collection off there are no other types
    params = tuple([reader.value_type() for _ in range(reader.unsigned())])
    return FunctionType(params, tuple([reader.value_type() for _ in range(reader.unsigned())]))


def _import(reader: Reader, types: list[FunctionType]) -> Import:
    module, name = reader.name(), reader.name()
    kind = _EXTERNAL[reader.byte()]
    found = types[reader.unsigned()] if kind == "function" else None
    if found is None:
        _IMPORTED[kind](reader)
    return Import(module, name, kind, found)


def _limits(reader: Reader) -> Limits:
    flags = reader.byte()
    minimum = reader.unsigned()
    return Limits(minimum, reader.unsigned() if flags & 1 else None, bool(flags & 4))


def _table(reader: Reader) -> Limits:
    reader.value_type()
    return _limits(reader)


def _global_type(reader: Reader) -> tuple[str, bool]:
    return reader.value_type(), reader.byte() == 1


def _global(reader: Reader) -> tuple[str, bool]:
    found = _global_type(reader)
    _constant(reader)
    return found


def _tag(reader: Reader) -> int:
    reader.byte()
    return reader.unsigned()


def _export(reader: Reader) -> tuple[str, tuple[str, int]]:
    name = reader.name()
    return name, (_EXTERNAL[reader.byte()], reader.unsigned())


def _segment(reader: Reader) -> Segment:
    flags = reader.unsigned()
    if flags == 2:
        reader.unsigned()
    offset = None if flags == 1 else _constant(reader)
    size = reader.unsigned()
    reader.take(size)
    return Segment(flags != 1, offset, size)


def _constant(reader: Reader) -> int | None:
    """Return the value of a constant expression where it is one integer, and read to its end."""
    values: list[int | None] = []
    while (code := reader.byte()) != 0x0B:
        skip = _CONSTANTS.get(code)
        values.append(skip(reader) if skip else None)
    return values[0] if len(values) == 1 else None


def _nothing(read: Callable[[Reader], object]) -> Callable[[Reader], None]:
    def skip(reader: Reader) -> None:
        read(reader)

    return skip


_CONSTANTS: dict[int, Callable[[Reader], int | None]] = {
    0x41: Reader.signed,
    0x42: Reader.signed,
    0x43: _nothing(lambda reader: reader.take(4)),
    0x44: _nothing(lambda reader: reader.take(8)),
    0x23: _nothing(Reader.unsigned),
    0xD0: _nothing(Reader.signed),
    0xD2: _nothing(Reader.unsigned),
    0xFD: _nothing(lambda reader: (reader.unsigned(), reader.take(16))),
}
_IMPORTED: dict[str, Callable[[Reader], object]] = {
    "table": _table,
    "memory": _limits,
    "global": _global_type,
    "tag": _tag,
}


def pages_of(segments: Iterable[Segment], page: int, size: int) -> frozenset[int]:
    """Return the pages of a memory that its module fills; all of them where a place is computed."""
    pages: set[int] = set()
    for segment in segments:
        if segment.active and segment.offset is None:
            return frozenset(range(size // page))
        if segment.active and segment.offset is not None and segment.size:
            first = segment.offset & 0xFFFFFFFF if segment.offset < 0 else segment.offset
            pages.update(range(first // page, (first + segment.size - 1) // page + 1))
    return frozenset(number for number in pages if number < size // page)
