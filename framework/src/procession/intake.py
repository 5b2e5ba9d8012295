"""Intake: what a message must pass before it is offered to a scheduler.

Rules
-----
* Private rows stay outside; a message has a bounded size.
* A commitment counts only when its scheme verified it; one that no scheme verifies is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from procession.commitments import KEY, message_id, signed
from procession.errors import RequestError
from procession.messages import Message, encode, value_below
from procession.roles import CommitmentScheme, Scheduler
from procession.schedules import Submission
from procession.tries import PLAIN

MESSAGE_LIMIT = 16 << 20  # bytes of one message


def submission_of(
    message: Mapping[str, Any], schemes: Mapping[str, CommitmentScheme], *, idempotency_key: str | None = None
) -> Submission:
    """Return what a scheduler is offered for a message. RequestError says why it is none."""
    if type(message) is not dict and not isinstance(message, Mapping):
        raise _refused(f"{type(message).__name__} is no message", "give a map of keys and values", "message")
    offered = (message if type(message) is Message else Message(message)).public()
    recognised_by = _verified(offered, schemes)
    return Submission(offered, message_id(offered), recognised_by, idempotency_key, content=_content(offered))


def bounded(submission: Submission) -> Submission:
    """Return a submission whose message can be kept and read again. RequestError if it is too large or too deep."""
    return attrs.evolve(submission, content=_content(submission.message))


def check_same(process: str, submission: Submission, scheduler: Scheduler) -> None:
    """Refuse an entry of a schedule made elsewhere whose slot holds something else here."""
    assert submission.given is not None
    given = submission.given
    (held,) = scheduler.read(process, given.slot, given.slot)
    offered = (submission.message_id, given.timestamp, given.block_height, given.chain or held.chain)
    if offered != (held.message_id, held.timestamp, held.block_height, held.chain):
        raise RequestError(
            f"slot {held.slot} holds message {held.message_id} already, at another place than {submission.message_id}",
            where=f"process {process}",
            kind="conflict",
            facts={"process": process, "slot": held.slot},
        )


def _content(message: Message) -> bytes:
    """Return the whole bytes of a message: those that its id is made of, where nothing in it holds another value."""
    flat = type(message.table) is dict and PLAIN.issuperset(map(type, message.table.values()))
    content = message.encoded if flat else encode(message)
    if len(content) > MESSAGE_LIMIT:
        raise _refused(f"a message of {len(content)} bytes", f"at most {MESSAGE_LIMIT} are taken", "too-large")
    return content


def _verified(message: Message, schemes: Mapping[str, CommitmentScheme]) -> tuple[str, ...]:
    entries = message.get(KEY)
    if entries is None:
        return ()
    for name, entry in entries.items() if isinstance(entries, Message) else [("", None)]:
        scheme = schemes.get(str(value_below(entry, "commitment-device")))
        if scheme is None or not scheme.verify(message, name):
            text = f"commitment {name!r} is verified by no installed scheme"
            raise _refused(text, "send the message without it", "unverified")
    return tuple(signed(message))  # an alias without a signer recognises nobody


def _refused(what: str, remedy: str, kind: str) -> RequestError:
    return RequestError(what, where="schedule", remedy=remedy, kind=kind, facts={"phase": "schedule"})
