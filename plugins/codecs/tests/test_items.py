"""Data items: bounded reading, types 1 and 3, tags kept as they were, and messages back to their items."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import attrs
import pytest

from procession import Message
from procession.commitments import committers, message_id, original_tags, without_commitments
from procession.errors import RequestError
from procession.ids import to_id
from procession_codecs.ans104 import Ans104
from procession_codecs.httpsig import HttpSig
from procession_codecs.items import Item, read_item, read_tags, signed_item, write_tags
from procession_codecs.keys import Signer

from .signing import ETHEREUM_ADDRESS, ethereum_key, personal_sign
from .vectors import vector

ITEMS = Ans104()
TARGET = b"\x05" * 32


def ethereum_item(tags: list[tuple[bytes, bytes]], data: bytes = b"data") -> Item:
    """Return a data item that a wallet of Ethereum signed."""
    unsigned = Item(3, b"", ethereum_key(), TARGET, b"", write_tags(tags), data)
    return attrs.evolve(unsigned, signature=personal_sign(unsigned.deep_hash))


@pytest.mark.parametrize("message", [
    {"action": "Eval", "data": "return 1", "target": "A" * 42 + "E"},
    {"action": "Eval", "n": 5, "ok": True, "ratio": 0.5, "none": None, "list": [1, "a"], "empty": "", "e": []},
    {"data": b"\xff\x00", "anchor": "B" * 42 + "E"},
    {"data": "", "target": "no id"},
    {},
])  # fmt: skip
def test_a_message_becomes_an_item_and_comes_back(signer: Signer, message: dict[str, Any]) -> None:
    """What was signed is read back with its types; back to bytes it is the same item."""
    committed = ITEMS.commit(Message(message), signer)
    content = ITEMS.encode(committed)
    assert Message(message) == without_commitments(committed)
    assert committed == ITEMS.decode(content)
    assert (signer.address,) == committers(committed)
    assert ITEMS.verify(committed, message_id(committed))


def test_an_item_of_ethereum_is_read() -> None:
    """Type 3 is personal_sign of the deep hash; the committer is the address."""
    item = ethereum_item([(b"Action", b"Transfer")])
    message = ITEMS.decode(item.encoded)
    assert (ETHEREUM_ADDRESS,) == committers(message)
    assert item.id == message_id(message)
    assert {"action": "Transfer", "data": "data", "target": to_id(TARGET)} == without_commitments(message).plain()
    assert ITEMS.verify(message, item.id)


def test_an_item_that_arbundles_signed_is_read() -> None:
    """The library of the clients made this item with its signer of Ethereum; its id and address are ours."""
    content = b64decode(
        "AwBAr5WLjqilqLhY9gWmpjeKIj26txxLucBnhgjIoTShdVlTrXErD3KidhqPMjDiVR05Wrhy2j5+erjqJKXzlvmsHARLwqMSZRU/B+cOC6sIck5r"
        "heIX+M1ijOtil0JHu0kzgs4oyrea1xGe4a0+vNuYoWgFIRUw7MbP76G4jm3/mSMqAQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFAAIA"
        "AAAAAAAAEwAAAAAAAAAEDEFjdGlvbghFdmFsAk4Ew6kAc29tZSBkYXRhIOKckw=="
    )
    message = ITEMS.decode(content)
    assert "_DHKkEP15W_c6aUlwWRxp0y4G4DKykS44FAiq8N91Zg" == message_id(message)
    assert (ETHEREUM_ADDRESS,) == committers(message)
    assert ("\u00e9", "some data \u2713") == (message["n"], message["data"])


def test_an_item_of_ethereum_that_was_altered_is_refused() -> None:
    """Another byte of the data, or another owner, is refused."""
    item = ethereum_item([])
    for altered in (attrs.evolve(item, data=b"datb"), attrs.evolve(item, owner=b"\x04" + b"\x01" * 64)):
        with pytest.raises(RequestError) as caught:
            ITEMS.decode(altered.encoded)
        assert "signature" == caught.value.kind


def test_tags_keep_their_order_letter_case_and_number() -> None:
    """The commitment has all of them; of a name that stands twice, the last is the row."""
    tags = [(b"Action", b"one"), (b"X-Name", b"\xff"), (b"ACTION", b"two"), (b"h\xc3\xa9", b"\xe2\x9c\x93")]
    message = ITEMS.decode(ethereum_item(tags).encoded)
    (entry,) = message["commitments"].values()
    assert [name.decode() for name, _ in tags] == [tag["name"] for tag in entry["original-tags"]]
    assert "two" == message["action"]
    assert ("ACTION", "two") in original_tags(message)
    assert ITEMS.verify(message, message_id(message))


@pytest.mark.parametrize(
    "tags",
    [
        [(b"Data", b"tag"), (b"Target", b"tag"), (b"Anchor", b"tag")],
        [(b"ao-data-key", b"body"), (b"body", b"tag")],
        [(b"ao-types", b'n="integer"'), (b"n", b"5")],
        [(b"", b"no name")],
        [],
    ],
)
@pytest.mark.parametrize("data", [b"", b"text", b"\xff"])
def test_rows_that_a_tag_and_the_item_both_say(tags: list[tuple[bytes, bytes]], data: bytes) -> None:
    """Whatever names meet, the item can be made again of the message, byte for byte."""
    item = ethereum_item(tags, data)
    message = ITEMS.decode(item.encoded)
    assert ITEMS.verify(message, item.id)
    assert item.encoded == ITEMS.encode(message)


@pytest.mark.parametrize("layout", ["two blocks", "sized block", "no tags", "wide count"])
def test_tags_in_other_layouts_of_avro_are_kept(layout: str) -> None:
    """Tags in several blocks, or with their size in front, are the same tags; the hash is of what was written."""
    one, two = write_tags([(b"A", b"1")])[1:-1], write_tags([(b"B", b"2")])[1:-1]
    content = {
        "two blocks": b"\x02" + one + b"\x02" + two + b"\x00",
        "sized block": b"\x03" + bytes([2 * len(one + two)]) + one + two + b"\x00",
        "no tags": b"\x00",
        "wide count": b"\x84\x00" + one + two + b"\x00",
    }[layout]
    if layout == "sized block":
        content = b"\x03" + content[1:]
    unsigned = Item(3, b"", ethereum_key(), b"", b"", content, b"")
    item = attrs.evolve(unsigned, signature=personal_sign(unsigned.deep_hash))
    message = ITEMS.decode(item.encoded)
    assert ITEMS.verify(message, item.id)
    assert item.encoded == ITEMS.encode(message)


@pytest.mark.parametrize("change", [
    {"action": "other"}, {"data": "other"}, {"target": "C" * 42 + "E"}, {"extra": "row"}, {"n": "5"}, {"n": 5.0},
])  # fmt: skip
def test_a_changed_message_is_not_vouched_for(signer: Signer, change: dict[str, Any]) -> None:
    """A row changed or added is of no signer; a row taken away neither."""
    message = ITEMS.commit(Message({"action": "Eval", "n": 5, "data": "d", "target": "A" * 42 + "E"}), signer)
    name = message_id(message)
    assert not ITEMS.verify(message.set(change), name)
    assert not ITEMS.verify(message.without("action"), name)
    assert not ITEMS.verify(message, "A" * 43)


@pytest.mark.parametrize("path", ["committer", "signature", "keyid", "type", "original-tags", "committed", "target"])
@pytest.mark.parametrize("value", ["x", 5, [], [{"name": 5}], {"a": 1}, b"\xff", "C" * 42 + "E"])
def test_a_changed_commitment_is_not_vouched_for(signer: Signer, path: str, value: Any) -> None:
    """No row of a commitment can be exchanged, and none makes the check raise."""
    message = ITEMS.commit(Message({"action": "Eval", "target": "A" * 42 + "E"}), signer)
    name = message_id(message)
    assert not ITEMS.verify(message.put(f"commitments/{name}/{path}", value), name)


@pytest.mark.parametrize(
    "message", [{"map": {"a": 1}}, {"list": [{"a": 1}]}, {"tags": "x"}, {"owner": "x"}, {"id": "x"}]
)
def test_what_no_item_can_say_is_refused(signer: Signer, message: dict[str, Any]) -> None:
    """Maps, and rows that an item has of its own, are a RequestError."""
    with pytest.raises(RequestError) as caught:
        ITEMS.commit(Message(message), signer)
    assert "codec" == caught.value.kind


def test_a_message_that_no_item_vouches_for_has_no_bytes(signer: Signer) -> None:
    """An item is signed or it is none; a small wallet makes none either."""
    for message in (Message({"a": 1}), HttpSig().commit(Message({"a": 1}), signer)):
        with pytest.raises(RequestError):
            ITEMS.encode(message)


def test_a_small_wallet_signs_no_item(other_signer: Signer) -> None:
    """Type 1 has keys of 4096 bits."""
    with pytest.raises(RequestError):
        signed_item(other_signer, b"", b"", ([], b""))


def test_every_cut_and_every_length_is_refused() -> None:
    """An item cut anywhere before its data, or with another count or size, is a RequestError of kind item."""
    content = b64decode(vector("03")["request"]["body_b64"])
    head = len(content) - len(read_item(content).data)
    for end in [*range(2, 1030, 97), *range(1030, head)]:
        with pytest.raises(RequestError) as caught:
            read_item(content[:end])
        assert "item" == caught.value.kind
    place = 2 + 512 + 512 + 33 + 1
    for wrong in (0, 1, 9, 127, 129, 1 << 20, 1 << 63):
        for at in (place, place + 8):
            with pytest.raises(RequestError):
                read_item(content[:at] + wrong.to_bytes(8, "little") + content[at + 8 :])


@pytest.mark.parametrize("content", [
    b"", b"\x01", b"[object Object]", b"\x01\x00", b"\xff" * 2000, b"\x02\x00" + b"\x00" * 2000, b"{}",
    b"\x03\x00" + b"\x00" * 130 + b"\x02",
])  # fmt: skip
def test_what_is_no_item_is_refused(content: bytes) -> None:
    """Bytes that are no item are a RequestError of kind item, the text that a client sends by mistake too."""
    with pytest.raises(RequestError) as caught:
        HttpSig().decode_request("POST", "/", [("content-type", "application/ans104")], content)
    assert "item" == caught.value.kind


@pytest.mark.parametrize("content", [
    b"\x02", b"\x02\x00", b"\x01", b"\xff" * 20, b"\x02\x02A\x02B\x00\x00", b"\x02\x01\x00", b"\x80" * 20 + b"\x00",
    b"\xfe\xff\xff\xff\x0f\x00", b"\x01\x00" * 200,
])  # fmt: skip
def test_what_are_no_tags_is_refused(content: bytes) -> None:
    """Malformed Avro ends soon, in a RequestError."""
    with pytest.raises(RequestError):
        read_tags(content)


@pytest.mark.parametrize("name", [b"\xff", b"commitments", b"priv", b"Private.Key"])
def test_a_tag_that_no_row_can_be_is_refused(name: bytes) -> None:
    """A private key, the commitments themselves and a name that is no text are refused, though they are signed."""
    with pytest.raises(RequestError) as caught:
        ITEMS.decode(ethereum_item([(name, b"x")]).encoded)
    assert "item" == caught.value.kind
