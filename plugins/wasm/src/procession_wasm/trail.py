"""Trail: a copy of a guest and the calls since, by which a slot that failed is undone.

A copy costs as much as a small call, so not every slot begins with one: a guest goes back to the last copy and
makes the calls since once more. They come to the same, since nothing but the guest and its assignments is in them.

Rules
-----
* A slot that fails costs no more than the slots before it did: after a failure every slot begins with a copy;
  the slots between two copies double as long as nothing fails, up to 64.
* Calls that together took longer than some copies are never made again: the next slot begins with a copy.
* A guest whose imports see or change anything else is copied before every slot.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from procession.errors import ComputeError
from procession.roles import Live
from procession.schedules import Assignment
from procession_wasm.calls import Call
from procession_wasm.images import Image
from procession_wasm.instance import Instance
from procession_wasm.mirror import Mirror
from procession_wasm.parts import Contents

MOST_SLOTS = 64  # between two copies
MOST_COST = 400_000_000  # of all calls since a copy, in fuel and bytes: less than a tenth of a second

Answer = bytes | tuple[int | float, ...]


@attrs.frozen
class Step:
    """Hold a call that ended well, and what it came to."""

    call: Call
    assignment: Assignment
    answer: Answer
    fuel: int

    @property
    def size(self) -> int:
        """Return the bytes that are kept of it."""
        return sum(map(len, self.call.texts)) + len(self.answer)

    def check(self, answer: Answer, fuel: int) -> None:
        """Raise ComputeError (kind ``replay``) where the same call came to something else."""
        if fuel != self.fuel or repr(answer) != repr(self.answer):  # NaN is unlike itself
            what = f"a call that is made again answers otherwise or takes {fuel} fuel, not {self.fuel}"
            raise ComputeError(what, remedy="the state is rebuilt from the schedule", kind="replay")


class Trail:
    """Follow one guest from slot to slot; ``repeatable`` says that its calls may be made again."""

    def __init__(self, image: Image, *, repeatable: bool) -> None:
        self._mirror = Mirror(image)
        self._most = MOST_SLOTS if repeatable else 1
        self._copied = False
        self._steps: list[Step] = []
        self._slots = 0  # that have steps
        self._cost = 0
        self._size = 0
        self._apart = 1  # slots from one copy to the next
        self._quiet = True  # nothing failed since the last copy
        self.slot: int | None = None  # the last that called the guest, and was not undone

    @property
    def size(self) -> int:
        """Return the bytes that are held."""
        return self._mirror.size + self._size

    def begin(self, instance: Instance, slot: int) -> None:
        """Make it possible to undo a slot, before the guest is called in it."""
        if slot == self.slot:
            return
        if not self._copied or self._slots >= self._apart or self._cost > MOST_COST:
            self._copy(instance)
        self.slot = slot

    def add(self, step: Step) -> None:
        """Keep a call that ended well."""
        if not self._steps or self._steps[-1].assignment.slot != step.assignment.slot:
            self._slots += 1
        self._steps.append(step)
        size = step.size
        self._size += size
        self._cost += step.fuel + size

    def undo(self) -> None:
        """Forget the last slot: it failed."""
        kept = [step for step in self._steps if step.assignment.slot != self.slot]
        self._forget()
        for step in kept:
            self.add(step)
        self.slot, self._apart, self._quiet = None, 1, False

    def back(self, instance: Instance) -> bool:
        """Put an instance to where the copy is; False where it cannot be: it has grown."""
        fits = self._mirror.fits(instance)
        if fits:
            self._mirror.put_back(instance)
        return fits

    def fill(self, instance: Instance) -> None:
        """Put an instance to where the copy is, of which nothing was called yet."""
        self._mirror.fill(instance)

    @property
    def steps(self) -> Sequence[Step]:
        """Return the calls since the copy, in order."""
        return tuple(self._steps)

    def load(self, contents: Contents) -> None:
        """Begin at the contents of a snapshot."""
        self._mirror.load(contents)
        self._copied = True

    def live(self, instance: Instance) -> Live:
        """Return the parts of a snapshot of the guest as it is, and its root."""
        if not self._copied or self._steps:
            self._copy(instance)
        return self._mirror.live()

    def _copy(self, instance: Instance) -> None:
        if not self._copied or self._steps:
            self._mirror.take(instance)
        if self._quiet and self._slots >= self._apart:
            self._apart = min(2 * self._apart, self._most)
        self._copied, self._quiet = True, True
        self._forget()

    def _forget(self) -> None:
        self._steps, self._slots, self._cost, self._size = [], 0, 0, 0
