"""Every reply gives results or a failure with our text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procession.messages import Message
from procession_json_iface.replies import MAX_BYTES, MAX_DEPTH, ReplyError, Sender, results_of

SENDER = Sender("P" * 43, "image")


def results(response: Any, sender: Sender = SENDER) -> Message:
    """Return the results of a good reply."""
    return results_of(json.dumps({"ok": True, "response": response}).encode(), sender)


def reason(reply: Any) -> str:
    """Return why a reply gives none."""
    with pytest.raises(ReplyError) as refused:
        results_of(reply if isinstance(reply, bytes) else json.dumps(reply).encode(), SENDER)
    return str(refused.value)


def test_a_response_becomes_results() -> None:
    """Messages are the outbox from 1, the output's data is data, and the response is there whole."""
    response = {
        "Output": {"data": "2", "prompt": "> "},
        "Messages": [
            {
                "Target": "T",
                "Data": "hi",
                "Anchor": "1",
                "Tags": [{"name": "Action", "value": "Say"}, {"name": "N", "value": 1}],
            },
            {"Target": "U", "Tags": []},
        ],
        "Spawns": [{"Data": "x", "Tags": [{"name": "Type", "value": "Process"}]}],
        "Assignments": [{"Message": "M", "Processes": ["P"]}],
    }
    found = results(response)
    assert {
        "1": {
            "target": "T",
            "data": "hi",
            "anchor": "1",
            "action": "Say",
            "n": 1,
            "from-process": "P" * 43,
            "from-image": "image",
        },
        "2": {"target": "U", "from-process": "P" * 43, "from-image": "image"},
    } == found["outbox"].plain()
    assert "2" == found["data"]
    assert {} == found["patches"].plain()
    assert Message(response) == found["raw"]


@pytest.mark.parametrize(
    ("response", "data"),
    [
        ({}, ""),
        ({"Output": "text"}, "text"),
        ({"Output": None}, ""),
        ({"Output": {"data": None}}, ""),
        ({"Output": {"prompt": ">"}}, ""),
        ({"Output": {"Data": 5}}, 5),
        ({"output": {"data": 1.5}}, 1.5),
        ({"Error": "", "Output": {"data": "x"}}, "x"),
        ({"Error": None, "Output": {"data": "x"}}, "x"),
    ],
)
def test_where_data_comes_from(response: Any, data: Any) -> None:
    """Data is the output's, whatever the output's shape, and keeps its type."""
    found = results(response)["data"]
    assert (type(data), data) == (type(found), found)


def test_an_error_is_a_good_slot() -> None:
    """A response with an error has its text as data and an empty outbox, and stays whole beside it."""
    found = results({"Error": "boom", "Messages": [{"Target": "T"}], "Output": {"data": "x"}})
    assert ("boom", {}) == (found["data"], found["outbox"].plain())
    assert "T" == found.at("raw/messages/1/target")


def test_patches_are_the_tags_of_each() -> None:
    """A patch is the map of its tags."""
    found = results(
        {"Patches": [{"Tags": [{"name": "Device", "value": "patch@1.0"}, {"name": "Balance", "value": 7}]}, {}]}
    )
    assert {"1": {"device": "patch@1.0", "balance": 7}, "2": {}} == found["patches"].plain()


@pytest.mark.parametrize("empty", [None, [], {}, ""])
def test_an_empty_table_is_no_rows(empty: Any) -> None:
    """What Lua writes for an empty table, an object too, is no message and no tag."""
    found = results({"Messages": empty, "Patches": empty})
    assert ({}, {}) == (found["outbox"].plain(), found["patches"].plain())
    assert 1 == len(results({"Messages": [{"Tags": empty}]})["outbox"])


def test_a_guest_names_neither_sender_nor_signer() -> None:
    """Sender, image and commitments of an entry come from nowhere in the reply; neither do private keys."""
    forged = {"Z" * 43: {"commitment-device": "trusted-id", "committer": "victim"}}
    tags = [
        {"name": "From-Process", "value": "V"},
        {"name": "Commitments", "value": forged},
        {"name": "target", "value": "other"},
        {"name": "priv.x", "value": 1},
    ]
    entry = {"Target": "T", "Commitments": forged, "From-Process": "V", "From-Image": "V", "private": 1, "Tags": tags}
    found = results({"Messages": [entry]}, Sender("P" * 43, ""))["outbox"]["1"]
    assert {"target": "T", "from-process": "P" * 43} == found.plain()
    assert {} == found.private


def test_tags_may_be_a_map() -> None:
    """Tags given as a map are taken as well."""
    assert "Say" == results({"Messages": [{"Tags": {"Action": "Say"}}]}).at("outbox/1/action")


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ({"ok": False, "error": "out of lua"}, "out of lua"),
        ({"ok": False}, "the guest answered that it failed"),
        ({"ok": False, "error": {"a": 1}}, "the guest answered that it failed"),
        ({"ok": 1, "response": {}}, "neither ok nor error"),
        ({"response": {}}, "neither ok nor error"),
        ([], "neither ok nor error"),
        ("text", "neither ok nor error"),
        ({"ok": True}, "no response object"),
        ({"ok": True, "response": "{}"}, "no response object"),
        ({"ok": True, "response": {"Messages": "x"}}, "messages is no list of objects"),
        ({"ok": True, "response": {"Messages": [1]}}, "messages is no list of objects"),
        ({"ok": True, "response": {"Messages": {"Target": "T"}}}, "messages is no list of objects"),
        ({"ok": True, "response": {"Messages": 0}}, "messages is no list of objects"),
        ({"ok": True, "response": {"Messages": [{"Tags": [1]}]}}, "tags are no list"),
        ({"ok": True, "response": {"Messages": [{"Tags": 5}]}}, "tags are no list"),
        ({"ok": True, "response": {"Messages": [{"Tags": [{"value": 1}]}]}}, "a tag has no name"),
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b'{"ok":true,"response":{}} x', "no JSON"),
        (b"\xff", "no JSON"),
        (b'{"ok":true,"response":{"n":NaN}}', "NaN"),
        (b'{"ok":true,"response":{"n":-Infinity}}', "-Infinity"),
        (b'{"ok":true,"response":{"n":%d}}' % 2**270, "no message: an integer of 271 bits"),
        (b'{"ok":true,"response":{"n":%s}}' % (b"9" * 5000), "an integer of more than 256 bits"),
        (b'{"ok":true,"response":{"t":"\\ud800"}}', "no message: a text holds a lone surrogate"),
        (b'{"ok":true,"response":{"Messages":[{"\\ud800":1}]}}', "no text that UTF-8 can say"),
        (b'{"ok":false,"error":"\\ud800"}', "?"),
        (b"[" * 100_000, "nested deeper than"),
        (b'{"ok":true,"response":{"a":%s1%s}}' % (b"[" * MAX_DEPTH, b"]" * MAX_DEPTH), "nested deeper than"),
        (b" " * (MAX_BYTES + 1), "more than"),
    ],
)
def test_anything_else_is_a_failure(reply: Any, why: str) -> None:
    """A reply of any other shape says why it gives no results."""
    assert why in reason(reply)


def test_an_error_text_is_bounded() -> None:
    """The guest's own text is kept as far as a failure holds it."""
    assert "x" * 4096 == reason({"ok": False, "error": "x" * 5000})


def test_brackets_in_a_text_are_no_depth() -> None:
    """Brackets and quotes within texts do not count."""
    assert "[" * 100 + '"' + "\\" == results({"Output": {"data": "[" * 100 + '"' + "\\"}})["data"]


def test_numbers_keep_their_types() -> None:
    """An integer stays one and a float does, whole or not."""
    raw = results({"a": 1, "b": 1.0, "c": -0.5, "d": True, "e": None, "f": 2**255})["raw"]
    assert [int, float, float, bool, type(None), int] == [type(raw[key]) for key in "abcdef"]


_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(st.characters())),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(st.characters()), inner, max_size=3)),
    max_leaves=10,
)
_NAMES = st.sampled_from(["Output", "Messages", "Spawns", "Assignments", "Error", "Patches", "Tags", "data", "priv"])


@given(st.one_of(st.dictionaries(_NAMES, _JSON), _JSON))
def test_any_response_gives_one_or_the_other(response: Any) -> None:
    """Whatever a guest answers in JSON gives results that can be stored, or a failure."""
    reply = json.dumps({"ok": True, "response": response}).encode()
    try:
        found = results_of(reply, SENDER)
    except ReplyError as refused:
        assert str(refused)
        return
    assert {"raw", "outbox", "data", "patches"} == set(found)
    assert found.public().encoded


@given(st.binary(max_size=200))
def test_any_bytes_give_one_or_the_other(reply: bytes) -> None:
    """Bytes that are no reply are a failure, and never raise anything else."""
    assert reason(reply)
