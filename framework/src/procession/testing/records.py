"""Records: results that a test puts into a cache, each with content of its own."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import attrs

from procession.ids import hash_id
from procession.results import Batch, Record

PROCESS = hash_id(b"a process")
OTHER = hash_id(b"another process")
LARGE = 3 << 20  # bytes of a blob that a cache may want to keep elsewhere


def record(slot: int, *, process: str = PROCESS, snapshot: bytes | None = None, **changes: Any) -> Record:
    """Return a record of a slot, with content of its own."""
    state = f"state {slot} of {process}".encode() * 9
    made = Record(
        process=process,
        slot=slot,
        message_id=hash_id(f"message {slot}".encode()),
        chain=sha256(f"chain {slot}".encode()).digest(),
        state=state,
        state_digest=sha256(state).digest(),
        complete=True,
        fingerprint='{"engine":"one"}',
        live_root=sha256(b"live").digest(),
        snapshot=snapshot,
    )
    return attrs.evolve(made, **changes)


def batch(*records: Record, blobs: Sequence[bytes] = ()) -> Batch:
    """Return a batch of records and blobs."""
    return Batch(records, {digest(blob): blob for blob in blobs})


def digest(content: bytes) -> bytes:
    """Return the name of a blob."""
    return sha256(content).digest()


def large_blob(number: int) -> bytes:
    """Return a blob of ``LARGE`` bytes, different for each number."""
    return number.to_bytes(8) * (LARGE // 8)
