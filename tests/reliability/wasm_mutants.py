"""Mutants: sound modules with something changed, the same ones for the same dice."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from procession_wasm import reader
from procession_wasm.reader import joined, unsigned

TELLING = (0, 1, 0x0B, 0x10, 0x20, 0x3F, 0x40, 0x41, 0x60, 0x7F, 0x80, 0xFC, 0xFD, 0xFF)  # bytes that mean something

Change = Callable[[random.Random, bytes, Sequence[bytes]], bytes]


def mutant(dice: random.Random, sound: Sequence[bytes]) -> bytes:
    """Return a module of the corpus after one to three changes."""
    content = dice.choice(sound)
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        content = dice.choice(_CHANGES)(dice, content, sound)
    return content


def _flip(dice: random.Random, content: bytes, sound: Sequence[bytes]) -> bytes:
    at = dice.randrange(len(content)) if content else 0
    return content[:at] + bytes(byte ^ 1 << dice.randrange(8) for byte in content[at : at + 1]) + content[at + 1 :]


def _overwrite(dice: random.Random, content: bytes, sound: Sequence[bytes]) -> bytes:
    at = dice.randrange(len(content) + 1)
    return content[:at] + bytes([dice.choice(TELLING)]) + content[at + 1 :]


def _insert(dice: random.Random, content: bytes, sound: Sequence[bytes]) -> bytes:
    at = dice.randrange(len(content) + 1)
    return content[:at] + bytes(dice.choices(TELLING, k=dice.randrange(1, 6))) + content[at:]


def _cut(dice: random.Random, content: bytes, sound: Sequence[bytes]) -> bytes:
    at = dice.randrange(len(content) + 1)
    return content[:at] + content[at + dice.randrange(1, 9) :]


def _truncate(dice: random.Random, content: bytes, sound: Sequence[bytes]) -> bytes:
    return content[: dice.randrange(len(content) + 1)]


def _enlarge(dice: random.Random, content: bytes, sound: Sequence[bytes]) -> bytes:
    at = dice.randrange(len(content) + 1)
    return content[:at] + unsigned(dice.choice((1 << 7, 1 << 16, 1 << 31, (1 << 32) - 1, 1 << 63))) + content[at + 1 :]


def _rearrange(dice: random.Random, content: bytes, sound: Sequence[bytes]) -> bytes:
    """Drop, repeat, swap or replace whole sections."""
    try:
        sections = list(reader.sections(content))
        other = dice.choice(list(reader.sections(dice.choice(sound))))
    except IndexError:
        return content
    at, to = dice.randrange(len(sections) or 1), dice.randrange(len(sections) or 1)
    match dice.randrange(4):
        case 0:
            del sections[at : at + 1]
        case 1:
            sections[to:to] = sections[at : at + 1]
        case 2:
            sections.reverse()
        case _:
            sections[at : at + 1] = [other]
    return joined(sections)


def _recode(dice: random.Random, content: bytes, sound: Sequence[bytes]) -> bytes:
    """Change a byte of the code or the data, and leave the frame of the module alone."""
    try:
        inner = [
            content.index(body) + place
            for number, body in reader.sections(content)
            if number in (10, 11)
            for place in range(3, len(body))
        ]
    except IndexError:
        return content
    at = dice.choice(inner) if inner else 0
    return content[:at] + bytes([dice.randrange(256)]) + content[at + 1 :]


_CHANGES: Sequence[Change] = (
    _flip,
    _overwrite,
    _insert,
    _cut,
    _truncate,
    _enlarge,
    _rearrange,
    _recode,
    _recode,
    _recode,
)
