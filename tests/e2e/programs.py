"""Programs that tests start: the command line in this program, a node as a child, and what both are told.

Nothing here knows a device; a test gives the files.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx
from click.testing import CliRunner

from procession.cli import cli
from procession.testing import command_line

PATIENCE = 60.0  # seconds within which anything that happens at all has happened


@attrs.frozen
class Ended:
    """Hold how a command ended: its exit code, what it printed, and what it printed beside."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Return what it printed for machines."""
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """Return the error that it printed for machines, its last line."""
        return json.loads(self.err.splitlines()[-1])["error"]


@attrs.frozen
class Node:
    """Reach a node: its URL, its process if it was given a definition, and the file of what it logs."""

    url: str
    process: str
    log: Path
    client: httpx.Client
    child: subprocess.Popen[bytes]

    def get(self, path: str) -> Any:
        """Return the JSON of a reply that must be good."""
        sys.stdout.write(f"$ curl -sg '{self.url}{path}'\n")
        reply = self.client.get(f"{self.url}{path}")
        assert 200 == reply.status_code, reply.text
        return reply.json()

    def post(self, path: str, message: object) -> Any:
        """Return the JSON of a reply that must be good."""
        text = json.dumps(message)
        sys.stdout.write(f"$ curl -sg -H 'content-type: application/json' -d '{text}' '{self.url}{path}'\n")
        reply = self.client.post(f"{self.url}{path}", json=message)
        assert 200 == reply.status_code, reply.text
        return reply.json()


def procession(*arguments: str | Path) -> Ended:
    """Run the command line in this program."""
    told = CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)
    return Ended(told.exit_code, told.stdout, told.stderr)


def procession_child(*arguments: str | Path) -> Ended:
    """Run the command line in a program of its own."""
    command = command_line(*(str(argument) for argument in arguments))
    done = subprocess.run(command, capture_output=True, text=True, env=_environment(), timeout=PATIENCE, check=False)
    return Ended(done.returncode, done.stdout, done.stderr)


@attrs.frozen
class Killed:
    """Hold the whole lines that a program printed, and its exit code: -9 unless it was over before it was killed."""

    lines: list[str]
    code: int


def killed(command: list[str], *, lines: int, seconds: float) -> Killed:
    """Run a program, and kill -9 it some seconds after it printed so many lines."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_environment()) as child:
        assert child.stdout is not None
        watchdog = threading.Timer(PATIENCE, child.kill)
        watchdog.start()
        try:
            first = [child.stdout.readline() for _ in range(lines)]
            time.sleep(seconds)
        finally:
            watchdog.cancel()
            child.kill()
        printed = [*first, *child.stdout.read().splitlines(keepends=True)]
    return Killed([line.rstrip("\n") for line in printed if line.endswith("\n")], child.returncode)


@contextmanager
def node(
    *arguments: str | Path,
    folder: Path,
    ending: signal.Signals = signal.SIGTERM,
    program: Callable[..., list[str]] = command_line,
) -> Iterator[Node]:
    """Run ``procession serve`` as a child that gets a signal at the end; it ends well if it may, with no traceback."""
    log = folder / "node.log"
    command = program("serve", *(str(argument) for argument in arguments), "--port", "0", "--json")
    with (
        log.open("wb") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=_environment()) as child,
        httpx.Client(timeout=PATIENCE) as client,
    ):
        try:
            told = _first_line(child, log)
            yield Node(told["url"], told["process"] or "", log, client, child)
            child.send_signal(ending)
            assert (-9 if ending is signal.SIGKILL else 0) == child.wait(PATIENCE)
        finally:
            child.kill()
    assert "Traceback" not in log.read_text("utf-8")


def _first_line(child: subprocess.Popen[bytes], log: Path) -> Any:
    assert child.stdout is not None
    deadline = time.monotonic() + PATIENCE
    while not select.select([child.stdout], [], [], 0.1)[0]:
        assert time.monotonic() < deadline, "the node says nothing"
    line = child.stdout.readline()
    assert line, log.read_text("utf-8")
    return json.loads(line)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
