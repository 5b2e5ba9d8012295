"""Stored messages: what a commit writes, and what reading it back asks for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.values import plain, rows
from procession import CacheError, Message
from procession.ids import from_id
from procession.messages import decode, encode
from procession.stored import Source, message_of, stored_message, unsaved_nodes
from procession.tries import INLINE_LIMIT


class Shelf:
    """Keep blobs by digest, and note which were asked for."""

    def __init__(self) -> None:
        self.blobs: dict[bytes, bytes] = {}
        self.asked: list[bytes] = []
        self.source = Source(self.load, self)

    def load(self, digest: bytes) -> bytes:
        """Return a blob."""
        self.asked.append(digest)
        if digest not in self.blobs:
            raise CacheError("is missing", kind="missing")
        return self.blobs[digest]

    def keep(self, message: Message) -> list[bytes]:
        """Write what is not here yet, as a commit does, and return it; children come first."""
        fresh = []
        for node in unsaved_nodes(message, (self,)):
            node.saved_in = self
            if node.linked:
                fresh.append(node.encoded)
                self.blobs[node.digest] = node.encoded
        return fresh

    def read(self, message: Message) -> Message:
        """Return the message as another program reads it."""
        return message_of(message.encoded, self.source)


def big(text: str = "x") -> dict[str, Any]:
    """Return a map that is stored by itself."""
    return {"data": text * INLINE_LIMIT}


@given(rows, st.integers(0, 3))
def test_a_message_comes_back_from_a_store(values: dict, wide: int) -> None:
    """Bytes, id, order and types survive a store, small messages and large ones."""
    many = {f"k{n}": {**big(), "v": n} for n in range(40 * wide)}
    message = Message({**values, "many": many, "deep": {"deep": {**big(), "v": values}}})
    shelf = Shelf()
    shelf.keep(message)
    again = shelf.read(message)
    assert message.id == again.id
    assert encode(message) == encode(again)
    assert _kinds(message.plain()) == _kinds(again.plain())


@given(plain)
def test_types_survive_every_depth_of_a_store(value: object) -> None:
    """A value keeps its type inline, behind a link, and in a leaf of a trie."""
    message = Message({"v": value, "linked": {**big(), "v": value}, "trie": {f"{n}": value for n in range(70)}})
    shelf = Shelf()
    shelf.keep(message)
    again = shelf.read(message)
    expected = _kinds(Message({"v": value}).plain()["v"])
    assert [expected] * 3 == [_kinds(_plain(again.at(path))) for path in ("v", "linked/v", "trie/33")]


def _plain(value: Any) -> Any:
    return Message({"v": value}).plain()["v"]


def _kinds(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _kinds(item) for key, item in value.items()}
    return [_kinds(item) for item in value] if isinstance(value, list) else (type(value), repr(value))


def test_small_parts_are_inline_and_large_ones_are_links() -> None:
    """A part is stored by itself exactly when its bytes are above the limit."""
    frame = len(Message({"d": "x" * 250}).encoded) - 250
    for size, count in ((INLINE_LIMIT - frame, 0), (INLINE_LIMIT - frame + 1, 1)):
        assert count == len(Shelf().keep(Message({"part": {"d": "x" * size}})))


def test_equal_parts_are_stored_once() -> None:
    """Two keys with the same large part are two links to one blob."""
    shelf = Shelf()
    shelf.keep(Message({"a": big(), "b": big(), "c": [big()]}))
    assert 1 == len(shelf.blobs)


def test_reading_asks_only_for_what_is_looked_into() -> None:
    """Nothing is read until a part is looked into, and each part once."""
    message = Message({"a": big("a"), "b": big("b"), "trie": {f"k{n}": big() for n in range(1000)}})
    shelf = Shelf()
    shelf.keep(message)
    again = shelf.read(message)
    assert message.id == again.put("c", 1).without("c").id
    assert [] == shelf.asked
    assert "a" * INLINE_LIMIT == again.at("a/data") == again.at("a/data")
    assert [message["a"].digest] == shelf.asked
    again.at("trie/k5/data")
    assert len(shelf.asked) <= 6


def test_one_change_in_many_keys_writes_few_nodes() -> None:
    """A slot costs what it changed: of 100,000 rows, one change writes a path of the trie, also after a restart."""
    shelf = Shelf()
    state = Message({"accounts": {f"account-{n}": n for n in range(100_000)}, "other": big()})
    assert len(shelf.keep(state)) > 3000
    changed = state.put("accounts/account-7", 0)
    written = shelf.keep(changed)
    assert 1 <= len(written) <= 7
    assert sum(map(len, written)) < 20_000
    assert [] == shelf.keep(changed.put("count", 1))
    again = shelf.read(changed)
    assert 0 == again.at("accounts/account-7")
    written = shelf.keep(again.put("accounts/account-8", 0))
    assert 1 <= len(written) <= 7
    assert len(shelf.asked) < 20


def test_an_untouched_part_is_neither_read_nor_written_again() -> None:
    """After a restart, a state that changes beside its large parts asks for none of them and writes none."""
    shelf = Shelf()
    state = Message({"a": big("a"), "b": {"c": big("c"), "small": 1}, "trie": {f"{n}": n for n in range(100)}})
    shelf.keep(state)
    again = shelf.read(state)
    assert [] == shelf.keep(again.put("b/small", 2).put("n", 1).public())
    assert [] == shelf.asked


def test_a_failed_read_can_be_tried_again() -> None:
    """A part that could not be read is read when the store has it again."""
    shelf = Shelf()
    message = Message({"a": big()})
    shelf.keep(message)
    again = shelf.read(message)
    kept, shelf.blobs = shelf.blobs, {}
    for _ in range(2):
        with pytest.raises(CacheError):
            again.at("a/data")
    shelf.blobs = kept
    assert message.at("a/data") == again.at("a/data")


def test_two_stores_each_get_everything() -> None:
    """What one store acknowledged is still written to another."""
    message, one, other = Message({"a": big(), "trie": {f"{n}": n for n in range(100)}}), Shelf(), Shelf()
    assert one.keep(message) == other.keep(message) == one.keep(message)
    assert one.blobs == other.blobs != {}


def test_private_rows_are_not_stored() -> None:
    """Neither a blob nor the message's own bytes hold a private row."""
    shelf = Shelf()
    message = Message({"a": {**big(), "priv": "s3cret"}, "l": [{"private-x": "s3cret"}]}).with_private("priv", "s3cret")
    shelf.keep(message)
    assert b"s3cret" not in b"".join([*shelf.blobs.values(), message.encoded])
    assert {} == shelf.read(message)["a"].private


def test_depth_that_grew_can_be_stored_and_read() -> None:
    """A state nested deeper than the wire allows, one level a slot, is still read back."""
    shelf, state = Shelf(), Message({"n": 0})
    for n in range(300):
        state = Message({"n": n, "in": state, "list": [[[n]]]})
        shelf.keep(state)
    again = shelf.read(state)
    assert 0 == again.at("/".join(["in"] * 300 + ["n"]))
    assert state.id == again.put("x", 1).without("x").id


def test_tags_of_the_store_cannot_come_from_outside() -> None:
    """The bytes of a stored message with links are refused on the wire."""
    message = Message({"a": big()})
    with pytest.raises(Exception, match="tag"):
        decode(message.encoded, limit=1000)
    assert encode(message) == encode(decode(encode(message), limit=1000))


def test_a_stored_message_is_known_by_its_digest() -> None:
    """A message of a digest has that id before and after it was read."""
    shelf = Shelf()
    message = Message({"a": big()})
    shelf.blobs[message.digest] = message.encoded
    shelf.keep(message)
    again = stored_message(from_id(message.id), shelf.source)
    assert message == again
    assert [] == shelf.asked
    assert message.plain() == again.plain()
    assert message.encoded == again.encoded
