"""Texts: passing NUL-terminated bytes into a guest and taking one back."""

from __future__ import annotations

from collections.abc import Sequence

from procession.roles import FunctionType
from procession_wasm.calls import Call
from procession_wasm.faults import GuestError
from procession_wasm.instance import Instance
from procession_wasm.shims import RESTORE, SAVE, first_of

MALLOC = "malloc"
FREE = "free"
STACK_FREE = "emscripten_stack_get_free"
STACK_ALLOC = ("_emscripten_stack_alloc", "stackAlloc")
ALIGNMENT = 16  # of what the stack gives


def call_with_texts(instance: Instance, call: Call) -> bytes:
    """Call a function with texts as pointers and return the text it points to.

    They lie in memory from the guest's ``malloc`` and are freed after. A guest that cannot free takes
    them on its stack, where half of what is left of it is enough: it would lose them at every call.
    """
    texts = [_terminated(text) for text in call.texts]
    shape, (pointer,) = instance.image.shape, call.kind.results
    allocates = shape.function(MALLOC) == FunctionType((pointer,), (pointer,))
    frees = shape.function(FREE) == FunctionType((pointer,), ())
    if not (allocates and frees) and _stack_holds(instance, pointer, sum(len(text) + ALIGNMENT for text in texts)):
        return _on_stack(instance, call, texts)
    if not allocates:
        raise GuestError("refused", "the image exports neither malloc nor a stack that takes the parameters")
    addresses = _allocated(instance, MALLOC, texts)
    reply = _reply(instance, call, addresses)
    for address in addresses if frees else ():
        instance.call(FREE, address)
    return reply


def _on_stack(instance: Instance, call: Call, texts: Sequence[bytes]) -> bytes:
    shape = instance.image.shape
    saved = instance.call(first_of(shape, SAVE))
    reply = _reply(instance, call, _allocated(instance, first_of(shape, STACK_ALLOC), texts))
    instance.call(first_of(shape, RESTORE), *saved)
    return reply


def _stack_holds(instance: Instance, pointer: str, size: int) -> bool:
    shape = instance.image.shape
    wanted = {
        STACK_FREE: FunctionType((), (pointer,)),
        first_of(shape, SAVE): FunctionType((), (pointer,)),
        first_of(shape, RESTORE): FunctionType((pointer,), ()),
        first_of(shape, STACK_ALLOC): FunctionType((pointer,), (pointer,)),
    }
    if any(shape.function(name) != kind for name, kind in wanted.items()):
        return False
    (free,) = instance.call(STACK_FREE)
    return bool(size <= free // 2)


def _allocated(instance: Instance, allocator: str, texts: Sequence[bytes]) -> list[int | float]:
    addresses: list[int | float] = []
    assert instance.memory is not None
    for text in texts:
        (address,) = instance.call(allocator, len(text))
        if address == 0:
            raise GuestError("memory-limit", f"the guest has no {len(text)} bytes left for its parameters")
        instance.memory.write(int(address), text)
        addresses.append(address)
    return addresses


def _reply(instance: Instance, call: Call, addresses: Sequence[int | float]) -> bytes:
    pointers = iter(addresses)
    parameters = [next(pointers) if isinstance(given, str | bytes) else given for given in call.parameters]
    (address,) = instance.call(call.function, *parameters)
    assert instance.memory is not None
    return instance.memory.text(int(address))


def _terminated(parameter: str | bytes) -> bytes:
    content = parameter.encode() if isinstance(parameter, str) else parameter
    return content + b"\0"
