"""Listing: a schedule in pages, as clients of AO read it (``application/aos-2``).

Rules
-----
* Cursors are slots; slot 0 is the process itself, under the id of the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from procession.commitments import committers, signed
from procession.ids import to_id
from procession.messages import Message
from procession.schedules import Assignment
from procession_ao.results import tags_of, text_of

PAGE: Final = 1000


def page_of(process: str, found: Sequence[Assignment], *, more: bool) -> dict[str, Any]:
    """Return one page of a schedule."""
    last = found[-1] if found else None
    timed = {"timestamp": str(last.timestamp), "block-height": str(last.block_height)} if last else {}
    edges = [{"cursor": assignment.slot, "node": node_of(assignment)} for assignment in found]
    return {"page_info": {"process": process, "has_next_page": more, **timed}, "edges": edges}


def node_of(assignment: Assignment) -> dict[str, Any]:
    """Return a message and its assignment."""
    return {"message": message_of(assignment), "assignment": _assignment(assignment)}


def message_of(assignment: Assignment) -> dict[str, Any]:
    """Return the message of an assignment in the names of AO."""
    message = assignment.message
    owner = next(iter(committers(message)), "")
    given = {"Anchor": message.get("anchor"), "Signature": _signature(message)}
    return {
        "Id": assignment.process if assignment.slot == 0 else assignment.message_id,
        "Target": text_of(message.get("target", assignment.process if assignment.slot else "")),
        "Owner": owner,
        "From": text_of(message.get("from-process", owner)),
        "Tags": tags_of(message),
        "Data": text_of(message.get("data", "")),
        **{name: text_of(value) for name, value in given.items() if value is not None},
    }


def _assignment(assignment: Assignment) -> dict[str, Any]:
    fields = {
        "Data-Protocol": "ao",
        "Variant": "ao.N.1",
        "Type": "Assignment",
        "Process": assignment.process,
        "Message": assignment.message_id,
        "Epoch": "0",
        "Nonce": str(assignment.slot),
        "Slot": str(assignment.slot),
        "Timestamp": str(assignment.timestamp),
        "Block-Height": str(assignment.block_height),
        "Hash-Chain": to_id(assignment.chain),
    }
    return {"Tags": [{"name": name, "value": value} for name, value in fields.items()], "Data": ""}


def _signature(message: Message) -> Any:
    return next((entry["signature"] for entry in signed(message).values() if "signature" in entry), None)
