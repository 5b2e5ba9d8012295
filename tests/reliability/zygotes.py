"""Programs that a fault kills: forked from one that has imported everything, with strace holding them.

A start of Python under strace takes a second, a fork some milliseconds. The child waits until strace has it, so
the counts of system calls begin with the scenario.

Rules
-----
* A fault counts for nothing unless it fired: whoever kills asks for ``Ended.killed``.
* strace counts a call for each thread apart, and ``when=N`` fires in the first thread that comes to N.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import IO

import attrs

from procession.testing import python

PATIENCE = 60.0  # seconds within which anything that happens at all has happened
DURABLE = (
    "pwrite64", "write", "fsync", "fdatasync", "ftruncate", "unlink", "rename", "mkdir", "pwritev", "renameat2", "link",
)  # fmt: skip # the calls that leave something on a disk

_CALL = re.compile(r"^(\d+) +(\w+)\((?:\d+<([^>]*)>|\"([^\"]*)\")")
_SERVE = "from reliability.zygotes import serve; serve()"


def missing() -> str:
    """Say why there is no killing here; "" where there is."""
    return "" if shutil.which("strace") else "there is no strace to kill with at a system call"


@attrs.frozen(order=True)
class Point:
    """Name a system call at which a fault fires: the n-th of a thread, on one file where its name is known."""

    call: str
    file: str  # below the data folder; "" for every file
    number: int

    def kill(self, data: Path) -> list[str]:
        """Return the arguments with which strace kills there."""
        return self.inject(data, "signal=SIGKILL")

    def inject(self, data: Path, what: str) -> list[str]:
        """Return the arguments with which strace does something there."""
        place = ["-P", str(data / self.file)] if self.file else []
        return [*place, "-e", f"trace={self.call}", "-e", f"inject={self.call}:{what}:when={self.number}"]


@attrs.frozen
class Ended:
    """Hold how a child ended: the whole lines that it told, its exit code (-9 for killed), what strace logged."""

    told: list[str]
    code: int
    log: str

    @property
    def killed(self) -> bool:
        """Tell whether it was killed."""
        return self.code == -9


class Zygote:
    """Fork children that run a function ``module:name(data, *arguments)``, one at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        paths = os.pathsep.join(path for path in sys.path if path)
        self._program = subprocess.Popen(
            python(_SERVE), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": paths}
        )
        self._go, self._told, self._log = folder / "go", folder / "told", folder / "log"
        os.mkfifo(self._go)

    def run(self, function: str, *arguments: str, strace: Sequence[str] = ()) -> Ended:
        """Run a function in a child, under strace with some arguments if there are any, until it ends."""
        self._told.write_bytes(b"")
        self._log.write_bytes(b"")
        order = {"function": function, "arguments": arguments, "go": str(self._go), "told": str(self._told)}
        child = int(self._say(order))
        with held(child, self._log, strace):
            self._go.write_bytes(b".")  # opens when the child listens
            code = int(self._hear())
        told = self._told.read_text("utf-8").splitlines(keepends=True)
        return Ended([line.rstrip("\n") for line in told if line.endswith("\n")], code, self._log.read_text("utf-8"))

    def close(self) -> None:
        """End the program."""
        for end in (self._program.stdin, self._program.stdout):
            assert end is not None
            end.close()
        self._program.wait(PATIENCE)

    def _say(self, order: Mapping[str, object]) -> bytes:
        assert self._program.stdin is not None
        self._program.stdin.write(json.dumps(order).encode() + b"\n")
        self._program.stdin.flush()
        return self._hear()

    def _hear(self) -> bytes:
        out: IO[bytes] | None = self._program.stdout
        assert out is not None
        assert select.select([out], [], [], PATIENCE)[0], "the child does not end"
        return out.readline()


@contextmanager
def held(child: int, log: Path, arguments: Sequence[str]) -> Iterator[None]:
    """Hold a program that waits under strace, until it ends; without arguments do not."""
    if not arguments:
        yield
        return
    command = ["strace", "-f", "-o", str(log), *arguments, "-p", str(child)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as tracer:
        assert tracer.stderr is not None
        assert select.select([tracer.stderr], [], [], PATIENCE)[0], "strace does not take hold"
        line = tracer.stderr.readline()
        assert line.endswith(b" attached\n"), line
        yield
        tracer.communicate(timeout=PATIENCE)


@contextmanager
def zygote(folder: Path) -> Iterator[Zygote]:
    """Run a zygote that works in a folder of its own."""
    folder.mkdir(parents=True)
    running = Zygote(folder)
    try:
        yield running
    finally:
        running.close()


def traced() -> list[str]:
    """Return the arguments with which strace logs durable calls, the files named."""
    return ["-y", "-e", f"trace={','.join(DURABLE)}"]


def points(log: str, data: Path) -> list[Point]:
    """Return each place of a log where a fault can fire, in the order of calls, files and numbers.

    Below the folders of a data folder names change from run to run: there it goes by the count of the call alone.
    """
    counts: Counter[tuple[str, str, str]] = Counter()
    for thread, call, path in _calls(log):
        counts[thread, call, ""] += 1
        if data in (path, path.parent):
            counts[thread, call, str(path.relative_to(data))] += 1
    deeper = {call for _, call, path in _calls(log) if data in path.parents[1:]}
    most: dict[tuple[str, str], int] = {}
    for (_, call, file), count in counts.items():
        if file or call in deeper:
            most[call, file] = max(most.get((call, file), 0), count)
    return sorted(Point(call, file, number + 1) for (call, file), last in most.items() for number in range(last))


def _calls(log: str) -> Iterator[tuple[str, str, Path]]:
    for line in log.splitlines():
        found = _CALL.match(line)
        if found is not None:
            thread, call, opened, named = found.groups()
            yield thread, call, Path(opened or named or "/")


def tell(line: str) -> None:
    """Say what is acknowledged, at once; by a call that no fault is set on."""
    os.writev(1, [f"{line}\n".encode()])


def serve() -> None:
    """Import what there is to import, and fork a child for every order until the input ends."""
    from procession import process
    from procession.registry import Registry

    Registry((process,)).close()
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(order["go"], order["told"], _function(order["function"]), order["arguments"])
        _answer(child)
        _answer(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _answer(number: int) -> None:
    os.write(1, f"{number}\n".encode())


def _function(name: str) -> Callable[..., None]:
    module, function = name.split(":")
    found: Callable[..., None] = getattr(import_module(module), function)
    return found


def _become(go: str, told: str, function: Callable[..., None], arguments: Iterable[str]) -> None:
    """Be the child: wait for the word, run the function, and end without the parent's end."""
    os.dup2(os.open(told, os.O_WRONLY | os.O_APPEND), 1)
    Path(go).read_bytes()
    code = 1
    try:
        function(*arguments)
        code = 0
    finally:
        os._exit(code)
