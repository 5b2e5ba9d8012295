"""Outboxes: an entry of a slot's outbox, made ready for the schedule of its target.

Rules
-----
* An entry is delivered from the recorded result that holds it: nobody is sent what is not stored.
* Its key is its place (process, slot, index), so it has one slot for ever, however often it is delivered.
* This kernel computed the result, so it vouches for who sent it; what the entry itself says of that counts for nothing.
* What is delivered follows from the definition, the entry and its place alone, and so does its id.
"""

from __future__ import annotations

from procession.commitments import KEY, message_id, trusted, without_commitments
from procession.errors import RequestError
from procession.intake import bounded
from procession.messages import UNSET, Message
from procession.requests import Advance
from procession.schedules import Submission


def delivery_of(
    processes: Advance, process: str, slot: int, index: int, *, timeout: float | None
) -> tuple[str, Submission]:
    """Return the target of an entry and what its scheduler is offered.

    RequestError: kind ``not-found`` for an entry that is not there, ``no-target`` for one that is for nobody.
    """
    place = f"process {process}, slot {slot}, outbox {index}"
    entry = processes.compute(process, slot, key="results", timeout=timeout).at(f"results/outbox/{index}")
    if not isinstance(entry, Message):
        raise RequestError("there is no message there", where=place, kind="not-found")
    target = entry.get("target")
    if not isinstance(target, str) or not target:
        raise RequestError("the entry is for nobody", where=place, remedy="give it a target", kind="no-target")
    (genesis,) = processes.read(process, 0, 0)
    message = delivered(entry, genesis.message, sender=process, slot=slot, index=index)
    key = f"push {process} {slot} {index}"  # no key that comes by HTTP has a space
    return target, bounded(Submission(message, message_id(message), idempotency_key=key))


def delivered(entry: Message, definition: Message, *, sender: str, slot: int, index: int) -> Message:
    """Return an entry as its target gets it: from whom it is, under an id of its own.

    Two entries that say the same are two messages.
    """
    own = without_commitments(definition)
    rows = {
        "data-protocol": "ao",
        "variant": "ao.N.1",
        "type": entry.get("type", "Message"),
        "from-process": sender,
        "from-uncommitted": own.id,
        "from-base": own.without("authority", "scheduler").id,
        "from-scheduler": own.get("scheduler", UNSET),
        "from-authority": own.get("authority", UNSET),
    }
    message = entry.without(KEY).set(rows, explicit=True)
    place = Message({"process": sender, "slot": slot, "index": index, "message": message.digest})
    return trusted(message, given_id=place.id, owner=sender)
