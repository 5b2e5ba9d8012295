"""Relays: processes whose outboxes fan out and cascade, and what must hold of every entry (L3).

Rules
-----
* An entry names its own place, so what is counted on the targets owes nothing to the keys of the kernel.
* A process that sends gets nothing itself: its schedule is the same in every run, wherever the deliveries go.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import attrs

from procession import Assignment, Factory, Kernel, Message, Ok, PureStage, hookimpl
from procession.roles import Verdict
from procession.schedules import Submission
from procession_push import Pushes

PATIENCE = 60.0  # seconds within which anything that happens at all has happened
HOPS = 4  # deliveries that follow one from the other

Place: TypeAlias = tuple[str, int, int]  # of an entry: process, slot, index
Slot: TypeAlias = tuple[str, int]


class Relay(PureStage):
    """Send a message on to all others whom it names, as long as hops are left."""

    def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Verdict:
        """Fold one message."""
        message = assignment.message
        hops, targets = message.get("hops", 0), message.get("to", ())
        outbox = {
            str(index): {
                "target": target,
                "hops": hops - 1,
                "to": targets,
                "sent": [assignment.process, assignment.slot, index],
            }
            for index, target in enumerate(targets, 1)
            if hops and target != assignment.process
        }
        rows = {"results": {"outbox": outbox, "data": "told on " * 30}, "seen": state.get("seen", 0) + 1}
        return Ok(state.set(rows, explicit=True))


class Relays:
    """Provide the stage."""

    @hookimpl
    def procession_stages(self) -> Mapping[str, Factory]:
        """Provide relay@1.0."""
        return {"relay@1.0": Factory(lambda options, binding: Relay())}


class Forgetful(Kernel):
    """Deliver without the key that gives an entry one slot."""

    def _assign(self, scheduler, process, offered):  # type: ignore[no-untyped-def] # a control, not a kernel
        return super()._assign(scheduler, process, [_forgotten(submission) for submission in offered])


def message_to(targets: Sequence[str]) -> Mapping[str, Any]:
    """Return the message that begins a cascade."""
    return {"hops": HOPS, "to": targets}


def wait_for(kernel: Kernel, slots: Sequence[Slot]) -> None:
    """Wait until nothing that came of some slots is pending. Nothing is pushed by this."""
    pushes: Pushes = kernel.companions.get("push@1.0")
    for process, slot in slots:
        pushes.wait(process, slot, timeout=PATIENCE)


def lost_entries(kernel: Kernel, pushed: Sequence[Slot]) -> list[Place]:
    """Return the entries of slots that were pushed, and of all slots that came of them, which nobody got."""
    got, lost, left = deliveries(kernel), [], list(pushed)
    while left:
        for place in places(kernel, *left.pop()):
            left += got.get(place, [])[:1]
            lost += [] if place in got else [place]
    return lost


def repeated_entries(kernel: Kernel) -> list[Place]:
    """Return the entries that have more than one slot."""
    return [place for place, slots in deliveries(kernel).items() if len(slots) > 1]


def deliveries(kernel: Kernel) -> Mapping[Place, list[Slot]]:
    """Return the slots that entries got, found in the schedules of all processes."""
    found: dict[Place, list[Slot]] = defaultdict(list)
    for process in map(kernel.process, kernel.processes()):
        for assignment in process.log(1):
            sent = assignment.message.get("sent")
            if sent:
                found[tuple(sent)].append((process.id, assignment.slot))
    return found


def places(kernel: Kernel, process: str, slot: int) -> list[Place]:
    """Return the places of the entries of a slot."""
    entries = kernel.process(process).compute(slot).at("results/outbox", Message())
    return [tuple(entry["sent"]) for entry in entries.values()]


def delivered(report: Message) -> Iterator[Slot]:
    """Yield the slots that a report tells of."""
    for index in filter(str.isdigit, report):
        told = report[index]
        yield told["target"], told["slot"]
        yield from delivered(told["resulted-in"])


def all_slots(kernel: Kernel) -> list[Slot]:
    """Return every slot there is."""
    return [(process, slot) for process in kernel.processes() for slot in range(kernel.head(process).slot + 1)]


def _forgotten(submission: Submission) -> Submission:
    is_delivery = "from-process" in submission.message
    return attrs.evolve(submission, idempotency_key=None) if is_delivery else submission
