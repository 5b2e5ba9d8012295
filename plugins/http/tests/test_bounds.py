"""Each bound of a node: what lies within it passes, what lies beyond is refused, and the node lives on.

Waits are told by what happens, never by how fast: a peer that is to be cut off may take as long as it likes.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, repeat
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

HEALTH = b"GET /~meta@1.0/health HTTP/1.1\r\nhost: node\r\n"
SHORT = "500ms"
STEPS = 600  # of a tenth of a second: how long a peer trickles before its test gives up


def post(path: str, *headers: bytes) -> bytes:
    """Return the head of a POST, open for more."""
    rows = (f"POST {path} HTTP/1.1".encode(), b"host: node", b"content-type: application/json", *headers)
    return b"\r\n".join(rows) + b"\r\n"


def message_of(size: int) -> bytes:
    """Return a JSON message of exactly so many bytes."""
    return b'{"data": "' + b"x" * (size - 12) + b'"}'


def trickled(wire: Any, first: bytes, part: bytes) -> int:
    """Send part after part until the other side ends it, and return how many were taken."""
    wire.say(first)
    for number in range(STEPS):
        try:
            wire.socket.sendall(part)
        except ConnectionError:
            return number
        wire.socket.settimeout(0.1)
        try:
            if wire.socket.recv(1, socket.MSG_PEEK) is not None:
                return number
        except TimeoutError:
            continue
        except ConnectionError:
            return number
    return STEPS


def sends_on(node: Any) -> bool:
    """Tell whether a peer may go on sending for a moment after its refusal."""
    with node.wire() as wire:
        assert 413 == wire.say(post("/x/schedule", b"content-length: 8000000"), b"\r\n").hear().status
        try:
            for _ in range(4):
                wire.socket.sendall(b"x" * 10_000)
                time.sleep(0.05)
        except ConnectionError:
            return False
        return wire.is_closed()


class TestBody:
    """The size of a body."""

    LIMIT = 20_000

    def test_a_body_may_be_as_large_as_the_limit_and_no_larger(self, start: Any) -> None:
        """A body at the limit is taken, and one byte more is refused with the limit."""
        node = start(body_limit=self.LIMIT)
        process = node.spawn()
        with node.client() as client:
            path, typed = f"/{process}/schedule", {"content-type": "application/json"}
            within = client.post(path, content=message_of(self.LIMIT), headers=typed)
            beyond = client.post(path, content=message_of(self.LIMIT + 1), headers=typed)
            head = client.get(f"/{process}/slot/current").text
        told = beyond.json()["error"]
        assert (200, 413, "too-large", self.LIMIT) == (
            within.status_code,
            beyond.status_code,
            told["kind"],
            told["limit"],
        )
        assert ("1", True) == (head, node.is_well())

    def test_a_body_without_a_length_is_bounded_as_it_comes(self, start: Any) -> None:
        """A chunked body within the limit is taken, and one that grows beyond it is refused in its middle."""
        node = start(body_limit=self.LIMIT)
        process = node.spawn()
        typed = {"content-type": "application/json"}
        with node.client() as client:
            within = client.post(f"/{process}/schedule", content=iter([message_of(self.LIMIT)]), headers=typed)
            endless = chain([b'{"data": "'], repeat(b"x" * 65536, 2000))
            beyond = client.post(f"/{process}/schedule", content=endless, headers=typed)
        assert (200, 413, True) == (within.status_code, beyond.status_code, node.is_well())

    def test_a_declared_length_is_refused_before_the_body_comes(self, start: Any) -> None:
        """A length beyond the limit is refused without a byte of body, also to a peer that waits to be asked for it."""
        node = start(body_limit=self.LIMIT)
        for extra in (b"content-length: 900000000000", b"content-length: 20001\r\nexpect: 100-continue"):
            with node.wire() as wire:
                answered = wire.say(post("/x/schedule", extra), b"\r\n").hear()
                assert (413, "close", True) == (answered.status, answered.headers["connection"], wire.is_closed())

    def test_a_peer_that_sends_on_finds_its_refusal(self, start: Any) -> None:
        """Who goes on sending after a refusal is not reset for it at once, and is cut off all the same."""
        node = start(body_limit=self.LIMIT)
        assert any(sends_on(node) for _ in range(20))

    def test_all_bodies_together_are_bounded(self, start: Any) -> None:
        """Where the bodies that come in fill the room, another finds none until they are gone."""
        node = start(body_limit=80_000, bodies_limit=100_000)
        path = f"/{node.spawn()}/schedule"
        body = message_of(80_000)
        typed = {"content-type": "application/json"}
        with node.wire() as wire, node.client() as client:
            wire.say(post(path, b"content-length: 80000"), b"\r\n", body[:60_000])
            statuses = {client.post(path, content=body, headers=typed).status_code for _ in range(50)}
            assert (True, 200) == (503 in statuses, wire.say(body[60_000:]).hear().status)
            assert 200 == client.post(path, content=body, headers=typed).status_code


class TestHead:
    """The size of a head."""

    def test_a_head_may_be_as_large_as_clients_need(self, start: Any) -> None:
        """40 KiB in 150 headers pass a node as it is by default."""
        rows = b"".join(b"x-%d: %s\r\n" % (number, b"v" * 270) for number in range(150))
        with start().wire() as wire:
            assert 200 == wire.say(HEALTH, rows, b"\r\n").hear().status

    @pytest.mark.parametrize(
        "rows",
        [
            b"x: " + b"v" * 70_000 + b"\r\n\r\n",
            b"x" * 70_000 + b": v\r\n\r\n",
            b"".join(b"x-%d: %s\r\n" % (number, b"v" * 1000) for number in range(80)) + b"\r\n",
            b"".join(b"x-%d: v\r\n" % number for number in range(300)) + b"\r\n",
            b"x: " + b"v" * 10_000_000,
            b"x" * 10_000_000,
            b"".join(b"x-%d: v\r\n" % number for number in range(200_000)),
            b"x: \r\n" + b" v\r\n" * 100_000,
        ],
        ids=["value", "name", "sum", "count", "endless-value", "endless-name", "endless-count", "folded"],
    )
    def test_a_large_head_is_refused(self, node: Any, rows: bytes) -> None:
        """A head beyond its size or count is refused, in whichever way it is large."""
        with node.wire() as wire:
            answered = wire.say(HEALTH, rows).hear()
            assert answered.status in (431, 400)
            assert answered.kind in ("head-too-large", "http")
        assert node.is_well()

    def test_a_long_target_is_refused(self, node: Any) -> None:
        """A target beyond the size of a head is 431, one beyond the size of a path is 400."""
        statuses = []
        for size in (100_000, 20_000, 10):
            with node.wire() as wire:
                wire.say(b"GET /~meta@1.0/health?" + b"q" * size + b" HTTP/1.1\r\nhost: node\r\n\r\n")
                statuses.append(wire.hear().status)
        assert [431, 400, 200] == statuses

    def test_trailers_are_thrown_away_and_bounded(self, node: Any) -> None:
        """A trailer is no header of its request nor of the next, and trailers without an end are cut off."""
        process = node.spawn()
        chunked = post(f"/{process}/schedule", b"transfer-encoding: chunked")
        body = b'\r\n7\r\n{"a":1}\r\n0\r\n'
        keyed = chunked + body + b"idempotency-key: same\r\nidempotency-key: same\r\n\r\n"
        sized = post(f"/{process}/schedule", b"content-length: 7") + b'\r\n{"a":1}'
        with node.wire() as wire:
            slots = [wire.say(text).hear().headers["slot"] for text in (keyed, keyed, sized)]
        with node.wire() as wire:
            answered = wire.say(chunked, body, b"x: ", b"v" * 10_000_000).hear()
        assert (["1", "2", "3"], 431, True) == (slots, answered.status, node.is_well())


class TestTime:
    """The time that a peer may take."""

    def test_a_head_that_trickles_is_cut(self, start: Any) -> None:
        """A head that comes byte by byte is ended, whichever part of it, while another peer is served."""
        node = start(head_timeout=SHORT)
        for first, part in ((b"", b"\r\n"), (b"G", b"E"), (HEALTH, b"x"), (HEALTH, b"x: y\r\n")):
            with node.wire() as wire:
                assert trickled(wire, first, part) < STEPS
                assert node.is_well()

    def test_a_silent_peer_is_cut(self, start: Any) -> None:
        """A peer that connects and says nothing is told so and cut."""
        with start(head_timeout=SHORT).wire() as wire:
            answered = wire.hear()
            assert (408, "slow", True) == (answered.status, answered.kind, wire.is_closed())

    def test_a_slow_head_passes_where_there_is_time(self, node: Any) -> None:
        """The same head in pieces passes within the time that a node gives by default."""
        with node.wire() as wire:
            for byte in (HEALTH[:3], HEALTH[3:20], HEALTH[20:], b"\r\n"):
                wire.say(byte)
                time.sleep(0.2)
            assert 200 == wire.hear().status

    def test_a_body_that_trickles_is_cut(self, start: Any) -> None:
        """A body that comes byte by byte is refused as too slow, with and without a length."""
        node = start(body_timeout=SHORT)
        for length, part in ((b"content-length: 5000", b" "), (b"transfer-encoding: chunked", b"1\r\n \r\n")):
            with node.wire() as wire:
                assert trickled(wire, post("/x/schedule", length) + b"\r\n", part) < STEPS
                assert 408 == wire.hear().status
        assert node.is_well()

    def test_a_slow_body_passes_where_there_is_time(self, node: Any) -> None:
        """The same body in pieces passes within the time that a node gives by default."""
        process = node.spawn()
        with node.wire() as wire:
            wire.say(post(f"/{process}/schedule", b"content-length: 7"), b"\r\n")
            for byte in (b'{"a', b'":', b"1}"):
                wire.say(byte)
                time.sleep(0.2)
            assert 200 == wire.hear().status

    def test_five_hundred_slow_peers_keep_nobody_out(self, start: Any) -> None:
        """While 250 heads and 250 bodies trickle in, another peer is served."""
        node = start(connections=600, head_timeout="20s", body_timeout="20s")
        process = node.spawn()
        slow = [node.wire() for _ in range(500)]
        try:
            for number, wire in enumerate(slow):
                wire.say(HEALTH if number % 2 else post(f"/{process}/schedule", b"content-length: 9") + b"\r\n{")
            with node.client() as client:
                assert 200 == client.post(f"/{process}/schedule", json={"n": 1}).status_code
        finally:
            for wire in slow:
                wire.close()

    def test_an_idle_connection_is_closed(self, start: Any) -> None:
        """A connection serves one request after the other, and is closed when nothing more comes."""
        node = start(idle_timeout=SHORT, head_timeout=SHORT)
        with node.wire() as wire:
            both = [wire.say(HEALTH, b"\r\n").hear().status for _ in "12"]
            assert ([200, 200], True) == (both, wire.is_closed())

    def test_empty_lines_keep_no_connection_open(self, start: Any) -> None:
        """An empty line after a request does not buy time without end."""
        with start(idle_timeout=SHORT, head_timeout=SHORT).wire() as wire:
            wire.say(HEALTH, b"\r\n").hear()
            assert wire.say(b"\r\n").is_closed()

    def test_a_peer_that_does_not_read_is_cut(self, start: Any) -> None:
        """A reply that nobody takes is given up, and the connection makes room for another."""
        node = start(send_timeout=SHORT, connections=1)
        path, size = big_state(node)
        with node.wire() as wire:
            wire.say(f"GET {path} HTTP/1.1\r\nhost: node\r\n\r\n".encode())
            assert wire.socket.recv(100, socket.MSG_PEEK)
            eventually_served(node)
            assert received(wire) < size
        assert node.is_well()

    def test_a_peer_that_reads_slowly_gets_everything(self, start: Any) -> None:
        """A reply that is taken piece by piece comes whole, although it takes longer than a peer may stand still."""
        node = start(send_timeout="1s")
        path, size = big_state(node)
        with node.wire() as wire:
            wire.say(f"GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n".encode())
            assert received(wire, pauses=20) > size
        assert node.is_well()


def big_state(node: Any) -> tuple[str, int]:
    """Return the path of a schedule that is far larger than what the system buffers, and its size."""
    process = node.spawn()
    with node.client() as client:
        for _ in range(3):
            assert 200 == client.post(f"/{process}/schedule", json={"data": "x" * 10_000_000}).status_code
    return f"/{process}/schedule", 30_000_000


def received(wire: Any, pauses: int = 0) -> int:
    """Return how many bytes come before the end, with pauses in between."""
    total = 0
    try:
        while part := wire.socket.recv(1 << 20):
            total += len(part)
            if total // 1_000_000 < pauses:
                time.sleep(0.1)
    except ConnectionError:
        return total
    return total


class TestRoom:
    """How much a node does at once."""

    def test_connections_are_bounded(self, start: Any) -> None:
        """One connection more than the limit is told so, and finds room once another is gone."""
        node = start(connections=3)
        held = [node.wire() for _ in range(3)]
        assert [200] * 3 == [wire.say(HEALTH, b"\r\n").hear().status for wire in held]
        with node.wire() as wire:
            answered = wire.hear()
            assert (503, "busy", True) == (answered.status, answered.kind, wire.is_closed())
        held.pop().close()
        eventually_served(node)
        for wire in held:
            wire.close()

    def test_a_full_node_says_so_at_once(self, start: Any, tmp_path: Path) -> None:
        """Beyond the requests that may run, one is refused while the first still runs, and served after it."""
        node = start(requests=1, threads=1)
        process, gate = blocked_process(node, tmp_path)
        with ThreadPoolExecutor(1) as pool, node.client() as client:
            first = pool.submit(get, node, f"/{process}/now/count")
            wait_for(gate.with_suffix(".entered"))
            refused = client.get(f"/{process}/slot/current")
            gate.touch()
            assert (503, "busy", "1") == (
                refused.status_code,
                refused.json()["error"]["kind"],
                refused.headers["retry-after"],
            )
            assert ((200, "2"), "1") == (first.result(), client.get(f"/{process}/slot/current").text)

    def test_what_waits_too_long_for_a_thread_is_told(self, start: Any, tmp_path: Path) -> None:
        """A request that finds no thread within its time is refused, and nothing of it runs later."""
        node = start(threads=1, request_timeout=SHORT)
        process, gate = node.spawn(name="late"), tmp_path / "gate"
        with ThreadPoolExecutor(1) as pool, node.client() as client:
            first = pool.submit(get, node, f"/~gate@1.0/wait?file={quote(str(gate), safe='')}")
            wait_for(gate.with_suffix(".entered"))
            refused = client.post(f"/{process}/schedule", json={"data": "late"})
            gate.touch()
            assert ((200, '"open"'), 503, "deadline") == (
                first.result(),
                refused.status_code,
                refused.json()["error"]["kind"],
            )
            assert "0" == client.get(f"/{process}/slot/current").text

    def test_a_request_that_takes_too_long_is_told_how_far_it_is(self, start: Any, tmp_path: Path) -> None:
        """Who waits for a slot longer than a request may is told so; it is computed all the same."""
        node = start(request_timeout=SHORT)
        process, gate = blocked_process(node, tmp_path)
        with ThreadPoolExecutor(1) as pool, node.client() as client:
            first = pool.submit(get, node, f"/{process}/now/count")
            wait_for(gate.with_suffix(".entered"))
            told = client.get(f"/{process}/now/count")
            gate.touch()
            assert 503 == first.result()[0]
            error = told.json()["error"]
            assert (503, "deadline", process, 1) == (
                told.status_code,
                error["kind"],
                error["process"],
                error["slot"],
            )
            assert "2" == client.get(f"/{process}/now/count").text

    def test_other_requests_run_beside_a_long_one(self, start: Any, tmp_path: Path) -> None:
        """While one slot is computed, messages are scheduled and other processes answer."""
        node = start()
        process, gate = blocked_process(node, tmp_path)
        with ThreadPoolExecutor(1) as pool, node.client() as client:
            first = pool.submit(get, node, f"/{process}/compute/1/count")
            wait_for(gate.with_suffix(".entered"))
            other = node.spawn(name="other")
            assert "2" == client.post(f"/{process}/schedule", json={"n": 1}).headers["slot"]
            assert "1" == client.get(f"/{other}/now/count").text
            gate.touch()
            assert (200, "2") == first.result()


def blocked_process(node: Any, folder: Path) -> tuple[str, Path]:
    """Return a process whose slot 1 waits for a file, and the file."""
    gate = folder / "gate"
    process = node.spawn(name="blocked")
    with node.client() as client:
        client.post(f"/{process}/schedule", json={"wait-for": str(gate)})
    return process, gate


def get(node: Any, path: str) -> tuple[int, str]:
    """Return status and text of a path."""
    with node.client() as client:
        reply = client.get(path)
    return reply.status_code, reply.text


def wait_for(file: Path) -> None:
    """Wait until a file is there."""
    for _ in range(STEPS):
        if file.exists():
            return
        threading.Event().wait(0.1)
    raise AssertionError(f"{file.name} did not come")


def eventually_served(node: Any) -> None:
    """Wait until a new connection is served."""
    for _ in range(STEPS):
        with node.wire() as wire:
            if wire.say(HEALTH, b"\r\n").hear().status == 200:
                return
        time.sleep(0.1)
    raise AssertionError("no connection is served")


def test_the_bounds_are_told(start: Any) -> None:
    """What a node lets a peer do is told by meta@1.0."""
    with start(body_limit=4321).client() as client:
        assert 4321 == json.loads(client.get("/~meta@1.0/info/limits/body-limit").text)
