"""Compiler: the program of a child that reads and compiles foreign modules under limits of its own.

The parent sends frames (a length of 8 bytes, then the bytes): a module first, answered by its valid binary
form, then the module to compile, answered by the compiled form. An answer begins with ``+``, a reason with ``-``.
A module with exception handlers of the old kind is valid once they are rewritten.

Rules
-----
* Everything goes through pipes: what comes back is machine code, and no other user can put it there.
* It runs as a file, so that it needs nothing of the parent's but the place of wasmtime, and of the
  modules beside it those that need nothing but Python.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import IO, Any

TAKEN, REFUSED = b"+", b"-"
OUT_OF_MEMORY = 3  # exit code


def main() -> None:
    """Answer two frames and end."""
    asked = json.loads(sys.argv[1])
    _limit(asked["bytes"], asked["seconds"])
    sys.path.append(asked["path"])
    bare = ModuleType("procession_wasm")  # without what its __init__ brings, which is the kernel
    bare.__path__ = [str(Path(__file__).parent)]
    sys.modules["procession_wasm"] = bare
    try:
        _serve(asked)
    except MemoryError:
        sys.exit(OUT_OF_MEMORY)


def configured(config: Any, asked: Mapping[str, Any]) -> Any:
    """Return a configuration of the engine with switches and a stack of so many bytes."""
    for name, value in asked["switches"].items():
        setattr(config, name, value)
    config.max_wasm_stack = asked["stack"]
    return config


def send(stream: IO[bytes], content: bytes) -> None:
    """Write a frame."""
    stream.write(len(content).to_bytes(8) + content)
    stream.flush()


def receive(stream: IO[bytes], most: int) -> bytes | None:
    """Read a frame; None where it ends early, or says that it is longer than ``most``."""
    size = int.from_bytes(stream.read(8))
    content = stream.read(size) if 0 < size <= most else b""
    return content if size and len(content) == size else None


def valid_form(engine: Any, content: bytes) -> bytes:
    """Return the binary form of a module, its handlers rewritten where they are of the old kind.

    Raises WasmtimeError where the engine does not take it.
    """
    import wasmtime

    binary_form = content if content[:4] == b"\0asm" else bytes(wasmtime.wat2wasm(content))
    try:
        wasmtime.Module.validate(engine, binary_form)
    except wasmtime.WasmtimeError:
        modern = _modernised(binary_form)
        if modern is None:
            raise
        wasmtime.Module.validate(engine, modern)
        return modern
    return binary_form


def _modernised(binary_form: bytes) -> bytes | None:
    import wasmtime

    from procession_wasm.blocktypes import LegacyError
    from procession_wasm.legacy import modernised

    try:
        return modernised(binary_form)
    except LegacyError as error:
        raise wasmtime.WasmtimeError(str(error)) from error


def _serve(asked: Mapping[str, Any]) -> None:
    import wasmtime

    config = configured(wasmtime.Config(), asked)
    config.parallel_compilation = False  # a thread for each core would cost address space on large machines
    engine = wasmtime.Engine(config)
    for step in (valid_form, _compiled):
        content = receive(sys.stdin.buffer, asked["most"])
        if content is None:
            return
        try:
            answer = TAKEN + step(engine, content)
        except wasmtime.WasmtimeError as error:
            answer = REFUSED + str(error).encode()
        send(sys.stdout.buffer, answer)


def _compiled(engine: Any, content: bytes) -> bytes:
    import wasmtime

    return bytes(wasmtime.Module(engine, content).serialize())


def _limit(size: int, seconds: int) -> None:
    with suppress(ImportError):  # elsewhere than on Unix the parent's clock is the only bound
        import resource

        wanted = {resource.RLIMIT_AS: (size, size), resource.RLIMIT_CPU: (seconds, seconds + 1)}
        for kind, limits in {**wanted, resource.RLIMIT_CORE: (0, 0)}.items():
            most = resource.getrlimit(kind)[1]
            if most != resource.RLIM_INFINITY:
                limits = (min(limits[0], most), min(limits[1], most))
            with suppress(ValueError, OSError):
                resource.setrlimit(kind, limits)


if __name__ == "__main__":
    main()
