"""Signed messages over HTTP: a node that schedules them durably, beside a bare server that verifies the same."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import attrs

from bench.measuring import Claim, Group, Measure, Subject, why_no
from procession import Message
from procession.registry import Registry

CALLERS = 16
ROUNDS = 4  # that are signed before the clock runs
BODY = "x" * 1024
BARE = Path(__file__).with_name("bare_server.py")
DEFINITION = '[process]\nname = "bench"\ndevice-stack = ["echo@1.0"]\n'


class Caller:
    """Hold one connection, kept alive: send a request, wait for its reply."""

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        self._socket = socket.create_connection((place.hostname, place.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._lines: IO[bytes] = self._socket.makefile("rb")

    def send(self, request: bytes) -> None:
        """Send a request."""
        self._socket.sendall(request)

    def heard(self) -> bytes:
        """Return the body of its reply, which must be good."""
        status, length = self._lines.readline(), 0
        while (line := self._lines.readline().lower()) not in (b"\r\n", b""):
            length = int(line.partition(b":")[2]) if line.startswith(b"content-length:") else length
        body = self._lines.read(length)
        assert b" 200 " in status, (status, body)
        return body

    def close(self) -> None:
        """End it."""
        self._lines.close()
        self._socket.close()


class Messages:
    """Sign messages, no two alike, as requests that are ready to send."""

    def __init__(self) -> None:
        self._codec: Any = Registry().table("codecs")["httpsig@1.0"]
        self._signer = self._codec.signer(self._codec.new_wallet())
        self._made = 0

    def request(self, target: str) -> bytes:
        """Return the next one."""
        self._made += 1
        message = Message({"type": "Message", "action": "Note", "number": self._made, "data": BODY})
        rows, body = self._codec.encode_request(message, self._signer)
        own = [("host", "bench"), ("accept", "application/json"), ("content-length", str(len(body)))]
        head = "".join(f"{name}: {value}\r\n" for name, value in [*own, *rows])
        return f"POST {target} HTTP/1.1\r\n{head}\r\n".encode() + body


@attrs.frozen
class Served:
    """Say where a server takes messages."""

    url: str
    target: str


@contextmanager
def bare(folder: Path) -> Iterator[Served]:
    """Run the bare server."""
    with _program([sys.executable, str(BARE)]) as line:
        yield Served(line.strip(), "/schedule")


@contextmanager
def node(folder: Path) -> Iterator[Served]:
    """Run a node with a process, as ``procession serve`` has it."""
    file = folder / "node.toml"
    file.write_text(DEFINITION, "utf-8")
    command = [sys.executable, "-c", "from procession.cli import cli; cli()", "serve", str(file)]
    with _program([*command, "--data", str(folder / "data"), "--port", "0", "--json"]) as line:
        told = json.loads(line)
        yield Served(told["url"], f"/{told['process']}/schedule")


@contextmanager
def posting(folder: Path, server: Callable[[Path], Any], callers: int) -> Iterator[Measure]:
    """Post signed messages of so many callers, each after its reply: messages a second.

    Signing and connecting are not in it. Connections are as old as what was signed for them, and each has had a
    reply before the clock runs: one that nobody writes to, while others are got ready, is closed by any server.
    """
    messages = Messages()
    with server(folder) as served:

        def measure(seconds: float) -> float:
            spent, done = 0.0, 0
            while spent < seconds or not done:
                first, *ready = [[messages.request(served.target) for _ in range(callers)] for _ in range(1 + ROUNDS)]
                with _connected(served.url, callers) as lines:
                    _post(lines, first)
                    begun = time.perf_counter()
                    for requests in ready:
                        _post(lines, requests)
                    spent, done = spent + time.perf_counter() - begun, done + ROUNDS * callers
            return done / spent

        yield measure


@contextmanager
def _connected(url: str, callers: int) -> Iterator[list[Caller]]:
    with ExitStack() as opened:
        yield [opened.enter_context(closing(Caller(url))) for _ in range(callers)]


def _post(lines: list[Caller], requests: list[bytes]) -> None:
    for line, request in zip(lines, requests, strict=True):
        line.send(request)
    for line in lines:
        line.heard()


@contextmanager
def _program(command: list[str]) -> Iterator[str]:
    """Run a program until what it prints first has been used."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as child:  # type: ignore[call-overload] # both are pipes
        try:
            yield child.stdout.readline()
            child.stdin.close()
            child.terminate()
            child.wait(60)
        finally:
            child.kill()


_ABSENT = why_no("procession_http", "procession_codecs", "procession_ao")
BARE_MANY, SIGNED_MANY, BARE_ONE, SIGNED_ONE = (
    Subject(f"{name}, {'one caller' if callers == 1 else f'{callers} callers'}", "/s", opened, _ABSENT)
    for callers in (CALLERS, 1)
    for name, opened in (
        ("the bare server, and the verification of the same body", partial(posting, server=bare, callers=callers)),
        ("ours: a signed message a request, keep-alive", partial(posting, server=node, callers=callers)),
    )
)

HTTP = Group(
    "over HTTP: scheduling signed messages",
    (BARE_MANY, SIGNED_MANY, BARE_ONE, SIGNED_ONE),
    (
        Claim("over HTTP, beside the bare server and its verification", (SIGNED_MANY.name, BARE_MANY.name), least=0.5),
        Claim("over HTTP, the same of a lone caller", (SIGNED_ONE.name, BARE_ONE.name)),
    ),
)
