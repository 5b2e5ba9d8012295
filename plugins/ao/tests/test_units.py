"""The units of AO's legacy network: what each answers, and that they answer only where they are asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from procession import Kernel, Message, RequestError
from procession.commitments import message_id
from procession_ao.node import NAME

from .callers import Client, Heard, Sent, Wallets, opened

OCTETS = [("content-type", "application/octet-stream")]
MODULE = "A" * 43


class Legacy(Client):
    """Ask as aoconnect does in legacy mode."""

    def post(self, tags: dict[str, Any]) -> Any:
        """Post a data item to the messenger unit, and return its answer."""
        item = self.items.commit(Message(tags), self.signer)
        return json.loads(self.ask("POST", "/", OCTETS, self.items.encode(item)).body)

    def get(self, target: str) -> Any:
        """Return the answer of the compute unit."""
        return json.loads(self.ask("GET", target, ()).body)

    def send(self, target: str, body: Any) -> Heard:
        """Post JSON."""
        return self.ask("POST", target, [("content-type", "application/json")], json.dumps(body).encode())


@pytest.fixture
def kernel(tmp_path: Path, wallets: Wallets) -> Iterator[Kernel]:
    """Return a kernel whose node is every unit."""
    (tmp_path / "aos.wasm").write_bytes(b"module")
    with opened(tmp_path, wallets, (MODULE, str(tmp_path / "aos.wasm")), legacy=True) as kernel:
        yield kernel


@pytest.fixture
def legacy(kernel: Kernel, wallets: Wallets) -> Legacy:
    """Return a client that began a process by the messenger unit."""
    codecs = kernel.registry.table("codecs")
    made = Legacy(kernel.companions.get(NAME), codecs, codecs["httpsig@1.0"].signer(wallets.client))
    made.process = made.post({"type": "Process", "execution-device": "sums@1.0", "variant": "ao.TN.1"})["processId"]
    return made


@pytest.fixture
def moved(legacy: Legacy) -> Legacy:
    """Return a client whose process got four messages."""
    for amount in ("1", "2", "3", "4"):
        legacy.post({"type": "Message", "target": legacy.process, "amount": amount})
    return legacy


def test_a_message_is_scheduled_once(legacy: Legacy, kernel: Kernel) -> None:
    """The id is that of the item, and an item that comes again has the slot that it had."""
    item = legacy.items.commit(Message({"target": legacy.process, "amount": "5"}), legacy.signer)
    body = legacy.items.encode(item)
    told = [json.loads(legacy.ask("POST", "/", OCTETS, body).body) for _ in range(2)]
    assert [(message_id(item), 1)] * 2 == [(one["id"], one["slot"]) for one in told]
    assert 1 == kernel.head(legacy.process).slot
    assert {"data": "total 5"} == legacy.get(f"/result/{message_id(item)}?process-id={legacy.process}")["Output"]


def test_results_come_in_pages(moved: Legacy) -> None:
    """A page begins behind its cursor, in either order, has at most so many, and says whether more follow."""

    def page(query: str) -> tuple[list[str], bool]:
        found = moved.get(f"/results/{moved.process}?{query}")
        return [edge["cursor"] for edge in found["edges"]], found["pageInfo"]["hasNextPage"]

    assert (["0", "1"], True) == page("limit=2")
    assert (["2", "3", "4"], False) == page("from=1&sort=ASC")
    assert (["2", "3"], False) == page("from=1&to=3")
    assert (["4", "3"], True) == page("sort=DESC&limit=2")
    assert (["2", "1", "0"], False) == page("sort=DESC&from=3")
    assert ([], False) == page("from=9")
    assert {"data": "total 10"} == moved.get(f"/results/{moved.process}?sort=DESC&limit=1")["edges"][0]["node"][
        "Output"
    ]


def test_a_dry_run_is_in_the_name_that_it_says(moved: Legacy, kernel: Kernel) -> None:
    """Its answer is that of the message at the head, whoever it says that it is, and nothing is left of it."""
    given = {"Id": "1234", "Owner": "1234", "Target": moved.process, "Tags": [{"name": "Amount", "value": "5"}]}
    heard = moved.send(f"/dry-run?process-id={moved.process}", {**given, "Data": "x", "Anchor": "0"})
    assert {"data": "total 15"} == json.loads(heard.body)["Output"]
    assert 4 == kernel.head(moved.process).slot


def test_a_message_and_its_assignment_are_found(moved: Legacy) -> None:
    """The scheduler unit tells where it is, and a message with its place as tags."""
    assert (
        "http://node" == json.loads(moved.ask("GET", f"/?process-id={moved.process}", [("host", "node")]).body)["url"]
    )
    name = moved.post({"target": moved.process, "name": "n"})["id"]
    tags = moved.get(f"/{name}?process-id={moved.process}")["assignment"]["tags"]
    assert {"name": "Nonce", "value": "5"} in tags


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_a_process_may_be_watched(method: str, legacy: Legacy, kernel: Kernel) -> None:
    """Who signs for a process that is here is answered with the id of his item, and nothing is scheduled."""
    item = legacy.items.commit(Message({"target": legacy.process, "data": " "}), legacy.signer)
    body = legacy.items.encode(item)
    heard = legacy.ask(method, f"/monitor/{legacy.process}", OCTETS, body)
    assert (200, message_id(item)) == (heard.status, heard.json["id"])
    assert 0 == kernel.head(legacy.process).slot
    for target, sent in ((MODULE, body), ("x", body), (legacy.process, b"x"), (legacy.process, body[:-1] + b"x")):
        with pytest.raises(RequestError):
            legacy.ask(method, f"/monitor/{target}", OCTETS, sent)


def test_modules_that_are_here_are_told(legacy: Legacy) -> None:
    """What a client looks up before it spawns has the tags of a module, and one that is not here is not found."""

    def found(*names: str) -> list[Any]:
        asked = {"query": "query {}", "variables": {"transactionIds": list(names)}}
        edges: list[Any] = json.loads(legacy.send("/graphql", asked).body)["data"]["transactions"]["edges"]
        return edges

    assert {"name": "Type", "value": "Module"} in found(MODULE)[0]["node"]["tags"]
    assert [] == found("B" * 42 + "A", "no id")
    assert [] == found()


def test_processes_are_found_by_owner_and_tags(legacy: Legacy) -> None:
    """A client finds the processes that it named, the newest first, in the query that the aos command line sends."""
    named = {"type": "Process", "execution-device": "sums@1.0", "data-protocol": "ao", "name": "greeter"}
    older, newer = (legacy.post({**named, "nonce": nonce})["processId"] for nonce in ("1", "2"))
    owner = legacy.get(f"/{older}?process-id={older}")["message"]["owner"]["address"]

    def found(*owners: Any, name: str = "greeter", kind: str = "Process") -> list[Any]:
        rows = f'{{ name: "Type", values: ["{kind}"]}},\n{{ name: "Name", values: ["{name}"]}}'
        query = f"query ($owners: [String!]!) {{ transactions(owners: $owners, tags: [{rows}]) {{ edges }} }}"
        heard = legacy.send("/graphql", {"query": query, "variables": {"owners": list(owners)}})
        edges: list[Any] = json.loads(heard.body)["data"]["transactions"]["edges"]
        return edges

    assert [newer, older] == [edge["node"]["id"] for edge in found("", owner)]
    assert {"name": "Name", "value": "greeter"} in [
        {**tag, "name": tag["name"].title()} for tag in found(owner)[0]["node"]["tags"]
    ]
    assert [] == found(owner, name="other")
    assert [] == found(owner, kind="Module")
    assert [] == found("B" * 43)
    assert [] == found()
    assert [] == found(7, owner + "x")


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("POST", "/", b"[object Object]"),
        ("POST", "/?process-id={}&assign={}", b""),
        ("POST", "/dry-run", b"[]"),
        ("POST", "/dry-run", b"{"),
        ("POST", "/dry-run?process-id=x", b"{}"),
        ("POST", "/dry-run?process-id={}", b'{"Tags": [{"name": 1}]}'),
        ("GET", "/result/{}", b""),
        ("GET", "/result/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA?process-id={}", b""),
        ("GET", "/result/9?process-id={}", b""),
        ("GET", "/results/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", b""),
        ("GET", "/results/{}?from=-1", b""),
        ("GET", "/results/{}?limit=many", b""),
    ],
)
def test_what_is_no_request_of_theirs_is_refused(
    legacy: Legacy, kernel: Kernel, method: str, target: str, body: bytes
) -> None:
    """A broken item, a process or a message that is not here, a cursor of somebody else: nothing is done."""
    named = target.replace("{}", legacy.process)
    with pytest.raises(RequestError):
        legacy.ask(method, named, OCTETS if named.startswith("/?") or named == "/" else (), body)
    assert 0 == kernel.head(legacy.process).slot


def test_they_are_not_there_unless_they_are_asked_for(tmp_path: Path, wallets: Wallets) -> None:
    """A node whose settings do not say legacy leaves these paths to the server, and says how they come to be."""
    with opened(tmp_path, wallets) as kernel:
        node = kernel.companions.get(NAME)
        for target in ("/results/x", "/result/x?process-id=y", "/?process-id=y"):
            assert node.answer(Sent("GET", target), timeout=1, signed=False) is None
        codecs = kernel.registry.table("codecs")
        with pytest.raises(RequestError, match="legacy = true"):
            Legacy(node, codecs, codecs["httpsig@1.0"].signer(wallets.client)).ask("POST", "/", OCTETS, b"x")
