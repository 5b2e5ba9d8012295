"""Rows: assignments as the schedule file keeps them, sealed on the way in and checked on the way out.

Rules
-----
* A row's place is its process's key times 2^32 plus its slot: one tree holds all schedules, each in slot order.
* The seal is the sha-256 over every field and the message's bytes; no assignment leaves without its seal checked.
* The bytes of a message are those of ``messages.encode``: whole, without links.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, TypeAlias

import apsw
import attrs

from procession import messages, tries
from procession.canonical import BRANCH_TAG, LINK_TAG, loads
from procession.errors import ScheduleError
from procession.messages import FLAT_LIMIT, Message
from procession.schedules import Assignment, Head, Tick, chain_value, fields_of

SLOTS = 1 << 32  # a process can have
BYTES = ("path", "message_id", "provenance", "chain", "seal", "message")  # read as bytes, whatever damage made of them
COLUMNS = "place, timestamp, block_height, " + ", ".join(f"coalesce(CAST({name} AS BLOB), x'')" for name in BYTES)

Fields: TypeAlias = tuple[int, int, int, bytes, bytes, bytes, bytes]
NewRow: TypeAlias = tuple[int, int, int, str, str, str, bytes, bytes, bytes]

_PLAIN = frozenset({str, bytes, int, bool, type(None)})
_LINK, _BRANCH = [b"\xda" + tag.to_bytes(4) for tag in (LINK_TAG, BRANCH_TAG)]
_PROCESS = (
    "SELECT key, last, CAST(processes.chain AS BLOB), place, CAST(slots.chain AS BLOB) FROM processes"
    f" LEFT JOIN slots ON place = (SELECT max(place) FROM slots WHERE place >= key * {SLOTS}"
    f" AND place < (key + 1) * {SLOTS}) WHERE id = ?"
)
_AT = f"SELECT {COLUMNS} FROM slots WHERE place = ?"
_RANGE = f"SELECT {COLUMNS} FROM slots WHERE place BETWEEN ? AND ? ORDER BY place"


def all_rows(db: apsw.Connection, statement: str, bindings: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the rows of an answer, read to its end so that no read stays open."""
    return db.execute(statement, bindings).fetchall()


def first_row(db: apsw.Connection, statement: str, bindings: tuple[Any, ...] = ()) -> tuple[Any, ...] | None:
    """Return the first row of an answer."""
    found = all_rows(db, statement, bindings)
    return found[0] if found else None


def whole_bytes(message: Message) -> bytes:
    """Return the bytes of a message without links; those at hand serve when they hold none."""
    encoded = message.encoded
    return messages.encode(message) if _LINK in encoded or _BRANCH in encoded else encoded


def is_plain(value: Any, depth: int) -> bool:
    """Tell whether a message holds nothing that its bytes could give back in another form, or not at all."""
    table: Any = value.table if type(value) is Message else value
    if depth == 0 or type(table) not in (dict, tuple):
        return False
    items = table.values() if type(table) is dict else table
    if _PLAIN.issuperset(map(type, items)):
        return True
    return all(type(item) in _PLAIN or is_plain(item, depth - 1) for item in items)


def row_of(key: int, assignment: Assignment, content: bytes) -> NewRow:
    """Return the row that keeps an assignment, ``content`` being its message's bytes."""
    place = key * SLOTS + assignment.slot
    stamp, height, chain = assignment.timestamp, assignment.block_height, assignment.chain
    path, message_id, provenance = assignment.path, assignment.message_id, assignment.provenance
    fields = (place, stamp, height, path.encode(), message_id.encode(), provenance.encode(), chain)
    seal = _seal(assignment.process, fields, content)
    return (place, stamp, height, path, message_id, provenance, chain, seal, content)


def assignment_of(process: str, row: tuple[Any, ...]) -> Assignment:
    """Return the assignment of a row; ScheduleError (kind ``damaged-schedule``) if its seal is broken."""
    place, timestamp, block_height, path, message_id, provenance, chain, seal, content = row
    if _seal(process, row[:7], content) != seal:
        raise damaged(process, place % SLOTS, "the stored row does not match its seal")
    return Assignment(
        process=process,
        slot=place % SLOTS,
        timestamp=timestamp,
        block_height=block_height,
        path=path.decode(),
        message_id=message_id.decode(),
        chain=chain,
        message=message_of(content),
        provenance=provenance.decode(),
    )


@attrs.frozen
class Tip:
    """Hold where a schedule ends: the process's key in the file, and its last slot."""

    key: int
    head: Head


def tip_of(db: apsw.Connection, process: str) -> Tip | None:
    """Return where a schedule ends, by one seek; None where the process has no slot.

    The last slot is written down twice, so that a row which vanished does not go unseen.
    """
    said = _said(db, process)
    if said is None:
        return None
    key, last, chain, place, row_chain = said
    if place != key * SLOTS + last or row_chain != chain:
        raise damaged(process, last, "the last slot is not the one that was written last")
    return Tip(key, Head(last, chain))


def proven_tip(db: apsw.Connection, process: str) -> Tip | None:
    """Return where a schedule ends once that row's seal and its link to the slot before are checked."""
    tip = tip_of(db, process)
    if tip is not None:
        last = read_at(db, process, tip.key * SLOTS + tip.head.slot)
        if _chain(last, _chain_before(db, tip.key, last)) != last.chain:
            raise damaged(process, last.slot, "the hash chain does not lead to the last slot")
    return tip


def read_at(db: apsw.Connection, process: str, place: int) -> Assignment:
    """Return the assignment at a place."""
    row = first_row(db, _AT, (place,))
    if row is None:
        raise damaged(process, place % SLOTS, "the row is missing")
    return assignment_of(process, row)


def read_range(db: apsw.Connection, process: str, first: int, last: int) -> list[tuple[Any, ...]]:
    """Return the rows of slots first..last as far as there are any; a hole is an error."""
    said = _said(db, process)
    if said is None or last < first or said[1] < first:
        return []
    if last >= said[1]:
        tip_of(db, process)  # whose damage is none of the slots' before it
    key, first, last = said[0], max(first, 0), min(last, said[1])
    rows = all_rows(db, _RANGE, (key * SLOTS + first, key * SLOTS + last))
    for slot, row in zip(range(first, last + 1), rows, strict=False):
        if row[0] % SLOTS != slot:
            raise damaged(process, slot, "the row is missing")
    if len(rows) != last - first + 1:
        raise damaged(process, first + len(rows), "the row is missing")
    return rows


def damaged(process: str, slot: int, what: str) -> ScheduleError:
    """Return the error for a row that is not what was written."""
    return ScheduleError(
        what,
        where=f"schedule of {process}, slot {slot}",
        remedy="restore the schedule file from a copy; it cannot be recomputed",
        kind="damaged-schedule",
        facts={"process": process, "slot": slot},
    )


def _said(db: apsw.Connection, process: str) -> tuple[Any, ...] | None:
    """Return what is written of a process: its key, its last slot and chain, and the last row's place and chain."""
    return first_row(db, _PROCESS, (process,))


def _seal(process: str, fields: Fields, content: bytes) -> bytes:
    place, timestamp, block_height, path, message_id, provenance, chain = fields
    lengths = f"{len(process)} {len(path)} {len(message_id)} {len(provenance)}"
    head = f"{place % SLOTS} {timestamp} {block_height} {lengths} {process}"
    return sha256(b"".join((head.encode(), path, message_id, provenance, chain, content))).digest()


def _chain_before(db: apsw.Connection, key: int, last: Assignment) -> bytes:
    if last.slot == 0:
        return b""
    found = first_row(db, "SELECT CAST(chain AS BLOB) FROM slots WHERE place = ?", (key * SLOTS + last.slot - 1,))
    if found is None:
        raise damaged(last.process, last.slot - 1, "the row is missing")
    return bytes(found[0])


def _chain(last: Assignment, before: bytes) -> bytes:
    tick = Tick(last.timestamp, last.block_height)
    return chain_value(before, fields_of(last.process, last.slot, tick, path=last.path, message_id=last.message_id))


def message_of(content: bytes) -> Message:
    """Return the message of bytes that ``whole_bytes`` made, and are canonical. RequestError where it is too deep."""
    message = _revived(loads(content, limit=len(content)))
    assert isinstance(message, Message)
    return message


def _revived(value: Any) -> Any:
    if isinstance(value, Mapping):
        rows = {key: _revived(item) for key, item in value.items()}
        return Message.of_rows(tries.build(rows) if len(rows) > FLAT_LIMIT else rows)
    return tuple([_revived(item) for item in value]) if isinstance(value, list | tuple) else value
