"""Compiling: a module made ready by a child that a hostile one cannot outgrow.

What a compiler takes does not follow from the size of what it is given: 2 KB can cost it 24 seconds,
9 KB can cost it 1.1 GB. So a child does it, and is stopped at its limits.

Rules
-----
* What a module costs is its own fault: it is refused, and nothing else on this host notices.
* What stops the child for reasons of this host is a ComputeError: it may succeed later.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import wasmtime

from procession.errors import ComputeError
from procession_wasm import compiler

CPU_SECONDS = 10
ADDRESS_SPACE = 512 << 20  # of the child, its Python and the engine included: they take 62 MiB
WALL_SECONDS = 30  # a machine with other work gives a child less than a core
MOST_ARTEFACT = 128 << 20
ADDED_BYTES = 1 << 20  # by which the module that is compiled may be larger than the one that was read


class UnfitError(Exception):
    """Say why a module cannot be compiled; ``lasting`` where it would cost as much again to find out."""

    def __init__(self, reason: str, *, lasting: bool = False) -> None:
        super().__init__(reason)
        self.lasting = lasting


class Child:
    """Read one module, then compile it, in a child."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.late = False

    def ask(self, content: bytes) -> bytes:
        """Return the answer to the next step: the valid binary form of a module, then the compiled form."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            compiler.send(stdin, content)
            answer = compiler.receive(stdout, MOST_ARTEFACT)
        except BrokenPipeError:
            answer = None
        if answer is None:
            raise self._stopped()
        if answer[:1] == compiler.REFUSED:
            raise wasmtime.WasmtimeError(answer[1:].decode("utf-8", "replace"))
        return answer[1:]

    def stop_late(self) -> None:
        """Stop a child whose time is over."""
        self.late = True
        self._process.kill()

    def _stopped(self) -> Exception:
        try:
            code = self._process.wait(1)
        except subprocess.TimeoutExpired:
            return UnfitError(f"it compiles to more than {MOST_ARTEFACT >> 20} MiB", lasting=True)
        if self.late:
            return UnfitError(f"compiling it takes more than {WALL_SECONDS} s on this host")
        reached = _limit_of(code)
        if reached:
            return UnfitError(f"compiling it takes {reached}", lasting=True)
        remedy = "nothing was recorded; try again, and look at this host's memory"
        return ComputeError(f"the child that compiles images ended with {code}", remedy=remedy, kind="compiler")


def _limit_of(code: int) -> str:
    """Return which of its limits ended a child, or an empty text."""
    memory = f"more than {ADDRESS_SPACE >> 20} MiB of memory"
    reached = {
        compiler.OUT_OF_MEMORY: memory,
        -signal.SIGABRT: memory,  # the engine's own way to say so
        -signal.SIGXCPU: f"more than {CPU_SECONDS} s of processor time",
        -signal.SIGSEGV: "more stack than the compiler has",
    }
    return reached.get(code, "")


@contextmanager
def child(configuration: Mapping[str, Any], most: int) -> Iterator[Child]:
    """Start a child that compiles one module of at most so many bytes, and stop it in any case."""
    asked = {
        **configuration,
        "most": most + ADDED_BYTES,
        "bytes": ADDRESS_SPACE,
        "seconds": CPU_SECONDS,
        "path": str(Path(wasmtime.__file__).parents[1]),
    }
    process = _started(json.dumps(asked))
    made = Child(process)
    timer = threading.Timer(WALL_SECONDS, made.stop_late)
    timer.daemon = True
    timer.start()
    try:
        yield made
    finally:
        timer.cancel()
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            _close(stream)


def _started(asked: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-I", compiler.__file__, asked]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    environment = {**os.environ, "RUST_BACKTRACE": "0"}  # a trace takes memory: where none is left it would hang
    try:
        return subprocess.Popen(command, env=environment, start_new_session=True, **pipes)  # Ctrl-C is the parent's
    except OSError as error:
        what = f"this host cannot start {sys.executable!r} to compile images: {error.strerror}"
        raise ComputeError(what, kind="compiler") from error


def _close(stream: IO[bytes] | None) -> None:
    try:
        if stream is not None:
            stream.close()
    except BrokenPipeError:
        return  # what was not written is not wanted any more
