"""Records as rows: sealed on the way in and checked on the way out.

Rules
-----
* A row's place is its process's key times 2^32 plus its slot: one tree holds all records, each process in slot order.
* The seal is the sha-256 over every field; no record leaves without its seal checked.
* Fingerprints and snapshot digests recur, so rows hold keys of them.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from procession.errors import CacheError
from procession.results import Record

SLOTS = 1 << 32  # a process can have
SNAPSHOT = 8  # of the columns

# Text is read as bytes, so that damage meets the seal and not a decoder.
COLUMNS = (
    "place, coalesce(CAST(message_id AS BLOB), x''), coalesce(CAST(chain AS BLOB), x''),"
    " coalesce(CAST(state AS BLOB), x''), coalesce(CAST(state_digest AS BLOB), x''), complete,"
    " (SELECT CAST(value AS BLOB) FROM fingerprints WHERE key = fingerprint),"
    " coalesce(CAST(live_root AS BLOB), x''), (SELECT CAST(value AS BLOB) FROM snapshots WHERE key = snapshot), seal"
)


def seal_of(record: Record) -> bytes:
    """Return the hash over every field of a record."""
    process, message_id, fingerprint = record.process.encode(), record.message_id.encode(), record.fingerprint.encode()
    chain, state, digest, root = record.chain, record.state, record.state_digest, record.live_root
    snapshot = b"-" if record.snapshot is None else b"+" + record.snapshot
    lengths = (
        f"{len(process)} {len(message_id)} {len(fingerprint)} {len(chain)} {len(state)} {len(digest)}"
        f" {len(root)} {len(snapshot)}"
    )
    head = f"{record.slot} {record.complete:d} {lengths} ".encode()
    return sha256(b"".join((head, process, message_id, fingerprint, chain, state, digest, root, snapshot))).digest()


def record_of(process: str, row: tuple[Any, ...]) -> Record:
    """Return the record of a row; CacheError (kind ``damaged``) if its seal is broken."""
    place, message_id, chain, state, state_digest, complete, fingerprint, live_root, snapshot, seal = row
    if fingerprint is None:  # its key leads nowhere
        raise damaged(process, place % SLOTS)
    try:
        record = Record(
            process=process,
            slot=place % SLOTS,
            message_id=message_id.decode(),
            chain=chain,
            state=state,
            state_digest=state_digest,
            complete=bool(complete),
            fingerprint=fingerprint.decode(),
            live_root=live_root,
            snapshot=snapshot,
        )
    except UnicodeDecodeError:
        raise damaged(process, place % SLOTS) from None
    if seal_of(record) != seal:
        raise damaged(process, place % SLOTS)
    return record


def damaged(process: str, slot: int) -> CacheError:
    """Return the error for a record that is not what was written."""
    return CacheError(
        "the stored record does not match its seal",
        where=f"cache of {process}, slot {slot}",
        remedy="it is computed again from the schedule",
        kind="damaged",
        facts={"process": process, "slot": slot},
    )
