"""The JSON that a module is given: fields, tags, owners, and its bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procession import commitments
from procession.messages import Message
from procession.schedules import Assignment
from procession_json_iface.requests import header_case, message_json, process_json, tags_of

PROCESS = "P" * 43
OTHER = "O" * 43
AUTHORITY = "A" * 43
DEFINITION = Message({"name": "ledger", "variant": "ao.TN.1"})


def assignment_of(message: Mapping[str, Any], slot: int = 7) -> Assignment:
    """Return a slot of the process."""
    return Assignment(
        process=PROCESS,
        slot=slot,
        timestamp=1_700_000_000_000 + slot,
        block_height=1000 + slot,
        path="compute",
        message_id="M" * 43,
        chain=bytes(32),
        message=message if isinstance(message, Message) else Message(message),
    )


def told(message: Mapping[str, Any], slot: int = 7, module: str = "") -> dict[str, Any]:
    """Return what the module reads."""
    read: dict[str, Any] = json.loads(message_json(assignment_of(message, slot), DEFINITION, module))
    return read


def test_the_fields_of_a_message() -> None:
    """A message is told with its id, target, owner, place and time, in this order."""
    text = message_json(assignment_of({"action": "Eval", "data": "1 + 1", "anchor": "a"}), DEFINITION, "module")
    assert (
        f'{{"Id":"{"M" * 43}","Target":"{PROCESS}","Owner":"","From":"","Module":"module","Block-Height":1007,'
        '"Timestamp":1700000000007,"Tags":[{"name":"Action","value":"Eval"}],"Data":"1 + 1","Anchor":"a","Cron":false}'
    ) == text


def test_slot_0_is_the_process() -> None:
    """The definition has the id and target of the process, and says that it is one."""
    message = told({**DEFINITION, "target": OTHER}, slot=0)
    assert (PROCESS, PROCESS) == (message["Id"], message["Target"])
    assert {"Name": "ledger", "Variant": "ao.TN.1", "Type": "Process"} == named(message["Tags"])
    assert {"Type": "Actor"} == named(told({"type": "Actor"}, slot=0)["Tags"])
    assert [] == told({})["Tags"]


def test_the_process_and_its_module() -> None:
    """The second argument holds the process with its tags, and its module where that is known."""
    plain = json.loads(process_json(PROCESS, DEFINITION, ""))
    assert {"Process"} == set(plain)
    assert (PROCESS, "") == (plain["Process"]["Id"], plain["Process"]["Owner"])
    assert "Process" == named(plain["Process"]["Tags"])["Type"]
    assert {"Id": "module", "Tags": []} == json.loads(process_json(PROCESS, DEFINITION, "module"))["Module"]


def test_the_owner_is_the_signer() -> None:
    """The owner is whoever vouches for the message, and a key of that name is not."""
    signed = commitments.trusted(Message({"owner": "somebody else", "x": 1}), given_id="M" * 43, owner="the signer")
    assert ("the signer", "the signer") == (told(signed)["Owner"], told(signed)["From"])
    assert "" == told({"owner": "somebody else"})["Owner"]


def signed_by(committer: str, device: str, message: dict[str, Any]) -> Message:
    """Return a message with a commitment."""
    return Message({**message, "commitments": {"M" * 43: {"commitment-device": device, "committer": committer}}})


def test_the_sender_is_a_process_where_an_authority_says_so() -> None:
    """A process is believed of an authority of the definition, and of an operator who vouched; it must be an id."""
    definition = DEFINITION.set({"authority": f"{OTHER}, {AUTHORITY}"})
    pushed = signed_by(AUTHORITY, "httpsig@1.0", {"from-process": OTHER})
    assert OTHER == json.loads(message_json(assignment_of(pushed), definition, ""))["From"]
    assert OTHER == told(commitments.trusted(Message({"from-process": OTHER}), given_id="M" * 43, owner="o"))["From"]
    named = commitments.trusted(Message({"from-process": "no id"}), given_id="M" * 43, owner="o")
    assert "o" == told(named)["From"]


def test_nobody_else_can_name_a_process_as_the_sender() -> None:
    """An unsigned message, or a signer who is no authority, comes from its owner whatever it says."""
    assert "" == told({"from-process": OTHER})["From"]
    assert "a signer" == told(signed_by("a signer", "httpsig@1.0", {"from-process": AUTHORITY}))["From"]


def test_original_tags_come_first() -> None:
    """Tags that the signer wrote are told as they were, in their order and letter case, doubles included."""
    tags = ({"name": "X-tag", "value": "1"}, {"name": "action", "value": "Eval"}, {"name": "X-tag", "value": "2"})
    signed = commitments.trusted(Message({"action": "Eval"}), given_id="M" * 43, owner="o", tags=tags)
    assert list(tags) == told(signed)["Tags"]


def test_the_signature_is_told() -> None:
    """A signature that the message carries is told."""
    entry = {"M" * 43: {"commitment-device": "httpsig@1.0", "committer": "o", "signature": "sig"}}
    assert "sig" == told({"commitments": entry})["Signature"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("text", "text"),
        (5, "5"),
        (-1.5, "-1.5"),
        (1e300, "1e+300"),
        (True, "true"),
        (False, "false"),
        (b"text", "text"),
        (b"\xff\x00", "_wA"),
    ],
)
def test_values_of_tags_are_text(value: Any, text: str) -> None:
    """A scalar is told as text, bytes that are none as base64url."""
    assert [{"name": "Quantity", "value": text}] == tags_of(Message({"quantity": value}))
    assert text == told({"data": value})["Data"]


def test_what_is_no_tag() -> None:
    """Fields of their own, lists, maps and nothing are no tags."""
    fields = dict.fromkeys(("id", "anchor", "owner", "data", "target", "signature", "path"), "x")
    assert [] == tags_of(
        Message({**fields, "list": [1], "map": {"a": 1}, "none": None, "commitments": {}, "tags": "x"})
    )


def test_structured_data_is_json() -> None:
    """Data that is a map or a list is told as JSON of its own."""
    assert {"a": [1, None, "x", "_w"]} == json.loads(told({"data": {"a": [1, None, "x", b"\xff"]}})["Data"])


@pytest.mark.parametrize(
    ("key", "name"),
    [("data-protocol", "Data-Protocol"), ("x", "X"), ("a--b", "A--B"), ("äö", "Äö"), ("i" * 43, "i" * 43)],
)
def test_names_are_in_header_case(key: str, name: str) -> None:
    """Each part of a name begins with a capital; ids are left alone."""
    assert name == header_case(key)


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8),
        st.one_of(st.text(), st.integers(-(2**255), 2**255), st.floats(), st.booleans(), st.binary(), st.none()),
    )
)
def test_any_message_is_json_without_a_nul(keys: dict[str, Any]) -> None:
    """Whatever a message holds, the module reads JSON of one line without a NUL, and twice the same."""
    text = message_json(assignment_of(keys), DEFINITION, "")
    assert text == message_json(assignment_of(keys), DEFINITION, "")
    assert "\0" not in text
    assert isinstance(json.loads(text), dict)


def named(tags: list[dict[str, str]]) -> dict[str, str]:
    """Return tags as a map."""
    return {tag["name"]: tag["value"] for tag in tags}
