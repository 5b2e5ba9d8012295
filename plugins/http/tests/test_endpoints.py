"""What a client may ask of a node, call by call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest


@pytest.fixture
def client(node: Any) -> Iterator[httpx.Client]:
    """Return a client of the module's node."""
    with node.client() as client:
        yield client


@pytest.fixture
def process(node: Any, client: httpx.Client, request: pytest.FixtureRequest) -> str:
    """Return a process with a definition, a message, a failure and a message."""
    process = node.spawn(name=request.node.name)
    for message in ({"data": "one"}, {"refuse": "not this"}, {"data": "three"}):
        client.post(f"/{process}/schedule", json=message)
    return process


def test_a_definition_begins_a_process_at_slot_0(client: httpx.Client) -> None:
    """A posted definition is answered with the assignment of slot 0, its place in the headers too."""
    definition = {"type": "Process", "device-stack": ["tally@1.0"], "name": "spawned"}
    reply = client.post("/~process@1.0/schedule", json=definition)
    row = reply.json()
    assert (200, "Assignment", 0, definition) == (reply.status_code, row["type"], row["slot"], row["body"])
    assert (row["process"], "0", row["message-id"]) == tuple(reply.headers[key] for key in ("process", "slot", "id"))


def test_a_definition_that_names_its_device_begins_by_schedule_alone(client: httpx.Client) -> None:
    """A definition whose device is process@1.0 may be posted to /schedule."""
    definition = {"type": "Process", "device": "process@1.0", "device-stack": ["tally@1.0"], "name": "short"}
    reply = client.post("/schedule", json=definition)
    assert (200, "0") == (reply.status_code, reply.headers["slot"])


def test_the_same_definition_is_the_same_process(node: Any) -> None:
    """Spawning the same definition again answers the same process."""
    assert node.spawn(name="twice") == node.spawn(name="twice") != node.spawn(name="another")


def test_a_message_learns_its_slot(client: httpx.Client, process: str) -> None:
    """A posted message is answered with its assignment, the slot in body and header."""
    reply = client.post(f"/{process}/schedule", json={"data": "four"})
    assert (4, {"data": "four"}, "4") == (reply.json()["slot"], reply.json()["body"], reply.headers["slot"])


def test_a_message_may_name_its_process(client: httpx.Client, process: str) -> None:
    """A message with a target goes to that process by the path of the device alone."""
    reply = client.post("/~process@1.0/schedule", json={"target": process, "data": "aimed"})
    assert (process, "4") == (reply.headers["process"], reply.headers["slot"])


def test_a_message_may_lie_under_body(client: httpx.Client, process: str) -> None:
    """A message under ``body`` is the one that is scheduled."""
    reply = client.post(f"/{process}/schedule", json={"body": {"data": "inner"}})
    assert {"data": "inner"} == reply.json()["body"]


def test_the_schedule_can_be_read_in_parts(client: httpx.Client, process: str) -> None:
    """GET schedule answers the assignments from one slot to another."""
    rows = client.get(f"/{process}/schedule", params={"from": 1, "to": 2}).json()
    assert ["1", "2"] == sorted(rows["assignments"])
    assert "not this" == rows["assignments"]["2"]["body"]["refuse"]


def test_the_slot_is_a_map_and_its_current_a_bare_number(client: httpx.Client, process: str) -> None:
    """GET slot tells the head, and slot/current is nothing but its number."""
    assert 3 == client.get(f"/{process}/slot").json()["current"]
    assert "3" == client.get(f"/{process}/slot/current").text


@pytest.mark.parametrize(
    "path",
    ["compute?slot=1", "compute/1", "compute=1", "compute&slot=1", "~process@1.0/compute?slot=1", "compute?slot=%31"],
)
def test_a_slot_can_be_named_in_every_way(client: httpx.Client, process: str, path: str) -> None:
    """The state after a slot is the same by query, step, inline key and cast."""
    slash = "" if path.startswith("~") else "/"
    reply = client.get(f"/{process}{slash}{path}")
    assert ({"data": "one"}, 200) == (reply.json().get("results"), reply.status_code), reply.text


def test_a_state_can_be_asked_by_message_id(client: httpx.Client, process: str) -> None:
    """The id of a message names the slot that holds it."""
    message = client.get(f"/{process}/schedule").json()["assignments"]["3"]["message-id"]
    assert 3 == client.get(f"/{process}/compute/{message}").json()["at-slot"]
    assert 3 == client.get(f"/{process}/compute?slot={message}").json()["at-slot"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("compute&slot=1/results/data", '"one"'),
        ("compute/2/results/error/kind", '"refused"'),
        ("compute/results/data?slot=3", '"three"'),
        ("now/count", "3"),
        ("now/results", '{"data": "three"}'),
        ("now/results/data", '"three"'),
        ("now/device-stack/1", '"tally@1.0"'),
    ],
)
def test_any_path_below_a_state_can_be_read(client: httpx.Client, process: str, path: str, text: str) -> None:
    """A path goes on into the state, and a bare value stands alone."""
    assert text == client.get(f"/{process}/{path}").text


def test_a_state_can_be_asked_by_post(client: httpx.Client, process: str) -> None:
    """Clients that only post read the same, with or without a body."""
    assert "3" == client.post(f"/{process}/slot/current").text
    assert "3" == client.post(f"/{process}/now/count", json={"accept": "json"}).text


def test_head_is_get_without_a_body(client: httpx.Client, process: str) -> None:
    """HEAD answers the headers of GET."""
    head, get = client.head(f"/{process}/now"), client.get(f"/{process}/now")
    assert (200, get.headers["content-length"], b"") == (head.status_code, head.headers["content-length"], head.content)


def test_any_page_may_ask(client: httpx.Client) -> None:
    """Every reply may be read from any origin, and OPTIONS says so without a body."""
    options = client.options("/whatever", headers={"origin": "http://example.org"})
    assert (204, "*", b"") == (options.status_code, options.headers["access-control-allow-origin"], options.content)
    assert "content-length" not in options.headers
    assert "*" == client.get("/nothing").headers["access-control-allow-origin"]


def test_the_root_leads_to_the_node(client: httpx.Client) -> None:
    """GET / leads to what the node tells about itself."""
    reply = client.get("/")
    assert (302, "/~meta@1.0/info") == (reply.status_code, reply.headers["location"])


def test_a_node_tells_about_itself(client: httpx.Client) -> None:
    """meta@1.0 tells the address, the devices by role, and the limits."""
    info = client.get("/~meta@1.0/info").json()
    assert ("", 16 << 20, False) == (
        info["address"],
        info["limits"]["body-limit"],
        info["limits"]["require-signed"],
    )
    devices = info["devices"]
    assert (True, ["stack@1.0", "tally@1.0"]) == ("meta@1.0" in devices["keys"], devices["stages"])
    assert '""' == client.get("/~meta@1.0/info/address").text


def test_an_idempotency_key_gives_one_slot(client: httpx.Client, process: str) -> None:
    """The same key with the same content answers the same slot, with other content a conflict."""
    key = {"idempotency-key": "order-7"}
    first, again = (client.post(f"/{process}/schedule", json={"n": 1}, headers=key) for _ in range(2))
    other = client.post(f"/{process}/schedule", json={"n": 2}, headers=key)
    assert ("4", "4", 409, "conflict") == (
        first.headers["slot"],
        again.headers["slot"],
        other.status_code,
        other.json()["error"]["kind"],
    )
    assert "5" == client.post(f"/{process}/schedule", json={"n": 1}).headers["slot"]


@pytest.mark.parametrize(
    "value",
    ["grüße 🦉 \u0000\u2028", "", 0, -(2**255), 1.5, True, None, [1, [2, {"k": []}]], {"$bytes": "_w"}, {"deep": {}}],
    ids=repr,
)
def test_a_value_comes_back_as_it_went(client: httpx.Client, process: str, value: object) -> None:
    """Every JSON value keeps its type through the schedule and the state."""
    slot = client.post(f"/{process}/schedule", json={"data": value}).headers["slot"]
    assert value == client.get(f"/{process}/schedule").json()["assignments"][slot]["body"]["data"]
    assert value == client.get(f"/{process}/compute&slot={slot}/results/data").json()


def test_percent_encoding_reaches_the_parser_untouched(client: httpx.Client, process: str) -> None:
    """An encoded slash is part of a key, and a plain one is not."""
    client.post(f"/{process}/schedule", json={"data": {"a/b c": "found"}})
    assert '"found"' == client.get(f"/{process}/now/results/data/a%2Fb%20c").text
    assert 404 == client.get(f"/{process}/now/results/data/a/b%20c").status_code


def test_no_private_row_leaves_the_node(client: httpx.Client, process: str) -> None:
    """Private keys of a message are neither kept nor shown."""
    reply = client.post(f"/{process}/schedule", json={"data": {"priv.x": "secret", "shown": 1}, "private": "secret"})
    assert {"data": {"shown": 1}} == reply.json()["body"]
    assert "secret" not in client.get(f"/{process}/now").text
