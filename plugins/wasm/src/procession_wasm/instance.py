"""Instance: one running guest, its memory, its mutable globals, and its calls."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import wasmtime

from procession.errors import ComputeError
from procession.messages import Message
from procession.roles import FunctionType
from procession.schedules import Assignment
from procession_wasm.binary import RESERVED
from procession_wasm.crossing import Crossing
from procession_wasm.direct import Entry, Gate, Window
from procession_wasm.faults import GuestError, fault_of, is_want_of_room
from procession_wasm.growth import FAILED, ROOM
from procession_wasm.guest import Guest
from procession_wasm.images import TABLE_ELEMENTS, Image
from procession_wasm.linking import Links
from procession_wasm.memory import LinearMemory
from procession_wasm.natives import CAPTURED, STREAMS
from procession_wasm.options import WASM_PAGE
from procession_wasm.shims import LEDGER_LANES, WRITTEN
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
_NARROW_PAGES = 65536  # the most that 32-bit addresses reach
_PLAIN = FunctionType((), ())
_NOTHING = bytes(8)  # sizes of two streams that nobody wrote to
_BY_THE_HOST = 2  # of a growth that failed


class Instance:
    """Run an image with the answers to its imports, up to a memory limit in bytes.

    Raises GuestError where the module's own data or elements do not fit.
    """

    def __init__(self, image: Image, links: Links, memory_limit: int) -> None:
        self.image = image
        self.memory: LinearMemory | None = None
        self.window: Window | None = None
        self.buffer = (0, 0)  # address and bytes of what the guest gave for texts that it cannot free
        self._links = links
        self._gate = Gate(wasmtime.Store(image.engine))
        self._gate.fuel = _OWN_FUEL  # the engine takes some to link
        self._guest = Guest()
        self._crossing = Crossing(self._gate.store, self._guest)
        self._crossing.watch(image.watch.keep_ticking)
        self._entries: dict[str, Entry] = {}
        try:
            self._front, self._exports, self._back = self._linked(memory_limit)
        except (wasmtime.Trap, wasmtime.WasmtimeError) as stopped:
            self.close()
            fault = _host_memory() if is_want_of_room(stopped) else fault_of(stopped, growth_refused=False)
            if fault is None:
                raise
            raise fault from None
        self._begin = self._made(self._front, "begin", ("i64", "f64"), ())
        self._grown = self._made(self._front, "grown", (), ("i32",))
        self._streams = self._window(self._front, "streams", wide=False) if links.finish else None
        lanes = ("i64",) * sum(LEDGER_LANES.get(kind, 1) for _, kind in image.shape.mutable_globals())
        self._read_globals = self._made(self._back, "read", (), lanes)
        self._write_globals = self._made(self._back, "write", lanes, ())
        if ROOM in self._exports:
            self._global(ROOM).set_value(self._gate.store, self._most_pages(memory_limit))
        if image.memory is not None:
            memory = self._exports[f"{RESERVED}memory"]
            assert isinstance(memory, wasmtime.Memory)
            self.window = self._window(self._exports, f"{RESERVED}memory", wide=image.memory.wide)
            self.memory = LinearMemory(self._gate.store, memory, limits=image.memory, limit=memory_limit)
            self._guest.memory = self.memory

    def enter(self, state: Message, assignment: Assignment, *, fuel: int, allowance: Allowance) -> None:
        """Begin a slot: what imports will see, and what may be spent."""
        self._guest.enter(state, assignment, fuel)
        nanoseconds = assignment.timestamp * 1_000_000 & _BITS
        self._gate.fuel = _OWN_FUEL
        self._begin(nanoseconds - (1 << 64) if nanoseconds >> 63 else nanoseconds, float(assignment.timestamp))
        self._gate.fuel = fuel
        heard = self._crossing.take_raised()  # Ctrl-C, while the host did something in the store
        if heard is not None:
            raise heard
        if self.memory is not None:
            self.memory.growth_refused = False
        self._guest.allowance = allowance  # last: nothing but the guest's own work is stopped by it

    def leave(self) -> None:
        """End the guest's own work: what the host does with it after takes none of its time."""
        self._guest.allowance = None

    @property
    def state(self) -> Message:
        """Return the state of the slot as imports left it, with what the guest has written."""
        state, finish, streams = self._guest.state, self._links.finish, self._streams
        if finish is None or streams is None:
            return state
        sizes = streams.read(WRITTEN, len(_NOTHING))
        return state if sizes == _NOTHING else finish(state, _pieces(streams, sizes))

    @property
    def fuel(self) -> int:
        """Return the fuel that is left of the slot's."""
        return self._gate.fuel

    def boot(self) -> None:
        """Start the guest as the glue of its compiler would."""
        shape = self.image.shape
        known = {name for name in (STACK_INIT, INITIALIZE, CONSTRUCTORS) if shape.function(name) == _PLAIN}
        for name in (STACK_INIT, START, INITIALIZE if INITIALIZE in known else CONSTRUCTORS):
            if name in known or (name == START and shape.start is not None):
                self.call(name)

    def call(self, name: str, *arguments: int | float) -> tuple[Any, ...]:
        """Call an exported function of numeric type.

        Raises GuestError where the guest failed, and what a host function raised as it was.
        """
        entry = self._entries.get(name) or self._entry(name)
        try:
            return entry(*arguments)
        except (wasmtime.Trap, wasmtime.WasmtimeError) as stopped:
            raised = self._crossing.take_raised() or self._fault(stopped)
            if raised is None:
                raise
            raise raised from None

    @property
    def size(self) -> int:
        """Return the size of the memory in bytes."""
        return self.memory.size if self.memory else 0

    @property
    def globals(self) -> tuple[int, ...]:
        """Return the bits of the mutable globals: a lane of 64 bits each, two for a vector."""
        self._gate.fuel = _OWN_FUEL
        return tuple([value & _BITS for value in self._read_globals()])

    def set_globals(self, lanes: Sequence[int]) -> None:
        """Overwrite the mutable globals."""
        self._gate.fuel = _OWN_FUEL
        self._write_globals(*(lane - (1 << 64) if lane >> 63 else lane for lane in lanes))

    def close(self) -> None:
        """Give back the memory, then the host functions that it might have called."""
        self._gate.close()
        self._crossing.close()

    def _has_failed(self) -> bool:
        """Tell whether the guest's own growth failed for want of this host's memory, and forget it."""
        failed = FAILED in self._exports and bool(self._global(FAILED).value(self._gate.store))
        if failed:
            self._global(FAILED).set_value(self._gate.store, 0)
        return failed

    def _global(self, name: str) -> wasmtime.Global:
        found = self._exports[name]
        assert isinstance(found, wasmtime.Global)
        return found

    def _linked(self, memory_limit: int) -> tuple[Exports, Exports, Exports]:
        store, links, shape = self._gate.store, self._links, self.image.shape
        front = wasmtime.Instance(store, links.front, []).exports(store)
        store.set_limits(memory_size=memory_limit, table_elements=TABLE_ELEMENTS)  # of the guest's own
        imports: list[Any] = []
        for wanted, answer in zip(shape.imports, links.answers, strict=True):
            assert wanted.type is not None
            made = front[str(answer)] if isinstance(answer, int) else self._crossing.function(answer, wanted.type)
            imports.append(made)
        guest = wasmtime.Instance(store, self.image.module, imports).exports(store)
        behind: list[Any] = [(front if owner == "front" else guest)[name] for owner, name in links.behind]
        self._made(front, "limit", ("i64",), ())(self._most_pages(memory_limit))
        return front, guest, wasmtime.Instance(store, links.back, behind).exports(store)

    def _most_pages(self, memory_limit: int) -> int:
        limits = self.image.memory
        declared = _NARROW_PAGES if limits is None or not limits.wide else memory_limit
        return min(memory_limit // WASM_PAGE, declared if limits is None or limits.maximum is None else limits.maximum)

    def _made(self, exports: Exports, name: str, params: Sequence[str], results: Sequence[str]) -> Entry:
        """Return an entry of a module that was generated here."""
        function = exports[name]
        assert isinstance(function, wasmtime.Func)
        return self._gate.function(function, FunctionType(tuple(params), tuple(results)), brief=True)

    def _entry(self, name: str) -> Entry:
        function, kind = self._exports[name], _PLAIN if name == START else self.image.shape.function(name)
        assert isinstance(function, wasmtime.Func)
        assert kind is not None
        self._entries[name] = self._gate.function(function, kind)
        return self._entries[name]

    def _window(self, exports: Exports, name: str, *, wide: bool) -> Window:
        memory = exports[name]
        assert isinstance(memory, wasmtime.Memory)
        return self._gate.memory(memory, wide=wide)

    def _fault(self, stopped: wasmtime.Trap | wasmtime.WasmtimeError) -> GuestError | ComputeError | None:
        self.leave()
        self._gate.fuel = _OWN_FUEL
        (grown,) = self._grown()
        if grown == _BY_THE_HOST or self._has_failed() or is_want_of_room(stopped):
            return _host_memory()
        refused = bool(grown) or (self.memory is not None and self.memory.growth_refused)
        return fault_of(stopped, growth_refused=refused)


def _host_memory() -> ComputeError:
    return ComputeError("this host has no memory left for a guest", kind="host-memory")


def _pieces(streams: Window, sizes: bytes) -> dict[int, bytes]:
    pieces = zip(STREAMS, struct.unpack("<2I", sizes), strict=True)
    return {one: streams.read((one - 1) * CAPTURED, size) for one, size in pieces if size}
