"""Commitments: which id a message is known by, and who vouches for it."""

from __future__ import annotations

import pytest

from kernel.devices import ID
from procession import Message
from procession.commitments import committers, message_id, original_tags, signed, trusted, without_commitments
from procession.ids import from_id, to_id

OTHER = to_id(b"\xff" * 32)
ALIAS = to_id(b"\xaa" * 32)


def committed(**entries: dict) -> Message:
    """Return a message with commitments by id."""
    return Message({"data": "x", "commitments": entries})


def test_an_unsigned_message_is_known_by_its_content() -> None:
    """Without a commitment the message id is the content id, and nobody vouches."""
    message = Message({"data": "x"})
    assert message.id == message_id(message)
    assert () == committers(message)
    assert {} == signed(message)


def test_a_signed_message_is_known_by_its_signature() -> None:
    """The id of the one commitment with a committer is the message id; an HMAC is an alias."""
    message = committed(**{ID: {"committer": "alice"}, ALIAS: {"type": "hmac-sha256"}})
    assert ID == message_id(message)
    assert ("alice",) == committers(message)
    alias_alone = committed(**{ALIAS: {"type": "hmac-sha256"}})
    assert alias_alone.id == message_id(alias_alone)


def test_ids_of_several_signers_are_summed() -> None:
    """Two signers give the sum of their ids modulo 2^256, whatever their order."""
    one = committed(**{ID: {"committer": "a"}, OTHER: {"committer": "b"}})
    other = committed(**{OTHER: {"committer": "b"}, ID: {"committer": "a"}})
    expected = (int.from_bytes(from_id(ID)) + 2**256 - 1) % 2**256
    assert to_id(expected.to_bytes(32)) == message_id(one) == message_id(other)


@pytest.mark.parametrize("entries", ["x", 1, [], None, {"x": 1}, {ID: "x"}, {ID: {}}, {ID: {"type": "x"}}])
def test_what_is_no_commitment_vouches_for_nothing(entries: object) -> None:
    """Rows under the key of commitments that are none leave the message unsigned."""
    message = Message({"data": "x", "commitments": entries})
    assert message.id == message_id(message)
    assert () == committers(message)
    assert () == original_tags(message)


def test_a_trusted_id_carries_owner_and_tags() -> None:
    """An operator's word gives a message its id, its owner and its tags in their order and case."""
    tags = ({"name": "Action", "value": "Eval"}, {"name": "action", "value": "twice"})
    message = trusted(Message({"action": "twice"}), given_id=ID, owner="alice", tags=tags)
    assert ID == message_id(message)
    assert ("alice",) == committers(message)
    assert (("Action", "Eval"), ("action", "twice")) == original_tags(message)
    assert Message({"action": "twice"}) == without_commitments(message)


@pytest.mark.parametrize("tags", [["x"], [{"name": "only"}], "text", [1, None], [{}]])
def test_tags_of_another_shape_do_no_harm(tags: object) -> None:
    """Tags that a stranger wrote in another shape are read without an exception."""
    message = committed(**{ID: {"committer": "a", "original-tags": tags}})
    assert isinstance(original_tags(message), tuple)
