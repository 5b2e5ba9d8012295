"""Texts of a path: characters that know where they were written, and the typed values they spell.

Rules
-----
* Each problem is told with the position, from 1, of the character that is wrong, in the text that was given.
* ``spelled`` is the reverse of ``read``: same type, same value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

import attrs

from procession.errors import Fact, RequestError
from procession.messages import MAX_BITS

_UNIT = re.compile(r"(?:%[0-9A-Fa-f]{2})+|.", re.DOTALL)
_INTEGER = re.compile(r"-?[0-9]{1,78}")
_FLOAT = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+ ]?[0-9]+)?")  # a "+" may have become a blank
_ITEM = re.compile(
    r'[ \t]*(?:"((?:[^"\\]|\\["\\])*)"|(-?[0-9]{1,78})|([A-Za-z*][\w!#$%&\'*+.^`|~:/-]*))[ \t]*(,|\Z)', re.ASCII
)
_ATOMS = {"true": True, "false": False, "null": None}


@attrs.frozen
class Text:
    """Hold characters, and for each and for their end its offset in the text that was given."""

    chars: str
    offsets: Sequence[int]
    key: str | None = None  # of the message, where the text is a key or a value of it

    @classmethod
    def given(cls, chars: str, key: str | None = None) -> Text:
        """Return a whole text that a caller gave."""
        return cls(chars, range(len(chars) + 1), key)

    def cut(self, start: int, end: int | None = None) -> Text:
        """Return a slice of it."""
        end = len(self.chars) if end is None else end
        return Text(self.chars[start:end], self.offsets[start : end + 1], self.key)

    def error(self, index: int, what: str, remedy: str) -> RequestError:
        """Return an error at a character; past the last one, at the one before."""
        offset = self.offsets[index] if index < len(self.chars) else self.offsets[-1] - 1
        position = max(offset, 0) + 1
        where, facts = f"path, character {position}", dict[str, Fact](position=position)
        if self.key is not None:
            where, facts["key"] = f"key {self.key[:80]!r}, character {position}", self.key[:80]
        return RequestError(what, where=where, remedy=remedy, kind="path", facts=facts)

    def plain(self, refused: str = "()") -> Text:
        """Return the text of a name, decoded; some characters mean something else where they are not encoded."""
        match = re.search(f"[{refused}]", self.chars)
        if match:
            remedy = f"write %{ord(match[0]):02X} for the sign itself"
            raise self.error(match.start(), f"{match[0]!r} is out of place", remedy)
        return self.decoded()

    def decoded(self, *, form: bool = False) -> Text:
        """Return the percent-decoded text; in a form a ``+`` is a blank."""
        if "%" not in self.chars and not (form and "+" in self.chars):
            return self
        chars, offsets = "", []
        for match in _UNIT.finditer(self.chars):
            at, unit = match.start(), match[0]
            text = self._unescaped(at, unit) if unit[0] == "%" else " " if form and unit == "+" else unit
            chars += text
            for char in text:
                offsets.append(self.offsets[at])
                at += 3 * len(char.encode())
        return Text(chars, [*offsets, self.offsets[-1]], self.key)

    def unwrapped(self) -> tuple[Text, Text]:
        """Return what is inside the parentheses, in balance, that the text begins with, and what follows them."""
        level, end = 1, 0
        while level:
            end += 1
            level += {"(": 1, ")": -1}.get(self.chars[end], 0)
        return self.cut(1, end), self.cut(end + 1)

    def _unescaped(self, at: int, run: str) -> str:
        if run == "%":
            raise self.error(at, "'%' without two hexadecimal digits", "write %25 for the sign itself")
        if "%00" in run:
            raise self.error(at + run.index("%00"), "a NUL character", "leave it out")
        try:
            return bytes.fromhex(run.replace("%", "")).decode()
        except UnicodeDecodeError as problem:
            what = "the encoded bytes are no UTF-8"
            raise self.error(at + 3 * problem.start, what, "encode text as UTF-8 first") from None


def outside(text: Text, sign: str) -> Iterator[int]:
    """Yield where a sign is outside of parentheses, which must balance as far as this is read."""
    opened: list[int] = []
    for match in re.finditer(rf"[()\{sign}]", text.chars):
        if match[0] == "(":
            opened.append(match.start())
        elif match[0] != ")":
            yield from () if opened else (match.start(),)
        elif opened:
            opened.pop()
        else:
            raise text.error(match.start(), "')' closes nothing", "write %29 for the sign itself")
    if opened:
        raise text.error(opened[0], "'(' is never closed", "close it, or write %28 for the sign itself")


def split(text: Text, sign: str) -> list[Text]:
    """Return the pieces between signs that are outside of parentheses."""
    cuts = [-1, *outside(text, sign), len(text.chars)]
    return [text.cut(before + 1, after) for before, after in pairwise(cuts)]


# -- typed values


def read(kind: Text, text: Text) -> object:
    """Return the value that a text spells under a type of ``TYPES``.

    >>> read(Text.given("list"), Text.given('1, two, "three, four"'))
    (1, 'two', 'three, four')
    """
    name = kind.chars.lower()
    if name not in _READERS:
        remedy = f"types are {', '.join(TYPES)}, resolve; a key with a '+' is written key+text=value"
        raise kind.error(0, f"{name[:80]!r} is no type", remedy)
    reader, remedy = _READERS[name]
    try:
        return reader(text.chars)
    except ValueError:
        raise text.error(0, f"{text.chars[:80]!r} is no {name}", remedy) from None


def spelled(value: object) -> tuple[str, str]:
    """Return the type and the text of a value; RequestError for bytes, a message and other lists."""
    match value:
        case None | bool():
            return "atom", "null" if value is None else str(value).lower()
        case str():
            return "text", value
        case int():
            return "integer", str(value)
        case float() if math.isfinite(value):
            return "float", repr(value)
        case tuple() if all(type(item) in (str, int) for item in value):
            return "list", ",".join(_spelled_item(item) for item in value)
    what = f"a value of type {type(value).__name__} that no path can write"
    raise RequestError(what, where="path", remedy="send it as a message", kind="path")


def _spelled_item(item: str | int) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", item) + '"' if isinstance(item, str) else str(item)


def _integer(chars: str) -> int:
    number = int(chars) if _INTEGER.fullmatch(chars) else 1 << MAX_BITS
    if number.bit_length() > MAX_BITS:
        raise ValueError
    return number


def _float(chars: str) -> float:
    number = float(chars.replace(" ", "+")) if _FLOAT.fullmatch(chars) else math.inf
    if math.isinf(number):
        raise ValueError
    return number


def _atom(chars: str) -> str | bool | None:
    if chars in ("", "unset", "undefined"):
        raise ValueError
    return _ATOMS.get(chars, chars)


def _list(chars: str) -> tuple[str | int, ...]:
    items: list[str | int] = []
    at, more = 0, bool(chars)
    while more:
        match = _ITEM.match(chars, at)
        if match is None:
            raise ValueError
        text, integer, word, comma = match.groups()
        items.append(_integer(integer) if integer else word or re.sub(r"\\(.)", r"\1", text))
        at, more = match.end(), bool(comma)
    return tuple(items)


_READERS: Mapping[str, tuple[Callable[[str], object], str]] = {
    "integer": (_integer, f"write decimal digits, at most {MAX_BITS} bits"),
    "float": (_float, "write a finite number such as 1.5 or 2e-3"),
    "atom": (_atom, "write true, false, null or a word that is not unset or undefined"),
    "text": (str, ""),
    "binary": (str, ""),
    "list": (_list, 'write integers, words or "texts" with commas between'),
}
TYPES = tuple(_READERS)
