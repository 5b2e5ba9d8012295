"""Direct: functions of a guest called through the engine's C interface, without the checks of its Python one.

A call takes 1 us instead of 35. What makes it safe is held here and nowhere else: types are compared once,
when a function is taken, and arguments are packed by them; a gate that is closed lets nothing through, so
no pointer of a store outlives it; where a memory lies is asked anew each time.

Rules
-----
* Calls of foreign code give up Python's lock, so that the epochs go on; those of code that is made here keep it.
* One thread at a time is inside of a store.
"""

from __future__ import annotations

import ctypes
import struct
from ctypes import c_size_t, c_uint64, c_void_p
from typing import Any, NoReturn

import wasmtime
from wasmtime import _ffi as ffi

from procession.roles import FunctionType
from procession_wasm.faults import out_of_bounds

_LANES = {"i32": "i12x", "i64": "q8x", "f32": "f12x", "f64": "d8x"}  # of wasmtime_val_raw_t, 16 bytes each
_LANE = 16
_CLOSED = "the guest is closed: nothing of it can be reached any more"

_CALL = ("wasmtime_func_call_unchecked", c_void_p, [c_void_p, c_void_p, c_void_p, c_size_t, c_void_p])
_SET_FUEL = ("wasmtime_context_set_fuel", c_void_p, [c_void_p, c_uint64])
_GET_FUEL = ("wasmtime_context_get_fuel", c_void_p, [c_void_p, c_void_p])
_ADDRESS = ("wasmtime_memory_data", c_void_p, [c_void_p, c_void_p])
_SIZE = ("wasmtime_memory_data_size", c_size_t, [c_void_p, c_void_p])


def _bound(library: ctypes.CDLL, declared: tuple[str, Any, list[Any]]) -> Any:
    name, result, arguments = declared
    function = library[name]  # by item: an object of its own, with types of its own
    function.restype, function.argtypes = result, arguments
    return function


_LIBRARY = ffi.dll._name
_call_freely = _bound(ctypes.CDLL(_LIBRARY), _CALL)
_call_briefly, _set_fuel, _get_fuel, _address, _size = (
    _bound(ctypes.PyDLL(_LIBRARY), declared) for declared in (_CALL, _SET_FUEL, _GET_FUEL, _ADDRESS, _SIZE)
)
_find = _bound(ctypes.CDLL(None), ("memchr", c_void_p, [c_void_p, ctypes.c_int, c_size_t]))


class Gate:
    """Own a store, and hold the only way into it."""

    def __init__(self, store: wasmtime.Store) -> None:
        self.store = store
        self.context = ctypes.cast(store._context(), c_void_p).value
        self.trap = c_void_p()
        self.trap_address = ctypes.addressof(self.trap)
        self._fuel = c_uint64()

    def function(self, function: wasmtime.Func, kind: FunctionType, *, brief: bool = False) -> Entry:
        """Return the entry of a function; TypeError where it is of another type.

        ``brief`` is for what is made here and known to end at once.
        """
        found = function.type(self.store)
        declared = FunctionType(*(tuple([str(one) for one in types]) for types in (found.params, found.results)))
        if declared != kind:
            raise TypeError(f"a function of type {declared}, where {kind} is called")
        return Entry(self, function, kind, brief=brief)

    def memory(self, memory: wasmtime.Memory, *, wide: bool) -> Window:
        """Return the window on a memory; ``wide`` where its addresses are of 64 bits."""
        return Window(self, memory, wide=wide)

    @property
    def fuel(self) -> int:
        """Return the fuel that is left."""
        self.check()
        error = _get_fuel(self.context, ctypes.addressof(self._fuel))
        if error:
            raise _error(error)
        return self._fuel.value

    @fuel.setter
    def fuel(self, fuel: int) -> None:
        self.check()
        error = _set_fuel(self.context, fuel)
        if error:
            raise _error(error)

    def check(self) -> None:
        """Raise ValueError where the store is closed."""
        if self.context is None:
            raise ValueError(_CLOSED)

    def close(self) -> None:
        """Give the store back; whatever was taken of it is of no use from here on."""
        self.context = None
        self.store.close()

    def raise_stopped(self, error: int | None) -> NoReturn:
        """Raise what ended a call: a wasmtime.Trap, or a WasmtimeError."""
        if error:
            raise _error(error)
        trap = ctypes.cast(self.trap, ctypes.POINTER(ffi.wasm_trap_t))
        self.trap.value = None
        raise wasmtime.Trap._from_ptr(trap)


def _error(address: int) -> wasmtime.WasmtimeError:
    return wasmtime.WasmtimeError._from_ptr(ctypes.cast(address, ctypes.POINTER(ffi.wasmtime_error_t)))


class Entry:
    """Call one function of numbers; the values of one call at a time lie in its buffer."""

    __slots__ = ("_address", "_call", "_count", "_function", "_gate", "_kept", "_pack", "_unpack", "_values")

    def __init__(self, gate: Gate, function: wasmtime.Func, kind: FunctionType, *, brief: bool) -> None:
        self._gate = gate
        self._kept = function
        self._function = ctypes.addressof(function._func)
        self._count = max(len(kind.params), len(kind.results), 1)
        self._values = (ctypes.c_char * (self._count * _LANE))()
        self._address = ctypes.addressof(self._values)
        self._pack = struct.Struct("<" + "".join(_LANES[one] for one in kind.params)).pack_into
        self._unpack = struct.Struct("<" + "".join(_LANES[one] for one in kind.results)).unpack_from
        self._call = _call_briefly if brief else _call_freely

    def __call__(self, *arguments: float) -> tuple[Any, ...]:
        """Return the results, integers signed; raises what ended the call."""
        gate, context = self._gate, self._gate.context
        if context is None:
            raise ValueError(_CLOSED)
        self._pack(self._values, 0, *arguments)
        error = self._call(context, self._function, self._address, self._count, gate.trap_address)
        if error or gate.trap.value:
            gate.raise_stopped(error)
        return self._unpack(self._values)


class Window:
    """Reach into a memory of a guest, where it lies now; addresses are signed and wrap at its width."""

    __slots__ = ("_gate", "_kept", "_mask", "_memory")

    def __init__(self, gate: Gate, memory: wasmtime.Memory, *, wide: bool) -> None:
        self._gate = gate
        self._kept = memory
        self._memory = ctypes.addressof(memory._memory)
        self._mask = (1 << 64) - 1 if wide else (1 << 32) - 1

    def write(self, address: int, content: bytes) -> None:
        """Write bytes; GuestError outside of the memory."""
        start, size = self._bounds()
        address &= self._mask
        if address + len(content) > size:
            raise out_of_bounds(address, len(content))
        ctypes.memmove(start + address, content, len(content))

    def read(self, address: int, size: int) -> bytes:
        """Return bytes; GuestError outside of the memory."""
        start, most = self._bounds()
        address &= self._mask
        if address + size > most:
            raise out_of_bounds(address, size)
        return ctypes.string_at(start + address, size)

    def text(self, address: int) -> bytes | None:
        """Return the bytes up to the next NUL; None where there is none."""
        start, size = self._bounds()
        first = start + (address & self._mask)
        left = start + size - first
        end = _find(first, 0, left) if left > 0 else None
        return None if end is None else ctypes.string_at(first, end - first)

    def _bounds(self) -> tuple[int, int]:
        """Return address and size in bytes, which hold until the guest is called again."""
        context = self._gate.context
        if context is None:
            raise ValueError(_CLOSED)
        return _address(context, self._memory) or 0, _size(context, self._memory)
