"""Requests: a message and its process as the JSON that a module's ``handle`` takes.

Rules
-----
* Keys stand in a fixed order, names in the letter case of the field, and the bytes depend on nothing else.
* Tags are those that the signer wrote where they were kept; else every scalar key that is no field of its own.
* Bytes that are no text are said as base64url: JSON has no bytes.
* ``Owner`` is the first signer, or an empty text; nothing in the message can set it.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from procession import commitments
from procession.ids import is_id
from procession.messages import Message
from procession.schedules import Assignment

FIELDS = frozenset({"id", "anchor", "owner", "data", "target", "signature", "commitments", "path", "tags"})

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_SCALARS = frozenset({str, bytes, int, float, bool})
_quoted = json.encoder.encode_basestring  # of a text, as the encoder above writes it


def message_json(assignment: Assignment, definition: Message, module: str) -> str:
    """Return the first argument of ``handle``: the message of an assignment."""
    message, process = assignment.message, assignment.process
    is_definition = assignment.slot == 0
    signed = commitments.signed(message) if commitments.KEY in message else {}
    owner = _owner(signed)
    anchor, signature = message.get("anchor"), _signature(signed) if signed else None
    rest = "" if anchor is None else f',"Anchor":{_quoted(_text(anchor))}'
    if signature is not None:
        rest += f',"Signature":{_quoted(_text(signature))}'
    return (
        f'{{"Id":{_quoted(process if is_definition else assignment.message_id)}'
        f',"Target":{_quoted(process if is_definition else _text(message.get("target", process)))}'
        f',"Owner":{_quoted(owner)},"From":{_quoted(_sender(message, signed, definition) or owner)}'
        f',"Module":{_quoted(module)},"Block-Height":{assignment.block_height},"Timestamp":{assignment.timestamp}'
        f',"Tags":{_list(_pairs(message, process=is_definition))},"Data":{_quoted(_data(message.get("data", "")))}'
        f'{rest},"Cron":false}}'
    )


def process_json(process: str, definition: Message, module: str) -> str:
    """Return the second argument of ``handle``: the process, and its module where it is known."""
    fields: dict[str, Any] = {
        "Process": {"Id": process, "Owner": owner_of(definition), "Tags": tags_of(definition, process=True)}
    }
    if module:
        fields["Module"] = {"Id": module, "Tags": []}
    return _dumped(fields)


def owner_of(message: Message) -> str:
    """Return the first address that vouches for a message, or an empty text."""
    return _owner(commitments.signed(message))


def sender_of(message: Message, definition: Message) -> str:
    """Return whom a message comes from: the process that sent it, where somebody may say so, else its owner.

    A process is believed of a signer among the definition's ``authority``, and of an operator who
    vouched for the whole message; of anybody else ``from-process`` is data like another key.
    """
    signed = commitments.signed(message)
    return _sender(message, signed, definition) or _owner(signed)


def tags_of(message: Message, *, process: bool = False) -> list[dict[str, str]]:
    """Return the tags; a process has the tag ``Type`` whether it says so or not."""
    return [{"name": name, "value": value} for name, value in _pairs(message, process=process)]


def header_case(key: str) -> str:
    """Return a key with a capital at the start of each part.

    >>> header_case("data-protocol")
    'Data-Protocol'
    """
    if is_id(key):
        return key
    return "-".join([part[:1].upper() + part[1:] for part in key.split("-")])


def _pairs(message: Message, *, process: bool) -> list[tuple[str, str]]:
    pairs = list(commitments.original_tags(message)) if commitments.KEY in message else []
    pairs = pairs or [
        (header_case(key), _text(value))
        for key, value in message.items()
        if key not in FIELDS and type(value) in _SCALARS
    ]
    if process and not any(name.lower() == "type" for name, _ in pairs):
        pairs.append(("Type", "Process"))
    return pairs


def _list(pairs: Sequence[tuple[str, str]]) -> str:
    return "[" + ",".join([f'{{"name":{_quoted(name)},"value":{_quoted(value)}}}' for name, value in pairs]) + "]"


def _owner(signed: Mapping[str, Message]) -> str:
    return next((str(entry["committer"]) for entry in signed.values()), "")


def _sender(message: Message, signed: Mapping[str, Message], definition: Message) -> str:
    """Return the process that is believed to have sent a message, or an empty text."""
    process = message.get("from-process") if signed else None
    return process if isinstance(process, str) and is_id(process) and _is_vouched(signed, definition) else ""


def _is_vouched(signed: Mapping[str, Message], definition: Message) -> bool:
    authority = definition.get("authority", ())
    named = [part.strip() for part in authority.split(",")] if isinstance(authority, str) else authority
    return any(
        entry["committer"] in named or entry.get("commitment-device") == commitments.TRUSTED
        for entry in signed.values()
    )


def _text(value: Any) -> str:
    if type(value) is str:
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return _bytes_text(value)
    return repr(value) if isinstance(value, int | float) else ""


def _bytes_text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return urlsafe_b64encode(value).rstrip(b"=").decode()


def _data(value: Any) -> str:
    if type(value) is str:
        return value
    return _dumped(_plain(value)) if isinstance(value, tuple | Message) else _text(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Message):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return _bytes_text(value) if isinstance(value, bytes) else value


def _signature(signed: Mapping[str, Message]) -> Any:
    return next((entry["signature"] for entry in signed.values() if "signature" in entry), None)


def _dumped(value: Any) -> str:
    return _ENCODER.encode(value)
