"""A guest's own growth: as the engine answers it, and never by what this host lacks."""

from __future__ import annotations

import random
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from procession.errors import ComputeError
from procession.messages import Message
from procession.roles import Ok
from procession_wasm import growth, images, instance
from procession_wasm.binary import opened, shape_of

KINDS = {"VmData": resource.RLIMIT_DATA, "VmSize": resource.RLIMIT_AS}
TYPED = {True: "(type (func (param {p}) (result {p})))", False: ""}
WAT = """(module
  {type}
  (import "a" "b" (func $hear (param i32)))
  (memory {p} 2 {most})
  (global $own (mut i64) (i64.const 0x40))
  (func $first (export "size") (result {p}) (memory.size))
  (func (export "grow") (param {p}) (result {p}) (local i64 f32)
    (block (result {p})
      (loop (local.set 1 (i64.const 0x4040)) (global.set $own (i64.add (global.get $own) (local.get 1))))
      (if (result {p}) ({p}.eqz (local.get 0))
        (then ({p}.add (memory.grow (local.get 0)) (memory.size)))
        (else (br_table 0 1 (memory.grow (local.get 0)) (i32.const 0))))))
  (func (export "own") (result i64) (call $hear (i32.const 0x40)) (global.get $own))
  (func (export "both") (param {p}) (result {p})
    ({p}.mul (memory.grow (local.get 0)) (memory.grow (memory.grow (local.get 0))))))"""


def text(pointer: str, most: str = "", typed: bool = False) -> str:
    """Return a module that grows in several places, with pointers of a type and a maximum."""
    return WAT.format(p=pointer, most=most, type=TYPED[typed].format(p=pointer))


@pytest.mark.parametrize("typed", [False, True])
@pytest.mark.parametrize("most", ["", "9"])
@pytest.mark.parametrize("pointer", ["i32", "i64"])
def test_growth_is_answered_as_the_engine_does(
    pointer: str, most: str, typed: bool, drive: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is asked for, answers, sizes and roots are those of the module as it was."""
    dice, guests = random.Random(4), list[Any]()
    for told in (growth.told, lambda content, shape: content):
        monkeypatch.setattr(images.growth, "told", told)
        options = {"memory_limit": 20 * 65536 + 7}
        guests.append(drive(text(pointer, most, typed), {"a.b": lambda guest, one: None}, **options))
        monkeypatch.setattr("procession_wasm.images.Images._known", lambda *given: None)  # nor is the other one known
    assert [True, False] == [growth.ROOM in guest.stage._instance._exports for guest in guests]
    asked = [dice.choice((0, 1, 1, 2, 5, 30, -1, -3, 1 << 31, (1 << 31) - 1)) for _ in range(40)]
    for delta in asked:
        for call in (("grow", delta), ("both", delta), ("size",), ("own",)):
            assert repr(guests[0].call(*call)) == repr(guests[1].call(*call)), call
        assert guests[0].root() == guests[1].root()


def test_a_module_that_never_grows_is_left_alone() -> None:
    """Where nothing grows the module keeps its bytes, and what grows keeps all but that and what is added."""
    for wat, same in (("(module (memory 1) (func (block (drop (memory.size)))))", True), (text("i64"), False)):
        content = bytes(wasmtime.wat2wasm(wat))
        shape = shape_of(content)
        assert same is (growth.told(opened(content, shape), shape) == opened(content, shape))


@contextmanager
def no_more(kind: str, spare: int) -> Iterator[None]:
    """Let this program have so many bytes more than it has."""
    before = resource.getrlimit(KINDS[kind])
    status = Path("/proc/self/status").read_text("utf-8")
    held = next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith(f"{kind}:"))
    resource.setrlimit(KINDS[kind], (held + spare, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(KINDS[kind], before)


@pytest.fixture(params=["i32", "i64"])
def grower(request: pytest.FixtureRequest, drive: Callable[..., Any]) -> Any:
    """Start a guest that may have more than this host."""
    return drive(text(request.param), {"a.b": lambda guest, one: None}, memory_limit=1 << 30)


def test_a_host_without_memory_is_no_result(grower: Any) -> None:
    """A growth that is allowed and that this host has no memory for is told, not recorded, and may be had later."""
    before = grower.root()
    with no_more("VmData", 24 << 20):
        assert (2,) == grower.call("grow", 3)
        with pytest.raises(ComputeError) as failed:
            grower.call("grow", 8000)
        assert "host-memory" == failed.value.kind
        assert (-1,) == grower.call("grow", 1 << 15)  # beyond the limit
    assert before != grower.root()
    assert [(5,), (8005,)] == [grower.call("grow", 8000), grower.call("size")]


def test_without_the_change_a_host_decides(drive: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """As the module was, what this host lacks is an answer like any other."""
    monkeypatch.setattr(images.growth, "told", lambda content, shape: content)
    guest = drive(text("i32"), {"a.b": lambda guest, one: None}, memory_limit=1 << 30)
    with no_more("VmData", 24 << 20):
        assert (-1,) == guest.call("grow", 8000)
    assert (2,) == guest.call("grow", 8000)


def test_a_host_without_room_for_a_guest_is_no_result(
    stage: Callable[..., Any], drive: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guest that finds no addresses for its memory is told, not recorded, and starts later."""
    made = stage(text("i32"), {"a.b": lambda guest, one: None})
    genesis = drive(text("i32"), {"a.b": lambda guest, one: None}).assignment(0, {})
    with no_more("VmSize", 1 << 30), pytest.raises(ComputeError) as failed:
        made.init(Message(), genesis)
    assert "host-memory" == failed.value.kind
    assert isinstance(made.init(Message(), genesis), Ok)
    made.close()
    monkeypatch.setattr(instance, "is_want_of_room", lambda stopped: False)
    with no_more("VmSize", 1 << 30), pytest.raises(wasmtime.WasmtimeError):
        made.init(Message(), genesis)
