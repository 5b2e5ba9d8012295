"""Texts: passing NUL-terminated bytes into a guest and taking one back."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import attrs

from procession.roles import FunctionType
from procession_wasm.binary import Shape
from procession_wasm.calls import Call
from procession_wasm.faults import GuestError
from procession_wasm.instance import Instance
from procession_wasm.shims import RESTORE, SAVE, first_of

MALLOC = "malloc"
FREE = "free"
STACK_FREE = "emscripten_stack_get_free"
STACK_ALLOC = ("_emscripten_stack_alloc", "stackAlloc")
ALIGNMENT = 16  # of what the stack gives
LEAST_STACK = 65536  # bytes that emscripten's linker gives a stack which does not tell


@attrs.frozen
class Stack:
    """Name the functions of a guest's own stack; ``tells`` where one says how much of it is left."""

    save: str
    allocate: str
    restore: str
    tells: bool


@attrs.frozen
class Ways:
    """Hold how texts get into a guest's memory by pointers of so many bits: from its heap, or on its stack."""

    bits: int
    allocates: bool
    frees: bool
    stack: Stack | None


def ways_of(shape: Shape, pointer: str) -> Ways:
    """Return how texts get into the memory of a guest with pointers of a type."""
    gives, takes = FunctionType((pointer,), (pointer,)), FunctionType((pointer,), ())
    tells = FunctionType((), (pointer,))
    save, allocate, restore = (first_of(shape, names) for names in (SAVE, STACK_ALLOC, RESTORE))
    wanted = {save: tells, allocate: gives, restore: takes}
    has_stack = all(shape.function(name) == kind for name, kind in wanted.items())
    stack = Stack(save, allocate, restore, shape.function(STACK_FREE) == tells)
    return Ways(
        bits=32 if pointer == "i32" else 64,
        allocates=shape.function(MALLOC) == gives,
        frees=shape.function(FREE) == takes,
        stack=stack if has_stack else None,
    )


def call_with_texts(instance: Instance, call: Call, ways: Ways) -> bytes:
    """Call a function with texts as pointers and return the text it points to.

    They lie in memory from the guest's ``malloc`` and are freed after. A guest that cannot free takes
    them on its stack, where half of what is left of it, or of the least that it is, is enough, and else in one
    buffer from its ``malloc`` that is used again: it would lose them at every call. One without a stack is asked
    each time: its heap may begin anew at each call.
    """
    texts = [_terminated(text) for text in call.texts]
    frees = ways.allocates and ways.frees
    if not frees and ways.stack is not None and _holds(instance, ways.stack, texts):
        return _on_stack(instance, call, texts, ways.stack)
    if not ways.allocates:
        raise GuestError("refused", "the image exports neither malloc nor a stack that takes the parameters")
    if not frees and ways.stack is not None:
        return _reply(instance, call, _in_buffer(instance, texts, ways.bits))
    addresses = _allocated(instance, MALLOC, texts)
    reply = _reply(instance, call, addresses)
    for address in addresses if frees else ():
        instance.call(FREE, address)
    return reply


def _on_stack(instance: Instance, call: Call, texts: Sequence[bytes], stack: Stack) -> bytes:
    saved = instance.call(stack.save)
    reply = _reply(instance, call, _allocated(instance, stack.allocate, texts))
    instance.call(stack.restore, *saved)
    return reply


def _holds(instance: Instance, stack: Stack, texts: Sequence[bytes]) -> bool:
    left = instance.call(STACK_FREE)[0] if stack.tells else LEAST_STACK
    return bool(sum([len(text) + ALIGNMENT for text in texts]) <= left // 2)


def _in_buffer(instance: Instance, texts: Sequence[bytes], bits: int) -> list[int | float]:
    """Lay texts one after the other; the buffer at least doubles, so those it had before are no larger together."""
    address, size = instance.buffer
    ends = list(accumulate([len(text) + -len(text) % ALIGNMENT for text in texts]))
    if ends[-1] > size:
        (address,) = instance.call(MALLOC, max(ends[-1], 2 * size))
        size = max(ends[-1], 2 * size) if address else ends[-1]
        address = (address or _given(instance, MALLOC, size)) % (1 << bits)
        instance.buffer = address, size
    half = 1 << (bits - 1)
    addresses: list[int | float] = []
    assert instance.window is not None
    for start, text in zip((0, *ends), texts, strict=False):
        instance.window.write(address + start, text)
        addresses.append((address + start + half) % (2 * half) - half)
    return addresses


def _allocated(instance: Instance, allocator: str, texts: Sequence[bytes]) -> list[int | float]:
    addresses: list[int | float] = []
    assert instance.window is not None
    for text in texts:
        address = _given(instance, allocator, len(text))
        instance.window.write(address, text)
        addresses.append(address)
    return addresses


def _given(instance: Instance, allocator: str, size: int) -> int:
    (address,) = instance.call(allocator, size)
    if address == 0:
        raise GuestError("memory-limit", f"the guest has no {size} bytes left for its parameters")
    return int(address)


def _reply(instance: Instance, call: Call, addresses: Sequence[int | float]) -> bytes:
    pointers = iter(addresses)
    parameters = [next(pointers) if isinstance(given, str | bytes) else given for given in call.parameters]
    (address,) = instance.call(call.function, *parameters)
    assert instance.window is not None
    found = instance.window.text(address)
    if found is None:
        raise GuestError("guest", "the guest answered with a pointer to no NUL-terminated text")
    return found


def _terminated(parameter: str | bytes) -> bytes:
    content = parameter.encode() if isinstance(parameter, str) else parameter
    return content + b"\0"
