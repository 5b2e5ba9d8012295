"""Replies: whatever a state holds comes out in headers that clients take, and is signed so that anyone can check it."""

from __future__ import annotations

import re
from typing import Any

import http_sf
import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA512

from procession import Message
from procession.commitments import committers, without_commitments
from procession.errors import ConfigError, RequestError
from procession_codecs.commits import check_digest
from procession_codecs.httpsig import REPLY_BYTES, HttpSig
from procession_codecs.keys import Signer, new_wallet, signer_of
from procession_codecs.texts import from_base64

HTTP = HttpSig()
SAFE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
STATES: dict[str, dict[str, Any]] = {
    "flat": {"slot": 3, "process": "A" * 43, "ok": True, "ratio": 1.5, "none": None, "tags": [1, "a", True]},
    "empties": {"text": "", "list": [], "map": {}, "within": {"text": "", "list": [[]], "map": {"map": {}}}},
    "nothing": {},
    "nested": {"results": {"output": "l1\nl2", "outbox": [{"target": "x", "n": 1}], "deep": {"a": {"b": {"c": 1}}}}},
    "lines": {"one": "a\nb", "two": "a\r\nb", "three": " blank ", "four": "\x00", "five": "h\u00e9\u2713"},
    "alone": {"slot": 1, "output": "line\nline"},
    "alone-bytes": {"slot": 1, "output": b"\xff\x00"},
    "large": {"slot": 1, "large": "x" * 100_000, "bytes": b"\xff" * 5000, "map": {"large": "y" * 5000, "n": 1}},
    "many": {f"key-{place}": place for place in range(1500)},
    "long": {f"key-{place}-{'n' * 90}": "v" * 90 for place in range(200)},
    "fills": {f"k{place}": "v" * 4000 for place in range(9)},
    "ids": {"A" * 43: "text", "b" * 42 + "C": 5, "0x" + "aB" * 20: "eth", "within": {"C" * 43: {"D" * 43: "v"}}},
    "many ids": {f"{place:03}" + "A" * 40: "value" for place in range(300)},
    "http": {"content-length": "99", "set-cookie": "a=b", "location": "//evil", "connection": "close", "status": 500},
    "framing": {"body-keys": "x", "content-digest": "y", "ao-result": "body", "ao-body-key": "z", "ao-ids": "q"},
    "typed body": {"body": 5},
    "body and map": {"body": "text\r\n", "map": {"body": "inner", "n": 1}, "only": {"body": "inner"}},
    "body map": {"body": {"a": 1, "body": {"body": b"\xff"}}},
    "data": {"data": "text", "n": 1},
    "type": {"content-type": "text/html", "body": "<p>"},
    "type and map": {"content-type": "text/html", "map": {"content-type": "x", "content-disposition": "y"}},
    "names": {"a b": "x", "\u00e9": "y", "a:b": "z", "A_B": "w", "a=b": 5, "a,b": [1]},
    "odd names within": {"map": {"a: b": "x", " a": "y", "b ": "z", "a:b": 1, "%41": 2, "a,b": [{}]}},
}


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("signed", [True, False])
def test_a_state_comes_back_whole(signer: Signer, name: str, signed: bool) -> None:
    """Headers and body of a reply say the state, value by value and type by type."""
    state = Message(STATES[name])
    headers, body = HTTP.encode_reply(state, signer if signed else None)
    message = HTTP.decode_request("GET", "/", headers, body)
    assert state == without_commitments(message)
    assert ((signer.address,) if signed else ()) == committers(message)


@pytest.mark.parametrize("name", STATES)
def test_headers_are_small_and_plain(signer: Signer, name: str) -> None:
    """Headers stay below 15 KiB and 100 lines, hold printable ASCII, and none is one of HTTP's own."""
    headers, _ = HTTP.encode_reply(Message(STATES[name]), signer)
    names = [key for key, _ in headers]
    assert REPLY_BYTES > sum(len(f"{key}: {value}\r\n") for key, value in headers)
    assert 90 > len(headers) == len(set(names))
    assert all(SAFE.fullmatch(value) for _, value in headers)
    assert all(re.fullmatch(r"[a-z0-9!#$%&'*+.^_`|~-]+", key) for key in names)
    assert not {"content-length", "set-cookie", "location", "connection"} & set(names)


@pytest.mark.parametrize("name", STATES)
def test_a_reply_verifies_under_the_rfc_alone(signer: Signer, name: str) -> None:
    """A verifier that knows RFC 9421 and nothing of this plugin takes the signature; each header is under it."""
    headers, body = HTTP.encode_reply(Message(STATES[name]), signer)
    fields = dict(headers)
    inputs: Any = http_sf.parse(fields["signature-input"].encode(), tltype="dictionary")
    contents: Any = http_sf.parse(fields["signature"].encode(), tltype="dictionary")
    ((label, (members, parameters)),) = inputs.items()
    names = [member for member, _ in members]
    lines = [f'"{key}": {fields[key]}' for key in names]
    base = "\n".join([*lines, f'"@signature-params": {http_sf.ser([(members, parameters)])}']).encode()
    key = rsa.RSAPublicNumbers(65537, int.from_bytes(from_base64(parameters["keyid"], "keyid"))).public_key()
    scheme = padding.PSS(padding.MGF1(SHA512()), padding.PSS.AUTO)
    key.verify(contents[label][0], base, scheme, SHA512())
    assert sorted(names) == names == sorted(fields.keys() - {"signature", "signature-input"})
    assert re.fullmatch(r"[a-z][A-Za-z0-9-]*", label)
    if body:
        check_digest(fields["content-digest"], body)


@pytest.mark.parametrize("value", [5, "text", "", b"\xff", True, None, 1.5, [1, "a"], [{"a": 1}, [2]], []])
def test_a_bare_value_is_the_body(signer: Signer, value: Any) -> None:
    """A value without keys stands under body, and a header says so."""
    frozen = Message({"body": value})["body"]
    headers, body = HTTP.encode_reply(frozen, signer)
    assert "body" == dict(headers)["ao-result"]
    assert frozen == HTTP.decode(HTTP.encode(frozen))
    assert frozen == HTTP.decode_request("GET", "/", headers, body)["body"]
    if isinstance(value, str):
        assert value.encode() == body


def test_what_hbsig_reads_is_in_headers(signer: Signer) -> None:
    """Small values are headers, with types in quotes, since that client reads no other."""
    headers, body = HTTP.encode_reply(Message({"process": "A" * 43, "slot": 0, "ok": True}), signer)
    fields = dict(headers)
    assert ("0", '"true"', 'ok="atom", slot="integer"') == (fields["slot"], fields["ok"], fields["ao-types"])
    assert b"" == body
    assert f'{signer.label}=("ao-types" "ok" "process" "slot");alg="rsa-pss-sha512"' in fields["signature-input"]


def test_a_nested_map_is_a_named_part() -> None:
    """A part is lines of key and value, as hbsig reads it."""
    headers, body = HTTP.encode_reply(Message({"map": {"text": "a: b", "n": 1}}))
    lines = b'ao-types: n="integer"\r\ncontent-disposition: form-data;name="map"\r\nn: 1\r\ntext: a: b\r\n'
    assert lines in body
    assert 'multipart/form-data; boundary="' in dict(headers)["content-type"]


@pytest.mark.parametrize(
    "state",
    [
        {"": 1},
        {"a/b": {"c": "d"}},
        {"a/b": "x\r\n", "z": {"y": 1}},
        {'a"b': {"c": 1}},
        {"a\nb": "x"},
        {"ao-types": "x"},
        {"map": {"ao-types": "x"}},
        {"map": {"a/b": {"c": 1}}},
        {f"key-{place}": b"\xff" for place in range(2100)},
    ],
)
def test_a_state_that_http_cannot_say_is_refused(state: dict[str, Any]) -> None:
    """A key that neither a header nor a part can be named is a RequestError, never another message."""
    with pytest.raises(RequestError) as caught:
        HTTP.encode_reply(Message(state))
    assert caught.value.kind in {"codec", "too-large"}


@pytest.mark.parametrize("wallet", ["", "{}", "null", "[]", '{"n": 5}', b"\xff", {"n": ""}, new_wallet(1024)])
def test_what_is_no_wallet_is_the_operators_trouble(wallet: Any) -> None:
    """A file that is no key is a ConfigError that repeats nothing of it."""
    with pytest.raises(ConfigError) as caught:
        signer_of(wallet)
    assert "wallet" in caught.value.text
    assert 160 > len(caught.value.text)
