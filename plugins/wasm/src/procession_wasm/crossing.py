"""Crossing: host functions that a guest calls, through the engine's C interface.

wasmtime-py keeps the exception of a host function in one variable of the whole program, where another
thread's trap can pick it up. Here it stays with the instance whose guest made the call.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import wasmtime
from wasmtime import _ffi as ffi

from procession.roles import FunctionType, ImportFunction
from procession_wasm.guest import CALL_FUEL, Guest

_KINDS = {"i32": ffi.WASMTIME_I32, "i64": ffi.WASMTIME_I64, "f32": ffi.WASMTIME_F32, "f64": ffi.WASMTIME_F64}
_TYPES: dict[str, Callable[[], wasmtime.ValType]] = {
    "i32": wasmtime.ValType.i32,
    "i64": wasmtime.ValType.i64,
    "f32": wasmtime.ValType.f32,
    "f64": wasmtime.ValType.f64,
}
_NO_FINALIZER = ctypes.cast(0, ctypes.CFUNCTYPE(None, ctypes.c_void_p))
_STOPPED = b"the host stopped the guest"
_EPOCH_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_size_t,
    ctypes.POINTER(ffi.wasmtime_context_t),
    ctypes.c_void_p,
    ctypes.POINTER(ctypes.c_uint64),
    ctypes.POINTER(ctypes.c_uint8),
)


class Crossing:
    """Make host functions for one instance, and hold what the last of them raised."""

    def __init__(self, store: wasmtime.Store, guest: Guest) -> None:
        self._store = store
        self._guest = guest
        self._kept: list[object] = []  # C calls these as long as the store lives
        self._raised: BaseException | None = None

    def take_raised(self) -> BaseException | None:
        """Return what a host function raised since this was asked last."""
        raised, self._raised = self._raised, None
        return raised

    def function(self, answer: ImportFunction, kind: FunctionType) -> wasmtime.Func:
        """Return an import that calls a function with the guest and its arguments."""
        callback = ffi.wasmtime_func_callback_t(self._callback(answer, kind))
        self._kept.append(callback)
        params, results = ([_TYPES[name]() for name in names] for names in (kind.params, kind.results))
        declared = wasmtime.FuncType(params, results)
        made = ffi.wasmtime_func_t()
        context = self._store._context()
        ffi.wasmtime_func_new(context, declared.ptr(), callback, None, _NO_FINALIZER, ctypes.byref(made))
        return wasmtime.Func._from_raw(made)

    def watch(self, ticked: Callable[[], None]) -> None:
        """Have the guest look at its allowance whenever the engine's epoch went on, and say that it still runs."""
        callback = _EPOCH_CALLBACK(partial(self._epoch_callback, ticked))
        self._kept.append(callback)
        ffi.wasmtime_store_epoch_deadline_callback(self._store.ptr(), callback, None, _NO_FINALIZER)
        self._store.set_epoch_deadline(1)

    def close(self) -> None:
        """Forget the functions; the store must be closed before."""
        self._kept.clear()

    def _epoch_callback(self, ticked: Callable[[], None], *given: Any) -> int:
        delta = given[2]  # of (context, data, delta, kind)
        delta[0] = 1
        try:
            ticked()
            if self._guest.allowance is not None:
                self._guest.allowance.check()
        except BaseException as error:  # noqa: BLE001  # C takes no exception: it is raised where the guest was called
            self._raised = error
            return _error() if self._guest.allowance is not None else 0  # the host's own work goes on
        return 0

    def _callback(self, answer: ImportFunction, kind: FunctionType) -> Callable[..., int]:
        guest, params, result = self._guest, kind.params, kind.results[0] if kind.results else ""

        def callback(*given: Any) -> int:
            arguments, results = given[2], given[4]  # of (environment, caller, arguments, count, results, count)
            try:
                guest.spend(CALL_FUEL)
                values = [getattr(arguments[place].of, name) for place, name in enumerate(params)]
                value = answer(guest, *values)
                if result:
                    results[0].kind = _KINDS[result]
                    setattr(results[0].of, result, _converted(value, result))
            except BaseException as error:  # noqa: BLE001  # C takes no exception: it is raised where the guest was called
                self._raised = error
                return _trap()
            return 0

        return callback


def _converted(value: int | float | None, kind: str) -> int | float:
    if kind in ("i32", "i64") and isinstance(value, int):
        return value
    if kind in ("f32", "f64") and isinstance(value, int | float):
        return math.nan if value != value else float(value)
    raise TypeError(f"an import answered {value!r:.80} where the guest takes {kind}")


def _trap() -> int:
    trap = ffi.wasmtime_trap_new(ctypes.create_string_buffer(_STOPPED), len(_STOPPED))
    return ctypes.cast(trap, ctypes.c_void_p).value or 0


def _error() -> int:
    error = ffi.wasmtime_error_new(ctypes.create_string_buffer(_STOPPED))
    return ctypes.cast(error, ctypes.c_void_p).value or 0
