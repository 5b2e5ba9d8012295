"""Commitments: who vouches for a message, under which id.

A message carries them under ``commitments``: id -> {commitment-device, committer, ...}. They are rows
like others, so bytes and content id cover them. Whether one is true is its scheme's business
(roles.CommitmentScheme), checked where messages come in; here they are only read.

Rules
-----
* The message id is what the signer computed; an unsigned message has its content id.
* A commitment without a committer (an HMAC) is an alias and names nobody.
* Several signers: the ids are summed modulo 2^256, as HyperBEAM does, for compatibility only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from procession.ids import from_id, is_id, to_id
from procession.messages import EMPTY, Message

KEY = "commitments"
TRUSTED = "trusted-id"  # commitment-device of an id that no signature proves, accepted by the operator


def signed(message: Message) -> dict[str, Message]:
    """Return the commitments that have a committer, by id."""
    entries = message.get(KEY, EMPTY)
    if not isinstance(entries, Message):
        return {}
    return {key: entry for key, entry in entries.items() if isinstance(entry, Message) and "committer" in entry}


def message_id(message: Message) -> str:
    """Return the id a message is known by: its signer's, else its content id."""
    ids = [key for key in signed(message) if is_id(key)] if KEY in message else []
    if len(ids) < 2:
        return ids[0] if ids else message.id
    total = sum(int.from_bytes(from_id(key)) for key in ids)
    return to_id((total % (1 << 256)).to_bytes(32))


def committers(message: Message) -> tuple[str, ...]:
    """Return the addresses that vouch for a message, in the order of the commitment ids."""
    return tuple(str(entry["committer"]) for entry in signed(message).values())


def without_commitments(message: Message) -> Message:
    """Return what the commitments are about."""
    return message.without(KEY) if KEY in message else message


def trusted(message: Message, *, given_id: str, owner: str, tags: tuple[Mapping[str, Any], ...] = ()) -> Message:
    """Return a message under an id and owner that the operator vouches for.

    ``tags`` are the original ones, name and value in their order and letter case.
    """
    entry: dict[str, Any] = {"commitment-device": TRUSTED, "committer": owner}
    if tags:
        entry["original-tags"] = tags
    return message.set({KEY: {given_id: entry}}, explicit=True)


def original_tags(message: Message) -> tuple[tuple[str, str], ...]:
    """Return the tags as their signer wrote them, or nothing where no commitment keeps them."""
    for entry in signed(message).values():
        tags = entry.get("original-tags", ())
        if isinstance(tags, tuple) and tags:
            return tuple((str(tag.at("name")), str(tag.at("value"))) for tag in tags if isinstance(tag, Message))
    return ()
