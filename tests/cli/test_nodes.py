"""Commands that ask a node: the same answers as from a data folder, and refusals, deadlines and bounds."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from cli.calling import Shell, lines
from procession import Kernel, Message
from procession.cli import nodes
from procession.errors import ComputeError, ConfigError, ProcessionError, RequestError
from procession.jsons import from_json, to_json


class Page(BaseHTTPRequestHandler):
    """Answer as a node does: a path to the kernel, JSON back, errors with kind and facts."""

    kernel: Kernel
    seen: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        """Answer a GET."""
        self._reply("GET", Message())

    def do_POST(self) -> None:
        """Answer a POST."""
        self._reply("POST", from_json(self.rfile.read(int(self.headers["content-length"])), limit=1 << 20))

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def _reply(self, method: str, body: Message) -> None:
        key = self.headers.get("idempotency-key")
        self.seen.append((self.path, key))
        try:
            value = self.kernel.resolve(self.path, method=method, body=body, idempotency_key=key)
            self._send(200, to_json(value))
        except ProcessionError as error:
            told = {**error.told(), "id": "1"}
            told |= {"problems": list(error.problems)} if isinstance(error, ConfigError) else {}
            self._send(
                404 if error.kind in ("beyond-schedule", "unknown-process") else 400, json.dumps({"error": told})
            )

    def _send(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())


@pytest.fixture
def node(shell: Shell) -> Iterator[str]:
    """Return the URL of a node over the folder of the shell, with a process of three slots."""
    file = shell.definition()
    shell("run", file, "--messages", shell.file("m.jsonl", lines({"by": 1}, {"by": 2})))
    with shell.session.kernel(file, data=shell.folder / "data") as kernel:
        page = type("Served", (Page,), {"kernel": kernel, "seen": []})
        server = ThreadingHTTPServer(("127.0.0.1", 0), page)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def ask(shell: Shell, *args: str) -> Any:
    """Run a command without a data folder."""
    return shell(*args, data=False)


@pytest.mark.parametrize(
    "command",
    [
        ["compute", "sum.toml", "--slot", "1"],
        ["compute", "sum.toml", "--slot", "2", "results/data"],
        ["compute", "sum.toml", "results"],
        ["now", "sum.toml", "sum", "--json"],
        ["log", "sum.toml", "--from", "1"],
        ["log", "sum.toml", "--jsonl"],
        ["spawn", "sum.toml"],
    ],
)
def test_a_node_answers_like_a_folder(shell: Shell, node: str, command: list[str]) -> None:
    """Each command prints the same from both."""
    there = ask(shell, *command, "--url", node)
    here = shell(*command)
    if command[0] == "spawn":  # it would write, and the node has the folder
        here = shell("processes", "--json")
        assert (5, True) == (shell(*command).code, there.out.strip() in here.out)
        return
    assert (0, here.out) == (there.code, there.out)


def test_messages_go_to_a_node(shell: Shell, node: str) -> None:
    """One or many are scheduled, and an idempotency key goes along."""
    first = ask(shell, "schedule", "sum.toml", "by+integer=4", "--idempotency-key", "k", "--url", node)
    again = ask(shell, "schedule", "sum.toml", "by+integer=4", "--idempotency-key", "k", "--url", node)
    assert (True, first.out) == (first.out.startswith("slot 3 "), again.out)
    many = ask(
        shell, "schedule", "sum.toml", "--file", shell.file("n.jsonl", lines({"by": 1}, {"by": 1})), "--url", node
    )
    assert 2 == many.out.count("\n")
    assert "9\n" == ask(shell, "now", "sum.toml", "sum", "--url", node).out


def test_a_long_log_comes_in_pages(shell: Shell, node: str) -> None:
    """A schedule longer than one answer is printed whole."""
    file = shell.file("n.jsonl", lines(*({"by": 1} for _ in range(3))))
    ask(shell, "schedule", "sum.toml", "--file", file, "--url", node)
    pages = [{"continues": True, "assignments": {"0": {"slot": 0}, "1": {"slot": 1}}}]
    pages += [{"continues": False, "assignments": {"2": {"slot": 2}}}]
    with answering([json.dumps(page).encode() for page in pages]) as url:
        found = ask(shell, "log", "x" * 43, "--url", url, "--json").document["assignments"]
    assert [0, 1, 2] == [row["slot"] for row in found]


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["compute", "sum.toml", "--slot", "9"], 3),
        (["now", "x" * 43], 3),
        (["compute", "sum.toml", "--slot", "1", "results/("], 4),
        (["now", "sum"], 4),
    ],
)
def test_a_node_refuses_with_the_same_codes(shell: Shell, node: str, command: list[str], code: int) -> None:
    """What a node refuses is told in one line that names it, with the code of its kind."""
    answer = ask(shell, *command, "--url", node)
    assert (code, "", 1) == (answer.code, answer.out, answer.err.count("\n"))


@pytest.mark.parametrize("url", ["file:///etc/passwd", "127.0.0.1:8734", "http://", "ftp://host/x"])
def test_what_is_no_address_is_refused(shell: Shell, url: str) -> None:
    """Only http and https are asked."""
    assert 4 == ask(shell, "now", "x" * 43, "--url", url).code


def test_a_node_that_is_not_there_is_told(shell: Shell) -> None:
    """Nobody at the address is trouble of the host, in one line."""
    answer = ask(shell, "now", "x" * 43, "--url", f"http://127.0.0.1:{free_port()}")
    assert (6, 1) == (answer.code, answer.err.count("\n"))
    assert "no answer: " in answer.err


@contextmanager
def answering(bodies: list[bytes], *, raw: bool = False) -> Iterator[str]:
    """Serve one body after the other, each on a connection of its own; none: accept and stay silent."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        for body in bodies or [b""]:
            peer, _ = listener.accept()
            with peer:
                peer.recv(1 << 16)
                head = b"" if raw else b"HTTP/1.0 200 OK\r\n\r\n"
                peer.sendall(head + body) if bodies else ended.wait(30)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        ended.set()
        thread.join()
        listener.close()


def test_a_silent_node_is_not_waited_for(shell: Shell) -> None:
    """A node that accepts and never answers ends with the code of a deadline."""
    with answering([]) as url:
        answer = ask(shell, "now", "x" * 43, "--url", url, "--timeout", "0.2")
    assert (7, 1) == (answer.code, answer.err.count("\n"))


@pytest.mark.parametrize("body", [b"hello", b"", b"SSH-2.0\r\n\r\n"])
def test_a_stranger_is_told(shell: Shell, body: bytes) -> None:
    """An answer that is no HTTP ends with the code of the host."""
    with answering([body], raw=True) as url:
        answer = ask(shell, "now", "x" * 43, "--url", url)
    assert (6, 1) == (answer.code, answer.err.count("\n"))


@pytest.mark.parametrize("body", [b"<html>", b"{", b"3"])
def test_an_answer_that_is_no_schedule_is_told(shell: Shell, body: bytes) -> None:
    """Another program's page is bad input in one line."""
    with answering([body]) as url:
        answer = ask(shell, "log", "x" * 43, "--url", url)
    assert (4, 1) == (answer.code, answer.err.count("\n"))


def test_an_endless_answer_is_cut_off(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """More bytes than the bound are not read."""
    monkeypatch.setattr(nodes, "LIMIT", 1000)
    with answering([b'"' + b"x" * 5000 + b'"']) as url:
        answer = ask(shell, "now", "x" * 43, "--url", url)
    assert (6, True) == (answer.code, "larger than 1000 bytes" in answer.err)


@pytest.mark.parametrize(
    ("status", "body", "cls", "kind"),
    [
        (404, b"", RequestError, "not-found"),
        (400, b"<html>", RequestError, "bad-request"),
        (409, b'{"error": {"kind": "conflict", "message": "m"}}', RequestError, "conflict"),
        (400, b'{"error": {"kind": "bad-definition", "problems": ["a", "b"]}}', ConfigError, "bad-definition"),
        (503, b'{"error": {"kind": "deadline"}}', ComputeError, "deadline"),
        (500, b"[" * 100_000, ComputeError, "compute"),
        (500, b'{"error": 3}', ComputeError, "compute"),
    ],
)
def test_a_refusal_becomes_an_error(status: int, body: bytes, cls: type[ProcessionError], kind: str) -> None:
    """The status decides whose fault it is, the body which kind."""
    error = nodes.refused("http://x", status, body)
    assert (cls, kind) == (type(error), error.kind)


def test_a_refusal_says_once_what_to_do() -> None:
    """The remedy of a node's answer is kept apart, and stands once in the text."""
    body = json.dumps({"error": {"kind": "slot", "message": "slot: is none; give 0", "remedy": "give 0", "slot": "x"}})
    error = nodes.refused("http://x", 400, body.encode())
    assert ("http://x: slot: is none; give 0", "give 0", {"slot": "x"}) == (error.text, error.remedy, error.facts)


def free_port() -> int:
    """Return a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
