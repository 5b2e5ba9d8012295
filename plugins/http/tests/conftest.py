"""A node in a process of its own, and what tests say to it."""

from __future__ import annotations

import json
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest

LAUNCHER = Path(__file__).with_name("launcher.py")
GENEROUS = 60.0  # seconds within which anything that happens at all has happened
DEFINITION = {"type": "Process", "device": "process@1.0", "device-stack": ["tally@1.0"]}


@attrs.frozen
class Answered:
    """Hold what came back over a raw connection; status 0 where the peer only closed it."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = attrs.field(factory=dict)

    @property
    def kind(self) -> str:
        """Return the kind of an error."""
        return str(json.loads(self.body)["error"]["kind"])


class Wire:
    """Speak raw bytes to a node."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=GENEROUS)
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Go away."""
        self._file.close()
        self.socket.close()

    def say(self, *parts: bytes) -> Wire:
        """Send bytes, as far as the other side takes them."""
        with suppress(ConnectionError):
            for part in parts:
                self.socket.sendall(part)
        return self

    def hear(self) -> Answered:
        """Read one reply; status 0 where there is none."""
        try:
            first, *rows = iter(lambda: self._file.readline().decode("latin-1").rstrip(), "")
            headers = {name.lower(): value for name, _, value in (row.partition(": ") for row in rows)}
            body = self._file.read(int(headers.get("content-length", 0)))
            return Answered(int(first.split()[1]), body, headers)
        except (ConnectionError, ValueError):
            return Answered(0)

    def is_closed(self) -> bool:
        """Wait until the other side has closed; what it still sends is thrown away."""
        try:
            while self._file.read1(1 << 16):
                pass
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        return True


@attrs.define
class Node:
    """Hold a running node."""

    running: subprocess.Popen[str]
    told: dict[str, Any]
    log: Path

    @property
    def url(self) -> str:
        """Return where it is."""
        return str(self.told["url"])

    @property
    def port(self) -> int:
        """Return its port."""
        return int(self.url.rpartition(":")[2])

    def wire(self) -> Wire:
        """Connect without a client."""
        return Wire(self.port)

    def client(self) -> httpx.Client:
        """Return a client of this node."""
        return httpx.Client(base_url=self.url, timeout=GENEROUS, trust_env=False)

    def spawn(self, **keys: Any) -> str:
        """Begin a process, and return its id."""
        with self.client() as client:
            reply = client.post("/~process@1.0/schedule", json={**DEFINITION, **keys})
        assert reply.status_code == 200, reply.text
        return reply.headers["process"]

    def stop(self, name: signal.Signals = signal.SIGTERM) -> int:
        """Stop it, and return its exit code."""
        self.running.send_signal(name)
        return self.running.wait(GENEROUS)

    def is_well(self) -> bool:
        """Tell whether it answers, and has met nothing that it did not foresee."""
        with self.client() as client:
            reply = client.get("/~meta@1.0/health")
        fine = reply.json()["status"] in ("ok", "degraded")  # the latter where the disk of a test is slow
        return reply.status_code == 200 and fine and "Traceback" not in self.log.read_text("utf-8", "replace")


Start = Callable[..., Node]


def started(arguments: list[str], log: Path) -> Node:
    """Start a node and wait for its first line."""
    with log.open("a") as errors:
        running = subprocess.Popen(
            [sys.executable, str(LAUNCHER), "serve", *arguments, "--port", "0", "--json"],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert running.stdout is not None
    ready, _, _ = select.select([running.stdout], [], [], GENEROUS)
    line = running.stdout.readline() if ready else ""
    if not line:
        running.kill()
        running.wait()
        running.stdout.close()
        raise AssertionError(f"the node did not start: {log.read_text('utf-8')}")
    return Node(running, json.loads(line), log)


def definition_file(folder: Path, settings: dict[str, Any], workers: dict[str, Any]) -> Path:
    """Write a definition with some settings of ``[host.http]`` and ``[host.workers]``."""
    tables = {"http": settings, "workers": workers}
    rows = [f"[host.{name}]\n{_rows(table)}" for name, table in tables.items()]
    file = folder / "node.toml"
    file.write_text("\n".join(['[process]\nname = "first"\ndevice-stack = ["tally@1.0"]\n', *rows]), "utf-8")
    return file


def _rows(table: dict[str, Any]) -> str:
    return "".join(f"{key.replace('_', '-')} = {json.dumps(value)}\n" for key, value in table.items())


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start nodes, by settings of ``[host.http]`` and of ``workers``; each is over by the end of the test."""
    nodes: list[Node] = []

    def start_one(data: Path = tmp_path / "data", *, workers: dict[str, Any] | None = None, **settings: Any) -> Node:
        file = definition_file(tmp_path, settings, workers or {})
        node = started([str(file), "--data", str(data)], tmp_path / "log")
        nodes.append(node)
        return node

    yield start_one
    for node in nodes:
        _end(node)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Keep one node with settings as they are by default for a module of tests."""
    folder = tmp_path_factory.mktemp("node")
    running = started(["--data", str(folder / "data")], folder / "log")
    yield running
    _end(running)


def _end(node: Node) -> None:
    node.running.kill()
    node.running.wait()
    if node.running.stdout is not None:
        node.running.stdout.close()
