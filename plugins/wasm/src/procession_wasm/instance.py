"""Instance: one running guest, its memory, its mutable globals, and its calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import wasmtime

from procession.messages import Message
from procession.roles import FunctionType
from procession.schedules import Assignment
from procession_wasm import shims
from procession_wasm.binary import RESERVED
from procession_wasm.crossing import Crossing
from procession_wasm.faults import fault_of
from procession_wasm.guest import Guest
from procession_wasm.images import TABLE_ELEMENTS, Image
from procession_wasm.linking import Links
from procession_wasm.memory import LinearMemory
from procession_wasm.watches import Allowance

Extern: TypeAlias = (
    "wasmtime.Func | wasmtime.Table | wasmtime.Memory | wasmtime.SharedMemory | wasmtime.Global | wasmtime.Tag"
)
Exports: TypeAlias = Mapping[str, Extern]

STACK_INIT = "emscripten_stack_init"
START = f"{RESERVED}start"
INITIALIZE = "_initialize"  # of a WASI reactor: it calls the constructors itself
CONSTRUCTORS = "__wasm_call_ctors"

_OWN_FUEL = 1_000_000  # for what is not the guest's doing
_BITS = (1 << 64) - 1
_PLAIN = FunctionType((), ())


class Instance:
    """Run an image with the answers to its imports, up to a memory limit in bytes.

    Raises GuestError where the module's own data or elements do not fit.
    """

    def __init__(self, image: Image, links: Links, memory_limit: int) -> None:
        self.image = image
        self.memory: LinearMemory | None = None
        self._store = wasmtime.Store(image.engine)
        self._store.set_limits(memory_size=memory_limit, table_elements=TABLE_ELEMENTS)
        self._store.set_fuel(_OWN_FUEL)  # the engine takes some to link
        self._guest = Guest()
        self._crossing = Crossing(self._store, self._guest)
        self._crossing.watch()
        try:
            self._exports, self._ledger = self._linked(links)
        except (wasmtime.Trap, wasmtime.WasmtimeError) as stopped:
            self.close()
            fault = fault_of(stopped, growth_refused=False)
            if fault is None:
                raise
            raise fault from None
        if image.memory is not None:
            memory = self._exports[f"{RESERVED}memory"]
            assert isinstance(memory, wasmtime.Memory)
            self.memory = LinearMemory(self._store, memory, limits=image.memory, limit=memory_limit)
            self._guest.memory = self.memory

    def enter(self, state: Message, assignment: Assignment, *, fuel: int, allowance: Allowance) -> None:
        """Begin a slot: what imports will see, and what may be spent."""
        self._guest.enter(state, assignment, fuel)
        self._guest.allowance = allowance
        self._store.set_fuel(fuel)
        if self.memory is not None:
            self.memory.growth_refused = False

    def leave(self) -> None:
        """End the guest's own work: what the host does with it after takes none of its time."""
        self._guest.allowance = None

    @property
    def state(self) -> Message:
        """Return the state of the slot as imports left it."""
        return self._guest.state

    def boot(self) -> None:
        """Start the guest as the glue of its compiler would."""
        shape = self.image.shape
        known = {name for name in (STACK_INIT, INITIALIZE, CONSTRUCTORS) if shape.function(name) == _PLAIN}
        for name in (STACK_INIT, START, INITIALIZE if INITIALIZE in known else CONSTRUCTORS):
            if name in known or (name == START and shape.start is not None):
                self.call(name)

    def call(self, name: str, *arguments: int | float) -> tuple[int | float, ...]:
        """Call an exported function of numeric type.

        Raises GuestError where the guest failed, and what a host function raised as it was.
        """
        function = self._exports[name]
        assert isinstance(function, wasmtime.Func)
        try:
            result = function(self._store, *arguments)
        except (wasmtime.Trap, wasmtime.WasmtimeError) as stopped:
            raised = self._crossing.take_raised()
            if raised is not None:
                raise raised from None
            refused = self.memory is not None and self.memory.growth_refused
            fault = fault_of(stopped, growth_refused=refused)
            if fault is None:
                raise
            raise fault from None
        if result is None:
            return ()
        return tuple(result) if isinstance(result, list) else (result,)

    @property
    def size(self) -> int:
        """Return the size of the memory in bytes."""
        return self.memory.size if self.memory else 0

    @property
    def globals(self) -> tuple[int, ...]:
        """Return the bits of the mutable globals: a lane of 64 bits each, two for a vector."""
        return tuple(value & _BITS for value in self._ledger_call("read"))

    def set_globals(self, lanes: Sequence[int]) -> None:
        """Overwrite the mutable globals."""
        self._ledger_call("write", *(lane - (1 << 64) if lane >> 63 else lane for lane in lanes))

    def close(self) -> None:
        """Give back the memory, then the host functions that it might have called."""
        self._store.close()
        self._crossing.close()

    def _linked(self, links: Links) -> tuple[Exports, Exports]:
        front = wasmtime.Instance(self._store, links.front, []).exports(self._store)
        imports: list[wasmtime.Func] = []
        for wanted, answer in zip(self.image.shape.imports, links.answers, strict=True):
            if isinstance(answer, int):
                found = front[str(answer)]
                assert isinstance(found, wasmtime.Func)
                imports.append(found)
            else:
                assert wanted.type is not None
                imports.append(self._crossing.function(answer, wanted.type))
        guest = wasmtime.Instance(self._store, self.image.module, imports).exports(self._store)
        return guest, self._ledger_of(links, front, guest)

    def _ledger_of(self, links: Links, front: Exports, guest: Exports) -> Exports:
        caught = links.throwing
        wanted: list[Extern] = []
        if caught:
            wanted += [front["late"], front["jump"]]
            wanted += [guest[name] for name in (shims.TABLE, shims.SET_THREW, caught.save, caught.restore)]
        wanted += [guest[f"{RESERVED}global:{index}"] for index, _ in self.image.shape.mutable_globals()]
        return wasmtime.Instance(self._store, links.back, wanted).exports(self._store)

    def _ledger_call(self, name: str, *lanes: int) -> list[int]:
        function = self._ledger[name]
        assert isinstance(function, wasmtime.Func)
        self._store.set_fuel(_OWN_FUEL)
        values = function(self._store, *lanes)
        if values is None:
            return []
        return values if isinstance(values, list) else [values]
