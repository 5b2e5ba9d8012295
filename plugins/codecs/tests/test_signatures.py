"""Signatures in the forms of three generations of clients, and what is none."""

from __future__ import annotations

from base64 import b64encode

import pytest

from procession.commitments import committers, message_id
from procession.errors import RequestError
from procession.ids import hash_id, is_id
from procession_codecs.httpsig import HttpSig
from procession_codecs.keys import Signer, address_of, keccak256
from procession_codecs.signatures import unsigned_id
from procession_codecs.texts import to_base64, to_base64url

from .signing import (
    ETHEREUM_ADDRESS,
    ethereum_key,
    hmac_sign,
    personal_sign,
    rsa_sign,
    signed_fields,
)

HTTP = HttpSig()
FIELDS = {"action": "Inc", "num": "7"}
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def read(fields: dict[str, str], target: str = "/x/schedule", body: bytes = b"") -> object:
    """Return the message of a POST."""
    return HTTP.decode_request("POST", target, fields.items(), body)


@pytest.mark.parametrize("salt", [0, 32, 64, 190])
def test_a_salt_may_have_any_length(other_signer: Signer, salt: int) -> None:
    """Clients sign with the longest salt, nodes with that of the digest; both verify."""
    rows = signed_fields(FIELDS, rsa_sign(other_signer, salt), keyid=other_signer.keyid)
    assert (other_signer.address,) == committers(HTTP.decode_request("POST", "/", (FIELDS | rows).items(), b""))


@pytest.mark.parametrize("label", ["http-sig-747f6c1028cdd3b9", "sig-AbC", "comm-q0_Zx", "sig1", "A"])
@pytest.mark.parametrize("form", ["url", "padded", "prefixed"])
@pytest.mark.parametrize("alg", ["rsa-pss-sha512", None])
def test_any_label_and_form_of_key_is_taken(other_signer: Signer, label: str, form: str, alg: str | None) -> None:
    """A key is base64 of either alphabet, padded or not, with or without the word publickey in front."""
    key = other_signer.key
    keyid = {
        "url": to_base64url(key),
        "padded": to_base64(key),
        "prefixed": f"publickey:{to_base64(key)}",
    }[form]
    rows = signed_fields(FIELDS, rsa_sign(other_signer, 64), keyid=keyid, label=label, alg=alg)
    message = HTTP.decode_request("POST", "/", (FIELDS | rows).items(), b"")
    assert (other_signer.address,) == committers(message)
    assert HTTP.verify(message, message_id(message))


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize(("header", "target"), [("", "/p/now"), ("/p/now", "/p/now"), ("/p/now?a=b", "/p/now?a=b")])
def test_a_path_is_signed_in_either_reading(other_signer: Signer, plain: bool, header: str, target: str) -> None:
    """The line of @path has its sign as the RFC writes it, or not, as HyperBEAM does; of the header or the target."""
    values = {"@path": header or target, "action": "x"}
    rows = signed_fields(values, rsa_sign(other_signer, 64), keyid=other_signer.keyid, plain=plain)
    came = {"action": "x", **({"path": header} if header else {}), **rows}
    message = HTTP.decode_request("GET", target, came.items(), b"")
    assert (header or target) == message["path"]
    assert HTTP.verify(message, message_id(message))


def test_the_path_of_a_target_is_signed_without_its_query(other_signer: Signer) -> None:
    """The RFC has @path end before the query."""
    rows = signed_fields({"@path": "/p/now"}, rsa_sign(other_signer, 64), keyid=other_signer.keyid)
    assert "/p/now" == HTTP.decode_request("GET", "/p/now?slot=1", rows.items(), b"")["path"]


@pytest.mark.parametrize("target", ["/q/now", "/", "/p/nowx"])
def test_a_request_is_not_taken_to_another_path(other_signer: Signer, target: str) -> None:
    """A request that was signed for a path is refused at another, whatever its path header says."""
    rows = signed_fields({"@path": "/p/now"}, rsa_sign(other_signer, 64), keyid=other_signer.keyid, plain=True)
    with pytest.raises(RequestError) as caught:
        HTTP.decode_request("GET", target, {"path": "/p/now", **rows}.items(), b"")
    assert "signature" == caught.value.kind


def test_other_derived_components_are_those_of_the_request(other_signer: Signer) -> None:
    """The method and the host of a request can be signed."""
    values = {"@method": "POST", "@authority": "node.example:8734", "action": "x"}
    rows = signed_fields(values, rsa_sign(other_signer, 64), keyid=other_signer.keyid)
    came = {"host": "node.example:8734", "action": "x", **rows}
    assert "POST" == HTTP.decode_request("POST", "/", came.items(), b"")["method"]
    with pytest.raises(RequestError):
        HTTP.decode_request("GET", "/", came.items(), b"")


@pytest.mark.parametrize("alg", ["ethereum", None])
def test_an_ethereum_signature_verifies(alg: str | None) -> None:
    """The committer is the address with its letter case, and the id the hash of the signature."""
    rows = signed_fields(FIELDS, personal_sign, keyid=to_base64url(ethereum_key()), alg=alg)
    message = HTTP.decode_request("POST", "/", (FIELDS | rows).items(), b"")
    assert (ETHEREUM_ADDRESS,) == committers(message)
    assert is_id(message_id(message))
    assert HTTP.verify(message, message_id(message))


@pytest.mark.parametrize("alter", ["last", "high", "unmarked", "other"])
def test_an_ethereum_signature_has_one_form(alter: str) -> None:
    """Whoever sees a signature cannot make another valid one of it, which would be the same message under a new id."""

    def altered(base: bytes) -> bytes:
        content = personal_sign(base)
        r, s, v = content[:32], int.from_bytes(content[32:64]), content[64]
        forms = {
            "last": (s, 55 - v),
            "high": (ORDER - s, 55 - v),
            "unmarked": (s, v - 27),
            "other": (s ^ 1, v),
        }
        s, v = forms[alter]
        return r + s.to_bytes(32) + bytes([v])

    rows = signed_fields(FIELDS, altered, keyid=to_base64url(ethereum_key()), alg="ethereum")
    with pytest.raises(RequestError) as caught:
        HTTP.decode_request("POST", "/", (FIELDS | rows).items(), b"")
    assert "signature" == caught.value.kind


def test_addresses_are_those_that_others_compute() -> None:
    """An Ethereum address is that of EIP-55, an RSA one the hash of the modulus."""
    assert ETHEREUM_ADDRESS == address_of(ethereum_key())
    assert hash_id(b"\x01" * 512) == address_of(b"\x01" * 512)
    assert "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470" == keccak256(b"").hex()


@pytest.mark.parametrize("keyid", ["ao", "constant:ao"])
def test_an_hmac_under_the_known_key_is_an_alias(keyid: str) -> None:
    """It verifies, names nobody, and its id is the HMAC itself."""
    rows = signed_fields(FIELDS, hmac_sign, keyid=keyid, alg="hmac-sha256")
    message = HTTP.decode_request("POST", "/", (FIELDS | rows).items(), b"")
    (name,) = message["commitments"]
    assert () == committers(message)
    assert HTTP.verify(message, name)
    if keyid == "ao":
        assert unsigned_id(tuple(FIELDS), FIELDS) == name


@pytest.mark.parametrize("covered", [("action",), ("action", "num"), ("num", "action")])
def test_an_alias_beside_a_signature_need_not_cover_the_same(other_signer: Signer, covered: tuple[str, ...]) -> None:
    """Nodes send both; one of other fields is left out, since it vouches for nobody."""
    one = signed_fields(FIELDS, rsa_sign(other_signer, 64), keyid=other_signer.keyid, label="b")
    rows = {name: FIELDS[name] for name in covered}
    two = signed_fields(rows, hmac_sign, keyid="constant:ao", alg="hmac-sha256", label="a")
    both = {name: f"{two[name]}, {one[name]}" for name in one}
    message = HTTP.decode_request("POST", "/", (FIELDS | both).items(), b"")
    assert (other_signer.address,) == committers(message)
    assert FIELDS == message.without("commitments").plain()
    assert (1 if covered == ("action",) else 2) == len(message["commitments"])
    assert all(HTTP.verify(message, name) for name in message["commitments"])


def test_several_signers_vouch_for_the_same(signer: Signer, other_signer: Signer) -> None:
    """Both verify, and the message is known by the sum of their ids."""
    one = signed_fields(FIELDS, rsa_sign(signer, 64), keyid=signer.keyid, label="a")
    two = signed_fields(FIELDS, rsa_sign(other_signer, 64), keyid=other_signer.keyid, label="b")
    both = {name: f"{one[name]}, {two[name]}" for name in one}
    message = HTTP.decode_request("POST", "/", (FIELDS | both).items(), b"")
    assert {signer.address, other_signer.address} == set(committers(message))
    assert all(HTTP.verify(message, name) for name in message["commitments"])
    assert message_id(message) not in message["commitments"]


@pytest.mark.parametrize("second", [("action",), ("action", "num", "extra")])
def test_signers_of_different_fields_are_refused(signer: Signer, other_signer: Signer, second: tuple[str, ...]) -> None:
    """What one of several signers did not see is not taken under the name of all."""
    fields = {**FIELDS, "extra": "x"}
    one = signed_fields(FIELDS, rsa_sign(signer, 64), keyid=signer.keyid, label="a")
    rows = {name: fields[name] for name in second}
    two = signed_fields(rows, rsa_sign(other_signer, 64), keyid=other_signer.keyid, label="b")
    both = {name: f"{one[name]}, {two[name]}" for name in one}
    with pytest.raises(RequestError) as caught:
        HTTP.decode_request("POST", "/", (fields | both).items(), b"")
    assert "signature" == caught.value.kind


def test_of_two_signatures_each_must_verify(signer: Signer, other_signer: Signer) -> None:
    """A good signature does not carry a bad one."""
    one = signed_fields(FIELDS, rsa_sign(signer, 64), keyid=signer.keyid, label="a")
    two = signed_fields({**FIELDS, "num": "8"}, rsa_sign(other_signer, 64), keyid=other_signer.keyid, label="b")
    both = {name: f"{one[name]}, {two[name]}" for name in one}
    with pytest.raises(RequestError):
        HTTP.decode_request("POST", "/", (FIELDS | both).items(), b"")


def test_what_is_not_signed_is_not_of_the_message(other_signer: Signer) -> None:
    """Headers beside the signed ones are left out, whatever they are called."""
    rows = signed_fields(FIELDS, rsa_sign(other_signer, 64), keyid=other_signer.keyid)
    came = {**FIELDS, **rows, "target": "somebody", "ao-types": 'num="integer"', "accept": "x"}
    message = HTTP.decode_request("POST", "/", came.items(), b"")
    assert {"action": "Inc", "num": "7"} == message.without("commitments").plain()


SIG = b64encode(b"x" * 256).decode()
KEY = to_base64url(b"\xff" * 256)


@pytest.mark.parametrize(
    ("signature", "given"),
    [
        ("", ""),
        ("a", "a"),
        (f"a=:{SIG}:", ""),
        (f"a=:{SIG}:", f'b=("action");keyid="{KEY}"'),
        (f"a=:{SIG}:", f'a=("action")keyid="{KEY}"'),
        (f"a=:{SIG}:", 'a=("action")'),
        (f"a=:{SIG}:", 'a=("action");keyid=5'),
        (f"a=:{SIG}:", f'a=("action" "action");keyid="{KEY}"'),
        (f"a=:{SIG}:", f'a=("action";sf);keyid="{KEY}"'),
        (f"a=:{SIG}:", f'a=("missing");keyid="{KEY}"'),
        (f"a=:{SIG}:", f'a=("@signature-params");keyid="{KEY}"'),
        (f"a=:{SIG}:", f'a=("Action");keyid="{KEY}"'),
        (f"a=:{SIG}:", f'a=(action);keyid="{KEY}"'),
        (f"a=:{SIG}:", f'a="action";keyid="{KEY}"'),
        (f"a=:{SIG}:", f'a=("action");alg="none";keyid="{KEY}"'),
        (f"a=:{SIG}:", f'a=("action");alg="hmac-sha256";keyid="{KEY}"'),
        (f"a=:{SIG}:", 'a=("action");alg="rsa-pss-sha512";keyid="ao"'),
        (f"a=:{SIG}:", 'a=("action");keyid="!!!"'),
        (f"a=:{SIG}:", 'a=("action");keyid=""'),
        (f"a=:{SIG}:", f'a=("action");alg="rsa-pss-sha512";keyid="{KEY}"'),
        (f"a=:{SIG}:", f'a=("action");alg="ethereum";keyid="{KEY}"'),
        ("a=:!!:", f'a=("action");keyid="{KEY}"'),
        ("a=::", f'a=("action");keyid="{KEY}"'),
        (f"a={SIG}", f'a=("action");keyid="{KEY}"'),
        (f"a=:{SIG}:, a=:{SIG}:", f'a=("action");keyid="{KEY}"'),
        (f"a=:{SIG}:", f'a=(("action"));keyid="{KEY}"'),
        (f"a=:{SIG}:", "a=" + "(" * 5000),
        (f"a=:{SIG}:", f'a=("priv/key");keyid="{KEY}"'),
        (f"a=:{SIG}:", f'a=("private");keyid="{KEY}"'),
    ],
)
def test_what_is_no_signature_is_refused(signature: str, given: str) -> None:
    """Each malformed form is a RequestError of kind signature."""
    came = {"action": "x", "private": "x", "signature": signature, "signature-input": given}
    with pytest.raises(RequestError) as caught:
        HTTP.decode_request("POST", "/", came.items(), b"")
    assert "signature" == caught.value.kind


def test_many_signatures_are_refused_before_any_is_checked() -> None:
    """More than eight are too many."""
    labels = [f"s{place}" for place in range(9)]
    came = {
        "signature": ", ".join(f"{label}=:{SIG}:" for label in labels),
        "signature-input": ", ".join(f'{label}=("a");keyid="{KEY}"' for label in labels),
    }
    with pytest.raises(RequestError) as caught:
        HTTP.decode_request("POST", "/", came.items(), b"")
    assert "too-large" == caught.value.kind


def test_what_was_verified_is_believed_again_and_nothing_else(other_signer: Signer) -> None:
    """A message that came in signed is known; the same with another row, commitment or id is verified, and refused."""
    rows = signed_fields(FIELDS, rsa_sign(other_signer, 64), keyid=other_signer.keyid)
    codec = HttpSig()
    message = codec.decode_request("POST", "/", (FIELDS | rows).items(), b"")
    name = message_id(message)
    forged = message.set({"commitments": {name: {"committer": "A" * 43}}})
    for scheme in (codec, HttpSig()):  # the second has never seen it
        assert scheme.verify(message, name)
        changed = [message.set({"num": "8"}), message.set({"more": "1"}), message.without("num"), forged]
        assert [False] * 4 == [scheme.verify(other, name) for other in changed]
        assert not scheme.verify(message, "A" * 43)


def test_what_is_believed_was_verified(other_signer: Signer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A control: without its memory the codec looks at each commitment again, and with it at none."""
    rows = signed_fields(FIELDS, rsa_sign(other_signer, 64), keyid=other_signer.keyid)
    codec, asked = HttpSig(), list[str]()
    message = codec.decode_request("POST", "/", (FIELDS | rows).items(), b"")
    monkeypatch.setattr("procession_codecs.httpsig.verifies", lambda message, name: bool(asked.append(name)))
    assert codec.verify(message, message_id(message))
    assert not HttpSig().verify(message, message_id(message))
    assert [message_id(message)] == asked
