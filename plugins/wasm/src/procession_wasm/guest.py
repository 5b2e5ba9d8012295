"""Guest: what an import may touch of the module that calls it."""

from __future__ import annotations

from procession.messages import Message
from procession.roles import Guest as GuestRole
from procession.schedules import Assignment
from procession_wasm.faults import GuestError, out_of_bounds
from procession_wasm.memory import LinearMemory
from procession_wasm.watches import Allowance

CALL_FUEL = 10_000  # of a host call: about as many instructions take as long
BYTES_A_FUEL = 8  # moved by a host call


class Guest(GuestRole):
    """Lend an import the state, the assignment and the memory, and count what it costs.

    Host calls have a fuel of their own, as much as the slot has: the engine does not meter them.
    """

    state: Message
    assignment: Assignment

    def __init__(self) -> None:
        self.memory: LinearMemory | None = None
        self.allowance: Allowance | None = None
        self._left = 0

    def enter(self, state: Message, assignment: Assignment, fuel: int) -> None:
        """Begin a slot."""
        self.state, self.assignment, self._left = state, assignment, fuel

    def spend(self, fuel: int) -> None:
        """Count host work; GuestError when it is more than the slot has."""
        self._left -= fuel
        if self._left < 0:
            raise GuestError("out-of-fuel", "the guest spent its fuel (on imports)")

    def read(self, address: int, size: int) -> bytes:
        """Return bytes of the guest's memory."""
        memory = self._own_memory(address, size)
        content = memory.read(address, size)
        self.spend(len(content) // BYTES_A_FUEL)
        return content

    def write(self, address: int, content: bytes) -> None:
        """Write bytes into the guest's memory."""
        self.spend(len(content) // BYTES_A_FUEL)
        self._own_memory(address, len(content)).write(address, content)

    def grow(self, pages: int) -> bool:
        """Grow the memory by pages of 64 KiB; False where the limit is reached."""
        return self.memory is not None and self.memory.grow(pages)

    def size(self) -> int:
        """Return the size of the memory in bytes."""
        return self.memory.size if self.memory else 0

    def _own_memory(self, address: int, size: int) -> LinearMemory:
        if self.memory is None:
            raise out_of_bounds(address, size)
        return self.memory
