"""Bare wasmtime: the AOS images without any of ours around the call; what our whole stack is held against.

The image is prepared as ours is and its imports are answered by the same modules around it. What is left out is
everything else: messages, stages, states, snapshots, hashes, the store. A message is two texts that are there
already, put on the guest's stack; the answer is read as bytes, and nothing is done with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import wasmtime

from procession.ids import hash_id
from procession.messages import Message
from procession.schedules import Assignment
from procession_json_iface.requests import message_json, process_json
from procession_wasm import binary, images
from procession_wasm.compiler import configured
from procession_wasm.direct import Entry, Gate
from procession_wasm.images import Image
from procession_wasm.legacy import modernised
from procession_wasm.linking import Links, links_of
from procession_wasm.wasi import WasiStage
from procession_wasm.watches import Watch

PROCESS = "Process-000000000000000000000000000000000_A"
FUEL = 10_000_000_000
TICKS = 1 << 40
SEED = {"type": "Process", "device": "process@1.0", "random-seed": "bench"}

Handle = Callable[[bytes, bytes], bytes]
Evaluate = Callable[[Mapping[str, Any]], bytes]


@contextmanager
def bare(module: Path, definition: Mapping[str, Any], *, metered: bool) -> Iterator[Evaluate]:
    """Start an image of AOS for a process, and yield what evaluates a message by it.

    ``metered`` runs it with fuel, epochs and canonical NaN as ours does, else the engine is as it comes. The texts
    are those that json-iface@1.0 makes of the same process; that of a message is made when it is another one.
    """
    engine = wasmtime.Engine(_configured(metered=metered))
    content = module.read_bytes()
    image_id = hash_id(content)
    content = modernised(content) or content
    shape = binary.shape_of(content)
    image = Image("bench", Watch(engine), wasmtime.Module(engine, binary.opened(content, shape)), shape)
    store = wasmtime.Store(engine)
    handle = _handle(image, links_of(image, WasiStage().answer), store, metered=metered)
    defined = Message({**SEED, **definition, "image": image_id})
    process = process_json(PROCESS, defined, image_id).encode() + b"\0"
    handle(_text(defined, 0, defined), process)
    texts: list[tuple[Mapping[str, Any], bytes]] = []

    def evaluate(message: Mapping[str, Any]) -> bytes:
        if not texts or texts[0][0] is not message:
            texts[:] = [(message, _text(Message(message), 1, defined))]
        return handle(texts[0][1], process)

    try:
        yield evaluate
    finally:
        store.close()


def _text(message: Message, slot: int, definition: Message) -> bytes:
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
    return message_json(assigned, definition, definition["image"]).encode() + b"\0"


def _configured(*, metered: bool) -> wasmtime.Config:
    if metered:
        return configured(wasmtime.Config(), images.ASKED)
    config = wasmtime.Config()
    config.wasm_memory64 = config.wasm_exceptions = True  # without which the images do not load
    return config


def _handle(image: Image, links: Links, store: wasmtime.Store, *, metered: bool) -> Handle:
    gate = Gate(store)
    if metered:
        gate.fuel = FUEL
        store.set_epoch_deadline(TICKS)
    exports = _linked(image, links, store)
    memory = exports[f"{binary.RESERVED}memory"]
    assert isinstance(memory, wasmtime.Memory)
    window = gate.memory(memory, wide=True)
    for name in ("emscripten_stack_init", "__wasm_call_ctors"):
        if image.shape.function(name):
            _entry(gate, image, exports, name)()
    names = ("emscripten_stack_get_current", "_emscripten_stack_alloc", "handle", "_emscripten_stack_restore")
    save, allocate, call, restore = (_entry(gate, image, exports, name) for name in names)

    def handle(message: bytes, process: bytes) -> bytes:
        if metered:
            gate.fuel = FUEL
        (saved,) = save()
        (one,), (other,) = allocate(len(message)), allocate(len(process))
        window.write(one, message)
        window.write(other, process)
        (found,) = call(one, other)
        restore(saved)
        reply = window.text(found)
        assert reply is not None
        return reply

    return handle


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
