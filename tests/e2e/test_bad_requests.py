"""Bad requests to a node give one clear error with its status, and cost nothing that was there before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest

from e2e.definitions import GOOD, IMAGES, folder_of_images
from e2e.programs import Node, node
from procession import Kernel
from procession.ids import hash_id
from procession.roles import Site
from procession.testing import SteppingClock
from procession.testing.subjects import Subject

UNKNOWN = "A" * 43
LIMIT = 65_536
SPAWN = "/~process@1.0/schedule"


@attrs.frozen
class Case:
    """Hold a request and the status that refuses it; PROCESS in the path is the good process."""

    name: str
    method: str
    path: str
    status: int
    body: Any = None
    words: tuple[str, ...] = ()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Return a node with a good process of three slots, whose store holds the bytes of bad images too."""
    folder = folder_of_images(tmp_path_factory.mktemp("running"))
    (folder / "data").mkdir()
    cache = Subject("procession_sqlite", "procession_caches", "sqlite@1.0").open(
        Site(folder / "data", False, SteppingClock())
    )
    for content in IMAGES.values():
        cache.put_blob(content)
    cache.close()
    (folder / "good.toml").write_text(f'{GOOD}\n[host.http]\nbody-limit = {LIMIT}\nhead-timeout = "2s"\n', "utf-8")
    with node(folder / "good.toml", "--data", folder / "data", folder=folder) as found:
        for _ in range(2):
            found.post(f"/{found.process}/schedule", {"function": "two"})
        found.get(f"/{found.process}/now")
        yield found


@pytest.fixture
def served(running: Node) -> Iterator[Node]:
    """Return the node, and find its process after the test as it was before."""
    before = _standing(running)
    yield running
    assert before == _standing(running)


def _standing(running: Node) -> tuple[Any, ...]:
    schedule, now = f"/{running.process}/schedule", f"/{running.process}/now"
    return running.get(schedule)["assignments"], running.get(now), "status" in running.get("/~meta@1.0/health")


def definition(**rows: Any) -> dict[str, Any]:
    """Return a definition as it comes over the wire."""
    return {"type": "Process", "name": "from the wire", "device-stack": ["echo@1.0"], **rows}


def guest(image: str, **rows: Any) -> dict[str, Any]:
    """Return a definition with a guest."""
    return definition(**{"device-stack": [{"device": "wasm-64@1.0", "image": image, **rows}, "test-device@1.0"]})


CASES = (
    Case("a negative slot", "GET", "/PROCESS/compute?slot=-1", 400, words=("slot -1 is negative",)),
    Case("a slot that is no number", "GET", "/PROCESS/compute&slot=three", 400, words=("'three' is no slot",)),
    Case("a slot that is half a number", "GET", "/PROCESS/compute=2.5", 400, words=("no slot",)),
    Case("a slot in other digits", "GET", "/PROCESS/compute?slot=%D9%A2", 400, words=("no slot",)),
    Case("a slot beyond the schedule", "GET", "/PROCESS/compute?slot=3", 404, words=("slot 3", "head is slot 2")),
    Case("a slot far beyond", "GET", "/PROCESS/compute/123456789", 404, words=("head is slot 2",)),
    Case("a message id that no slot holds", "GET", f"/PROCESS/compute/{UNKNOWN}", 404, words=(UNKNOWN,)),
    Case("an unknown process", "GET", f"/{UNKNOWN}/now", 404, words=(UNKNOWN,)),
    Case("an unknown process to schedule for", "POST", f"/{UNKNOWN}/schedule", 404, {"a": 1}, (UNKNOWN,)),
    Case("a process id that is too short", "GET", "/AAAA/now", 404),
    Case("nothing there", "GET", "/PROCESS/now/results/nothing", 404, words=("nothing",)),
    Case("a private key", "GET", "/PROCESS/now/priv/secret", 404),
    Case("an attribute of Python", "GET", "/PROCESS/now/__class__", 404),
    Case("an unknown request device", "GET", "/PROCESS/~nobody@1.0/x", 404, words=("nobody@1.0",)),
    Case("a bracket that stays open", "GET", "/PROCESS/now/(results", 400, words=("path",)),
    Case("a character that is none", "GET", "/PROCESS/now/%ff%fe", 400, words=("path",)),
    Case("an escape that is none", "GET", "/PROCESS/now/%zz", 400, words=("path",)),
    Case("a type that is none", "GET", "/PROCESS/compute?slot+float99=1", 400),
    Case("a path that is too long", "GET", "/" + "a" * 20_000, 400, words=("path",)),
    Case("paths in paths", "GET", "/" + "(" * 50 + "x" + ")" * 50, 400, words=("path",)),
    Case("a list for a message", "POST", "/PROCESS/schedule", 400, [1, 2], ("no message",)),
    Case("a number for a message", "POST", "/PROCESS/schedule", 400, 3, ("no message",)),
    Case("half a message", "POST", "/PROCESS/schedule", 400, b'{"a": ', ("JSON",)),
    Case("no message at all", "POST", "/PROCESS/schedule", 400, b"", ("message",)),
    Case("bytes for a message", "POST", "/PROCESS/schedule", 400, b"\xff\xfe\x00", ("JSON",)),
    Case("a message nested too deeply", "POST", "/PROCESS/schedule", 400, b'{"a":' * 9000 + b"1" + b"}" * 9000),
    Case("a number that is too large", "POST", "/PROCESS/schedule", 400, {"a": 1 << 300}, ("bits",)),
    Case("a digit bomb", "POST", "/PROCESS/schedule", 400, b'{"a": ' + b"9" * 60_000 + b"}"),
    Case("a number that is none", "POST", "/PROCESS/schedule", 400, b'{"a": Infinity}', ("Infinity",)),
    Case("half a character", "POST", "/PROCESS/schedule", 400, b'{"a": "\\ud800"}', ("surrogate",)),
    Case(
        "a signature that nobody checks",
        "POST",
        "/PROCESS/schedule",
        400,
        {"commitments": {"x": {"commitment-device": "rsa@1.0", "committer": "me"}}},
    ),
    Case("an oversized message", "POST", "/PROCESS/schedule", 413, b'{"a": "' + b"x" * LIMIT + b'"}', (str(LIMIT),)),
    Case("a method that is none", "DELETE", "/PROCESS/schedule", 405),
    Case(
        "a definition of unknown devices",
        "POST",
        SPAWN,
        400,
        definition(**{"device-stack": ["ecko@1.0"]}),
        ("'echo@1.0'",),
    ),
    Case("a definition without devices", "POST", SPAWN, 400, {"type": "Process"}, ("execution-device",)),
    Case(
        "a definition of many mistakes",
        "POST",
        SPAWN,
        400,
        definition(**{"on-failure": 3, "device-stack": [7]}),
        ("on-failure", "device-stack[0]"),
    ),
    Case(
        "a stack without end", "POST", SPAWN, 400, definition(**{"device-stack": {"1": {"2": {}}}}), ("device-stack",)
    ),
    Case("an image by its path", "POST", SPAWN, 400, guest("good.wat"), ("'good.wat' is no id",)),
    Case("an image by a path of this host", "POST", SPAWN, 400, guest("/etc/passwd"), ("no id",)),
    Case("an image that is not here", "POST", SPAWN, 422, guest(UNKNOWN), (UNKNOWN,)),
    Case(
        "an image that is no module",
        "POST",
        SPAWN,
        400,
        guest(hash_id(IMAGES["text.wasm"])),
        ("neither a WASM module",),
    ),
    Case("an image that is cut off", "POST", SPAWN, 400, guest(hash_id(IMAGES["cut.wasm"]))),
    Case(
        "an import that nobody answers", "POST", SPAWN, 400, guest(hash_id(IMAGES["asking.wat"])), ("nobody", "answers")
    ),
    Case("an option out of range", "POST", SPAWN, 400, guest(hash_id(IMAGES["good.wat"]), fuel=0), ("fuel",)),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_bad_request_is_refused(case: Case, served: Node) -> None:
    """A request that is wrong gets its status and a JSON error of one kind and one text, without a traceback."""
    body = case.body if isinstance(case.body, bytes | None) else json.dumps(case.body).encode()
    url = served.url + case.path.replace("PROCESS", served.process)
    reply = served.client.request(case.method, url, content=body, headers={"content-type": "application/json"})
    assert (case.status, "application/json") == (reply.status_code, reply.headers["content-type"]), reply.text
    error = reply.json()["error"]
    assert error["kind"]
    assert [] == [word for word in case.words if word not in error["message"]], error["message"]
    assert "Traceback" not in reply.text
    assert str(served.log.parent) not in reply.text


@pytest.mark.parametrize("content_type", ["text/plain", "application/cbor", "application/json; charset=latin-1"])
def test_another_format_is_refused(content_type: str, served: Node) -> None:
    """A body that says it is no JSON is refused as such."""
    url = f"{served.url}/{served.process}/schedule"
    assert 415 == served.client.post(url, content=b'{"a": 1}', headers={"content-type": content_type}).status_code


def test_an_oversized_body_of_no_stated_length_is_refused(served: Node) -> None:
    """A body that comes in pieces, without its length in front, is cut off at the limit."""
    pieces = (b"x" * 8192 for _ in range(64))
    url = f"{served.url}/{served.process}/schedule"
    assert 413 == served.client.post(url, content=pieces, headers={"content-type": "application/json"}).status_code


def test_a_definition_of_the_wire_is_the_process_of_its_file(served: Node) -> None:
    """What differs in [host] alone, or came over the wire, is one process: it is found, not begun again."""
    wire = json.loads(json.dumps({"type": "Process", "device": "process@1.0", "name": "good"}))
    stack = [{"device": "wasm-64@1.0", "image": hash_id(IMAGES["good.wat"])}, "test-device@1.0"]
    told = served.post(SPAWN, {**wire, "device-stack": stack})
    assert (served.process, 0) == (told["process"], told["slot"])


def test_nothing_that_was_refused_was_begun(served: Node) -> None:
    """The node holds the one process that it was given, whatever definitions were refused."""
    with pytest.raises(httpx.HTTPStatusError):
        served.client.post(f"{served.url}{SPAWN}", json=guest(UNKNOWN)).raise_for_status()
    with Kernel.open(data=served.log.parent / "data", read_only=True) as beside:
        assert [served.process] == list(beside.processes())


def test_a_damaged_cache_is_served_right(tmp_path: Path) -> None:
    """A node over a cache with a bit the other way, and one over none, answer what they answered before."""
    folder = folder_of_images(tmp_path)
    (folder / "good.toml").write_text(GOOD, "utf-8")
    answers = []
    for damage in ("none", "flipped", "gone"):
        file = folder / "data" / "cache.sqlite"
        if damage == "flipped":
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 4
            file.write_bytes(bytes(content))
        elif damage == "gone":
            file.unlink()
        with node(folder / "good.toml", "--data", folder / "data", folder=folder) as found:
            if damage == "none":
                found.post(f"/{found.process}/schedule", {"function": "two"})
            answers.append([found.get(f"/{found.process}/compute={slot}") for slot in (0, 1)])
    assert [answers[0]] * 3 == answers
