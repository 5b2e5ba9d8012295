"""Schedules: slots, dense from 0, chained by hash, never reassigned.

Rules
-----
* ``chain_n = sha256(chain_{n-1} || canonical {process, slot, timestamp, block-height, path, message-id})``,
  and ``chain_{-1}`` is empty: nothing that a stage can read from an assignment lies outside of it.
* The next slot is the head's plus one; a restart continues from the stored head, bit for bit.
* ``path`` is data of the message; it steers nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import sha256

import attrs
import cbor2

from procession.errors import ScheduleError
from procession.ids import to_id
from procession.messages import Message

LOCAL = "local"
IMPORTED = "imported"


@attrs.frozen
class Tick:
    """Hold what the host's clock says: milliseconds since 1970 and a block height."""

    timestamp: int
    block_height: int = 0


Clock = Callable[[], Tick]


@attrs.frozen
class Given:
    """Hold the place that a schedule made elsewhere gave to a message."""

    slot: int
    timestamp: int
    block_height: int
    chain: bytes | None = None


@attrs.frozen
class Submission:
    """Offer a message for the next slot.

    ``recognised_by`` are the ids of its verified signatures: where one of them has a slot
    already, that slot is the answer. So it is for an idempotency key with the same content.
    ``content`` are the whole canonical bytes of the message, where they are at hand.
    """

    message: Message
    message_id: str
    recognised_by: tuple[str, ...] = ()
    idempotency_key: str | None = None
    given: Given | None = None
    content: bytes = attrs.field(default=b"", eq=False, repr=False)


@attrs.frozen
class Head:
    """Hold the last slot of a schedule and its chain value (32 bytes)."""

    slot: int
    chain: bytes


@attrs.frozen
class Assignment:
    """Bind a message to a slot of a process; ``timestamp`` in milliseconds, ``chain`` 32 bytes."""

    process: str
    slot: int
    timestamp: int
    block_height: int
    path: str
    message_id: str
    chain: bytes
    message: Message
    provenance: str = LOCAL

    def as_message(self) -> Message:
        """Return the assignment as the field shows it, the message under ``body``."""
        # Values, and keys in canonical order, so that nothing is looked at again.
        row = {"body": self.message, "path": self.path, "slot": self.slot, "type": "Assignment", "epoch": "0"}
        row |= {"process": self.process, "variant": "ao.N.1", "timestamp": self.timestamp}
        row |= {"hash-chain": to_id(self.chain), "message-id": self.message_id, "provenance": self.provenance}
        row |= {"block-height": self.block_height, "data-protocol": "ao"}
        return Message.of_rows(row, clean=self.message.clean)


def next_assignment(process: str, head: Head | None, submission: Submission, tick: Tick) -> Assignment:
    """Return the assignment that follows a head; a given place must be exactly that one."""
    slot = head.slot + 1 if head else 0
    given = submission.given
    if given is not None:
        if given.slot != slot:
            raise _broken(process, slot, f"the schedule gives slot {given.slot} where slot {slot} follows")
        tick = Tick(given.timestamp, given.block_height)
    path = submission.message.get("path")
    path = path if isinstance(path, str) and path else "compute"
    fields = fields_of(process, slot, tick, path=path, message_id=submission.message_id)
    chain = chain_value(head.chain if head else b"", fields)
    if given is not None and given.chain not in (None, chain):
        raise _broken(process, slot, "the hash chain that came with the schedule does not continue")
    return Assignment(  # by place: half the time
        process,
        slot,
        tick.timestamp,
        tick.block_height,
        path,
        submission.message_id,
        chain,
        submission.message,
        IMPORTED if given else LOCAL,
    )


def chain_value(before: bytes, fields: bytes) -> bytes:
    """Return the chain after an assignment of these fields, as ``fields_of`` gives them."""
    return sha256(before + fields).digest()


def fields_of(process: str, slot: int, tick: Tick, *, path: str, message_id: str) -> bytes:
    """Return the canonical bytes of what the chain covers of an assignment."""
    return cbor2.dumps(  # in canonical order, and nothing that holds another
        {
            "path": path,
            "slot": slot,
            "process": process,
            "timestamp": tick.timestamp,
            "message-id": message_id,
            "block-height": tick.block_height,
        }
    )


def check_chain(assignments: Iterable[Assignment], head: Head | None) -> Head | None:
    """Return the head after assignments; ScheduleError names the slot where one does not follow."""
    for assignment in assignments:
        slot = head.slot + 1 if head else 0
        if assignment.slot != slot:
            raise _broken(assignment.process, slot, f"slot {assignment.slot} stands where slot {slot} belongs")
        tick = Tick(assignment.timestamp, assignment.block_height)
        fields = fields_of(assignment.process, slot, tick, path=assignment.path, message_id=assignment.message_id)
        if chain_value(head.chain if head else b"", fields) != assignment.chain:
            raise _broken(assignment.process, slot, "the hash chain does not continue")
        head = Head(slot, assignment.chain)
    return head


def _broken(process: str, slot: int, what: str) -> ScheduleError:
    facts: dict[str, str | int] = {"process": process, "slot": slot}
    return ScheduleError(what, where=f"schedule of {process}, slot {slot}", kind="broken-schedule", facts=facts)
