"""Commitments of httpsig: a signed message is exactly what was signed, kept so that it can be shown again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

import procession_codecs
from procession import Assignment, Factory, Kernel, Message, Ok, PureStage, hookimpl
from procession.commitments import committers, message_id, without_commitments
from procession.errors import RequestError
from procession_codecs.ans104 import Ans104
from procession_codecs.httpsig import HttpSig
from procession_codecs.keys import Signer
from procession_codecs.multipart import Part, write_parts
from procession_codecs.signatures import digest_of, sign

from .signing import rsa_sign, signed_fields
from .vectors import sent, vector

HTTP = HttpSig()
MESSAGES: dict[str, dict[str, Any]] = {
    "texts": {"action": "Inc", "target": "A" * 43},
    "typed": {"n": 5, "ratio": 1.5, "ok": True, "none": None, "list": [1, "a"], "empty": "", "map": {}},
    "body": {"body": "l1\r\nl2", "n": 1},
    "data": {"data": "line\nline", "n": 1},
    "bytes": {"data": b"\xff\x00"},
    "nested": {"map": {"a": 1, "deep": {"b": [{"c": b"\xff"}]}}, "body": {"body": "x"}, "data": "y"},
    "large": {"text": "x" * 20_000, "other": "y" * 5000},
    "ids": {"A" * 43: "text", "map": {"B" * 43: 1}},
    "nothing": {},
}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_committed_message_is_vouched_for(other_signer: Signer, name: str) -> None:
    """The commitment is of exactly this message, and keeps which keys it covers."""
    message = HTTP.commit(Message(MESSAGES[name]), other_signer)
    (entry,) = message["commitments"].values()
    assert MESSAGES[name] == without_commitments(message)
    assert (other_signer.address,) == committers(message)
    assert set(MESSAGES[name]) == {*entry["committed"]}
    assert HTTP.verify(message, message_id(message))


@pytest.mark.parametrize("name", MESSAGES)
def test_a_change_is_not_vouched_for(other_signer: Signer, name: str) -> None:
    """A row more, a row less or a row of another value is of no signer."""
    message = HTTP.commit(Message(MESSAGES[name]), other_signer)
    commitment = message_id(message)
    assert not HTTP.verify(message.set({"extra": "x"}), commitment)
    for key in MESSAGES[name]:
        assert not HTTP.verify(message.without(key), commitment)
        assert not HTTP.verify(message.set({key: "other"}, explicit=True), commitment)


@pytest.mark.parametrize(
    "path", ["committer", "signature", "signature-input", "alg", "fields", "content", "committed", "commitment-device"]
)
@pytest.mark.parametrize("value", ["x", 5, [], ["n: 6"], [5], {"a": 1}, b"\xff", None])
def test_a_changed_commitment_is_not_vouched_for(other_signer: Signer, path: str, value: Any) -> None:
    """No row of a commitment can be exchanged for another, and none makes the check raise."""
    message = HTTP.commit(Message({"n": 5, "map": {"a": 1}}), other_signer)
    commitment = message_id(message)
    assert not HTTP.verify(message.put(f"commitments/{commitment}/{path}", value), commitment)


def test_a_signed_row_cannot_be_hidden(other_signer: Signer) -> None:
    """A row that was signed and is moved from the message into its commitment is missed."""
    message = HTTP.commit(Message({"action": "Transfer", "quantity": "5"}), other_signer)
    commitment = message_id(message)
    entry = message["commitments"][commitment].set({"fields": ["quantity: 5"], "committed": ["action"]})
    hidden = message.without("quantity").set({"commitments": {commitment: entry}})
    assert not HTTP.verify(hidden, commitment)


def test_an_alias_cannot_name_somebody(other_signer: Signer) -> None:
    """An HMAC that everybody can make names no committer."""
    found = HTTP.adopt(Message(vector("14")["committed"]))
    (alias,) = [name for name, entry in found["commitments"].items() if "committer" not in entry]
    named = found.put(f"commitments/{alias}/committer", other_signer.address)
    assert HTTP.verify(found, alias)
    assert not HTTP.verify(named, alias)


@pytest.mark.parametrize("commitments", ["x", 5, {}, {"a": "x"}, {"a": {}}, {"a": {"signature": 5}}, [1]])
def test_what_are_no_commitments_vouches_for_nothing(commitments: Any) -> None:
    """A check of what is malformed is false, never an error of another kind."""
    assert not HTTP.verify(Message({"n": 1, "commitments": commitments}), "a")
    assert not Ans104().verify(Message({"n": 1, "commitments": commitments}), "a")


def test_one_signer_may_sign_after_another(other_signer: Signer, signer: Signer) -> None:
    """Both vouch for the same, the message is known by the sum of their ids, and both come over the wire."""
    message = HTTP.commit(HTTP.commit(Message({"n": 5, "map": {"a": 1}}), other_signer), signer)
    assert {signer.address, other_signer.address} == set(committers(message))
    assert all(HTTP.verify(message, name) for name in message["commitments"])
    assert message_id(message) not in message["commitments"]
    assert message == HTTP.decode(HTTP.encode(Message({"inner": message})))["inner"]


def test_only_committed_keys_are_left(other_signer: Signer) -> None:
    """What was put beside a signed message is taken away again, so that it may be scheduled."""
    message = HTTP.commit(Message({"n": 5}), other_signer)
    beside = message.set({"extra": "x", "other": 1})
    assert not HTTP.verify(beside, message_id(message))
    assert message == HTTP.reduce(beside)
    assert Message({"n": 1}) == HTTP.reduce(Message({"n": 1}))


def test_a_message_within_another_keeps_its_commitments(other_signer: Signer, signer: Signer) -> None:
    """A node signs a reply, and within it stands a message of somebody else's, by HTTP or as a data item."""
    one = HTTP.commit(Message({"map": {"a": 1}, "data": "x"}), other_signer)
    two = Ans104().commit(Message({"action": "Eval", "n": 1, "data": b"\xff"}), signer)
    headers, body = HTTP.encode_reply(Message({"one": one, "deep": {"two": two}}), signer)
    message = HTTP.decode_request("GET", "/", headers, body)
    assert one == message["one"]
    assert two == message.at("deep/two")
    assert HTTP.verify(message, message_id(message))


def test_a_message_within_another_that_was_altered_is_refused(other_signer: Signer, signer: Signer) -> None:
    """The signature around it does not make it good."""
    for inner in (
        HTTP.commit(Message({"n": 1, "data": "x"}), other_signer).set({"n": 2}),
        Ans104().commit(Message({"n": 1, "data": "x"}), signer).set({"n": 2}),
    ):
        headers, body = HTTP.encode_reply(Message({"inner": inner}), signer)
        with pytest.raises(RequestError) as caught:
            HTTP.decode_request("GET", "/", headers, body)
        assert "signature" == caught.value.kind


def test_commitments_in_lists_of_json_are_checked(other_signer: Signer) -> None:
    """A message in a list is adopted like any other, and refused like any other."""
    inner = HTTP.commit(Message({"n": 1}), other_signer)
    assert inner == HTTP.adopt(Message({"all": [inner, [inner]]}))["all"][1][0]
    with pytest.raises(RequestError):
        HTTP.adopt(Message({"all": [inner, [inner.set({"n": 2})]]}))


def _within_eight(message: dict[str, Any], signer: Signer) -> dict[str, Any]:
    """Return a map under eight commitments, whose body holds another such map."""
    lines = {key: value for key, value in message.items() if isinstance(value, str) and "\r" not in value}
    parts = [Part("in", lines)] + ([Part("in/data", {}, message["data"].encode())] if "data" in message else [])
    parts += [Part(f"in/commitments/{name}", entry) for name, entry in message.get("commitments", {}).items()]
    content_type, body = write_parts(parts)
    fields = {"content-digest": digest_of(body), "content-type": content_type, "inline-body-key": "data"}
    entries = [sign(signer, fields) for _ in range(8)]
    named = {
        entry.id: {"commitment-device": "httpsig@1.0", "committer": entry.committer} | entry.rows for entry in entries
    }
    return {**fields, "data": body.decode(), "commitments": named}


def test_what_stands_under_many_commitments_is_read_once(other_signer: Signer) -> None:
    """Each level costs its own signatures: eight within eight within eight are 24, and not 512."""

    def spent(levels: int) -> float:
        table: dict[str, Any] = {"x": "1"}
        for _ in range(levels):
            table = _within_eight(table, other_signer)
        message = Message({"body": table})
        begin = time.process_time()
        HTTP.adopt(message)
        return time.process_time() - begin

    one, five = (min(spent(levels) for _ in range(2)) for levels in (1, 5))
    assert 80 * one > five


@pytest.mark.parametrize(("count", "kind"), [(9, "too-large"), (300, "too-large")])
def test_commitments_are_counted_before_they_are_checked(other_signer: Signer, count: int, kind: str) -> None:
    """More than eight of a message, or than 256 in all, are refused."""
    (entry,) = HTTP.commit(Message({"n": 1}), other_signer)["commitments"].values()
    one = Message({"n": 1, "commitments": {f"{place:043}": entry for place in range(count)}})
    many = Message({"all": [{"n": 1, "commitments": {"A" * 43: entry}}] * count * 30})
    for message in (one, many):
        with pytest.raises(RequestError) as caught:
            HTTP.adopt(message)
        assert kind == caught.value.kind
    assert not HTTP.verify(one, f"{0:043}")


def test_a_body_that_nobody_signed_is_refused(other_signer: Signer) -> None:
    """A body beside a signature that does not cover it is not quietly dropped."""
    fields = {"action": "Inc"}
    rows = signed_fields(fields, rsa_sign(other_signer, 64), keyid=other_signer.keyid)
    with pytest.raises(RequestError) as caught:
        HTTP.decode_request("POST", "/", (fields | rows).items(), b"body")
    assert "uncovered-body" == caught.value.kind


def test_a_digest_without_a_body_is_told_precisely(other_signer: Signer) -> None:
    """aoconnect 0.0.98 signs the digest of a body and then sends none."""
    headers, _ = HTTP.encode_request(Message({"data": "line\nline"}), other_signer)
    with pytest.raises(RequestError) as caught:
        HTTP.decode_request("POST", "/", headers, b"")
    assert "no-body" == caught.value.kind
    assert "must not leave its body out" in caught.value.text


@pytest.mark.parametrize(
    "given",
    [
        "sha-256=:X0gyZEls8UQMbvVpzE+5eF077Ylu/a38mY6csbrc7IE=:",
        "sha-256=:X0gyZEls8UQMbvVpzE-5eF077Ylu_a38mY6csbrc7IE:",
        "sha-512=:YErSYsvbjTis5FzDUiG0rzCxQebLvXEzDP0DOPUzvIEZ8DZR4K6ZWutV4UY723TsUUCy436XxLnW9aOqBJ+qKA==:",
        "sha-256=:X0gyZEls8UQMbvVpzE+5eF077Ylu/a38mY6csbrc7IE:, sha-256=:X0gyZEls8UQMbvVpzE-5eF077Ylu_a38mY6csbrc7IE=:",
    ],
)
def test_a_digest_is_read_in_the_forms_of_clients(given: str) -> None:
    """Base64 of either alphabet, padded or not, and sha-512 too; of another body it is refused."""
    headers = [("content-digest", given)]
    assert "some body" == HTTP.decode_request("POST", "/", headers, b"some body")["body"]
    with pytest.raises(RequestError) as caught:
        HTTP.decode_request("POST", "/", headers, b"some bodx")
    assert "digest" == caught.value.kind


@pytest.mark.parametrize(
    "given", ["", "x", "md5=:AAAA:", "sha-256=AAAA", "sha-256=::", "sha-256=:A:", "sha-256=:AAAA:x"]
)
def test_what_is_no_digest_is_refused(given: str) -> None:
    """A digest that cannot be checked is not passed over."""
    with pytest.raises(RequestError) as caught:
        HTTP.decode_request("POST", "/", [("content-digest", given)], b"some body")
    assert caught.value.kind in {"digest", "signature"}


class Tally(PureStage):
    """Give each message back."""

    def compute(self, state: Message, assignment: Assignment, pass_number: int) -> Ok:
        """Fold one message."""
        return Ok(state.put("results/data", assignment.message))


class Stages:
    """Bring the stage."""

    @hookimpl
    def procession_stages(self) -> dict[str, Factory]:
        """Provide tally@1.0."""
        return {"tally@1.0": Factory(Tally)}


@pytest.mark.parametrize("number", ["01", "03", "05", "06", "08", "10", "11", "16"])
def test_the_kernel_takes_what_was_signed_once(memory_kernel: Callable[..., Kernel], number: str) -> None:
    """A signed message has its signer's id in the schedule; again it has its first slot; altered it is refused."""
    definition = '[process]\nname = "tally"\ndevice-stack = ["tally@1.0"]\n'
    process = memory_kernel(definition, plugins=[procession_codecs, Stages()]).spawn()
    message = HTTP.decode_request(*sent(vector(number)["request"]))
    first, again = process.schedule(message), process.schedule(message)
    assert first == again
    assert message_id(message) == first.message_id
    assert message == process.compute(first.slot)["results"]["data"]
    with pytest.raises(RequestError) as caught:
        process.schedule(message.set({"extra": 1}))
    assert "unverified" == caught.value.kind
