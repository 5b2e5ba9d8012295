"""Faults: how a guest fails, in our words.

Rules
-----
* A fault follows from the guest and its input alone; it becomes a recorded failure.
* Its text is ours and holds the name of the trap, never an engine's message or backtrace.
"""

from __future__ import annotations

from wasmtime import Trap, WasmtimeError

from procession.roles import Fail

_KINDS = {"STACK_OVERFLOW": "stack-overflow", "OUT_OF_FUEL": "out-of-fuel", "ALLOCATION_TOO_LARGE": "memory-limit"}
_TEXTS = {
    "STACK_OVERFLOW": "the guest's calls nested too deeply",
    "OUT_OF_FUEL": "the guest spent its fuel",
    "MEMORY_OUT_OF_BOUNDS": "the guest reached outside of its memory",
    "TABLE_OUT_OF_BOUNDS": "the guest reached outside of a table",
    "INDIRECT_CALL_TO_NULL": "the guest called an empty entry of a table",
    "BAD_SIGNATURE": "the guest called a table entry as another type of function",
    "INTEGER_OVERFLOW": "the guest overflowed an integer",
    "INTEGER_DIVISION_BY_ZERO": "the guest divided by zero",
    "BAD_CONVERSION_TO_INTEGER": "the guest converted a float that is no such integer",
    "UNREACHABLE": "the guest gave up",
}


_WANTS = ("GC heap out of memory", "(os error 12)")  # how the engine says that it gets none for exceptions, or at all


class GuestError(Exception):
    """Stop the guest for a reason of its own, with a kind of FAILURE_KINDS."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text

    def as_failure(self) -> Fail:
        """Return the verdict that records the fault."""
        return Fail(self.kind, self.text)


def out_of_bounds(address: int, size: int) -> GuestError:
    """Return the fault of a pointer, given to an import, that leaves the memory."""
    return GuestError("trap", f"the guest gave an import {size} bytes at {address}, outside of its memory")


def fault_of(stopped: Trap | WasmtimeError, *, growth_refused: bool) -> GuestError | None:
    """Return what stopped a guest, None where that was not its own doing.

    A trap after a refused growth counts as the memory limit; one without a code is an exception
    that no code of the guest caught.
    """
    if not isinstance(stopped, Trap):
        return None
    name = _name_of(stopped)
    if growth_refused and name not in _KINDS:
        return GuestError("memory-limit", f"the guest gave up after its memory limit refused a growth ({_shown(name)})")
    text = _TEXTS.get(name, "the guest trapped")
    return GuestError(_KINDS.get(name, "trap"), f"{text} ({_shown(name)})")


def is_want_of_room(stopped: Trap | WasmtimeError) -> bool:
    """Tell whether this host has no memory left: the limit of a guest is beyond the exceptions that it can keep."""
    return not isinstance(stopped, Trap) and any(want in str(stopped) for want in _WANTS)


def _name_of(trap: Trap) -> str:
    try:
        code = trap.trap_code
    except ValueError:
        return "UNKNOWN"
    return code.name if code is not None else "UNCAUGHT_EXCEPTION"


def _shown(name: str) -> str:
    return name.lower().replace("_", "-")
