"""Bare wasmtime: the AOS images without any of ours around the call; what our whole stack is held against.

The image is prepared as ours is and its imports are answered by the same modules around it. What is left out is
everything else: messages, stages, states, snapshots, hashes, the store. A message is two texts that are there
already, put on the guest's stack; the answer is read as bytes, and nothing is done with it.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import wasmtime

from aos.module import aos_module
from procession.messages import Message
from procession.schedules import Assignment
from procession_json_iface.requests import message_json, process_json
from procession_wasm import binary, images
from procession_wasm.compiler import configured
from procession_wasm.direct import Entry, Gate, Window
from procession_wasm.images import Image
from procession_wasm.linking import Links, links_of
from procession_wasm.wasi import WasiStage
from procession_wasm.watches import Watch

PROCESS = "Process-000000000000000000000000000000000_A"
FUEL = 10_000_000_000
TICKS = 1 << 40
DEFINITION = Message({"type": "Process", "name": "bench", "device": "process@1.0"})

Handle = Callable[[bytes, bytes], bytes]


def bare_aos(folder: Path, scale: float) -> float:
    """AOS 2.0.6 evaluates `1 + 1` in bare wasmtime, metered and bounded as ours is: messages a second."""
    return rate(aos_module().read_bytes(), int(300 * scale), metered=True)


def bare_aos_default(folder: Path, scale: float) -> float:
    """AOS 2.0.6 evaluates `1 + 1` in bare wasmtime, as it comes, without fuel or epochs: messages a second."""
    return rate(aos_module().read_bytes(), int(300 * scale), metered=False)


def rate(content: bytes, count: int, *, metered: bool) -> float:
    """Return how many messages a second an image of AOS evaluates, warm."""
    handle, process = _opened(content, metered=metered), process_json(PROCESS, DEFINITION, "").encode()
    for slot in range(20):
        handle(_message(slot), process)
    messages = [_message(slot) for slot in range(20, 20 + count)]
    begun = time.perf_counter()
    for message in messages:
        reply = handle(message, process)
    seconds = time.perf_counter() - begun
    assert b'"ok":true' in reply
    assert b'"2"' in reply, reply
    return count / seconds


def _message(slot: int) -> bytes:
    message = Message({"action": "Eval", "data": "1 + 1"}) if slot else DEFINITION
    assigned = Assignment(
        process=PROCESS,
        slot=slot,
        timestamp=1_700_000_000_000 + slot,
        block_height=1000,
        path="compute",
        message_id=message.id,
        chain=bytes(32),
        message=message,
    )
    return message_json(assigned, DEFINITION, "").encode()


def _opened(content: bytes, *, metered: bool) -> Handle:
    engine = wasmtime.Engine(_configured(metered=metered))
    shape = binary.shape_of(content)
    module = wasmtime.Module(engine, binary.opened(content, shape))
    image = Image("bench", Watch(engine), module, shape)
    return _handle(image, links_of(image, WasiStage().answer), metered=metered)


def _configured(*, metered: bool) -> wasmtime.Config:
    if metered:
        return configured(wasmtime.Config(), images.ASKED)
    config = wasmtime.Config()
    config.wasm_memory64 = config.wasm_exceptions = True  # without which the images do not load
    return config


def _handle(image: Image, links: Links, *, metered: bool) -> Handle:
    store = wasmtime.Store(image.engine)
    gate = Gate(store)
    if metered:
        gate.fuel = FUEL
        store.set_epoch_deadline(TICKS)
    exports = _linked(image, links, store)
    memory = exports[f"{binary.RESERVED}memory"]
    assert isinstance(memory, wasmtime.Memory)
    window = gate.memory(memory)
    for name in ("emscripten_stack_init", "__wasm_call_ctors"):
        if image.shape.function(name):
            _entry(gate, image, exports, name)()
    names = ("emscripten_stack_get_current", "_emscripten_stack_alloc", "handle", "_emscripten_stack_restore")
    save, allocate, call, restore = (_entry(gate, image, exports, name) for name in names)

    def handle(message: bytes, process: bytes) -> bytes:
        if metered:
            gate.fuel = FUEL
        (saved,) = save()
        (one,), (other,) = allocate(len(message) + 1), allocate(len(process) + 1)
        base, _ = window()
        ctypes.memmove(base + one, message, len(message) + 1)  # Python's bytes end with a NUL
        ctypes.memmove(base + other, process, len(process) + 1)
        (found,) = call(one, other)
        restore(saved)
        return _text(window, found)

    return handle


def _text(window: Window, pointer: int) -> bytes:
    base, _ = window()
    return ctypes.string_at(base + pointer)


def _entry(gate: Gate, image: Image, exports: Any, name: str) -> Entry:
    kind = image.shape.function(name)
    assert kind is not None
    return gate.function(exports[name], kind)


def _linked(image: Image, links: Links, store: wasmtime.Store) -> Any:
    front = wasmtime.Instance(store, links.front, []).exports(store)
    imports: Sequence[Any] = [
        front[str(answer)] if isinstance(answer, int) else _unused(store, wanted)
        for wanted, answer in zip(image.shape.imports, links.answers, strict=True)
    ]
    guest = wasmtime.Instance(store, image.module, imports).exports(store)
    wasmtime.Instance(store, links.back, [(front if owner == "front" else guest)[name] for owner, name in links.behind])
    front["limit"](store, 1 << 16)  # type: ignore[operator] # it is a function
    return guest


def _unused(store: wasmtime.Store, wanted: binary.Import) -> wasmtime.Func:
    assert wanted.type is not None
    types = [[getattr(wasmtime.ValType, one)() for one in names] for names in (wanted.type.params, wanted.type.results)]

    def refuse(*given: Any) -> Any:
        raise AssertionError(f"{wanted.name} was called: the message path crosses into Python")

    return wasmtime.Func(store, wasmtime.FuncType(*types), refuse)
