"""Images that cost much to compile: a child compiles them, and is stopped at its limits."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import wasmtime

from procession.errors import ComputeError, RequestError
from procession_wasm import bounds, compiling, images
from procession_wasm.compiling import Child
from procession_wasm.images import Images
from procession_wasm.reader import unsigned

LARGE = f"""(module
  (memory 1)
  (data (i32.const 16) "{"x" * bounds.SIMPLE_BYTES}")
  (func (export "look") (param i32) (result i32) (i32.load8_u (local.get 0))))"""


def handlers(count: int) -> bytes:
    """Return a module of one function with so many handlers around as many calls."""
    tried = b"\x1f\x40" + unsigned(count) + b"\0\0\0" * count + b"\x10\0" * count + b"\x0b"
    body = b"\0\x02\x40" + tried + b"\x0b\x0b"
    return _module(b"\x60\0\0", tags=b"\x0d\x03\x01\0\0", body=body)


def arguments(calls: int) -> bytes:
    """Return a module of a function that calls itself with a thousand values each time."""
    many = unsigned(1000) + b"\x7f" * 1000
    body = b"\0" + b"".join(b"\x20" + unsigned(place) for place in range(1000)) + b"\x10\0" * calls + b"\x0b"
    return _module(b"\x60" + many + many, tags=b"", body=body)


def _module(kind: bytes, *, tags: bytes, body: bytes) -> bytes:
    def section(number: int, content: bytes) -> bytes:
        return bytes([number]) + unsigned(len(content)) + content

    code = section(10, b"\x01" + unsigned(len(body)) + body)
    return b"\0asm\x01\0\0\0" + section(1, b"\x01" + kind) + section(3, b"\x01\0") + tags + code


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[Child]:
    """Collect the children that are started."""
    started: list[Child] = []

    @contextmanager
    def counted(*given: Any) -> Iterator[Child]:
        with compiling.child(*given) as made:
            started.append(made)
            yield made

    monkeypatch.setattr(images, "child", counted)
    return started


@pytest.mark.parametrize("form", [str.encode, wasmtime.wat2wasm], ids=["text", "binary"])
def test_a_large_image_is_compiled_by_a_child(
    drive: Callable[..., Any], children: list[Child], form: Callable[[str], Any]
) -> None:
    """What a child compiled runs as any other image does, and the child has ended."""
    guest = drive(bytes(form(LARGE)))
    assert (ord("x"),) == guest.call("look", 20)
    assert [True] == [child._process.returncode is not None for child in children]


def test_a_simple_image_needs_no_child(drive: Callable[..., Any], children: list[Child]) -> None:
    """An image that can cost little only is compiled at once."""
    assert (1,) == drive('(module (func (export "f") (result i32) (i32.const 1)))').call("f")
    assert [] == children


@pytest.mark.parametrize("content", [handlers(60), arguments(20)], ids=["handlers", "arguments"])
def test_a_small_image_may_need_a_child(children: list[Child], content: bytes) -> None:
    """How much a compiler does is not told by bytes alone: what multiplies it goes to a child."""
    assert len(content) < bounds.SIMPLE_BYTES
    assert "an id" == Images().compiled("an id", content).id
    assert 1 == len(children)


@pytest.mark.parametrize(
    ("limit", "value", "content", "what"),
    [
        ("CPU_SECONDS", 1, handlers(300), "takes more than 1 s of processor time"),
        ("ADDRESS_SPACE", 160 << 20, arguments(2000), "takes more than 160 MiB of memory"),
        ("WALL_SECONDS", 0.3, handlers(300), r"takes more than 0\.3 s on this host"),
        ("MOST_ARTEFACT", 1 << 20, arguments(60), "compiles to more than 1 MiB"),
    ],
)
def test_a_bomb_is_refused_at_a_limit(
    monkeypatch: pytest.MonkeyPatch, limit: str, value: float, content: bytes, what: str
) -> None:
    """A module that would cost more than a child may take is refused, and the limit is named."""
    monkeypatch.setattr(compiling, limit, value)
    with pytest.raises(RequestError, match=what) as refused:
        Images().compiled("an id", content)
    assert ("bad-image", "wasm-64@1.0 image an id") == (refused.value.kind, refused.value.where)


def test_a_compiler_without_memory_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that reaches its memory limit ends at once, also where the engine is asked to print where it stood."""
    monkeypatch.setenv("RUST_BACKTRACE", "1")
    monkeypatch.setattr(compiling, "ADDRESS_SPACE", 256 << 20)
    loops = b"\0" + b"\x03\x40" * 150_000 + b"\x0b" * 150_001
    with pytest.raises(RequestError, match="more than 256 MiB of memory"):
        Images().compiled("an id", _module(b"\x60\0\0", tags=b"", body=loops))


def test_a_bomb_costs_once(monkeypatch: pytest.MonkeyPatch, children: list[Child]) -> None:
    """What is known to reach a limit of its own is refused without another child; what is late here is tried again."""
    monkeypatch.setattr(compiling, "CPU_SECONDS", 1)
    known = Images()
    for _ in range(2):
        with pytest.raises(RequestError, match="processor time"):
            known.compiled("a bomb", handlers(300))
    assert 1 == len(children)
    monkeypatch.setattr(compiling, "WALL_SECONDS", 0.2)
    for _ in range(2):
        with pytest.raises(RequestError, match="on this host"):
            known.compiled("another", handlers(300))
    assert 3 == len(children)


def test_a_malformed_large_image_is_told_by_its_cause() -> None:
    """The engine's reason comes through the pipe."""
    with pytest.raises(RequestError, match=r"neither a WASM module nor WAT text.*: expected `\)`"):
        Images().compiled("an id", b"(module (func (i32.add)" + b" " * bounds.SIMPLE_BYTES)


def test_a_child_that_was_killed_blames_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that ended for no limit of its own is this host's problem, and the image may be tried again."""
    ask = Child.ask

    def killed(self: Child, content: bytes) -> bytes:
        os.kill(self._process.pid, signal.SIGKILL)
        return ask(self, content)

    known = Images()
    with monkeypatch.context() as patched:
        patched.setattr(Child, "ask", killed)
        with pytest.raises(ComputeError, match="ended with -9; nothing was recorded"):
            known.compiled("an id", LARGE.encode())
    assert "an id" == known.compiled("an id", LARGE.encode()).id


def test_a_host_without_a_program_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no child can be started, the program that is missing is named."""
    monkeypatch.setattr(compiling.sys, "executable", "/nowhere/python")
    with pytest.raises(ComputeError, match="cannot start '/nowhere/python'"):
        Images().compiled("an id", LARGE.encode())


@pytest.mark.parametrize(
    ("wat", "what"),
    [
        ("(table 0 funcref)" * 11, "11 tables in"),
        ("(func)" + " ".join(f'(export "f{n}" (func 0))' for n in range(10_001)), "10001 exports in"),
        ("(memory 1)" + '(data (i32.const 0) "x")' * 10_001, "10001 pieces of data in"),
        ('(import "a" "b" (func))' * 1001, "1001 imports in"),
        (f'(func) (export "{"n" * 8193}" (func 0))', "a name of more than 8192 characters"),
        ("(func " + "(drop (i32.const 1000000))" * 210_000 + ")", "a function of 1050002 bytes"),
    ],
)
def test_what_a_module_may_hold_has_bounds(wat: str, what: str) -> None:
    """What no compiler makes is refused by its count before it is looked at."""
    with pytest.raises(RequestError, match=what):
        Images().compiled("an id", f"(module {wat})".encode())


def test_refused_imports_stay_one_short_line(stage: Callable[..., Any]) -> None:
    """However many imports nobody answers, and whatever their names, the refusal stays one short line."""
    wat = f'(import "a" "\\n{"b" * 1500}" (func (param {"i32 " * 500})))' * 500
    with pytest.raises(RequestError, match=r"'a\.\\nbbb.*; add one that does") as refused:
        stage(f"(module {wat})")
    assert len(refused.value.text) < 1200
    assert refused.value.text.isprintable()
