"""Schedules made elsewhere: assignments with their given slots, times, ids and owners, into submissions.

Rules
-----
* The slots are dense from 0; a chain that comes along must continue.
* A message id that comes along must be the one that the message has.
* An id that neither the content nor a signature proves is taken only where the operator says so.
* Tags keep their order and letter case in the commitment; as keys they are lower-cased like all keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from procession.commitments import KEY, message_id, trusted
from procession.errors import RequestError
from procession.ids import from_id, is_id
from procession.messages import Message
from procession.schedules import Given, Submission

_ENTRY = ("slot", "timestamp", "block-height", "hash-chain", "message-id", "message")

# Members of an AO message that are neither tags nor the assignment's own.
_MEMBERS = {"Data": "data", "Target": "target", "Anchor": "anchor", "Signature": "signature"}


def submissions(
    entries: Iterable[Mapping[str, Any]], *, definition: Message | None, trust_ids: bool
) -> Iterator[Submission]:
    """Yield a submission for each assignment of a schedule.

    An entry is ``{"slot", "timestamp", "block-height", "message"}`` and may carry ``hash-chain`` and ``message-id``;
    other keys, which schedulers add, are left out, but not one that is nearly one of these. The message is an AO
    message (``Id, Owner, Tags, Data, ...``; it may hold ``Timestamp`` and ``Block-Height`` too) or one of ours.
    ``definition`` gives slot 0 the keys that it does not have itself.
    Raises RequestError that names the slot.
    """
    for index, entry in enumerate(entries):
        try:
            submission = _submission(entry, definition if index == 0 else None, trust_ids=trust_ids)
            if submission.given and submission.given.slot != index:
                raise _refused(
                    f"slot {submission.given.slot} stands where slot {index} belongs", "give every slot from 0"
                )
        except RequestError as error:
            raise error.at(f"schedule entry {index}", entry=index) from error
        yield submission


def _submission(entry: Any, definition: Message | None, *, trust_ids: bool) -> Submission:
    raw = entry.get("message") if isinstance(entry, Mapping) else None
    if not isinstance(raw, Mapping):
        raise _refused("'message' is missing", "give the message as an object")
    _check_keys(entry)
    timed = {"timestamp": _number(raw.get("Timestamp")), "block-height": _number(raw.get("Block-Height")), **entry}
    given = Given(_whole(entry, "slot"), _whole(timed, "timestamp"), _whole(timed, "block-height"), _chain(entry))
    message = _ao_message(raw, definition, trust_ids) if "Id" in raw else _own_message(raw, definition, trust_ids)
    name = message_id(message)
    if entry.get("message-id") not in (None, name):
        what = f"the message has the id {name}, given message-id {entry['message-id']!r:.60}"
        raise _refused(what, "import the schedule as it was exported, or leave message-id out")
    return Submission(message, name, given=given)


def _check_keys(entry: Mapping[str, Any]) -> None:
    for key in entry:
        close = () if key in _ENTRY else get_close_matches(str(key), _ENTRY, n=1, cutoff=0.75)
        if close:
            raise _refused(f"{key!r:.60} is no key of an entry", f"nearest is {close[0]!r}")


def _own_message(raw: Mapping[str, Any], definition: Message | None, trust_ids: bool) -> Message:
    message = Message(raw).public()
    if KEY in message and not trust_ids:
        what = "the message carries commitments, and no signature was verified"
        raise _refused(what, "say --trust-ids to take them at their word, or import it without them")
    return definition.set(message) if definition else message


def _ao_message(raw: Mapping[str, Any], definition: Message | None, trust_ids: bool) -> Message:
    given_id, owner = raw["Id"], raw.get("Owner", "")
    if not isinstance(given_id, str) or not is_id(given_id) or not isinstance(owner, str):
        raise _refused(f"{given_id!r:.60} is no id", "an id is 43 characters of base64url")
    if not trust_ids:
        raise _refused(f"no signature proves the id {given_id}", "say --trust-ids to take it at its word")
    listed = raw.get("Tags", ())
    tags = tuple(_tag(tag) for tag in (listed if isinstance(listed, list | tuple) else (listed,)))
    rows: dict[str, Any] = {tag["name"]: tag["value"] for tag in tags}
    rows |= {key: raw[name] for name, key in _MEMBERS.items() if raw.get(name)}
    sender = raw.get("From", owner)
    rows |= {"from-process": sender} if sender != owner else {}
    message = Message(rows).public()
    message = definition.set(message) if definition else message
    return trusted(message, given_id=given_id, owner=owner, tags=tags)


def _tag(tag: Any) -> dict[str, str]:
    match tag:
        case {"name": str(name), "value": str(value)}:
            return {"name": name, "value": value}
    raise _refused(f"{tag!r:.60} is no tag", "a tag has a text name and a text value")


def _number(value: Any) -> Any:
    """Return a number that AO wrote as a text."""
    digits = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20
    return int(value) if digits else value


def _whole(entry: Mapping[str, Any], key: str) -> int:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _refused(f"{key!r} is {value!r:.40}", "give a whole number from 0")
    return value


def _chain(entry: Mapping[str, Any]) -> bytes | None:
    chain = entry.get("hash-chain")
    if chain is None:
        return None
    if not isinstance(chain, str) or not is_id(chain):
        raise _refused(f"'hash-chain' is {chain!r:.60}", "give its 43 characters")
    return from_id(chain)


def _refused(what: str, remedy: str) -> RequestError:
    return RequestError(what, remedy=remedy, kind="message")
