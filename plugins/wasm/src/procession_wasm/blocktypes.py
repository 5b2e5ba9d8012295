"""Block types: what a block takes and leaves, looked up among a module's types, and added where it is none of them.

Rules
-----
* A type is told by the bytes of its values; none is taken apart.
* What is added has a bound: a module may pair each of its types with each of its tags.
"""

from __future__ import annotations

from typing import NamedTuple

from procession_wasm.reader import TYPED_REFERENCES, Reader, unsigned

MOST_ADDED = 1 << 18  # bytes

_EMPTY, _FUNCTION = 0x40, 0x60


class LegacyError(ValueError):
    """Say why the exception handlers of a module cannot be rewritten."""


class Values(NamedTuple):
    """Hold the types of so many values, as bytes."""

    many: int
    types: bytes

    def __add__(self, other: object) -> Values:
        """Return these, then others."""
        assert isinstance(other, Values)
        return Values(self.many + other.many, self.types + other.types)


NOTHING = Values(0, b"")
EXCEPTION = Values(1, b"\x69")  # a caught exception, as a reference


class BlockTypes:
    """Hold the types of a module; ``body`` is its section of them, or nothing."""

    def __init__(self, body: bytes) -> None:
        reader = Reader(body)
        self._count = reader.index()
        self._own = body[reader.at :]
        self._types = [_function(reader) for _ in range(self._count)]
        self._numbers: dict[tuple[Values, Values], int] = {}
        for number, kind in enumerate(self._types):
            self._numbers.setdefault(kind, number)
        self._added: list[bytes] = []
        self._left = MOST_ADDED

    def function(self, number: int) -> tuple[Values, Values]:
        """Return what a function type takes and gives."""
        return self._types[number]

    def read(self, written: bytes) -> tuple[Values, Values]:
        """Return what a block type, as it is written, takes and leaves."""
        if written[0] == _EMPTY:
            return NOTHING, NOTHING
        number = Reader(written).signed()
        return self._types[number] if number >= 0 else (NOTHING, Values(1, written))

    def written(self, taken: Values, left: Values) -> bytes:
        """Return the block type that takes and leaves such values, as it is written."""
        if not taken.many and left.many < 2:
            return left.types or bytes([_EMPTY])
        number = self._numbers.get((taken, left))
        return _signed(self._add(taken, left) if number is None else number)

    def section(self) -> bytes:
        """Return the section of all types."""
        return unsigned(self._count + len(self._added)) + self._own + b"".join(self._added)

    def _add(self, taken: Values, left: Values) -> int:
        added = bytes([_FUNCTION]) + b"".join(unsigned(values.many) + values.types for values in (taken, left))
        self._left -= len(added)
        if self._left < 0:
            raise LegacyError(f"they need more than {MOST_ADDED} bytes of block types")
        number = self._numbers[(taken, left)] = self._count + len(self._added)
        self._added.append(added)
        return number


def skip_type(reader: Reader) -> None:
    """Pass over a value type, or a block type."""
    if reader.content[reader.at] in TYPED_REFERENCES:
        reader.byte()
    reader.signed()


def _function(reader: Reader) -> tuple[Values, Values]:
    if reader.byte() != _FUNCTION:
        raise LegacyError("a type of the module is no function type")
    return _values(reader), _values(reader)


def _values(reader: Reader) -> Values:
    count, start = reader.index(), reader.at
    for _ in range(count):
        skip_type(reader)
    return Values(count, reader.content[start : reader.at])


def _signed(number: int) -> bytes:
    """Return the signed LEB128 form of a number that is not negative."""
    written = unsigned(number)
    return written if not written[-1] & 0x40 else written[:-1] + bytes([written[-1] | 0x80, 0])
