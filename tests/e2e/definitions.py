"""Definition files with one thing wrong each, and what is to be said about it.

A case is the text of the file, some words of the one line that refuses it, and whether the fault is one that
a definition from the wire can have too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import attrs

GOOD = """
[process]
name = "good"
device-stack = [{ device = "wasm-64@1.0", image = "good.wat" }, "test-device@1.0"]
"""
IMAGES: Mapping[str, bytes] = {
    "good.wat": b'(module (memory (export "memory") 1) (func (export "two") (result i32) (i32.const 2)))',
    "asking.wat": b'(module (import "nobody" "answers" (func (param i32))) (memory (export "memory") 1))',
    "wrong-type.wat": b'(module (import "my_lib" "mul" (func (param i32) (result i64))) (memory (export "memory") 1))',
    "text.wasm": b"#!/bin/sh\necho this is no module\n",
    "cut.wasm": b"\x00asm\x01\x00\x00\x00\x01\x05\x01",
    "empty.wasm": b"",
    "huge.wat": b'(module (memory (export "memory") 65536))',
}


@attrs.frozen
class Case:
    """Hold a definition file that is refused: its text, and words of the line that says why."""

    name: str
    text: str
    words: tuple[str, ...]


def folder_of_images(folder: Path) -> Path:
    """Write the images into a folder and return it."""
    for name, content in IMAGES.items():
        (folder / name).write_bytes(content)
    return folder


def _process(rows: str, host: str = "") -> str:
    return f'[process]\nname = "bad"\n{rows}\n{host}'


def _image(name: str, more: str = "") -> str:
    return _process(f'device-stack = [{{ device = "wasm-64@1.0", image = "{name}"{more} }}, "test-device@1.0"]')


_ECHO = 'device-stack = ["echo@1.0"]'

CASES = (
    Case("malformed TOML", "[process\nname = 1", ("not TOML", "line 1")),
    Case("not UTF-8", "[process]\nname = '\udcff'", ("not TOML",)),
    Case("nothing", "", ("process: missing", "[process]")),
    Case("a process that is no table", "process = 3", ("process", "[process]")),
    Case("an unknown table", _process(_ECHO, "[hots]\nx = 1"), ("hots", "'host'")),
    Case("an unknown key", _process(f"pasess = 2\n{_ECHO}"), ("process.pasess",)),
    Case("an unknown key of a stage", _image("good.wat", ", feul = 3"), ("device-stack[0].feul", "'fuel'")),
    Case("an unknown key of the host", _process(_ECHO, "[host.cache]\nkep = []"), ("host.cache.kep", "'keep'")),
    Case("an unknown device", _process('device-stack = ["ecko@1.0"]'), ("ecko@1.0", "'echo@1.0'", "pip install")),
    Case(
        "an unknown device far away",
        _process('device-stack = ["lua@5.3a"]'),
        ("lua@5.3a", "pip install procession-lua"),
    ),
    Case(
        "an unknown scheduler", _process(f'scheduler-device = "queue@1.0"\n{_ECHO}'), ("scheduler-device", "queue@1.0")
    ),
    Case("an unknown cache", _process(_ECHO, '[host.cache]\ndevice = "redis@1.0"'), ("host.cache.device", "redis@1.0")),
    Case("an unknown policy", _process(f'on-failure = "ignore"\n{_ECHO}'), ("on-failure", "'record' or 'halt'")),
    Case("an empty stack", _process("device-stack = []"), ("device-stack", "at least one")),
    Case("a stack that is no list", _process('device-stack = "echo@1.0"'), ("device-stack", "list")),
    Case("a stage that is none", _process("device-stack = [3]"), ("device-stack[0]", "no stage")),
    Case("no device at all", _process(""), ("execution-device: missing",)),
    Case("a value of the wrong type", _image("good.wat", ', fuel = "much"'), ("fuel", "text", "integer")),
    Case("a value out of range", _image("good.wat", ", fuel = 0"), ("fuel", "out of range")),
    Case(
        "a duration that is none",
        _process(_ECHO, '[host.snapshots]\nreplay-budget = "soon"'),
        ("replay-budget", "duration"),
    ),
    Case("a missing image", _image("nowhere.wasm"), ("image", "nowhere.wasm", "No such file")),
    Case("an image that is a folder", _image("."), ("image", "directory")),
    Case("no image", _process('device-stack = ["wasm-64@1.0"]'), ("image: missing",)),
    Case("a text for an image", _image("text.wasm"), ("wasm-64@1.0 image", "neither a WASM module nor WAT")),
    Case("an image that is cut off", _image("cut.wasm"), ("wasm-64@1.0 image",)),
    Case("an empty image", _image("empty.wasm"), ("wasm-64@1.0 image",)),
    Case("an image larger than its limit", _image("huge.wat"), ("memory-limit",)),
    Case("an import that nobody answers", _image("asking.wat"), ("nobody", "answers")),
    Case("an import of another type", _image("wrong-type.wat"), ("my_lib", "mul")),
    Case("a function that is not exported", _image("good.wat", ', function = "three"'), ("three",)),
    Case(
        "passes that never come",
        _process('passes = 1\ndevice-stack = ["json-iface@1.0", "multipass@1.0"]'),
        ("passes = 2",),
    ),
)
