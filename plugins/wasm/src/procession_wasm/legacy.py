"""Legacy: modules whose exception handlers are of the old kind, made such that engines compile them.

Compilers wrote ``try``, ``catch``, ``catch_all``, ``rethrow`` and ``delegate`` until the proposal changed to
``try_table`` and ``throw_ref``. Only functions that use the old ones are written anew.

Rules
-----
* Bytes come here before anybody has validated them, and an engine validates what comes out.
* What cannot be rewritten is a LegacyError that says why; nothing else is raised.
* Time and size follow from the size of the module, nothing is recursive.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from procession_wasm.blocktypes import BlockTypes, LegacyError, Values, skip_type
from procession_wasm.handlers import Setting, is_legacy, rewritten
from procession_wasm.reader import MAGIC, Reader, joined, sections, unsigned

VERSION = 1  # of what is written: fuel depends on it

_TYPES, _IMPORTS, _FUNCTIONS, _TAGS, _CODE = 1, 2, 3, 13, 10
_FUNCTION, _TABLE, _MEMORY, _GLOBAL, _TAG = range(5)
_NONE = b"\0"  # a section of nothing


def modernised(content: bytes) -> bytes | None:
    """Return a binary module with handlers of today's kind; None where it has none of the old kind."""
    if content[: len(MAGIC)] != MAGIC:
        return None
    try:
        found = list(sections(content))
        bodies, rest = _bodies(dict(found).get(_CODE, _NONE))
        old = [place for place, body in enumerate(bodies) if is_legacy(body)]
        return _with_handlers(found, bodies, old, rest) if old else None
    except IndexError:
        raise LegacyError("the module ends early, or names what it does not have") from None


def _with_handlers(found: list[tuple[int, bytes]], bodies: list[bytes], old: Sequence[int], rest: bytes) -> bytes:
    by_number = dict(found)
    types = BlockTypes(by_number.get(_TYPES, _NONE))
    imports = list(_imports(Reader(by_number.get(_IMPORTS, _NONE))))
    functions = [number for kind, number in imports if kind == _FUNCTION] + _indices(by_number.get(_FUNCTIONS, _NONE))
    first = len(functions) - len(bodies)
    tags = [number for kind, number in imports if kind == _TAG] + _tags(by_number.get(_TAGS, _NONE))
    setting = Setting(types, [types.function(number)[0] for number in tags])
    for place in old:
        bodies[place] = _rewritten(bodies[place], types.function(functions[first + place]), setting, place)
    code = unsigned(len(bodies)) + b"".join(unsigned(len(body)) + body for body in bodies) + rest
    changed = {_TYPES: types.section(), _CODE: code}
    return joined((number, changed.get(number, body)) for number, body in found)


def _rewritten(body: bytes, kind: tuple[Values, Values], setting: Setting, place: int) -> bytes:
    try:
        return rewritten(body, kind, setting)
    except LegacyError as error:
        raise LegacyError(f"the exception handlers of function body {place} cannot be rewritten: {error}") from None


def _bodies(code: bytes) -> tuple[list[bytes], bytes]:
    reader = Reader(code)
    return [reader.take(reader.index()) for _ in range(reader.index())], code[reader.at :]


def _indices(body: bytes) -> list[int]:
    reader = Reader(body)
    return [reader.index() for _ in range(reader.index())]


def _tags(body: bytes) -> list[int]:
    reader = Reader(body)
    return [(reader.byte(), reader.index())[1] for _ in range(reader.index())]


def _imports(reader: Reader) -> Iterator[tuple[int, int]]:
    """Yield the kind of each import and, of functions and tags, the number of its type."""
    for _ in range(reader.index()):
        reader.take(reader.index())
        reader.take(reader.index())
        kind = reader.byte()
        if kind == _TAG:
            reader.byte()
        if kind in (_TABLE, _GLOBAL):
            skip_type(reader)
        if kind in (_TABLE, _MEMORY):
            _skip_limits(reader)
        elif kind == _GLOBAL:
            reader.byte()
        yield kind, reader.index() if kind in (_FUNCTION, _TAG) else 0


def _skip_limits(reader: Reader) -> None:
    flags = reader.byte()
    reader.unsigned()
    if flags & 1:
        reader.unsigned()
