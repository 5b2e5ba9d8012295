"""Reader: the fields and sections of a WASM binary, one after the other.

Rules
-----
* Bytes come here before anybody has validated them: what ends early, or is no number, is an IndexError.
* Nothing is read twice and no number is longer than ten bytes, so time follows from the size.
* It needs nothing but Python: a child that has no more than that reads with it too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

MAGIC = b"\0asm\x01\0\0\0"
TYPED_REFERENCES = (0x63, 0x64)

_VALUE_TYPES = {0x7F: "i32", 0x7E: "i64", 0x7D: "f32", 0x7C: "f64", 0x7B: "v128"}
_LONGEST = 10  # bytes of a number of 64 bits


class Reader:
    """Read the fields of a section one after the other."""

    def __init__(self, content: bytes, at: int = 0) -> None:
        self.content = content
        self.at = at

    def byte(self) -> int:
        """Return the next byte."""
        self.at += 1
        return self.content[self.at - 1]

    def take(self, size: int) -> bytes:
        """Return the next bytes."""
        if self.at + size > len(self.content):
            raise IndexError("a section ends early")
        self.at += size
        return self.content[self.at - size : self.at]

    def unsigned(self) -> int:
        """Return the next LEB128 number."""
        number = 0
        for place in range(_LONGEST):
            byte = self.byte()
            number |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                return number
        raise IndexError("a number has too many bytes")

    def index(self) -> int:
        """Return the next LEB128 number of 32 bits."""
        start = self.at
        number = self.unsigned()
        if self.at - start > 5 or number >> 32:
            raise IndexError("a number has too many bits")
        return number

    def signed(self) -> int:
        """Return the next LEB128 number with its sign."""
        start = self.at
        number = self.unsigned()
        bits = 7 * (self.at - start)
        return number - (1 << bits) if number >> (bits - 1) else number

    def name(self) -> str:
        """Return the next name."""
        return self.take(self.unsigned()).decode()

    def value_type(self) -> str:
        """Return the next value type; every reference is called so."""
        code = self.byte()
        if code in TYPED_REFERENCES:
            self.signed()
        return _VALUE_TYPES.get(code, "reference")


def sections(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and body of each section."""
    reader = Reader(content, len(MAGIC))
    while reader.at < len(content):
        number = reader.byte()
        yield number, reader.take(reader.index())


def joined(found: Iterable[tuple[int, bytes]]) -> bytes:
    """Return the module of these sections."""
    return MAGIC + b"".join(bytes([number]) + unsigned(len(body)) + body for number, body in found)


def unsigned(number: int) -> bytes:
    """Return the LEB128 form of a number.

    >>> unsigned(300).hex()
    'ac02'
    """
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])
