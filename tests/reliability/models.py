"""The model of a host: what its processes must answer, in a few lines, and devices that can be told to fail.

Rules
-----
* The model is told what was acknowledged, and never looks at a disk, a pool or a cache.
* Slots up to the ``frontier`` of a process were computed once: they are answered, whatever becomes of the host.
* A trouble raises so often, wherever it is met; then its message is computed as any other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from kernel.devices import Act, Devices, Tape
from procession import Assignment, Factory, Message, Ok
from procession.roles import Fail, Verdict

LIMIT = 3  # faults in a row that quarantine a slot
RECORD, HALT = "record", "halt"
DEFINITIONS: Mapping[str, Mapping[str, Any]] = {
    "one": {"device-stack": ["sum@1.0", "purse@1.0"], "on-failure": RECORD},
    "two": {"device-stack": ["purse@1.0", "sum@1.0"], "on-failure": RECORD, "cache-keys": ["sum"]},
    "halting": {"device-stack": ["purse@1.0", "sum@1.0"], "on-failure": HALT},
    "pure": {"device-stack": ["sum@1.0"], "on-failure": RECORD},
}


class Purse(Tape):
    """Keep the total outside of the state, do as a message says, and refuse or raise after.

    Needs: nothing. Reads: ``amount``, ``refuse``, ``trouble``. Writes: ``total``. Verdicts: Ok, Fail. Snapshot: total.
    """

    def __init__(self, troubles: Counter[str]) -> None:
        super().__init__()
        self._troubles = troubles

    def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        """Add, then do what the message says."""
        return _acted(super().compute(state, assignment, pass_number), assignment, self._troubles)


def devices(troubles: Counter[str]) -> Devices:
    """Return the plugin with the stages; ``troubles`` say how often each is met yet."""

    def fold(state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        message = assignment.message
        total = state.get("sum", 0) + message.get("amount", 0)
        state = state.put("sum", total).put("results/data", total)
        if "send" in message:
            state = state.put("results/outbox/1", {"target": message["send"], "amount": total})
        return _acted(Ok(state), assignment, troubles)

    return Devices({"purse@1.0": Factory(lambda o, b: Purse(troubles)), "sum@1.0": Factory(lambda o, b: Act(fold))})


def _acted(done: Verdict, assignment: Assignment, troubles: Counter[str]) -> Verdict:
    trouble = assignment.message.get("trouble", "")
    if troubles[trouble] > 0:
        troubles[trouble] -= 1
        raise RuntimeError("in trouble")
    return Fail("refused", "the message says so") if assignment.message.get("refuse") else done


@attrs.frozen
class Expected:
    """Hold what a slot must give: the sum, the kind of its failure, and whom it sends it to."""

    sum: int
    error: str = ""
    halted: bool = False
    sent: str = ""


@attrs.define
class Modelled:
    """Hold what one process was told and must answer."""

    name: str
    id: str
    log: list[Assignment]
    slots: list[Expected] = attrs.field(factory=list)
    frontier: int = -1
    faults: int = 0  # in a row, at the slot behind the frontier
    keys: dict[str, int] = attrs.field(factory=dict)
    states: dict[int, str] = attrs.field(factory=dict)  # ids, as they were first answered
    roots: dict[int, str] = attrs.field(factory=dict)
    delivered: dict[int, tuple[str, int]] = attrs.field(factory=dict)  # slot -> the target and its slot

    @property
    def head(self) -> int:
        """Return the last slot."""
        return len(self.log) - 1

    @property
    def is_quarantined(self) -> bool:
        """Tell whether the slot behind the frontier is no longer tried."""
        return self.faults >= LIMIT

    def acknowledged(self, assignment: Assignment) -> None:
        """Take a new slot."""
        assert len(self.log) == assignment.slot, "slots are dense"
        self.log.append(assignment)

    def fold(self) -> None:
        """Work out what the slots give that were not worked out yet."""
        for assignment in self.log[len(self.slots) :]:
            self.slots.append(self._after(self.slots[-1] if self.slots else Expected(0), assignment.message))

    def expect(self, slot: int, troubles: Counter[str]) -> str:
        """Return "" where a slot must be answered, else the kind of the error; what is met on the way is counted."""
        self.fold()
        if self.is_quarantined and slot > self.frontier:
            return "quarantined"
        for behind in range(self.frontier + 1, slot + 1):
            if self._meets(behind, troubles):
                self.faults += 1
                troubles[self.log[behind].message["trouble"]] -= 1
                return "device-raised"
            self.frontier, self.faults = behind, 0
        return ""

    def restarted(self) -> None:
        """Forget faults that are kept in memory alone."""
        self.faults = self.faults if self.is_quarantined else 0

    def is_free(self, troubles: Counter[str]) -> bool:
        """Tell whether no trouble lies before the head."""
        self.fold()
        return not self.is_quarantined and not any(
            self._meets(slot, troubles) for slot in range(self.frontier + 1, self.head + 1)
        )

    def sending(self) -> Iterator[int]:
        """Yield the slots that were computed and send something."""
        yield from (slot for slot in range(self.frontier + 1) if self.slots[slot].sent)

    def _meets(self, slot: int, troubles: Counter[str]) -> bool:
        """Tell whether a stage raises at a slot; one that stands after a halt runs no stage."""
        halted = slot > 0 and self.slots[slot - 1].halted
        return not halted and troubles[self.log[slot].message.get("trouble", "")] > 0

    def _after(self, before: Expected, message: Message) -> Expected:
        if before.halted:
            return Expected(before.sum, "halted", halted=True)
        if message.get("refuse"):
            return Expected(before.sum, "refused", halted=self.name == "halting")
        total = before.sum + message.get("amount", 0)
        return Expected(total, sent=message.get("send", ""))
