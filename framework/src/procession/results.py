"""Results: what a slot gave, and how it is written down.

Rules
-----
* A failure is data: it has one of the kinds below, and replicas compare it.
* Every other trouble is an exception and is never stored.
* ``Failure.message`` is the guest's text or ours, never an engine's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs

from procession.messages import EMPTY, Message

DIGEST = 32  # bytes of a sha-256

_INDEX = re.compile(r"[1-9][0-9]{0,8}\Z")

FAILURE_KINDS = {
    "trap": "the guest stopped on an instruction that may not go on",
    "out-of-fuel": "the guest spent the fuel of its definition",
    "memory-limit": "the guest asked for more memory than its definition allows",
    "stack-overflow": "the guest's calls nested too deeply",
    "pass-limit": "a stage asked for one pass more than the definition allows",
    "guest": "the guest answered with an error, or with something that is no answer",
    "refused": "a stage refused the message",
    "halted": "an earlier slot failed and the definition says halt",
}


@attrs.frozen
class Failure:
    """Record why a slot failed: a kind of FAILURE_KINDS, where in the stack, and a text."""

    kind: str
    message: str
    stage: str = ""
    device: str = ""
    pass_number: int = 0

    def as_message(self) -> Message:
        """Return the failure as it stands under ``results/error``."""
        place = {"stage": self.stage, "device": self.device, "pass": self.pass_number}
        return Message({"kind": self.kind, "message": self.message, **place})


@attrs.frozen
class Result:
    """Hold what computing a slot gave: the state after it, and the failure if it failed."""

    slot: int
    state: Message
    failure: Failure | None = None


@attrs.frozen
class Record:
    """Hold a result as a cache keeps it.

    ``chain`` is the assignment's (32 bytes): a record counts only where the schedule still has it.
    ``state`` is the canonical bytes of what is kept of the state, links in it;
    ``state_digest`` is the digest of the whole state, so that a record which keeps
    only some keys (``complete`` is false) still proves the rest when it is recomputed.
    ``snapshot`` are the digests of the snapshot's blobs one after the other, where the slot is a point to restore from.
    """

    process: str
    slot: int
    message_id: str
    chain: bytes
    state: bytes
    state_digest: bytes
    complete: bool
    fingerprint: str
    live_root: bytes = b""
    snapshot: bytes | None = None

    @property
    def blobs(self) -> tuple[bytes, ...]:
        """Return the digests of the blobs that the snapshot is made of, in order."""
        held = self.snapshot or b""
        return tuple([held[at : at + DIGEST] for at in range(0, len(held), DIGEST)])


@attrs.frozen
class Batch:
    """Hold what one commit writes: records, and blobs by their digest."""

    records: tuple[Record, ...]
    blobs: Mapping[bytes, bytes]


def outbox(state: Message) -> dict[int, Any]:
    """Return the outbox of a state by index, from 1; what is no message is in it as it is."""
    entries = state.at("results/outbox", EMPTY)
    if isinstance(entries, tuple):
        entries = Message(enumerate(entries, 1))
    if not isinstance(entries, Message):
        return {}
    numbered = {int(key): entry for key, entry in entries.items() if _INDEX.match(key)}
    return {index: numbered[index] for index in sorted(numbered)}
