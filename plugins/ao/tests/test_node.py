"""The node: processes begun and spoken to in every form that clients use, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from procession import Kernel, Message, RequestError
from procession.commitments import message_id
from procession.errors import ComputeError
from procession.ids import is_id
from procession_http import wire

from .callers import Client, Sent

JSON = {"require-codec": "application/json"}
DEFINITION = {"type": "Process", "device": "process@1.0", "execution-device": "sums@1.0"}


def cursors(body: bytes) -> list[int]:
    """Return the cursors of a page."""
    return [edge["cursor"] for edge in json.loads(body)["edges"]]


# -- to begin a process


@pytest.mark.parametrize("path", ["/schedule", "/~process@1.0/schedule", "/~scheduler@1.0/schedule"])
def test_a_data_item_begins_a_process(client: Client, path: str) -> None:
    """The process has the id of the item, whichever path it came by."""
    item = client.items.commit(Message({**DEFINITION, "name": path}), client.signer)
    heard = client.ask("POST", path, [("content-type", "application/ans104")], client.items.encode(item))
    assert (200, message_id(item), "0") == (heard.status, heard.headers["process"], heard.headers["slot"])


def test_a_committed_body_begins_a_process(client: Client) -> None:
    """A definition that is signed within a signed request gives its own id to the process."""
    inner = client.committed({**DEFINITION, "random-seed": "1"})
    heard = client.signed("POST", "/~process@1.0/schedule", {"body": inner})
    assert message_id(inner) == heard.headers["process"]
    assert is_id(heard.headers["process"])


def test_a_definition_in_headers_begins_a_process(client: Client) -> None:
    """A signed request that is the definition itself begins its process."""
    assert "0" == client.signed("POST", "/schedule", {**DEFINITION, "random-seed": "2"}).headers["slot"]


# -- to send a message


@pytest.mark.parametrize("path", ["/{}/schedule", "/{}~process@1.0/schedule", "/~process@1.0/schedule"])
def test_a_data_item_gets_a_slot(client: Client, path: str) -> None:
    """Each path puts a message into the schedule, and tells slot, process and id."""
    sent = client.item(path.format(client.process), {"target": client.process, "amount": "2"})
    assert ("1", client.process) == (sent.headers["slot"], sent.headers["process"])
    assert is_id(sent.headers["id"])


def test_a_message_that_comes_again_keeps_its_slot(client: Client) -> None:
    """A signed message has one slot however often it is posted; another one has the next."""
    once = client.items.encode(client.items.commit(Message({"target": client.process, "amount": "1"}), client.signer))
    headers = [("codec-device", "ans104@1.0")]
    slots = [client.ask("POST", f"/{client.process}/schedule", headers, once).headers["slot"] for _ in range(3)]
    slots.append(client.item(f"/{client.process}/schedule", {"target": client.process}).headers["slot"])
    assert ["1", "1", "1", "2"] == slots


def test_only_what_is_signed_is_scheduled(client: Client, kernel: Kernel) -> None:
    """A header that somebody added on the way is not part of the message."""
    headers, body = client.http.encode_request(Message({"target": client.process, "amount": 1}), client.signer)
    client.ask("POST", f"/{client.process}/schedule", [*headers, ("bonus", "1000")], body)
    (assignment,) = kernel.read(client.process, 1, 1)
    assert {"target", "amount", "commitments"} == set(assignment.message)


def test_an_unsigned_body_is_scheduled_unless_signatures_are_asked_for(client: Client) -> None:
    """A node that says require-signed refuses it, and takes the same from somebody who signs."""
    headers = [("ao-types", 'amount="integer"'), ("amount", "3"), ("target", client.process)]
    path = f"/{client.process}/schedule"
    with pytest.raises(RequestError) as refused:
        client.ask("POST", path, headers, signed=True)
    assert "unsigned" == refused.value.kind
    assert "1" == client.ask("POST", path, headers).headers["slot"]
    signed, body = client.http.encode_request(Message({"target": client.process}), client.signer)
    assert "2" == client.ask("POST", path, signed, body, signed=True).headers["slot"]


# -- to read


@pytest.fixture
def moved(client: Client) -> Client:
    """Return a client whose process got two messages."""
    client.item(f"/{client.process}/schedule", {"target": client.process, "amount": "2"})
    client.item(f"/{client.process}/schedule", {"target": client.process, "amount": "3", "to": client.process})
    return client


def test_results_are_told_by_slot_and_by_message(moved: Client) -> None:
    """What a slot resulted in comes in the names of AO, also asked for by the id of its message."""
    path = f"/{moved.process}~process@1.0/compute/results="
    by_slot = moved.item(f"{path}2", {"target": moved.process, **JSON}).json["raw"].plain()
    assert {"data": "total 5"} == by_slot["output"]
    assert [("hello", moved.process)] == [(row["data"], row["target"]) for row in by_slot["messages"]]
    edges = json.loads(moved.ask("GET", f"/{moved.process}/schedule?accept=application/aos-2").body)["edges"]
    by_id = moved.item(f"{path}{edges[2]['node']['message']['Id']}", JSON).json["raw"].plain()
    assert by_slot == by_id


def test_names_of_results_have_the_letter_case_of_the_field(moved: Client) -> None:
    """Output, Messages, Spawns and Assignments are there, and the tags of a message by name and value."""
    raw = json.loads(moved.item(f"/{moved.process}/compute/results=2", JSON).body)["raw"]
    assert {"Output", "Messages", "Spawns", "Assignments"} == set(raw)
    assert {"Target", "Data", "Tags"} == set(raw["Messages"][0])
    assert [{"name": "Action", "value": "Greet"}] == raw["Messages"][0]["Tags"]


def test_the_head_is_a_bare_number(moved: Client) -> None:
    """Asked by GET or by a signed POST, slot/current is a number and nothing else."""
    path = f"/{moved.process}/slot/current"
    assert [b"2", b"2"] == [moved.ask("GET", path).body, moved.item(path, {"accept-codec": "httpsig@1.0"}).body]
    older = f"/{moved.process}~process@1.0/slot/current/body/serialize~json@1.0"
    assert {"body": 2} == json.loads(moved.item(older, {"accept-codec": "httpsig@1.0"}).body)


def test_json_is_asked_for_by_path(moved: Client) -> None:
    """A map is an object, and a bare value stands under body."""
    process = moved.process
    asked = [f"/{process}/now/~json@1.0/serialize", f"/{process}/now/total/~json@1.0/serialize"]
    state, total = (json.loads(moved.ask("GET", path).body) for path in asked)
    assert (5, {"body": 5}) == (state["total"], total)
    assert 2 == json.loads(moved.ask("GET", f"/{process}/compute/~json@1.0/serialize?slot=1").body)["total"]


def test_a_schedule_is_listed_in_pages(moved: Client) -> None:
    """Cursors are slots, the process is slot 0, and a page says whether more follow."""
    path = f"/~scheduler@1.0/schedule?target={moved.process}&accept=application/aos-2"
    whole = json.loads(moved.ask("GET", path).body)
    assert ([0, 1, 2], False) == ([edge["cursor"] for edge in whole["edges"]], whole["page_info"]["has_next_page"])
    assert moved.process == whole["edges"][0]["node"]["message"]["Id"]
    assert {moved.signer.address} == {edge["node"]["message"]["Owner"] for edge in whole["edges"]}
    page = moved.ask("GET", f"{path}&from=1&limit=1").body
    assert ([1], True) == (cursors(page), json.loads(page)["page_info"]["has_next_page"])
    asked = {"target": moved.process, "from": "1", "to": "1", "accept": "application/aos-2"}
    assert [1] == cursors(moved.signed("GET", "/~scheduler@1.0/schedule", asked).body)
    assert [] == cursors(moved.ask("GET", f"{path}&from=9").body)


def test_a_dry_run_changes_nothing(moved: Client, kernel: Kernel) -> None:
    """Its answer is that of the message at the head; schedule and state are as they were."""
    before = kernel.process(moved.process).now().id
    path = f"/{moved.process}~process@1.0/as=execution/compute&Amount=10&Action=With%20blank"
    raw = json.loads(moved.item(path, {"target": moved.process, "data": "x", **JSON}).body)["raw"]
    assert {"data": "total 15"} == raw["Output"]
    assert (2, before) == (kernel.head(moved.process).slot, kernel.process(moved.process).now().id)
    assert b"total 6" == moved.ask("GET", f"/{moved.process}/as=execution/compute&amount=1/data").body


def test_dry_runs_are_bounded(moved: Client) -> None:
    """Beyond so many at once one more is told that the node is busy, and nobody waits for ever."""
    turns = moved.node.answers.turns
    for _ in range(moved.node.settings.dry_runs):
        assert turns.acquire(blocking=False)
    sent = Sent("GET", f"/{moved.process}/as=execution/compute", ())
    with pytest.raises(ComputeError) as refused:
        moved.node.answer(sent, timeout=0.01, signed=False)
    assert "busy" == refused.value.kind
    turns.release()
    assert moved.node.answer(sent, timeout=60, signed=False)
    assert turns.acquire(blocking=False)


# -- replies


def test_a_reply_is_signed_by_the_node(moved: Client) -> None:
    """A state verifies under the key of the node, and gives back what it says; so does a bare value."""
    heard = moved.ask("GET", f"/{moved.process}/now")
    found = moved.http.decode_request("GET", "/", list(heard.headers.items()), heard.body)
    assert (5, moved.node.address) == (found["total"], next(iter(found["commitments"].values()))["committer"])
    bare = moved.ask("GET", f"/{moved.process}/now/total")
    found = moved.http.decode_request("GET", "/", list(bare.headers.items()), bare.body)
    assert ("body", 5) == (found["ao-result"], found["body"])


def test_a_reply_is_signed_once(moved: Client) -> None:
    """The same value has the same signature, which is random where it is made; another value has another one."""
    first, again = (moved.ask("GET", f"/{moved.process}/compute?slot=1").headers["signature"] for _ in range(2))
    assert first == again
    assert first != moved.ask("GET", f"/{moved.process}/compute?slot=2").headers["signature"]


def test_no_signature_is_made_for_who_reads_none(moved: Client) -> None:
    """Data items and JSON are answered without one."""
    item = moved.item(f"/{moved.process}/slot", {})
    asked = moved.ask("GET", f"/{moved.process}/now", [("accept-bundle", "true"), ("accept", "application/json")])
    assert [False, False] == ["signature" in heard.headers for heard in (item, asked)]


def test_headers_stay_small_whatever_the_state(moved: Client) -> None:
    """A state of many and large values is told in the body; fetch of Node.js takes no more than 16 KiB of headers."""
    rows = {f"key-{number}": "v" * 300 for number in range(100)}
    heard = moved.signed("POST", "/~message@1.0/set", rows)
    assert sum(len(name) + len(value) + 4 for name, value in heard.headers.items()) < 15 << 10
    assert b"key-99" in heard.body


# -- what is refused


def test_a_forged_item_is_refused(client: Client, kernel: Kernel) -> None:
    """An item whose data was changed has no slot, and one that is none either; what was signed has one."""
    item = client.items.encode(client.items.commit(Message({"target": client.process, "data": "x"}), client.signer))
    forged = item[:-1] + bytes([item[-1] ^ 1])
    headers, path = [("codec-device", "ans104@1.0")], f"/{client.process}/schedule"
    for body in (forged, b"[object Object]", b"", item[:100]):
        with pytest.raises(RequestError):
            client.ask("POST", path, headers, body)
    assert 0 == kernel.head(client.process).slot
    assert "1" == client.ask("POST", path, headers, item).headers["slot"]


def test_a_digest_without_its_body_is_told(client: Client, kernel: Kernel) -> None:
    """What aoconnect 0.0.98 sends, a signed digest of a body that it leaves out, is refused by that name."""
    headers, body = client.http.encode_request(Message({"target": client.process, "data": "a\nb"}), client.signer)
    assert body
    with pytest.raises(RequestError, match="body") as refused:
        client.ask("POST", f"/{client.process}/schedule", headers)
    assert "no-body" == refused.value.kind
    with pytest.raises(RequestError) as refused:
        client.ask("POST", f"/{client.process}/schedule", headers, body + b"!")
    assert "digest" == refused.value.kind
    assert 0 == kernel.head(client.process).slot


def test_a_changed_commitment_within_a_body_is_refused(client: Client, kernel: Kernel) -> None:
    """A message inside a request that its signer did not sign like this is refused, though the request is signed."""
    inner = client.committed({"type": "Message", "target": client.process, "amount": 1})
    with pytest.raises(RequestError) as refused:
        client.signed("POST", f"/{client.process}/schedule", {"body": inner.set({"amount": 1000})})
    assert "signature" == refused.value.kind
    assert 0 == kernel.head(client.process).slot


def test_a_committed_message_in_plain_json_is_adopted(client: Client, kernel: Kernel) -> None:
    """What a client committed and posts as JSON, the id in lower case, has a slot under that id; changed, none."""
    inner = client.committed({"type": "Message", "target": client.process, "amount": 3})
    name = message_id(inner)
    entry = inner["commitments"][name].plain()
    kept = {key: entry[key] for key in ("alg", "commitment-device", "committer", "signature", "signature-input")}
    told = {**inner.plain(), "ao-types": 'amount="integer"', "commitments": {name.lower(): kept}}

    def post(message: object) -> Any:
        body = json.dumps(message).encode()
        return wire.answer(kernel, wire.Asked("POST", f"/{client.process}/schedule", body=body), timeout=9, signed=True)

    for changed in ({**told, "amount": 4}, {**told, "commitments": {"A" * 43: kept}}):
        assert 400 == post(changed).status
    assert 0 == kernel.head(client.process).slot
    reply = post(told)
    assert (200, name, "1") == (reply.status, *(dict(reply.headers)[key] for key in ("id", "slot"))), reply.body
    again = post({"body": {**told, "data": "nobody signed this"}})
    assert (name, "1") == tuple(dict(again.headers)[key] for key in ("id", "slot"))
    assert inner == kernel.read(client.process, 1, 1)[0].message


def test_a_message_for_another_process_is_refused(client: Client, kernel: Kernel) -> None:
    """A message that its signer addressed to one process is not put into the schedule of another."""
    with pytest.raises(RequestError, match="is for"):
        client.item(f"/{client.process}/schedule", {"target": "A" * 43})
    with pytest.raises(RequestError) as refused:
        client.item(f"/{'A' * 43}/schedule", {"target": "A" * 43})
    assert "unknown-process" == refused.value.kind
    assert 0 == kernel.head(client.process).slot


@pytest.mark.parametrize(
    "path", ["as=scheduler/compute", "as=execution/now", "compute/results=x", "compute/results=-1"]
)
def test_what_is_no_such_form_is_refused(client: Client, path: str) -> None:
    """A device that cannot be asked for, and a slot that is none."""
    with pytest.raises(RequestError):
        client.item(f"/{client.process}/{path}", JSON)


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("GET", "/", [("sec-fetch-mode", "cors")]),
        ("GET", "/~meta@1.0/info", [("accept", "*/*")]),
        ("GET", "/~meta@1.0/info", [("sec-fetch-mode", "cors"), ("accept", "application/json")]),
        ("POST", "/schedule", [("content-type", "application/json"), ("sec-fetch-mode", "cors")]),
        ("DELETE", "/x", [("codec-device", "ans104@1.0")]),
    ],
)
def test_what_says_nothing_of_ao_is_left_to_the_server(client: Client, method: str, target: str, headers: Any) -> None:
    """The node's own JSON answers as it did; a script that fetches and names no form is answered in AO's."""
    assert client.node.answer(Sent(method, target, tuple(headers)), timeout=1, signed=False) is None
