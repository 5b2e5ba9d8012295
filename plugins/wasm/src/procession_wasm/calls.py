"""Calls: what a message, or another stage, asks of the guest.

Rules
-----
* A stage asks by the private row ``priv.call``, and comes before anything that a message says.
* A message chooses only among the functions of the definition, and gives numbers of exactly their types.
* Whatever else is asked for is refused as a recorded failure.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from procession.messages import Message
from procession.roles import FunctionType
from procession_wasm.binary import NUMERIC, RESERVED, Shape
from procession_wasm.faults import GuestError
from procession_wasm.options import WasmOptions

CALL = "priv.call"
REPLY = "priv.reply"

_MEMORY_NAMES = ("malloc", "free", "calloc", "realloc", "memalign", "posix_memalign", "aligned_alloc", "sbrk")
_GLUE_NAMES = ("setThrew", "setTempRet0", "getTempRet0", "saveSetjmp", "testSetjmp", "fflush", "main", "cabi_realloc")
_MANAGING_NAMES = frozenset({*_MEMORY_NAMES, *_GLUE_NAMES})
_MANAGING_PREFIXES = ("_", "stack", "emscripten_", "asyncify_", "dynCall", "memory_", RESERVED)
_TEXTS = (str, bytes)
_INTEGERS = {"i32": 32, "i64": 64}


@attrs.frozen
class Call:
    """Ask for a function with numbers, and texts that are passed as pointers; the answer then is a text too."""

    function: str
    kind: FunctionType
    parameters: tuple[Any, ...]
    texts: tuple[str | bytes, ...] = ()  # those among the parameters


@attrs.frozen
class Choices:
    """Hold what may be called: ``functions`` by a message, ``default`` where it names none; ``numeric`` by a stage.

    ``texts`` are those of them that take pointers to texts, and the type of their pointers.
    """

    default: str
    functions: frozenset[str]
    numeric: Mapping[str, FunctionType]
    texts: Mapping[str, str]


def choices_of(shape: Shape, options: WasmOptions) -> Choices:
    """Return what may be called of an image."""
    named = {*options.functions, options.function} - {""}
    if not options.functions:
        named |= {name for name in shape.exports if _is_numeric(shape.function(name)) and not _manages(name)}
    kinds = {name: shape.function(name) for name in shape.exports}
    numeric = {name: kind for name, kind in kinds.items() if kind is not None and _is_numeric(kind)}
    pointers = {name: kind.results[0] for name, kind in numeric.items() if shape.memories and len(kind.results) == 1}
    texts = {name: pointer for name, pointer in pointers.items() if pointer in _INTEGERS}
    return Choices(options.function, frozenset(named), numeric, texts)


def unusable(shape: Shape, options: WasmOptions) -> list[str]:
    """Return the functions of the definition that the image does not export with numbers alone."""
    named = {*options.functions, options.function} - {""}
    return sorted(name for name in named if not _is_numeric(shape.function(name)) or name.startswith(RESERVED))


def call_of(state: Message, message: Message, choices: Choices) -> Call | None:
    """Return what is to be called, or None where nothing asks; GuestError refuses what may not be."""
    asked = state.private.get(CALL)
    if asked is not None:
        return _stage_call(asked, choices)
    name = message.get("function", choices.default)
    if name == "":
        return None
    kind = choices.numeric.get(name) if isinstance(name, str) and name in choices.functions else None
    if kind is None:
        raise _refused(f"{name!r:.80} is none of the functions that a message may call")
    parameters = message.get("parameters", ())
    if not isinstance(parameters, tuple):
        raise _refused("parameters are no list of numbers")
    return Call(name, kind, converted(parameters, kind))


def converted(parameters: Sequence[Any], kind: FunctionType) -> tuple[int | float, ...]:
    """Return parameters as a function takes them; GuestError (kind ``refused``) where one is not of its type.

    An integer may be given with or without its sign; a float takes integers too.
    """
    if len(parameters) != len(kind.params):
        raise _refused(f"{len(parameters)} parameters, the function takes {len(kind.params)}")
    pairs = enumerate(zip(parameters, kind.params, strict=True), 1)
    return tuple([_number(value, wanted, place) for place, (value, wanted) in pairs])


def _stage_call(asked: Mapping[str, Any], choices: Choices) -> Call:
    name, parameters = str(asked["function"]), tuple(asked["parameters"])
    kind = choices.numeric.get(name)
    if kind is None:
        raise _refused(f"the image exports no function {name!r:.80} of numbers")
    texts = [place for place, given in enumerate(parameters) if isinstance(given, _TEXTS)]
    if not texts:
        return Call(name, kind, converted(parameters, kind))
    pointer = choices.texts.get(name)
    if len(texts) == len(parameters) and kind.params == (pointer,) * len(parameters):
        return Call(name, kind, parameters, parameters)
    numbers = converted([0 if place in texts else given for place, given in enumerate(parameters)], kind)
    if pointer is None or any(kind.params[place] != pointer for place in texts):
        raise _refused(f"{name!r:.80} does not take pointers and answer with one")
    mixed = tuple([parameters[place] if place in texts else numbers[place] for place in range(len(numbers))])
    return Call(name, kind, mixed, tuple([parameters[place] for place in texts]))


def _number(value: Any, wanted: str, place: int) -> int | float:
    if wanted in _INTEGERS:
        bits = _INTEGERS[wanted]
        if type(value) is not int or not -(1 << (bits - 1)) <= value < 1 << bits:
            raise _refused(f"parameter {place} is no {wanted}")
        return value - (1 << bits) if value >> (bits - 1) == 1 else value
    if type(value) not in (int, float):
        raise _refused(f"parameter {place} is no {wanted}")
    try:
        number = float(value)
        struct.pack("<f" if wanted == "f32" else "<d", number)
    except OverflowError:
        raise _refused(f"parameter {place} is too large for {wanted}") from None
    return number


def _is_numeric(kind: FunctionType | None) -> bool:
    return kind is not None and NUMERIC.issuperset(kind.params + kind.results)


def _manages(name: str) -> bool:
    return name in _MANAGING_NAMES or name.startswith(_MANAGING_PREFIXES)


def _refused(text: str) -> GuestError:
    return GuestError("refused", text)
